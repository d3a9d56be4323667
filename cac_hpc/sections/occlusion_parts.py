"""What a report says of where the network looks: its figures with a part of each slice blank."""

from __future__ import annotations

from cac_hpc.results.figures import Absent
from cac_hpc.results.occlusion import Occlusion
from cac_hpc.results.report import Report
from cac_hpc.sections import wording
from cac_hpc.sections.formatting import difference, number
from cac_hpc.sections.section import Section, TextTable

HEADING = "Where the network looks"
COMPARED = ("accuracy", "balanced_accuracy", "f1_macro", "kappa_plain", "kappa_quadratic")


def sections(report: Report) -> list[Section]:
    """The section; none of a model that is given candidates, or of an external test."""
    if wording.of_lesions(report) or report.external:
        return []
    return [Section("looks", HEADING, _lines(report), _tables(report))]


def short(report: Report) -> list[TextTable]:
    """Accuracies: what eighty columns are enough for."""
    if not isinstance(report.occlusion, Occlusion):
        return []
    cells = [
        [f"{level}, accuracy", *(number(value) for value in (one.reference, one.other, other.other))]
        for level in ("patient", "slice")
        for one, other in [[view.levels[level].figures["accuracy"] for view in report.occlusion.views.values()]]
    ]
    return [TextTable(f"{HEADING}: what is left where the rest is blank", ["", "all", "heart", "all but heart"], cells)]


def _lines(report: Report) -> list[str]:
    """What the network was shown of each slice in the occlusion test."""
    found = report.occlusion
    if isinstance(found, Absent):
        return [f"The network was not tested on parts of slices: {found.note}."]
    left_out = found.left_out
    without = f" Studies in which no heart was found, left out: {left_out.studies}." if left_out.studies else ""
    if left_out.folds:
        without += f" Folds without this test, left out: {', '.join(map(str, left_out.folds))}."
    own = report.trials is not None and any("train.window_hu" in one.settings for one in report.trials.choices)
    blank = "the lower end of its fold's train.window_hu" if own else f"{found.blank_hu:g} HU"
    return [
        "The same slices were shown to the network once more with all but a box around the heart blank, and once with "
        f"that box blank ({blank}). The box is {found.share:.0%} of a slice. A network that reads "
        f"the coronary arteries keeps its accuracy with the heart alone and loses it without.{without}"
    ]


def _tables(report: Report) -> list[TextTable]:
    """Figures with everything, the heart and the rest to be seen, and accuracies of each fold."""
    found = report.occlusion
    if not isinstance(found, Occlusion):
        return []
    views = found.views.values()
    figures = [
        [f"{level}, {name.replace('_', ' ')}", number(of_views[0].reference),
         *(cell for figure in of_views for cell in (number(figure.other), difference(figure)))]
        for level in ("patient", "slice") for name in COMPARED
        for of_views in [[one.levels[level].figures[name] for one in views]]
    ]  # fmt: skip
    by_fold = [
        [f"fold {fold.fold}", *(number(value) for value in (*fold.patient.values(), *fold.slice.values()))]
        for fold in found.folds
    ]
    return [
        TextTable(
            "What is left of the network's figures where a part of each slice is blank",
            [
                "figure",
                "everything seen",
                "the heart alone",
                "change [95 %]",
                "all but the heart",
                "change by it [95 %]",
            ],
            figures,
        ),
        TextTable(
            "Accuracy by fold: everything seen, the heart alone, all but the heart",
            ["fold", *(f"{level}s: {seen}" for level in ("patient", "slice") for seen in ("all", "heart", "rest"))],
            by_fold,
        ),
    ]
