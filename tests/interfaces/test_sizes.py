"""Tests that files, classes and functions stay small enough to be read at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "offload",
    "middleware",
    "edgenode",
    "controller",
    "trainer",
    "evaluation",
    "simulator",
    "experiments",
    "commands",
    "helm",
)
LINES_OF_A_FILE, LINES_OF_A_FUNCTION, PUBLIC_METHODS = 400, 60, 15
FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def too_large(path: Path, text: str) -> Iterator[str]:
    """What is too large in a module. Functions of migrations may be long: they are lists of columns."""
    if (lines := text.count("\n")) > LINES_OF_A_FILE:
        yield f"{path}: the file has {lines} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTION) and "migrations" not in path.parts:
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LINES_OF_A_FUNCTION:
                yield f"{path}: the function {node.name} has {lines} lines"
        if isinstance(node, ast.ClassDef):
            public = [one for one in node.body if isinstance(one, FUNCTION) and not one.name.startswith("_")]
            if len(public) > PUBLIC_METHODS:
                yield f"{path}: the class {node.name} has {len(public)} public methods"


def test_nothing_is_too_large() -> None:
    paths = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    assert len(paths) > 150
    found = [line for path in paths for line in too_large(path.relative_to(ROOT), path.read_text())]
    assert found == []


def test_what_is_too_large_is_found() -> None:
    body = "    x = 1\n" * LINES_OF_A_FUNCTION
    methods = "".join(f"    def m{k}(self): ...\n" for k in range(PUBLIC_METHODS + 1))
    long_file = "x = 1\n" * (LINES_OF_A_FILE + 1)
    found = list(too_large(Path("a.py"), f"def f():\n{body}\nclass C:\n{methods}\n{long_file}"))
    assert [line.split(":")[1].split()[1] for line in found] == ["file", "function", "class"]
