"""Pictures of the candidates of each patient that a report shows, as far as the dataset is still there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cac_hpc.calcium.candidates import Candidates
from cac_hpc.dataset import excerpts
from cac_hpc.report import packed
from cac_hpc.results.examples import ShownLesions, ShownPatient
from cac_hpc.results.report import Report
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.sections import lesion_panels, lesion_parts, wording
from cac_hpc.sections.lesion_panels import Verdict


def draw(folder: Path, report: Report, dataset: DatasetPaths, dpi: int, marks: Sequence[str]) -> None:
    """Draw every patient that the report shows, as far as the views are there.

    Args:
        marks: what stands in every title.
    """
    if not isinstance(report.lesions, ShownLesions) or not report.lesions.patients:
        return
    wanted = dict.fromkeys(patient.study for patient in report.lesions.patients)
    names, found = wording.category_names(report), packed.read(dataset, wanted, excerpts.candidates)
    for number, patient in enumerate(report.lesions.patients, start=1):
        if patient.study in found:
            made = lesion_panels.panels(*found[patient.study], _verdicts(found[patient.study][1], patient))
            title = ", ".join([f"Patient {patient.patient}, fold {patient.fold}", *marks])
            lesion_panels.draw(folder, stem(number), made, [title, *lines(patient, names)], dpi)


def lines(patient: ShownPatient, names: list[str]) -> list[str]:
    """What is said of a patient, in the order in which people ask."""
    return [lesion_parts.decided(patient, names), lesion_parts.reported(patient, names)]


def stem(number: int) -> str:
    """How the names of a patient's files begin."""
    return f"lesions-{number:02d}"


def files(folder: Path, number: int) -> list[Path]:
    """The panels of a patient that were drawn, in their order."""
    return sorted(folder.glob(f"{stem(number)}-*.svg"), key=lambda path: int(path.stem.split("-")[2]))


def _verdicts(found: Candidates, patient: ShownPatient) -> dict[int, Verdict]:
    """Of every candidate of a study; what the report does not list was rejected."""
    listed = {one.candidate: Verdict(one.probability, one.counted, True) for one in patient.lesions}
    return {number: listed.get(number, Verdict(0.0, False, False)) for number in range(1, len(found) + 1)}
