"""What a report says of the cohorts of a run that has several: which studies of each were found, used and refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from cac_hpc.report import wording
from cac_hpc.report.rows import Section, TextTable
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import Json

HEADING = "Cohorts"
PATIENTS = {
    False: "Patients of different cohorts are taken for different people, whatever their sheets call them.",
    True: "Patients whom the sheets of several cohorts call the same are taken for one person (data.shared_patients).",
}
SITE = "A model can tell sites apart and so learn where calcium is reported, not what it looks like: "
FLOW = ("studies found", "without a label", "refused", "used", "files found", "files used")


def sections(report: Report) -> list[Section]:
    """The section; none of a run with a single cohort."""
    found = _cohorts(report)
    if not found:
        return []
    lines = [PATIENTS[report.cohort.intake["shared_patients"]]]
    if one := _of_one_cohort(report, found):
        lines.append(f"{SITE}all studies of {', '.join(one)} are of one cohort.")
    return [Section("cohorts", HEADING, lines, [_flow(found), _categories(report, found)])]


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """Every number of every cohort, by the name of the file."""
    rows = [
        {"site": site, "of": of, "what": what, "number": number}
        for site, one in _cohorts(report).items()
        for of, what, number in _numbers(report, one)
    ]
    return {"cohorts.csv": pd.DataFrame(rows)} if rows else {}


def latex(report: Report) -> list[tuple[str, pd.DataFrame, str]]:
    """The table of a paper: label, cells and caption."""
    found = _cohorts(report)
    if not found:
        return []
    table = _categories(report, found)
    caption = "Studies used of each cohort, by category of the reported score."
    return [("cohorts", pd.DataFrame(table.rows, columns=list(table.columns)), caption)]


def _cohorts(report: Report) -> Mapping[str, Json]:
    """What intake.json says of each cohort; empty where there is one."""
    found: Mapping[str, Json] = report.cohort.intake.get("cohorts", {})
    return found


def _flow(found: Mapping[str, Json]) -> TextTable:
    cells = []
    for site, one in found.items():
        studies, files = one["studies"], one["files"]
        why = ", ".join(f"{count} {reason}" for reason, count in studies["refused"].items())
        numbers = (studies["found"], studies["without_label"], sum(studies["refused"].values()), studies["used"],
                   files["found"], files["used"])  # fmt: skip
        cells.append([site, *map(str, numbers), why or "-"])
    columns = ["cohort", *FLOW, "refused for"]
    return TextTable("What became of the studies of each cohort", columns, cells, texts=(len(columns) - 1,))


def _categories(report: Report, found: Mapping[str, Json]) -> TextTable:
    cells = [[site, *map(str, one["categories"]["used"])] for site, one in found.items()]
    return TextTable("Studies used, by category", ["cohort", *wording.category_names(report)], cells)


def _numbers(report: Report, one: Json) -> Iterator[tuple[str, str, int]]:
    """What is counted, the thing counted, and its number."""
    for of in ("studies", "files"):
        for what, value in one[of].items():
            if isinstance(value, dict):
                yield from ((f"{of} {what}", reason, count) for reason, count in value.items())
            else:
                yield of, what, value
    yield "slices", "used", one["slices"]
    for what, counts in one["categories"].items():
        yield from (
            (f"studies {what} of category", name, count)
            for name, count in zip(wording.category_names(report), counts, strict=True)
        )


def _of_one_cohort(report: Report, found: Mapping[str, Json]) -> list[str]:
    """Categories of which only one cohort has studies."""
    used = zip(*(one["categories"]["used"] for one in found.values()), strict=True)
    return [
        name
        for name, counts in zip(wording.category_names(report), used, strict=True)
        if sum(count > 0 for count in counts) == 1
    ]
