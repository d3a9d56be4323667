"""A report in a terminal: what eighty columns are enough for."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cac_hpc.evaluation import report_json
from cac_hpc.results.levels import Level
from cac_hpc.results.report import FORMAT_VERSION, Report
from cac_hpc.results.serialization import from_json
from cac_hpc.run import logs, looks
from cac_hpc.run.logs import amount
from cac_hpc.run.paths import RunPaths
from cac_hpc.sections import (
    cohort_parts,
    contrast_parts,
    level_parts,
    method_parts,
    occlusion_parts,
    parts,
    reader_parts,
    trial_parts,
    wording,
)


@dataclass(frozen=True)
class OtherVersion:
    """A report that another version of cac_hpc has made."""

    status: str
    banner: str | None


def show(root: Path, how: looks.How = "terminal") -> int:
    """Print the report of a run, after its ledger knows of the look: a reader may end it at any line.

    Returns: 0 for a complete report, 1 for a partial or provisional one.
    Raises: InputError if the run has no report yet, or what is there is none.
    """
    run = RunPaths(root)
    with report_json.sound(root):
        report = parse(report_json.read(root))
        pieces = _pieces(report, shlex.quote(str(root)))
    looks.note(root, how)
    return _print(report, pieces, f"figures, tables and page: {run.report}")


def read(path: Path) -> Report | OtherVersion:
    """A report.json, wherever it comes from; `present` can print all of it.

    Raises: OSError; Damaged saying what is wrong.
    """
    summary = report_json.load(path)
    with report_json.believed():
        report = parse(summary)
        _pieces(report)
    return report


def parse(summary: dict[str, Any]) -> Report | OtherVersion:
    """What a report.json holds.

    Raises: Damaged if it is not as this version writes it.
    """
    if summary.get("format_version") == FORMAT_VERSION:
        return from_json(summary, Report)
    return OtherVersion(str(summary.get("status")), summary.get("banner"))


def present(report: Report | OtherVersion, where: str) -> int:
    """Print a report's essentials, and where its files are.

    Returns: 0 for a complete report, 1 for a partial or provisional one.
    """
    return _print(report, _pieces(report), where)


def _print(report: Report | OtherVersion, pieces: list[tuple[Any, str | None]], where: str) -> int:
    screen = logs.console()
    for part, style in pieces:
        line = logs.line(part) if isinstance(part, str) else part
        whole = isinstance(part, str) and "python jobs/" in part
        screen.print(line, style=style, markup=False, soft_wrap=whole)
    screen.print(logs.line(where), markup=False, soft_wrap=True)  # no path or command is broken that somebody may copy
    return 0 if report.status in ("COMPLETE", "EXTERNAL") else 1


def _pieces(report: Report | OtherVersion, run: str = "RUN") -> list[tuple[Any, str | None]]:
    """All that is printed, texts and tables with their style, made before any of it is printed."""
    if isinstance(report, OtherVersion):
        return [("the report was made by another version of cac_hpc: read its page", None)]
    lines = (
        level_parts.verdict(report).replace("**", ""),
        *(line.replace("**", "") for line in (*parts.verdict(report), *reader_parts.trusted(report))),
        *contrast_parts.lines(report),
        *(line.replace("**", "") for line in method_parts.shown_before(report)),
        *wording.missing_lines(report, run),
        cohort_parts.sentence(report),
    )
    tables = [table for level, found in wording.tested(report) for table in _level_tables(level, found, report)]
    of_others = [*reader_parts.short(report), *occlusion_parts.short(report)]
    tables += [logs.table(one.caption, one.columns, one.rows, numbers=True) for one in of_others]
    tables += [logs.table(one.caption, one.columns, one.rows) for one in trial_parts.short(report)]
    return [
        (wording.title(report), "bold"),
        *((line.strip("*"), "bold red") for line in [report.banner] if line),
        *((part, None) for part in (*lines, *tables)),
    ]


def _level_tables(level: str, found: Level, report: Report) -> Iterator[Any]:
    """Figures (the folds' are in the tables), matrix, categories by their number in the matrix."""
    names, pooled = wording.category_names(report), found.pooled
    columns = ["", "pooled [95 % interval]", f"mean of {amount(len(found.folds), 'fold')}"]
    columns = columns[: 3 if found.folds else 2]
    yield logs.table(f"{level} level", columns, [row[:3] for row in level_parts.figures(found)], numbers=True)
    columns = ["", *map(str, range(len(names))), "all"]
    cells = level_parts.matrix_with_sums(names, pooled)
    yield logs.table("confusion matrix, pooled; rows are true", columns, cells, numbers=True, tight=True)
    columns = ["", *level_parts.category_columns(level, pooled)[1:-2]]  # the counts are in the matrix
    cells = [[str(index), *row[1:-2]] for index, row in enumerate(level_parts.categories(names, pooled))]
    yield logs.table("per category by its number above, pooled", columns, cells, numbers=True)
