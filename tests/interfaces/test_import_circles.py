"""Tests that no modules import each other in a circle, and that schedulers stand on their own."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


def circle_in(imports: dict[str, set[str]]) -> list[str] | None:
    """The modules of a circle, each imported by the one before; None if there is no circle."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as circle:
        return list(circle.args[1])
    return None


def test_no_module_imports_itself_by_way_of_others():
    """Imports for type checkers only, and those within functions, count as well."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 200
    assert "offload.settings" in imports["commands.run"]
    assert circle_in(imports) is None


@pytest.mark.parametrize("importer", ["simulator", "edgenode.schedulers"])
def test_of_the_edge_node_only_schedulers_are_imported(importer):
    """A scheduler runs in the twin without a node. So neither may depend on the node's queues, threads or messages."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    own = {importer} | graph.find_descendants(importer)
    imported = set().union(*(graph.find_modules_directly_imported_by(module) for module in own))
    of_node = {module for module in imported if module.startswith("edgenode.")}
    assert of_node, "schedulers are imported"
    assert all(module.startswith("edgenode.schedulers") for module in of_node), of_node


@pytest.mark.parametrize("imports", [{"a": {"b"}, "b": {"a"}}, {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()}])
def test_a_circle_is_found(imports):
    assert set(circle_in(imports) or []) == set(imports) - {"d"}
