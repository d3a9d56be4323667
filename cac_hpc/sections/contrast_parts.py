"""What a report says of a run that leaks by design: by how much its figures are too high."""

from __future__ import annotations

from collections.abc import Iterator

from cac_hpc.results.comparison import Comparison
from cac_hpc.results.figures import Absent
from cac_hpc.results.report import Report
from cac_hpc.sections import formatting, wording
from cac_hpc.sections.formatting import number
from cac_hpc.sections.section import TextTable

LEAKS = (
    "LEAKS BY DESIGN: this contrast run divides slices, not patients, so that a patient's slices are in the training, "
    "validation and test part of a fold at once. It shows what such a split does to the figures; its figures must not "
    "be reported as performance."
)
LEAKS_CHOICE = (
    "LEAKS BY DESIGN: this contrast run chose its settings by the test patients, whose figures it then reports. It "
    "shows what such a choice does to the figures; its figures must not be reported as performance."
)
INFLATED = ("accuracy", "balanced_accuracy", "f1_macro", "kappa_quadratic")
INFLATION = ("figure", "split by patient", "split by slice", "inflation [95 % interval]")
CLAIMED = ("figure", "by validation", "by test", "inflation [95 % interval]")


def lines(report: Report) -> list[str]:
    """Of a contrast run, by how much its figures are above those of the run that does not leak."""
    if not report.banner:
        return []
    found = report.inflation
    if found is None:
        why = "folds are missing" if report.missing_folds else "this is not the final report"
        return [f"Inflation: not worked out, for {why}."]
    if isinstance(found, Absent):
        return [f"Inflation: not worked out: {found.note}."]
    if not wording.split_by_slice(report):
        return [*_claimed(report, found)]
    parts = []
    for level, results in found.levels.items():
        figure = results.figures["accuracy"]
        values = f"{number(figure.reference)} by patient, {number(figure.other)} by slice"
        parts.append(f"{level} accuracy {formatting.difference(figure)} ({values})")
    return [f"Inflation by the split by slice, against the run {found.reference.run}: {'; '.join(parts)}."]


def _claimed(report: Report, found: Comparison) -> Iterator[str]:
    """What choosing by the test patients would have claimed, and what the run says that did not."""
    if report.trials is None:
        return
    count, name = report.trials.number, report.trials.select_by
    figures = found.levels["patient"].figures
    parts = [
        f"{formatting.figure_name(one)} {number(figures[one].other)}, the choice by validation says "
        f"{number(figures[one].reference)}: inflation {formatting.difference(figures[one])}"
        for one in dict.fromkeys((name, "accuracy")) if figures[one].difference is not None
    ]  # fmt: skip
    yield (
        f"Inflation by choosing the best of {count} trials on the test patients, against the run "
        f"{found.reference.run}: best on test would have claimed {'; '.join(parts)}."
    )


def tables(report: Report) -> list[TextTable]:
    """Of a contrast run, its figures and those of the run that does not leak."""
    found = report.inflation if report.banner else None
    if not isinstance(found, Comparison):
        return []
    wanted = dict.fromkeys((*INFLATED, report.trials.select_by) if report.trials else INFLATED)
    cells = [
        [f"{level}, {name.replace('_', ' ')}", number(figure.reference), number(figure.other), formatting.brief(figure)]
        for level, results in found.levels.items()
        for name, figure in ((name, results.figures[name]) for name in wanted)
    ]
    if wording.split_by_slice(report):
        return [TextTable("Inflation by a split by slice", INFLATION, cells)]
    return [TextTable("Inflation by choosing on the test patients", CLAIMED, cells)]
