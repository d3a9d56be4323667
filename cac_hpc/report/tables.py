"""Every table of the report: CSV for other programs, LaTeX for papers (package booktabs); a new table goes here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from cac_hpc.run import logs

MARK = "CONTRAST RUN, LEAKS"  # in every title, on every page and table
FIGURE_COLUMNS = ["level", "unit", "of", "figure", "category", "value", "n", "low", "high", "interval", "note"]
PRINTED = {  # what a paper's table of results has
    "accuracy": "accuracy",
    "majority_accuracy": "always the largest category",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "F1, macro",
    "f1_weighted": "F1, weighted",
    "kappa_plain": "Cohen's kappa, unweighted",
    "kappa_linear": "Cohen's kappa, linear weights",
    "kappa_quadratic": "Cohen's kappa, quadratic weights",
    "icc": "ICC(2,1)",
    "two_or_more_off": "off by two categories or more",
    "spearman": "Spearman's correlation with the score",
}


def of_report(summary: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """Every table by its file's name."""
    names = [category["name"] for category in summary["categories"]]
    found = {"figures.csv": pd.DataFrame(_all_figures(summary), columns=FIGURE_COLUMNS)}
    if (summary["published"] or {}).get("categories"):
        found["published.csv"] = _category_table(names, summary["published"])
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
    found |= _rule_tables(names, summary["rule"])
    found |= _occlusion_table(summary["occlusion"])
    if mark := status_mark(summary):  # a column of its own, in every table
        found = {name: table.assign(status=mark) for name, table in found.items()}
    return found


def status_mark(summary: dict[str, Any]) -> str:
    """What stands on every table and page of a report that is not a whole one, or leaks; else nothing."""
    marks = [MARK] if summary["banner"] else []
    return ", ".join(marks + [summary["status"]] * (summary["status"] != "COMPLETE"))


def counted(level: str, results: dict[str, Any]) -> str:
    """How many units were tested, and how often, if that is not once each."""
    n, distinct = results["pooled"]["n"], results["distinct"]
    return f"{n} {level}s" if n == distinct else f"{n} tests of {distinct} {level}s"


def units(level: str, results: dict[str, Any]) -> str:
    """What is counted in a level's matrix."""
    return f"{level}s" if results["pooled"]["n"] == results["distinct"] else f"{level} tests"


def category_figures(part: dict[str, Any]) -> list[str]:
    """The figures that each category has, in their order: a new one of `metrics.METRICS` is among them by itself."""
    return [name for name in part["categories"][0] if name != "category"]


def heading(figure: str) -> str:
    """What a column of a figure is called."""
    return figure.replace("_", " ").replace("f1", "F1")


def latex(summary: dict[str, Any]) -> dict[str, str]:
    """The tables of a paper by their files' names; ``\\input`` them, they need the package booktabs."""
    names = [logs.line(category["name"]) for category in summary["categories"]]
    levels = summary["levels"]
    mark = f"{status_mark(summary)}: " if status_mark(summary) else ""
    count = ", ".join(counted(level, results) for level, results in levels.items())
    found = {
        "results.tex": _tex(
            pd.DataFrame(
                {"": list(PRINTED.values())}
                | {
                    f"{level} level": [_printed(results["pooled"]["figures"][name]) for name in PRINTED]
                    for level, results in levels.items()
                }
            ),
            f"{mark}Pooled out-of-fold results of {summary['folds_found']} of {summary['split']['folds']} folds "
            f"({count}); in brackets 95\\,\\% intervals.",
            "results",
        )
    }
    for level, results in levels.items():
        part = results["pooled"]
        about = f"{mark}{level.capitalize()} level, {counted(level, results)}"
        rows = [
            [name, str(part["support"][row["category"]]), *(_printed(row[key]) for key in category_figures(part))]
            for name, row in zip(names, part["categories"], strict=True)
        ]
        by_category = pd.DataFrame(rows, columns=["category", "n", *map(heading, category_figures(part))])
        found[f"categories_{level}.tex"] = _tex(by_category, f"{about}: figures by category.", f"categories-{level}")
        matrix = _matrix_table(names, part).set_axis(["true / predicted", *names], axis=1).astype(str)
        caption = f"{about}: confusion matrix, rows true, columns predicted."
        found[f"confusion_{level}.tex"] = _tex(matrix, caption, f"confusion-{level}")
    return found


def _tex(table: pd.DataFrame, caption: str, label: str) -> str:
    columns = "l" + "r" * (table.shape[1] - 1)
    text = table.to_latex(
        index=False, escape=True, caption=caption, label=f"tab:{label}", position="htbp", column_format=columns
    )
    text = text.replace("<", r"\textless{}").replace(">", r"\textgreater{}")
    narrow = "\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{4pt}\n"  # no wider than a page
    text = text.replace(r"\begin{tabular}", narrow + r"\begin{tabular}", 1)
    return re.sub(r"(?m)^(?=[\[*])", "{}", logs.harmless(text))  # else the line before takes it for its option


def _printed(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "undefined"
    between = "" if figure["low"] is None else f" [{figure['low']:.3f}, {figure['high']:.3f}]"
    return f"{figure['value']:.3f}{between}"


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
                for name in category_figures(part):
                    yield {**where, "of": of, "figure": name, "category": category["category"], **category[name]}
        for name, figure in results["calibration"].items():
            if isinstance(figure, dict):
                yield {**where, "of": "pooled", "figure": name, **figure}


def _rule_tables(names: Sequence[str], rule: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """The Agatston rule on the same units: its figures, its matrices, each patient, slices that show nothing."""
    if rule["note"]:
        return {}
    matrices = {f"confusion_{level}_rule.csv": _matrix_table(names, results["matrices"]["reference"])
                for level, results in rule["levels"].items()}  # fmt: skip
    empty = pd.DataFrame(rule["empty_slices"])
    return matrices | {
        "rule.csv": pd.DataFrame(_paired(rule, {"reference": "rule", "other": "network"})),
        "patients.csv": pd.DataFrame(rule["patients"]),
        "empty_slices.csv": empty.assign(category=list(names)),
    }


def _occlusion_table(occlusion: dict[str, Any]) -> dict[str, pd.DataFrame]:
    """The network that sees a part of each slice, and all of it."""
    roles = {"reference": "everything_seen", "other": "part_seen"}
    rows = [
        {"seen": view, **row} for view, found in occlusion.get("views", {}).items() for row in _paired(found, roles)
    ]
    return {"occlusion.csv": pd.DataFrame(rows)} if rows else {}


def _paired(found: dict[str, Any], roles: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Every figure of two predictions of the same units, and its difference."""
    for level, results in found["levels"].items():
        for part in (results["figures"], *results["categories"]):
            for name, figure in part.items():
                if name != "category":
                    row = {"level": level, "figure": name, "category": part.get("category"), "n": results["n"]["other"]}
                    yield row | {roles.get(key, key): value for key, value in figure.items()}


def _matrix_table(names: Sequence[str], part: dict[str, Any]) -> pd.DataFrame:
    table = pd.DataFrame(part["confusion_matrix"], columns=list(names))
    table.insert(0, "true", list(names), allow_duplicates=True)
    return table


def _category_table(names: Sequence[str], part: dict[str, Any]) -> pd.DataFrame:
    rows = []
    for name, category in zip(names, part["categories"], strict=True):
        number = category["category"]
        row = {"category": name, "support": part["support"][number], "predicted": part["predicted"][number]}
        for key in category_figures(part):
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
