"""How a report was counted, and what it does not say."""

from __future__ import annotations

from cac_hpc.results.report import Report
from cac_hpc.run import looks
from cac_hpc.sections import wording

KAPPAS = "Cohen's kappa plain, linear and quadratic over all categories; ICC(2,1), absolute agreement"
OF_PATIENTS = (
    "A patient is tested in every fold that tests slices of it, each time by these alone, which are fewer than in the "
    "run by patient: every test counts, and intervals resample patients with all of their tests."
)
BY_PATIENT = "Folds are divided by patient: no patient is in the training and the test part of one fold."
OF_OTHERS = {  # of an external test
    "left_out": "No study is counted whose pixels the model was trained on, nor any other of a patient who has one; "
    "other scans of training patients, or the same one resampled, cannot be recognised.",
    "counted": "Studies whose pixels the model was trained on are counted if there are any: see the check above.",
    "unknown": "Nothing tells whether the program was trained on these patients.",
}
LIMITS = (
    "Every slice carries its patient's category, and most slices of a real exam show no coronary calcium: a "
    "slice-level figure is not a patient-level figure, and the slice-level one is bounded well below 1.",
    BY_PATIENT,
    "This is research software and not a medical device.",
)


def shown_before(report: Report) -> list[str]:
    """That test figures of these patients had been seen before, whatever was chosen by them."""
    before = report.shown_before
    if before is None:
        return []
    told = looks.told(before.times, before.runs)
    return [
        f"**Not a first look: {told}.** What is chosen after seeing test figures fits the patients that they are of."
    ]


def methods(report: Report) -> list[str]:
    counts = report.statistics
    checked = {True: "passed", False: "NOT passed", None: "NOT checked"}
    return [
        f"Intervals of proportions are Wilson's, where a patient has several units with their effective number; all "
        f"others are percentiles of {counts.draws} draws of patients (seed {counts.seed}). {KAPPAS}. "
        "docs/report.md defines every figure; tables/figures.csv has each with unit, n and interval.",
        *([OF_PATIENTS] if wording.split_by_slice(report) else []),
        *(f"Check of {audit.name} {checked[audit.passed]}: {audit.note}." for audit in report.audits),
    ]


def limits(report: Report) -> list[str]:
    """What a reader must know, the leak in place of its absence."""
    if report.external:
        return [OF_OTHERS[report.external.known], *LIMITS[2:]]
    if report.banner and not wording.split_by_slice(report):
        return [report.banner, *LIMITS]
    return [report.banner if report.banner and line is BY_PATIENT else line for line in LIMITS]
