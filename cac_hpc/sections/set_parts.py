"""What a report says of prediction sets: sentences, tables, a figure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cac_hpc.results.figures import Absent, Figure
from cac_hpc.results.prediction_sets import PredictionSets
from cac_hpc.results.report import Report
from cac_hpc.run.logs import amount
from cac_hpc.sections import wording
from cac_hpc.sections.formatting import in_sentence, number, percent
from cac_hpc.sections.section import Row, Section, TextTable

if TYPE_CHECKING:
    import pandas as pd

HEADING = "Prediction sets"
SEEN = (
    "Sets are calibrated on patients of the same cohort, so coverage comes near the wanted one for good and poor "
    "models alike, and above it where the predicted category alone is right more often. Models differ in the size of "
    "their sets."
)
UNSEEN = (
    "Here each fold is a group that its model never saw, and its sets are calibrated on patients of other groups. "
    "Where groups differ coverage is not the wanted one: the table of folds shows it for each group. Nothing is "
    "promised of new patients, least of all of further groups."
)
READ = (
    "A set is the predicted category and neighbours of it, the likelier first. How far it grows is calibrated on "
    "patients whom the models had not seen: for a patient of a fold those of the other folds. Coverage is that of all "
    "patients together, not of each category."
)
NEW = (
    "Sets of new patients come from the models of all folds (cross-conformal). Their coverage is mostly above the "
    "wanted one. Guaranteed for any model, and patients like these, is at least 1 - 2a where 1 - a is wanted, less a "
    "term that is small with many patients."
)


def verdict(report: Report) -> list[str]:
    """The sentence for the first screen."""
    found = report.prediction_sets
    if not isinstance(found, PredictionSets):
        return []
    return [
        f"**Prediction sets:** in {_counts(report, found)} the true category is in the set{_wanted(found)}; a set "
        f"names {number(found.figures['mean_size'].value, 2)} of {len(found.sizes)} categories on average."
    ]


def _wanted(found: PredictionSets) -> str:
    return "" if found.wanted is None else f" ({percent(found.wanted, True)} wanted)"


def _counts(report: Report, found: PredictionSets) -> str:
    share = found.figures["coverage"].value or 0
    return f"{round(share * found.n)} of {found.n} {wording.units('patient', report.levels['patient'])}"


def sections(report: Report) -> list[Section]:
    """The section of prediction sets; none where nobody was tested."""
    found = report.prediction_sets
    if found is None:
        return []
    if isinstance(found, Absent):
        return [Section("sets", HEADING, [f"There are none: {found.note}."], [])]
    new = UNSEEN if _of_groups(report) else NEW
    lines = [*_lines(report, found), *([] if report.external else [READ, new])]
    return [Section("sets", HEADING, lines, list(_tables(report, found)))]


def _lines(report: Report, found: PredictionSets) -> Iterator[str]:
    coverage, size, alone = (found.figures[name] for name in ("coverage", "mean_size", "one_category"))
    yield (
        f"**In {_counts(report, found)}, {_share(coverage)}, the true category is in the set{_wanted(found)}.** "
        f"A set names {in_sentence(size)} categories on average, and one alone in {_share(alone)} of them."
    )
    if report.external is None and not _of_groups(report):
        yield SEEN
    if found.promised:
        yield (
            f"Sets calibrated on {found.promised.calibrated_by} patients hold the true category of "
            f"{percent(found.promised.low)} to {percent(found.promised.high)} of new patients like "
            f"these (95 % of such cohorts, beta distribution; mean {percent(found.promised.mean)}), or of more "
            "where one category is enough."
        )
    if found.full:
        yield f"{found.full} of {found.n} sets name every category: too few patients of other folds calibrate them."


def _of_groups(report: Report) -> bool:
    """Whether each fold tests a group that its model never saw."""
    return report.split is not None and report.split.scheme == "leave_one_out"


def _share(figure: Figure) -> str:
    ends = [percent(end) for end in (figure.low, figure.high) if end is not None]
    return percent(figure.value or 0) + (f" ({' to '.join(ends)})" if len(ends) > 1 else "")


def _tables(report: Report, found: PredictionSets) -> Iterator[TextTable]:
    names = wording.category_names(report)
    cells = [
        [
            names[one.category],
            str(one.n),
            *([""] * 2 if one.figures["coverage"].value is None else
              [_share(one.figures["coverage"]), in_sentence(one.figures["mean_size"])]),
            *map(str, one.sizes),
        ]
        for one in found.categories
    ]  # fmt: skip
    columns = ["true category", "n", "named", "mean size", *map(_sized, range(1, len(names) + 1))]
    caption = "Prediction sets by true category; in brackets 95 % intervals; fewer than 10 patients are counted only"
    yield TextTable(caption, columns, cells)
    if found.folds:
        groups = {one.fold: f": {one.name}" for one in report.unseen.groups} if report.unseen else {}
        folds = [
            [f"fold {one.fold}{groups.get(one.fold, '')}", *map(str, (one.n, one.named, one.calibrated_by))]
            for one in found.folds
        ]
        columns = ["fold", "tests", "category named", "calibrated by"]
        yield TextTable("Prediction sets by fold, and how many patients of other folds calibrate them", columns, folds)


def _sized(size: int) -> str:
    return amount(size, "category")


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """The set of each test of a patient, and all figures."""
    import pandas as pd

    found = report.prediction_sets
    if not isinstance(found, PredictionSets):
        return {}
    names, tests = wording.category_names(report), found.tests
    ends = {"category": tests.category, "predicted": tests.predicted, "set_low": tests.low, "set_high": tests.high}
    columns: dict[str, list[str] | list[int]] = {"patient": tests.patient}
    if found.folds:
        columns["fold"] = tests.fold
    table = pd.DataFrame(columns | {key: [names[at] for at in column] for key, column in ends.items()})
    rows = zip(tests.low, tests.category, tests.high, strict=True)
    table["holds_true"] = [int(low <= category <= high) for low, category, high in rows]
    figures = [*_figure_rows("all", found.figures)]
    for one in found.categories:
        figures += _figure_rows(names[one.category], one.figures)
    return {"prediction_sets.csv": table, "prediction_set_figures.csv": pd.DataFrame(figures)}


def _figure_rows(of: str, figures: dict[str, Figure]) -> Iterator[Row]:
    yield from ({"of": of, "figure": name, **vars(figure)} for name, figure in figures.items())


def draw(stem: Path, report: Report, where: str, dpi: int) -> None:
    """Sizes of sets by true category."""
    from cac_hpc.plots import charts

    found, names = report.prediction_sets, wording.category_names(report)
    if not isinstance(found, PredictionSets):
        return
    largest = max(size for size, count in enumerate(found.sizes, start=1) if count)
    stacks = [(f"{names[one.category]} (n = {one.n})", one.sizes[:largest]) for one in found.categories if one.n]
    sizes = [_sized(size) for size in range(1, largest + 1)]
    charts.draw_stacks(stem, stacks, sizes, "share of prediction sets", f"Prediction sets, {where}", dpi)
