"""What a report, its levels, folds and model are called in all of its texts, and what a partial report lacks."""

from __future__ import annotations

from collections.abc import Sequence

from cac_hpc.results.cohort import Split
from cac_hpc.results.levels import Level
from cac_hpc.results.report import Report
from cac_hpc.run.logs import amount

MARK = "CONTRAST RUN, LEAKS"  # in every title, on every page and table


def title(report: Report) -> str:
    return report.title + ("" if report.status == "COMPLETE" else f" ({report.status})")


def status_mark(report: Report) -> str:
    """What stands on every table and page of a report that is not a whole one, or leaks; else nothing."""
    marks = [MARK] if report.banner else []
    return ", ".join(marks + [report.status] * (report.status != "COMPLETE"))


def category_names(report: Report) -> list[str]:
    return [category.name for category in report.categories]


def counted(level: str, results: Level) -> str:
    """How many units were tested, and how often, if that is not once each."""
    n, distinct = results.pooled.n, results.distinct
    return amount(n, level) if n == distinct else f"{n} tests of {amount(distinct, level)}"


def units(level: str, results: Level) -> str:
    """What is counted in a level's matrix."""
    return f"{level}s" if results.pooled.n == results.distinct else f"{level} tests"


def tested(report: Report) -> list[tuple[str, Level]]:
    """The levels at which anything was tested, patients first: they are what it is about."""
    return [(level, results) for level, results in reversed(report.levels.items()) if results.pooled.n]


def extent(report: Report) -> str:
    """How much of what was asked for is there."""
    return "external test" if report.split is None else f"{report.folds_found} of {report.split.folds} folds"


def design(report: Report) -> str:
    """What was tested how, and on how many."""
    by_slice, patients = " by slice" if split_by_slice(report) else "", amount(report.cohort.patients, "patient")
    if report.split is None:
        source = report.external.source if report.external else ""
        return f"External test of the {source}: {patients}, {amount(report.cohort.studies, 'study')}."
    return (
        f"{_scheme(report.split)} cross-validation{by_slice}, {extent(report)}, "
        f"{patients}, {amount(report.cohort.slices, 'slice')}."
    )


def _scheme(split: Split) -> str:
    """The division into folds, in the field's words."""
    names = {
        "kfold": f"{split.folds}-fold",
        "holdout": "repeated hold-out",
        "leave_one_out": f"leave-one-{split.group}-out",
    }
    return names[split.scheme]


def split_by_slice(report: Report) -> bool:
    return report.split is not None and report.split.unit == "slice"


def of_lesions(report: Report) -> bool:
    """Whether the model decides which candidates count; else it is a network that sees slices."""
    return report.lesions is not None


def model(report: Report) -> str:
    if report.external:
        return "model"
    return "lesion model" if of_lesions(report) else "network"


def of_folds(folds: Sequence[int]) -> str:
    return f"fold{'s' * (len(folds) > 1)} {', '.join(map(str, folds))}"


def network(report: Report, folds: Sequence[int] = ()) -> str:
    """What the picture of the layers shows.

    Args:
        folds: whose it is, where they differ.
    """
    if folds:
        return f"{of_folds(folds).capitalize()}: {network(report)}"
    if of_lesions(report):
        return "The model as it was trained: blocks are as high as layers have numbers; features of a candidate left."
    size = "blocks are as high as the image and as wide as it has channels"
    return f"The network as it was trained: {size}; input on the left."


def missing_lines(report: Report, run: str = "RUN") -> list[str]:
    """One line per fold without a valid result, and what to do about it.

    Args:
        run: the run folder, in commands.
    """
    if report.status == "COMPLETE":
        return []
    lines = [
        f"{report.status}: fold {fold.fold} is {'not done yet' if fold.at_work else 'missing'} ({fold.reason})."
        for fold in report.missing_folds
    ]
    if report.status == "PROVISIONAL":
        lines.append(
            "This is not the final report: the run's last job makes it when all folds have ended; where that job does "
            f"not come, python jobs/aggregate.py --run {run}."
        )
    again = ", ".join(f"fold {fold.fold}" for fold in report.missing_folds if not fold.at_work)
    return [*lines, f"To complete the report ({again}): python jobs/launch_cv.py --resume {run}"] if again else lines
