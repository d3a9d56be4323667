"""Every text file of a report: pages, Markdown, tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cac_hpc.report import circumstances, markdown, pages, tables
from cac_hpc.report.circumstances import Circumstances
from cac_hpc.run import escaping, paths
from cac_hpc.statistics import results
from cac_hpc.statistics.results import Report


def write(folder: Path, report: Report, found: Circumstances, window_hu: Sequence[float]) -> None:
    """Write them, and circumstances.json; arguments are those of `texts`."""
    paths.write_json(folder / circumstances.FILE, results.to_json(found))
    for name, text in texts(folder, report, found, window_hu).items():
        paths.write_text(folder / name, text)


def texts(folder: Path, report: Report, found: Circumstances, window_hu: Sequence[float]) -> dict[str, str]:
    """Their contents by their names, relative to the report's folder.

    Args:
        folder: of the report, with its pictures. window_hu: in which slices are shown.
    """
    return {
        **pages.of_report(folder, report, found, window_hu),
        paths.page_name(report.status, "md"): markdown.page(report),
        **{f"tables/{name}": escaping.csv_text(table) for name, table in tables.csv(report).items()},
        **{f"tables/{name}": text for name, text in tables.latex(report).items()},
    }
