"""What a report says of the studies: which were found, used and refused, of each cohort if there are several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cac_hpc.results.report import Report
from cac_hpc.results.serialization import Json
from cac_hpc.run.logs import amount
from cac_hpc.sections import wording
from cac_hpc.sections.section import Section, TextTable

if TYPE_CHECKING:
    import pandas as pd

HEADING = "Cohorts"
PATIENTS = {
    False: "Patients of different cohorts are taken for different people, whatever their sheets call them.",
    True: "Patients whom the sheets of several cohorts call the same are taken for one person (data.shared_patients).",
}
SITE = "A model can tell sites apart and so learn where calcium is reported, not what it looks like: "
FLOW = ("studies found", "without a label", "refused", "used", "files found", "files used")


def sentence(report: Report) -> str:
    found = report.cohort
    counts = ", ".join(
        f"{name} {count}"
        for name, count in zip(wording.category_names(report), found.studies_per_category, strict=True)
    )
    if report.external:
        return f"Cohort: {amount(found.studies_found, 'study')} predicted, {found.studies} tested ({counts})."
    lost = found.intake.get("no_heart", 0) if report.settings.get("model", {}).get("kind") == "lesions" else 0
    without = f"{lost} left out, as no heart was found in them, where candidates of calcium are looked for; "
    return (
        f"Cohort: {amount(found.studies_found, 'study')} found, {found.studies} used ({counts}); "
        f"{without if lost else ''}"
        f"{amount(found.rejected_files, 'file')} not used, each with its reason in rejected.csv."
    )


def crop(intake: Mapping[str, Any]) -> list[str]:
    """What cropping to the heart has changed, by intake.json, if slices were cropped."""
    found = intake.get("crop")
    if not found:
        return []
    refused = intake["studies"]["refused"].get("no_heart", 0)
    if not found["studies"]:
        return [f"No slice was cropped (pack.crop: heart): no heart was found in {amount(found['whole'], 'study')}."]
    side, share, pixel, whole = (found[name] for name in ("side_mm", "share", "pixel_mm", "whole_pixel_mm"))
    return [
        f"Slices were cropped to a square around the heart and {found['margin_mm']:g} mm around it (pack.crop: heart) "
        f"before they were resampled: its side is {side['min']:.0f} to {side['max']:.0f} mm, median "
        f"{side['median']:.0f}; {share['median']:.0%} of a slice (median) are kept, and a packed pixel is "
        f"{pixel['median']:.2f} mm wide in place of {whole['median']:.2f}. No heart was "
        f"found in {amount(found['whole'], 'study')} left whole, and in {refused} left out for it. "
        "What it did to the results: python jobs/report.py RUN_WITHOUT_CROP RUN."
    ]


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
    import pandas as pd

    rows = [
        {"site": site, "of": of, "what": what, "number": number}
        for site, one in _cohorts(report).items()
        for of, what, number in _numbers(report, one)
    ]
    return {"cohorts.csv": pd.DataFrame(rows)} if rows else {}


def latex(report: Report) -> list[tuple[str, pd.DataFrame, str]]:
    """The table of a paper: label, cells and caption."""
    import pandas as pd

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
