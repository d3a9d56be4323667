"""The numbers of a report in, its Markdown and tables out; the same numbers shown in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cac_hpc.evaluation import report_json
from cac_hpc.report import beside_wording, tables, wording
from cac_hpc.run import escaping, logs, paths
from cac_hpc.statistics.results import FORMAT_VERSION


def write_tables(folder: Path, summary: dict[str, Any]) -> None:
    """Write the tables and the page as Markdown."""
    for name, table in tables.of_report(summary).items():
        paths.write_text(folder / "tables" / name, escaping.csv_text(table))
    for name, latex in tables.latex(summary).items():
        paths.write_text(folder / "tables" / name, latex)
    paths.write_text(folder / page_name(summary, "md"), markdown(summary))


def page_name(summary: Mapping[str, Any], suffix: str) -> str:
    """File name of a report's page, html or md: report_PARTIAL.md, unless the report is complete."""
    return paths.page_name(summary["status"], suffix)


def markdown(summary: dict[str, Any]) -> str:
    """The report as text."""
    summary = _escaped(summary)
    parts = [f"# {wording.title(summary)}", *_banner(summary), wording.verdict(summary)]
    parts += [f"**{line}**" for line in wording.inflation(summary)]
    parts += [markdown_table(wording.INFLATION_COLUMNS, rows)] if (rows := wording.inflation_rows(summary)) else []
    parts += [*wording.missing_lines(summary), wording.cohort(summary), *beside_wording.crop(summary)]
    for level, results in wording.tested(summary):
        parts += [
            f"## {level.capitalize()} level",
            f"Unit: {results['unit']}; {results['counting']}. In brackets 95 % intervals; sd over the folds.",
            markdown_table(["", *wording.fold_columns(results)], wording.figure_rows(results)),
            wording.sign_test(results["pooled"]),
            "Confusion matrix, pooled over the folds, rows true, columns predicted:",
            markdown_table(
                ["true \\ predicted", *wording.category_names(summary)],
                wording.matrix_rows(wording.category_names(summary), results["pooled"]),
            ),
            markdown_table(
                wording.category_columns(level, results["pooled"]), wording.category_rows(summary, results["pooled"])
            ),
            *_published(level, summary),
            *_collapsed(results),
            *_calibration(results),
            *wording.other_rules(results),
        ]
    for heading, lines, beside in (
        (beside_wording.RULE, beside_wording.rule(summary), beside_wording.rule_tables(summary)),
        (beside_wording.LOOKS, beside_wording.occlusion(summary), beside_wording.occlusion_tables(summary)),
    ):
        parts += [f"## {heading}", *lines]
        parts += [part for table in beside for part in (f"{table.caption}:", markdown_table(table.columns, table.rows))]
    parts += ["## How it was counted", *wording.methods(summary), "## What this does not say", *wording.limits(summary)]
    return logs.harmless("\n\n".join(parts) + "\n")


def show(root: Path) -> int:
    """Print the report of a run in the terminal.

    Returns: 0 for a complete report, 1 for a partial or provisional one.
    Raises: InputError if the run has no report yet.
    """
    run = paths.RunPaths(root)
    with report_json.sound(root):
        parts = _parts(summary := report_json.read(root))
    return _print(summary, parts, f"figures, tables and page: {run.report}")


def check(path: Path) -> None:
    """A report.json, wherever it comes from, is one of which `present` can print everything.

    Raises: Damaged saying what is wrong.
    """
    summary = report_json.load(path)
    with report_json.believed():
        _parts(summary)


def present(summary: dict[str, Any], where: str) -> int:
    """Print a report's essentials in the terminal, and where its files are.

    Returns: 0 for a complete report, 1 for a partial or provisional one.
    """
    return _print(summary, _parts(summary), where)


def _print(summary: Mapping[str, Any], parts: Iterable[tuple[Any, str | None]], where: str) -> int:
    screen = logs.console()
    for part, style in parts:
        screen.print(logs.line(part) if isinstance(part, str) else part, style=style, markup=False)
    screen.print(logs.line(where), markup=False, soft_wrap=True)  # no path is broken that somebody may copy
    return 0 if summary.get("status") == "COMPLETE" else 1


def _parts(summary: dict[str, Any]) -> list[tuple[Any, str | None]]:
    """All that `present` prints, texts and tables with their style, made before any of it is printed."""
    if summary.get("format_version") != FORMAT_VERSION:
        return [("the report was made by another version of cac_hpc: read its page", None)]
    lines = (
        wording.verdict(summary).replace("**", ""),
        *wording.inflation(summary),
        *wording.missing_lines(summary),
        wording.cohort(summary),
    )
    by_level = [table for level, found in wording.tested(summary) for table in _level_tables(level, found, summary)]
    beside = [
        logs.table(one.caption, one.columns, one.rows, numbers=True) for one in beside_wording.short_tables(summary)
    ]
    return [
        (wording.title(summary), "bold"),
        *((banner.strip("*"), "bold red") for banner in _banner(summary)),
        *((part, None) for part in (*lines, *by_level, *beside)),
    ]


def _level_tables(level: str, results: dict[str, Any], summary: dict[str, Any]) -> Iterator[Any]:
    """A level in three tables that eighty columns are enough for: figures (the folds' are in the tables), matrix,
    categories by their number in the matrix."""
    names, pooled = wording.category_names(summary), results["pooled"]
    columns = ["", "pooled [95 % interval]", f"mean of {len(results['folds'])} folds"]
    rows = [row[:3] for row in wording.figure_rows(results)]
    yield logs.table(f"{level} level", columns, rows, numbers=True)
    columns = ["", *map(str, range(len(names))), "all"]
    rows = _matrix_with_sums(names, pooled)
    yield logs.table("confusion matrix, pooled; rows are true", columns, rows, numbers=True, tight=True)
    columns = ["", *wording.category_columns(level, pooled)[1:-2]]  # the counts are in the matrix
    rows = [[str(index), *row[1:-2]] for index, row in enumerate(wording.category_rows(summary, pooled))]
    yield logs.table("per category by its number above, pooled", columns, rows, numbers=True)


def _published(level: str, summary: dict[str, Any]) -> list[str]:
    if not (found := wording.published_at(level, summary)):
        return []
    rows = wording.category_rows(summary, found)
    title = escaping.markdown(wording.published_title(found))
    return [f"Beside it {title}:", markdown_table(wording.category_columns(level, found), rows)]


def _banner(summary: dict[str, Any]) -> list[str]:
    return [f"**{summary['banner']}**"] if summary.get("banner") else []


def _escaped(summary: dict[str, Any]) -> dict[str, Any]:
    """The same summary; what others have written in it means nothing in Markdown."""
    texts = {"categories": "name", "missing_folds": "reason", "audits": "note"}
    escaped: dict[str, Any] = {
        key: [{**item, name: escaping.markdown(item[name])} for item in summary[key]] for key, name in texts.items()
    }
    found = summary.get("inflation") or {}
    if "note" in found:
        escaped["inflation"] = {"note": escaping.markdown(found["note"])}
    elif found:
        reference = {**found["reference"], "run": escaping.markdown(found["reference"]["run"])}
        escaped["inflation"] = {**found, "reference": reference}
    return {**summary, **escaped, "title": escaping.markdown(summary["title"])}


def _matrix_with_sums(names: Sequence[str], part: dict[str, Any]) -> list[list[str]]:
    """Rows that number the categories, as the columns of a narrow terminal do."""
    numbered = [f"{index} {name}" for index, name in enumerate(names)]
    rows = [[*row, str(count)] for row, count in zip(wording.matrix_rows(numbered, part), part["support"], strict=True)]
    return [*rows, ["all", *map(str, part["predicted"]), str(part["n"])]]


def _collapsed(results: dict[str, Any]) -> list[str]:
    columns, rows, notes = wording.collapsed_rows(results)
    return ([markdown_table(columns, rows)] if rows else []) + notes


def _calibration(results: dict[str, Any]) -> list[str]:
    rows = [
        [f"{row['above']:g} to {row['up_to']:g}", str(row["n"]), wording.text(row["confidence"]),
         wording.with_interval({**row, "value": row["accuracy"]})]
        for row in results["calibration"]["reliability"] if row["n"]
    ]  # fmt: skip
    return [
        wording.calibration_text(results),
        markdown_table(["highest probability", "n", "its mean", "accuracy"], rows),
    ]


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
