"""The report's summary in, report.json, report.md and tables out; the same summary shown in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc import logs, paths
from cac_hpc.config import InputError

FORMAT_VERSION = 1  # of report.json
HEADLINES = ("n", "accuracy", "majority_accuracy", "gain_over_majority", "errors", "over_estimated", "under_estimated")


def write_report(folder: Path, summary: dict[str, Any]) -> None:
    """Write report.json last, so that it also says that the report is complete."""
    for level, results in summary["levels"].items():
        names = [category["name"] for category in summary["categories"]]
        pooled = results["pooled"]
        _write_table(
            folder / "tables" / f"confusion_{level}.csv",
            pd.DataFrame(pooled["confusion_matrix"], index=pd.Index(names, name="true"), columns=names),
        )
        _write_table(
            folder / "tables" / f"categories_{level}.csv",
            pd.DataFrame(
                {key: pooled[key] for key in ("precision", "recall", "f1", "support")},
                index=pd.Index(names, name="category"),
            ),
        )
        _write_table(
            folder / "tables" / f"folds_{level}.csv",
            pd.DataFrame(
                [_figures(fold) for fold in results["folds"]],
                index=pd.Index([fold["fold"] for fold in results["folds"]], name="fold"),
            ),
        )
    paths.write_text(folder / "report.md", markdown(summary))
    paths.write_json(folder / "report.json", summary)


def markdown(summary: dict[str, Any]) -> str:
    """The report as text."""
    parts = [f"# {_title(summary)}", verdict(summary), *_missing(summary), _cohort(summary)]
    for level, results in _tested(summary):
        parts += [
            f"## {level.capitalize()} level",
            f"Unit: {results['unit']}.",
            _markdown_table(["", *_fold_columns(results)], _figure_rows(results)),
            "Confusion matrix, pooled over the folds, rows true, columns predicted:",
            _markdown_table(["true \\ predicted", *_names(summary)], _matrix_rows(summary, results["pooled"])),
            _markdown_table(
                ["category", "precision", "recall", "F1", f"{level}s"], _category_rows(summary, results["pooled"])
            ),
        ]
    parts += ["## What this does not say", *LIMITS]
    return "\n\n".join(parts) + "\n"


LIMITS = (
    "Every slice carries its patient's category, and most slices of a real exam show no coronary calcium: a "
    "slice-level figure is not a patient-level figure, and the slice-level one is bounded well below 1.",
    "Folds are divided by patient: no patient is in the training and the test part of one fold.",
    "This is research software and not a medical device.",
)


def verdict(summary: dict[str, Any]) -> str:
    """What came out, at both levels, against always guessing the largest category."""
    sentences = [
        f"{summary['split']['scheme']} cross-validation, {summary['folds_found']} of "
        f"{summary['split']['folds']} folds, {summary['cohort']['patients']} patients, "
        f"{summary['cohort']['slices']} slices."
    ]
    for level, results in summary["levels"].items():
        pooled = results["pooled"]
        if not pooled["n"]:
            sentences.append(f"No {level} was tested.")
            continue
        largest = _names(summary)[int(np.argmax(np.sum(pooled["confusion_matrix"], axis=1)))]
        gain = pooled["gain_over_majority"]
        again = "" if results["distinct"] == pooled["n"] else f", {results['distinct']} of them different"
        sentences.append(
            f"**{level.capitalize()} level: accuracy {pooled['accuracy']:.3f}** (n = {pooled['n']} {level}s{again}), "
            f"{abs(gain):.3f} {'above' if gain >= 0 else 'BELOW'} always "
            f"guessing the largest category ({largest}: {pooled['majority_accuracy']:.3f}); quadratic kappa "
            f"{_text(pooled['kappa']['quadratic'])}."
        )
    return " ".join(sentences)


def show(root: Path) -> int:
    """Print the report of a run in the terminal.

    Returns: 0 for a complete report, 1 for a partial one.
    Raises: InputError if the run has no report yet.
    """
    stored = paths.RunPaths(root).report / "report.json"
    if not stored.is_file():
        raise InputError(f"{stored}: there is no report yet; python jobs/status.py {root} says where the run stands")
    return present(paths.read_json(stored), f"figures, tables and report.md: {stored.parent}")


def present(summary: dict[str, Any], where: str) -> int:
    """Print a report's essentials in the terminal, and where its files are.

    Returns: 0 for a complete report, 1 for a partial one.
    """
    screen, code = logs.console(), 0 if summary.get("status") == "COMPLETE" else 1
    if summary.get("format_version") != FORMAT_VERSION:
        screen.print("the report was made by another version of cac_hpc: read its page", markup=False)
        screen.print(where, markup=False, soft_wrap=True)
        return code
    screen.print(_title(summary), style="bold", markup=False)
    for part in (verdict(summary).replace("**", ""), *_missing(summary), _cohort(summary)):
        screen.print(part, markup=False)
    for level, results in _tested(summary):
        screen.print(logs.table(f"{level} level", ["", *_fold_columns(results)], _figure_rows(results), numbers=True))
        screen.print(
            logs.table(
                "confusion matrix, pooled; rows true, columns predicted",
                ["", *_names(summary)],
                _matrix_rows(summary, results["pooled"]),
                numbers=True,
            )
        )
        screen.print(
            logs.table(
                "per category, pooled",
                ["category", "precision", "recall", "F1", f"{level}s"],
                _category_rows(summary, results["pooled"]),
                numbers=True,
            )
        )
    screen.print(where, markup=False, soft_wrap=True)  # no path is broken that somebody may copy
    return code


def _title(summary: dict[str, Any]) -> str:
    return str(summary["title"]) + ("" if summary["status"] == "COMPLETE" else f" ({summary['status']})")


def _missing(summary: dict[str, Any]) -> list[str]:
    """One line per fold without a valid result, and what to do about it."""
    lines = [
        f"PARTIAL: fold {missing['fold']} is missing ({missing['reason']})." for missing in summary["missing_folds"]
    ]
    return [*lines, "To complete the report: python jobs/launch_cv.py --resume RUN"] if lines else []


def _cohort(summary: dict[str, Any]) -> str:
    cohort = summary["cohort"]
    counts = ", ".join(
        f"{category['name']} {count}"
        for category, count in zip(summary["categories"], cohort["studies_per_category"], strict=True)
    )
    return (
        f"Cohort: {cohort['studies_found']} studies found, {cohort['studies']} used ({counts}); "
        f"{cohort['rejected_files']} files not used, each with its reason in rejected.csv."
    )


def _tested(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The levels at which anything was tested."""
    return [(level, results) for level, results in summary["levels"].items() if results["pooled"]["n"]]


def _names(summary: dict[str, Any]) -> list[str]:
    return [category["name"] for category in summary["categories"]]


def _figures(result: dict[str, Any]) -> dict[str, Any]:
    """The headline figures of one summary, flat."""
    return {
        **{key: result[key] for key in HEADLINES},
        **{f"kappa_{weights}": value for weights, value in result["kappa"].items()},
        **{f"{key}_macro": value for key, value in result["macro"].items()},
    }


def _fold_columns(results: dict[str, Any]) -> list[str]:
    return ["pooled", *(f"fold {fold['fold']}" for fold in results["folds"])]


def _figure_rows(results: dict[str, Any]) -> list[list[str]]:
    columns = [_figures(result) for result in (results["pooled"], *results["folds"])]
    return [[key.replace("_", " "), *(_text(column[key]) for column in columns)] for key in columns[0]]


def _matrix_rows(summary: dict[str, Any], pooled: dict[str, Any]) -> list[list[str]]:
    return [[name, *map(str, row)] for name, row in zip(_names(summary), pooled["confusion_matrix"], strict=True)]


def _category_rows(summary: dict[str, Any], pooled: dict[str, Any]) -> list[list[str]]:
    columns = (pooled["precision"], pooled["recall"], pooled["f1"], pooled["support"])
    return [[name, *map(_text, row)] for name, *row in zip(_names(summary), *columns, strict=True)]


def _text(value: float | int | None) -> str:
    if value is None:
        return "undefined"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def _markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with paths.atomic(path) as scratch:
        table.to_csv(scratch, lineterminator="\n")
