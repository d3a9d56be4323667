"""Every table of the report as the file that other programs read; a new table goes here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

FIGURE_COLUMNS = ["level", "unit", "of", "figure", "category", "value", "n", "low", "high", "interval", "note"]
CATEGORY_FIGURES = ("precision", "recall", "f1")


def of_report(summary: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Every table by its file's name."""
    names = [category["name"] for category in summary["categories"]]
    found = {"figures.csv": pd.DataFrame(_all_figures(summary), columns=FIGURE_COLUMNS)}
    for level, results in summary["levels"].items():
        found |= {
            f"confusion_{level}.csv": _matrix_table(names, results["pooled"]),
            f"categories_{level}.csv": _category_table(names, results["pooled"]),
            f"folds_{level}.csv": _fold_table(results),
            f"reliability_{level}.csv": pd.DataFrame(results["calibration"]["reliability"]),
        }
        found |= {
            f"confusion_{level}_{scheme['key']}.csv": _matrix_table(scheme["names"], scheme["pooled"])
            for scheme in results["collapsed"]
            if scheme["pooled"]
        }
    return found


def _all_figures(summary: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every figure of the report, with all that it means."""
    for level, results in summary["levels"].items():
        parts = {
            "pooled": results["pooled"],
            **{f"fold {fold['fold']}": fold for fold in results["folds"]},
            **{f"pooled, {scheme['key']}": scheme["pooled"] for scheme in results["collapsed"] if scheme["pooled"]},
        }
        where = {"level": level, "unit": results["unit"]}
        for of, part in parts.items():
            for name, figure in part["figures"].items():
                yield {**where, "of": of, "figure": name, **figure}
            for category in part["categories"]:
                for name in CATEGORY_FIGURES:
                    yield {**where, "of": of, "figure": name, "category": category["category"], **category[name]}
        for name, figure in results["calibration"].items():
            if isinstance(figure, dict):
                yield {**where, "of": "pooled", "figure": name, **figure}


def _matrix_table(names: Sequence[str], part: dict[str, Any]) -> pd.DataFrame:
    table = pd.DataFrame(part["confusion_matrix"], columns=list(names))
    table.insert(0, "true", list(names), allow_duplicates=True)
    return table


def _category_table(names: Sequence[str], part: dict[str, Any]) -> pd.DataFrame:
    rows = []
    for name, category in zip(names, part["categories"], strict=True):
        number = category["category"]
        row = {"category": name, "support": part["support"][number], "predicted": part["predicted"][number]}
        for key in CATEGORY_FIGURES:
            figure = category[key]
            row |= {key: figure["value"], f"{key}_low": figure["low"], f"{key}_high": figure["high"]}
        rows.append(row)
    return pd.DataFrame(rows)


def _fold_table(results: dict[str, Any]) -> pd.DataFrame:
    """One row per fold, then mean and standard deviation over the folds, and in how many folds each is defined."""
    rows = [
        {
            "fold": str(fold["fold"]),
            "n": fold["n"],
            "patients": fold["patients"],
            "errors": fold["errors"],
            **_values(fold),
        }
        for fold in results["folds"]
    ]
    for key in ("mean", "sd", "n"):
        rows.append({"fold": key, **{name: over[key] for name, over in results["over_folds"].items()}})
    counts = dict.fromkeys(("n", "patients", "errors") if results["folds"] else (), "Int64")
    return pd.DataFrame(rows).astype(counts)


def _values(part: dict[str, Any]) -> dict[str, Any]:
    return {name: figure["value"] for name, figure in part["figures"].items()}
