"""What a report says of labels that the scans contradict: sentences, tables. Nothing is changed by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cac_hpc.labels.second_look import COUNTED, REPORTED
from cac_hpc.results.audits import ContradictedLabel, LabelsToCheck
from cac_hpc.results.report import Report
from cac_hpc.run import escaping
from cac_hpc.sections import formatting, wording
from cac_hpc.sections.section import Section, TextTable

if TYPE_CHECKING:
    import pandas as pd

HEADING = "Labels for a second look"
READERS = {"rule": "Agatston rule", "control": "untrained control"}
SHOWN = 15  # labels to check on the page; all of them are in the table


def sections(report: Report) -> list[Section]:
    """The section of labels; none where nothing contradicts any."""
    lines, tables = [], []
    if report.second_look:
        lines.append(_contradicted(len(report.second_look)))
        tables.append(_counted(report.second_look))
    if report.labels_to_check and report.labels_to_check.labels:
        lines.append(_agreed(report, report.labels_to_check))
        tables.append(_to_check(report, report.labels_to_check))
    return [Section("labels", HEADING, lines, tables)] if lines else []


def _contradicted(count: int) -> str:
    return (
        f"**{count} {'label is' if count == 1 else 'labels are'} contradicted by the scan.** Either 0 is reported and "
        f"every reader that counts calcium comes to more than {COUNTED:g}, or more than "
        f"{REPORTED:g} is reported and none counts anything. Row, scan or number may be of another "
        "study. None of them was changed or left out."
    )


def _agreed(report: Report, found: LabelsToCheck) -> str:
    count, name_of = len(found.labels), {**READERS, "model": wording.model(report)}
    readers = ", ".join(name_of[key] for key in found.readers)
    said = f"**In {count} of {found.patients} patients all of {readers} agree on another category than the label's.** "
    said += "The order is that in which to look again: by the expected change, which is the probability of each other "
    said += "category, by a model that was trained without the patient, times the categories by which the label would "
    said += "move. Readers err alike, too: it is a list to look at, and no label was changed."
    return said + (f" The first {SHOWN} are shown, all are in tables/labels_to_check.csv." if count > SHOWN else "")


def _counted(found: Sequence[ContradictedLabel]) -> TextTable:
    """Labels that the scans contradict, and what each reader counted."""
    readers = list(dict.fromkeys(reader for one in found for reader in one.counted))
    cells = [
        [
            one.study,
            "above the last edge" if one.reported is None else f"{one.reported:g}",
            *(f"{one.counted[reader]:.0f}" if reader in one.counted else "not counted" for reader in readers),
        ]
        for one in found
    ]
    return TextTable("Reported and counted scores", ["study", "reported", *readers], cells)


def _to_check(report: Report, found: LabelsToCheck) -> TextTable:
    names = wording.category_names(report)
    cells = [
        [
            one.patient,
            "not given" if one.score is None else f"{one.score:g}",
            names[one.category],
            names[one.read],
            formatting.number(one.probability, 2),
            formatting.number(one.expected_change, 2),
        ]
        for one in found.labels[:SHOWN]
    ]
    columns = ["patient", "reported", "label", "readers", "probability of another", "expected change"]
    return TextTable("Labels to check, in the order in which to look again", columns, cells, texts=(2, 3))


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """Both lists, by the names of their files, where there is anything in them."""
    import pandas as pd

    found = {}
    if report.second_look:
        said = [{"study": one.study, "reported": one.reported, **one.counted} for one in report.second_look]
        found["second_look.csv"] = pd.DataFrame(said)
    if report.labels_to_check and report.labels_to_check.labels:
        names = wording.category_names(report)
        rows = [
            {**vars(one), "category": names[one.category], "read": names[one.read]}
            for one in report.labels_to_check.labels
        ]
        found["labels_to_check.csv"] = pd.DataFrame(rows)
    return found


def escaped(found: Sequence[ContradictedLabel] | None) -> list[ContradictedLabel] | None:
    """The same; what others have written in them means nothing in Markdown."""
    return None if found is None else [replace(one, study=escaping.markdown(one.study)) for one in found]


def escaped_patients(found: LabelsToCheck | None) -> LabelsToCheck | None:
    """The same; what others have written in it means nothing in Markdown."""
    if found is None:
        return None
    return replace(found, labels=[replace(one, patient=escaping.markdown(one.patient)) for one in found.labels])
