"""Rows of the tables that the page, the Markdown and the terminal show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cac_hpc.report import wording
from cac_hpc.report.wording import brief, difference, number, signed, with_interval
from cac_hpc.results.calibration import Calibration
from cac_hpc.results.comparison import Comparison
from cac_hpc.results.examples import ShownPatient
from cac_hpc.results.levels import Level
from cac_hpc.results.matrices import Matrix
from cac_hpc.results.occlusion import Occlusion
from cac_hpc.results.readers import Reader, Readers
from cac_hpc.results.report import Report

CONFUSIONS = 8  # pairs of categories that are named
COUNTS = ("n", "patients", "errors", "over_estimated", "under_estimated")
COMPARED = ("accuracy", "balanced_accuracy", "f1_macro", "kappa_plain", "kappa_quadratic")
INFLATED = ("accuracy", "balanced_accuracy", "f1_macro", "kappa_quadratic")
INFLATION = ("figure", "split by patient", "split by slice", "inflation [95 % interval]")
CLAIMED = ("figure", "by validation", "by test", "inflation [95 % interval]")
SIDE_BY_SIDE = ("accuracy", "kappa_quadratic", "two_or_more_off")
COLLAPSED = ("accuracy", "majority_accuracy", "balanced_accuracy", "kappa_plain", "kappa_quadratic")


@dataclass(frozen=True)
class TextTable:
    """A table of the report; the first column names the rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Sequence[int] = ()  # columns of text


@dataclass(frozen=True)
class Section:
    """Sentences and tables under a heading."""

    id: str
    heading: str
    lines: Sequence[str]
    tables: Sequence[TextTable]


def compared(report: Report) -> list[Section]:
    """Other readers of the same patients, and the network with a part of each slice blank."""
    sections = [Section("readers", wording.READERS, wording.readers(report), readers(report))]
    if not wording.of_lesions(report) and not report.external:
        sections.append(Section("looks", wording.LOOKS, wording.occlusion(report), occlusion(report)))
    return sections


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
    if not folds and results.pooled.n:
        return ["value"]
    return ["pooled", f"mean of {len(folds)} folds", *(f"fold {fold.fold}" for fold in folds)]


def figures(results: Level) -> list[list[str]]:
    """A row per count and figure: pooled, over the folds, of each fold."""
    pooled, folds = results.pooled, results.folds
    if not folds and pooled.n:
        counts = [[name.replace("_", " "), str(getattr(pooled, name))] for name in COUNTS]
        return counts + [[name.replace("_", " "), with_interval(figure)] for name, figure in pooled.figures.items()]
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
    spread = "" if found.sd is None else f" (sd {number(found.sd)})"
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
        for one in (results.calibration.reliability if isinstance(results.calibration, Calibration) else ()) if one.n
    ]  # fmt: skip


def inflation(report: Report) -> list[TextTable]:
    """Of a contrast run, its figures and those of the run that does not leak."""
    found = report.inflation if report.banner else None
    if not isinstance(found, Comparison):
        return []
    wanted = dict.fromkeys((*INFLATED, report.trials.select_by) if report.trials else INFLATED)
    cells = [
        [f"{level}, {name.replace('_', ' ')}", number(figure.reference), number(figure.other), wording.brief(figure)]
        for level, results in found.levels.items()
        for name, figure in ((name, results.figures[name]) for name in wanted)
    ]
    if wording.split_by_slice(report):
        return [TextTable("Inflation by a split by slice", INFLATION, cells)]
    return [TextTable("Inflation by choosing on the test patients", CLAIMED, cells)]


def readers(report: Report) -> list[TextTable]:
    """The readers' figures, agreement of their scores, their matrices, and what slices cannot show."""
    found, names = report.readers, wording.category_names(report)
    if not isinstance(found, Readers):
        return []
    empty = [
        [name, str(row.studies), str(row.slices), str(row.empty), wording.interval(row.share, row.low, row.high)]
        for name, row in zip(names, found.empty_slices, strict=bool(found.empty_slices))
    ]
    matrices = [reader for reader in found.readers if reader.key != "largest" and reader.compared]
    return [
        *(
            _side_by_side(level, found.readers) for level in ("patient", "slice")
            if level in report.levels and (level == "patient" or not wording.of_lesions(report))
        ),
        *agreements(found.readers),
        *(
            TextTable(
                f"Confusion matrix, {reader.name}, patient level, rows true, columns predicted",
                ["true \\ predicted", *names],
                matrix(names, reader.levels["patient"]),
            )
            for reader in matrices
        ),
        *(
            TextTable(
                "Slices without any voxel of 130 HU where the rule counts: what nobody can read from a slice alone",
                ["category", "studies", "slices", "without", "share [95 % interval]"],
                empty,
            )
            for _ in [None] if empty
        ),
    ]  # fmt: skip


def _side_by_side(level: str, found: Sequence[Reader]) -> TextTable:
    """A row for each reader at a level; what decides comes first, for the rest may not fit on the screen."""
    cells = []
    for reader in found:
        first, *others = (with_interval(reader.levels[level].figures[name]) for name in SIDE_BY_SIDE)
        test = reader.compared.sign_test if reader.compared else None
        less = reader.compared and brief(reader.compared.levels[level].figures["accuracy"])
        chance = "" if test is None or test.p_value is None else wording.chance(test.p_value)
        cells.append([reader.name, first, less or "", *[chance] * (level == "patient"), *others])
    first, *others = (wording.heading(name) for name in SIDE_BY_SIDE)
    columns = ["reader", first, "model less reader", *["paired test"] * (level == "patient"), *others]
    of = f"{found[0].levels[level].n} tests; difference of accuracies; in brackets 95 % intervals"
    caption = f"Readers side by side, {level} level, {of}"
    return TextTable(caption, columns, cells)


def agreements(found: Sequence[Reader]) -> list[TextTable]:
    """Bland and Altman's limits, and ICC, of every reader that has a score."""
    cells = [
        [reader.name, str(one.n), signed(one.bias, one.low, one.high),
         signed(one.log_bias, one.log_low, one.log_high),
         with_interval(one.log_mean_absolute), with_interval(one.log_icc)]
        for reader in found if (one := reader.scores) and one.bias is not None
    ]  # fmt: skip
    columns = ["reader", "n", "mean [95 % limits]", "of log(1 + score)", "mean absolute", "ICC(2,1)"]
    caption = "Score less the reported score, with 95 % limits of agreement; mean absolute and ICC of log(1 + score)"
    return [TextTable(caption, columns, cells)] if cells else []


def lesion_columns() -> list[str]:
    return ["decision", "number", "p", "Agatston", "mm3", "highest HU", "in the heart's region", "slices"]


def lesions(patient: ShownPatient) -> list[list[str]]:
    """A row for each candidate that is listed."""
    return [
        ["counted" if one.counted else "rejected", str(one.candidate), number(one.probability, 2),
         wording.short(one.agatston), f"{one.volume_mm3:.0f}", f"{one.max_hu:.0f}", f"{one.region_share:.0%}",
         f"{one.first_slice}" if one.first_slice == one.last_slice else f"{one.first_slice} to {one.last_slice}"]
        for one in patient.lesions
    ]  # fmt: skip


def occlusion(report: Report) -> list[TextTable]:
    """Figures with everything, the heart and the rest to be seen, and accuracies of each fold."""
    found = report.occlusion
    if not isinstance(found, Occlusion):
        return []
    views = found.views.values()
    figures = [
        [f"{level}, {name.replace('_', ' ')}", number(of_views[0].reference),
         *(cell for figure in of_views for cell in (number(figure.other), difference(figure)))]
        for level in ("patient", "slice") for name in COMPARED
        for of_views in [[one.levels[level].figures[name] for one in views]]
    ]  # fmt: skip
    by_fold = [
        [f"fold {fold.fold}", *(number(value) for value in (*fold.patient.values(), *fold.slice.values()))]
        for fold in found.folds
    ]
    return [
        TextTable(
            "What is left of the network's figures where a part of each slice is blank",
            [
                "figure",
                "everything seen",
                "the heart alone",
                "change [95 %]",
                "all but the heart",
                "change by it [95 %]",
            ],
            figures,
        ),
        TextTable(
            "Accuracy by fold: everything seen, the heart alone, all but the heart",
            ["fold", *(f"{level}s: {seen}" for level in ("patient", "slice") for seen in ("all", "heart", "rest"))],
            by_fold,
        ),
    ]


def short(report: Report) -> Iterator[TextTable]:
    """Of readers and occlusion the accuracies: what eighty columns are enough for."""
    if isinstance(report.readers, Readers):
        rows = [
            [reader.name, with_interval(reader.levels["patient"].figures["accuracy"]),
             brief(reader.compared.levels["patient"].figures["accuracy"]) if reader.compared else ""]
            for reader in report.readers.readers
        ]  # fmt: skip
        yield TextTable("Readers of the same patients", ["", "accuracy", "model less reader"], rows)
    if isinstance(report.occlusion, Occlusion):
        rows = [
            [f"{level}, accuracy", *(number(value) for value in (one.reference, one.other, other.other))]
            for level in ("patient", "slice")
            for one, other in [[view.levels[level].figures["accuracy"] for view in report.occlusion.views.values()]]
        ]
        caption = f"{wording.LOOKS}: what is left where the rest is blank"
        yield TextTable(caption, ["", "all", "heart", "all but heart"], rows)
