"""What a report says of how many patients would settle it: a sentence, tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cac_hpc.results.cuts import AtCut
from cac_hpc.results.report import Report
from cac_hpc.results.sample_size import HowMany
from cac_hpc.sections import formatting
from cac_hpc.sections.cut_parts import NAMES
from cac_hpc.sections.formatting import listed, number
from cac_hpc.sections.section import Section, TextTable

if TYPE_CHECKING:
    import pandas as pd

HEADING = "How many patients would settle it"
NEEDED = {
    "observed_expected": "observed over expected events",
    "calibration_slope": "calibration slope",
    "auroc": "AUROC",
    "net_benefit": "net benefit at 0.2, over the prevalence",
}
MORE = (
    "Widths of 95 % intervals as they are, and as they would be of more patients like these: errors shrink with the "
    "root of their number. A width says nothing of other scanners, sites or protocols."
)
CRITERIA = (
    "Patients needed: the criteria of pmvalsampsize (Riley et al. 2021, Stat Med 40:4230) at its widths, with this "
    "run's prevalence, probabilities and AUROC; the largest number counts. A dash: it cannot be worked out, as "
    "where AUROC is 1."
)


def sections(report: Report) -> list[Section]:
    """The section; none where no figure has an interval."""
    found = report.how_many
    if found is None:
        return []
    judged = [at for at in report.cuts.at if at.needed] if report.cuts else []
    tables = [_widths(found), *([_needed(judged)] if judged else [])]
    return [Section("more", HEADING, [MORE, *([CRITERIA] if judged else [])], tables)]


def sure(report: Report) -> list[str]:
    """How wide the interval of the accuracy is, and how many patients would settle what stands at the cuts."""
    found = report.how_many
    if found is None:
        return []
    widths = [one for one in found.widths if one.figure == "accuracy" and one.event is None]
    lines = [
        f"The 95 % interval of the accuracy is {number(one.now, 2)} wide with {found.patients} patients; with "
        f"{listed([f'{found.patients * times:,}' for times in found.times], 'or')} like these it would be "
        f"{listed([number(width, 2) for width in one.then], 'or')}."
        for one in widths
    ]
    needed = [f"{most} for a score {at.event}" for at in report.cuts.at if (most := _most(at))] if report.cuts else []
    if needed:
        lines.append(
            f"To settle AUROC, calibration and net benefit at the cuts (criteria of pmvalsampsize) it takes "
            f"{', '.join(needed)}; there are {found.patients:,}."
        )
    return lines


def _most(at: AtCut) -> str:
    """The largest number of patients that a criterion asks for; nothing where none can be worked out."""
    known = [one.patients for one in at.needed if one.patients is not None]
    if not known:
        return ""
    return f"{'' if len(known) == len(at.needed) else 'at least '}{max(known):,} patients"


def _widths(found: HowMany) -> TextTable:
    columns = ["figure", f"{found.patients} patients", *(f"{found.patients * times}" for times in found.times)]
    cells = [[_name(one.figure, one.event), *(number(width) for width in (one.now, *one.then))] for one in found.widths]
    return TextTable("Width of 95 % intervals", columns, cells)


def _name(figure: str, event: str | None) -> str:
    if event is None:
        return formatting.heading(figure)
    return f"score {event}: {NAMES[figure].partition(' (')[0].removesuffix(', own cut')}"


def _needed(judged: list[AtCut]) -> TextTable:
    cells = [
        [f"{NEEDED[one.figure]}, width {one.width:g}",
         *("-" if at.needed[row].patients is None else f"{at.needed[row].patients:,}" for at in judged)]
        for row, one in enumerate(judged[0].needed)
    ]  # fmt: skip
    return TextTable("Patients needed", ["interval", *(f"score {at.event}" for at in judged)], cells)


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """Its tables by their files' names."""
    import pandas as pd

    found, cuts = report.how_many, report.cuts
    if found is None:
        return {}
    widths = pd.DataFrame(
        {"figure": one.figure, "event": one.event, "times": times, "patients": found.patients * times, "width": width}
        for one in found.widths
        for times, width in zip((1, *found.times), (one.now, *one.then), strict=True)
    )
    needed = [{"event": at.event, **vars(one)} for at in (cuts.at if cuts else ()) for one in at.needed]
    tables = {"interval_widths.csv": widths}
    return tables | ({"patients_needed.csv": pd.DataFrame(needed).astype({"patients": "Int64"})} if needed else {})
