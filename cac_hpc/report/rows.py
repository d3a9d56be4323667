"""Rows of the tables that the page, the Markdown and the terminal show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cac_hpc.report import wording
from cac_hpc.report.wording import difference, number, with_interval
from cac_hpc.statistics.results import Baseline, Comparison, Level, Matrix, Occlusion, Report

CONFUSIONS = 8  # pairs of categories that are named
COUNTS = ("n", "patients", "errors", "over_estimated", "under_estimated")
COMPARED = ("accuracy", "balanced_accuracy", "f1_macro", "kappa_plain", "kappa_quadratic")
INFLATED = ("accuracy", "balanced_accuracy", "f1_macro", "kappa_quadratic")
INFLATION = ("", "split by patient", "split by slice", "inflation [95 % interval]")
COLLAPSED = ("accuracy", "majority_accuracy", "balanced_accuracy", "kappa_plain", "kappa_quadratic")


@dataclass(frozen=True)
class TextTable:
    """A table of the report; the first column names the rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """Sentences and tables under a heading."""

    id: str
    heading: str
    lines: Sequence[str]
    tables: Sequence[TextTable]


def compared(report: Report) -> list[Section]:
    """What is compared with the network: the rule, and itself with a part of each slice blank."""
    return [
        Section("rule", wording.RULE, wording.baseline(report), baseline(report)),
        Section("looks", wording.LOOKS, wording.occlusion(report), occlusion(report)),
    ]


def matrix(names: Sequence[str], part: Matrix) -> list[list[str]]:
    return [[name, *map(str, row)] for name, row in zip(names, part.confusion_matrix, strict=True)]


def matrix_with_sums(names: Sequence[str], part: Matrix) -> list[list[str]]:
    """Rows that number the categories, as the columns of a narrow terminal do."""
    numbered = [f"{index} {name}" for index, name in enumerate(names)]
    rows = [[*row, str(count)] for row, count in zip(matrix(numbered, part), part.support, strict=True)]
    return [*rows, ["all", *map(str, part.predicted), str(part.n)]]


def confusions(names: Sequence[str], part: Matrix) -> list[list[str]]:
    """The pairs of categories that are taken for each other most: their names, how many of how many, categories off."""
    pairs = [
        (-count, -abs(row - column), names[row], names[column], sum(cells))
        for row, cells in enumerate(part.confusion_matrix)
        for column, count in enumerate(cells)
        if count and row != column
    ]
    most = sorted(pairs, key=lambda pair: pair[:3])[:CONFUSIONS]
    return [[true, predicted, str(-count), str(of), str(-off)] for count, off, true, predicted, of in most]


def fold_columns(results: Level) -> list[str]:
    folds = results.folds
    return ["pooled", f"mean of {len(folds)} folds", *(f"fold {fold.fold}" for fold in folds)]


def figures(results: Level) -> list[list[str]]:
    """A row per count and figure: pooled, over the folds, of each fold."""
    pooled, folds = results.pooled, results.folds
    rows = [
        [name.replace("_", " "), str(getattr(pooled, name)), "", *(str(getattr(fold, name)) for fold in folds)]
        for name in COUNTS
    ]
    for name, figure in pooled.figures.items():
        of_folds = [number(fold.figures[name].value) for fold in folds]
        rows.append([name.replace("_", " "), with_interval(figure), _over_folds(results, name), *of_folds])
    return rows


def _over_folds(results: Level, name: str) -> str:
    found = results.over_folds.get(name)
    if found is None:
        return number(None) + (" of 0" if results.folds else "")
    spread = "" if found.sd is None else f" (sd {found.sd:.4f})"
    return number(found.mean) + spread + (f" of {found.n}" if found.n < len(results.folds) else "")


def category_figures(part: Matrix) -> list[str]:
    """The figures that each category has, in their order: a new one of `metrics.METRICS` is among them by itself."""
    return list(part.categories[0].figures)


def category_columns(level: str, part: Matrix) -> list[str]:
    return ["category", *map(wording.heading, category_figures(part)), f"{level}s", "predicted"]


def categories(names: Sequence[str], part: Matrix) -> list[list[str]]:
    return [
        [name, *(with_interval(category.figures[key]) for key in category_figures(part)), str(support), str(predicted)]
        for name, category, support, predicted in zip(names, part.categories, part.support, part.predicted, strict=True)
    ]


def collapsed(results: Level) -> tuple[list[str], list[list[str]], list[str]]:
    """Coarser categories from the same matrix: of two, recall is specificity and sensitivity. Columns, rows, notes."""
    rows, notes = [], []
    for scheme in results.collapsed:
        name = " / ".join(scheme.names)
        if scheme.note:
            notes.append(f"{name}: {scheme.note}.")
        if scheme.pooled:
            recall = ", ".join(with_interval(category.figures["recall"]) for category in scheme.pooled.categories)
            rows.append([name, *(with_interval(scheme.pooled.figures[key]) for key in COLLAPSED), recall])
    return ["collapsed to", *(key.replace("_", " ") for key in COLLAPSED), "recall of each"], rows, notes


def reliability(results: Level) -> list[list[str]]:
    """Accuracy by the highest probability, of bins that are not empty."""
    return [
        [f"{one.above:g} to {one.up_to:g}", str(one.n), number(one.confidence),
         wording.interval(one.accuracy, one.low, one.high)]
        for one in results.calibration.reliability if one.n
    ]  # fmt: skip


def inflation(report: Report) -> list[list[str]]:
    """Of a contrast run, figures of both splits under `INFLATION`."""
    found = report.inflation if report.banner else None
    return [
        [f"{level}, {name.replace('_', ' ')}", number(figure.reference), number(figure.other), difference(figure)]
        for level, results in (found.levels.items() if isinstance(found, Comparison) else ())
        for name, figure in ((name, results.figures[name]) for name in INFLATED)
    ]


def baseline(report: Report) -> list[TextTable]:
    """The Agatston rule's figures and the network's, the rule's matrices, and what slices cannot show."""
    found, names = report.rule, wording.category_names(report)
    if not isinstance(found, Baseline):
        return []
    matrices = [(level, one, one.matrices) for level, one in reversed(found.levels.items()) if one.matrices]
    figures = [
        [f"{level}, {name.replace('_', ' ')}", with_interval(both.reference.figures[name]),
         with_interval(both.other.figures[name]), difference(one.figures[name])]
        for level, one, both in matrices for name in COMPARED
    ]  # fmt: skip
    empty = [
        [name, str(row.studies), str(row.slices), str(row.empty), wording.interval(row.share, row.low, row.high)]
        for name, row in zip(names, found.empty_slices, strict=True)
    ]
    return [
        TextTable(
            "The rule and the network on the same units, in brackets 95 % intervals",
            ["", "Agatston rule", "network", "network less rule"],
            figures,
        ),
        *(
            TextTable(
                f"Confusion matrix of the rule, {level} level, rows true, columns predicted",
                ["true \\ predicted", *names],
                matrix(names, both.reference),
            )
            for level, _, both in matrices
        ),
        TextTable(
            "Slices without any voxel of 130 HU where the heart is: what nobody can read from a slice alone",
            ["category", "studies", "slices", "without", "share [95 % interval]"],
            empty,
        ),
    ]


def occlusion(report: Report) -> list[TextTable]:
    """Figures with everything, the heart and the rest to be seen, and accuracies of each fold."""
    found = report.occlusion
    if not isinstance(found, Occlusion):
        return []
    views = found.views.values()
    figures = [
        [f"{level}, {name.replace('_', ' ')}", number(of_views[0].reference, 3),
         *(cell for figure in of_views for cell in (number(figure.other, 3), difference(figure)))]
        for level in ("patient", "slice") for name in COMPARED
        for of_views in [[one.levels[level].figures[name] for one in views]]
    ]  # fmt: skip
    by_fold = [
        [f"fold {fold.fold}", *(number(value, 3) for value in (*fold.patient.values(), *fold.slice.values()))]
        for fold in found.folds
    ]
    return [
        TextTable(
            "What is left of the network's figures where a part of each slice is blank",
            ["", "everything seen", "the heart alone", "change [95 %]", "all but the heart", "change by it [95 %]"],
            figures,
        ),
        TextTable(
            "Accuracy by fold: everything seen, the heart alone, all but the heart",
            ["", *(f"{level}s: {seen}" for level in ("patient", "slice") for seen in ("all", "heart", "rest"))],
            by_fold,
        ),
    ]


def short(report: Report) -> Iterator[TextTable]:
    """Of rule and occlusion the accuracies: what eighty columns are enough for."""
    if isinstance(report.rule, Baseline):
        rows = [
            [f"{level}, {name.replace('_', ' ')}", number(figure.reference, 3), number(figure.other, 3),
             difference(figure)]
            for level, results in reversed(report.rule.levels.items())
            for name, figure in ((name, results.figures[name]) for name in ("accuracy", "kappa_quadratic"))
        ]  # fmt: skip
        yield TextTable(wording.RULE, ["", "rule", "network", "less rule [95 % interval]"], rows)
    if isinstance(report.occlusion, Occlusion):
        rows = [
            [f"{level}, accuracy", *(number(value, 3) for value in (one.reference, one.other, other.other))]
            for level in ("patient", "slice")
            for one, other in [[view.levels[level].figures["accuracy"] for view in report.occlusion.views.values()]]
        ]
        caption = f"{wording.LOOKS}: what is left where the rest is blank"
        yield TextTable(caption, ["", "all", "heart", "all but heart"], rows)
