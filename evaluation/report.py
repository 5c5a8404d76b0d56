"""Writes the report of a run to `reports/<run>/{figures/…, results.json, report.html}` in the storage, and to a folder.

The report is made from the database only, so it can be made again at any time. Each file is written atomically. The
page contains everything and is written last.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evaluation import wording
from evaluation.comparison import LEARNED
from evaluation.figures import FIGURES
from evaluation.figures.axes import by_success_rate
from evaluation.rendering import DrawnFigure, draw_figures
from evaluation.results import build_results, results_json
from evaluation.style import OUTCOME_NAMES, method_colour
from middleware.database import PLAYED_BY, Database, Run
from middleware.storage import Storage, open_storage
from offload.settings import Settings


def report_folder(run_name: str) -> str:
    """The folder of a run's report in the storage."""
    return f"reports/{run_name}"


def write_report(
    db: Database, storage: Storage, run: Run, out_dir: Path | None = None, parity: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Build the report and write it to the storage, and to `out_dir` if given. Returns the results.

    parity: of the run's episodes with the numeric twin (`evaluation.parity`); None if it was not computed

    An unfinished run and a run with heuristics only have a report too; the report lists what is missing.
    """
    results, files = build_report(db, run, parity)
    store_report(storage, run, files)
    if out_dir is not None:
        export_report(out_dir, files)
    return results


def build_report(db: Database, run: Run, parity: Mapping[str, Any] | None) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The results, and the files of the report by name. Writes nothing."""
    results = build_results(db, run) | {"parity": parity}
    figures = draw_figures(results)
    files = {f"figures/{figure.kind.name}.svg": figure.svg for figure in figures}
    files |= {f"figures/{figure.kind.name}.png": figure.png for figure in figures}
    files["results.json"] = results_json(results)
    files["report.html"] = render_page(results, figures).encode()
    return results, files


def store_report(storage: Storage, run: Run, files: Mapping[str, bytes]) -> None:
    """Write the files to the folder of the run's report in the storage."""
    for name, content in files.items():
        storage.write(f"{report_folder(run.name)}/{name}", content)


def export_report(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files to a folder of this machine."""
    out = open_storage(f"file:{folder}", None)
    for name, content in files.items():
        out.write(name, content)


def render_page(results: Mapping[str, Any], figures: list[DrawnFigure]) -> str:
    """The page: one self-contained HTML file that loads nothing else. It is also well-formed XML."""
    environment = Environment(
        loader=PackageLoader("evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = {figure.kind.name for figure in figures}
    return environment.get_template("report.html.j2").render(
        results=results,
        settings=results["settings"],
        words=wording,
        ordered=by_success_rate(results),
        outcomes=OUTCOME_NAMES,
        colour=method_colour,
        learned=LEARNED,
        # The SVG is safe: matplotlib has escaped the texts in it.
        figures=[(figure.kind, Markup(figure.inline())) for figure in figures],  # noqa: S704
        not_drawn=[kind.title for kind in FIGURES if kind.name not in drawn and not _is_empty(kind.name, results)],
        flat_settings=flat_settings(results["settings"]),
    )


def _is_empty(figure: str, results: Mapping[str, Any]) -> bool:
    """Whether a figure can never have data in this run: the twin measures no durations."""
    return PLAYED_BY in results["versions"] and figure in ("fidelity", "decision-times")


def flat_settings(settings: Mapping[str, Any]) -> list[tuple[str, Any, bool]]:
    """`(section.key, value, whether it is the default)` for all settings, in their order."""
    defaults = dict(_flat(Settings().experiment()))
    return [(path, value, defaults.get(path, ...) == value) for path, value in _flat(settings)]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            lines += _flat(value, f"{prefix}{key}.")
        else:
            lines.append((f"{prefix}{key}", value))
    return lines
