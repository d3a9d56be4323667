"""What a report says of candidates: which calcium counted, and whose is shown."""

from __future__ import annotations

from cac_hpc.results.examples import ShownPatient
from cac_hpc.results.figures import Absent
from cac_hpc.results.report import Report
from cac_hpc.run.logs import amount
from cac_hpc.sections import formatting, trained
from cac_hpc.sections.formatting import number
from cac_hpc.train import ordinal

HEADING = "Which calcium counted"
COLUMNS = ("decision", "number", "p", "Agatston", "mm3", "highest HU", "in the heart's region", "slices")


def lines(report: Report) -> list[str]:
    """What the pictures show, and whom."""
    found = report.lesions
    if found is None:
        return []
    if isinstance(found, Absent):
        return [f"No patient is shown: {found.note}."]
    return [
        "The model weighs candidates: connected pieces of at least 130 HU in and near the heart. What it takes for "
        "coronary calcium (probability p above 0.5) counts with its whole Agatston score; the sum is the predicted "
        f"score, and its category the prediction. Of {amount(found.candidates, 'candidate')} {found.counted} counted.",
        *_probabilities(report),
        f"Shown: {found.rule}. tables/lesions.csv has the candidates of every patient.",
    ]


def _probabilities(report: Report) -> list[str]:
    """How probabilities of categories come from a score, as the folds say."""
    found = [fold.calibration for fold in trained.of_folds(report)]
    methods = dict.fromkeys(str(one["method"]) for one in found if one and "method" in one)
    if not methods:
        return []
    scale = max((float(one["scale"]) for one in found if one and "scale" in one), default=0.0)
    edges = [one.score_up_to for one in report.categories if one.score_up_to is not None]
    runs = ordinal.other_is_likelier(scale, edges) if scale else []
    scores = [f"{low}" if low == high else f"{low} to {high}" for low, high in runs]
    where = f" The predicted category is that of the score; where the score is {', '.join(scores)} another category is "
    where += f"more probable, as the errors reach over its edges (largest scale of a fold: {number(scale, 2)})."
    return [f"Probabilities of the categories: {'; '.join(methods)}.{where if scores else ''}"]


def decided(patient: ShownPatient, names: list[str]) -> str:
    """Why a patient has the predicted category, in one line."""
    counted = sum(lesion.counted for lesion in patient.lesions)
    what = f"{amount(counted, 'candidate')} counted" if counted else "no candidate counted"
    return (
        f"Predicted {names[patient.predicted]}: {what}, score {formatting.short(patient.score)} "
        f"(probability of the category {number(patient.probability, 2)})."
    )


def reported(patient: ShownPatient, names: list[str]) -> str:
    """What the sheet says of a patient."""
    score = "" if patient.reported is None else f", score {formatting.short(patient.reported)}"
    return f"Reference {names[patient.true]}{score}."


def rows(patient: ShownPatient) -> list[list[str]]:
    """A row for each candidate that is listed."""
    return [
        ["counted" if one.counted else "rejected", str(one.candidate), number(one.probability, 2),
         formatting.short(one.agatston), f"{one.volume_mm3:.0f}", f"{one.max_hu:.0f}", f"{one.region_share:.0%}",
         f"{one.first_slice}" if one.first_slice == one.last_slice else f"{one.first_slice} to {one.last_slice}"]
        for one in patient.lesions
    ]  # fmt: skip
