"""What a report says of a level (patient, slice): its figures, matrix, categories and folds, as sentences and rows."""

from __future__ import annotations

from collections.abc import Sequence

from cac_hpc.results.calibration import Calibration
from cac_hpc.results.figures import Absent
from cac_hpc.results.levels import Level
from cac_hpc.results.matrices import Matrix, Pooled, Published
from cac_hpc.results.report import Report
from cac_hpc.run.logs import amount
from cac_hpc.sections import formatting, wording
from cac_hpc.sections.formatting import heading, number, with_interval

OWN_PART = (
    "Of a slice this model gives the category of what counted on it, mostly below its patient's: the figures of slices "
    "say little of it."
)
CONFUSIONS = 8  # pairs of categories that are named
COUNTS = ("n", "patients", "errors", "over_estimated", "under_estimated")
COLLAPSED = ("accuracy", "majority_accuracy", "balanced_accuracy", "kappa_plain", "kappa_quadratic")


def verdict(report: Report) -> str:
    """What came out, at both levels, against always guessing the largest category."""
    names = wording.category_names(report)
    sentences = [
        wording.design(report),
        *(
            _verdict(level, results, names)
            for level, results in reversed(report.levels.items())
            if level == "patient" or not wording.of_lesions(report)
        ),
    ]
    if wording.of_lesions(report):
        sentences.append(OWN_PART)
    return " ".join(sentences)


def _verdict(level: str, results: Level, names: list[str]) -> str:
    pooled, figures = results.pooled, results.pooled.figures
    if not pooled.n or pooled.majority_category is None:
        return f"No {level} was tested."
    accuracy, majority, gain = (figures[name] for name in ("accuracy", "majority_accuracy", "gain_over_majority"))
    between = "" if accuracy.low is None else f", 95 % interval {number(accuracy.low)} to {number(accuracy.high)}"
    n = wording.counted(level, results)
    return (
        f"**{level.capitalize()} level: accuracy {number(accuracy.value)}** (n = {n}{between}), "
        f"{against(gain.value or 0)} always guessing the largest category ({names[pooled.majority_category]}: "
        f"{number(majority.value)}); quadratic kappa {with_interval(figures['kappa_quadratic'])}."
    )


def against(gain: float, digits: int = 3) -> str:
    """An accuracy less that of always guessing the largest category, in words."""
    if abs(gain) < 0.0005:
        return "no better and no worse than"
    return f"{number(abs(gain), digits)} {'above' if gain > 0 else 'BELOW'}"


def published_at(level: str, report: Report) -> Published | None:
    """The published table's figures, at the level that it is of alone."""
    found = report.published
    return found if isinstance(found, Published) and found.level == level else None


def published_title(found: Published) -> str:
    """What a published table is, and is not."""
    return (
        f"{found.title}, computed from its printed matrix of {found.n} {found.level}s "
        "(other data: to look at, not to subtract)"
    )


def sign_test(pooled: Pooled) -> str:
    test = pooled.sign_test
    p_value = test.note if test.p_value is None else f"exact sign test {formatting.chance(test.p_value)}"
    return (
        f"Predicted too high: {pooled.over_estimated}, too low: {pooled.under_estimated}; of patients, "
        f"{test.over} more often too high and {test.under} more often too low: {p_value}."
    )


def calibration(results: Level) -> str:
    """Whether the probabilities mean what they say."""
    found = results.calibration
    if isinstance(found, Absent):
        return f"Calibration: none, for {found.note}."
    return (
        f"Calibration: Brier score {with_interval(found.brier)}, where the true frequencies of the categories give "
        f"{with_interval(found.brier_of_frequencies)}; expected calibration error "
        f"{with_interval(found.expected_calibration_error)} over {found.bins} bins of equal width."
    )


def other_rules(results: Level) -> list[str]:
    others = [f"{other.rule}: {with_interval(other.accuracy)}" for other in results.other_rules or ()]
    return [f"Accuracy by the rules that were not chosen (report.patient_rule): {', '.join(others)}."] if others else []


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
    return ["pooled", f"mean of {amount(len(folds), 'fold')}", *(f"fold {fold.fold}" for fold in folds)]


def figures(results: Level) -> list[list[str]]:
    """A row per count and figure: pooled, over the folds, of each fold."""
    pooled, folds = results.pooled, results.folds
    if not folds and pooled.n:
        counts = [[heading(name), str(getattr(pooled, name))] for name in COUNTS]
        return counts + [[heading(name), with_interval(figure)] for name, figure in pooled.figures.items()]
    rows = [
        [heading(name), str(getattr(pooled, name)), "", *(str(getattr(fold, name)) for fold in folds)]
        for name in COUNTS
    ]
    for name, figure in pooled.figures.items():
        of_folds = [number(fold.figures[name].value) for fold in folds]
        rows.append([heading(name), with_interval(figure), _over_folds(results, name), *of_folds])
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
    return ["category", *map(heading, category_figures(part)), f"{level}s", "predicted"]


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
    return ["collapsed to", *map(heading, COLLAPSED), "recall of each"], rows, notes


def reliability(results: Level) -> list[list[str]]:
    """Accuracy by the highest probability, of bins that are not empty."""
    return [
        [f"{one.above:g} to {one.up_to:g}", str(one.n), number(one.confidence),
         formatting.interval(one.accuracy, one.low, one.high)]
        for one in (results.calibration.reliability if isinstance(results.calibration, Calibration) else ()) if one.n
    ]  # fmt: skip
