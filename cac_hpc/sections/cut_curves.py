"""Figures at the cuts of the score: ROC, precision, calibration, net benefit, probabilities by category."""

from __future__ import annotations

from pathlib import Path

from cac_hpc.plots import charts
from cac_hpc.plots.charts import Line, Lines
from cac_hpc.results.cuts import AtCut, DecisionCurves, NetBenefit
from cac_hpc.results.figures import Absent
from cac_hpc.results.report import Report
from cac_hpc.sections import formatting, wording


def draw_roc(stem: Path, report: Report, where: str, dpi: int) -> None:
    """ROC curve at each cut, and where the model's own cut lies."""
    panels = []
    for at in _judged(report):
        x, y = [0.0, *(1 - one.specificity for one in at.points)], [0.0, *(one.sensitivity for one in at.points)]
        own = [at.figures[name].value for name in ("specificity", "sensitivity")]
        lines = [Line("no better than chance", [0, 1], [0, 1], None, "--"), Line("model", x, y, 0)]
        if own[0] is not None and own[1] is not None:
            lines.append(Line("the model's own cut", [1 - own[0]], [own[1]], 1, "D"))
        panels.append(Lines(_titled(at, "auroc", "AUROC"), lines, (0, 1)))
    charts.draw_lines(stem, panels, ("1 - specificity", "sensitivity"), f"ROC curves, {where}", dpi)


def draw_precision(stem: Path, report: Report, where: str, dpi: int) -> None:
    """Precision over sensitivity at each cut."""
    panels = []
    for at in _judged(report):
        share, own = at.positives / at.n, [at.figures[name].value for name in ("sensitivity", "ppv")]
        x, y = [one.sensitivity for one in at.points], [one.precision for one in at.points]
        lines = [Line("no better than chance", [0, 1], [share] * 2, None, "--"), Line("model", [0, *x], [y[0], *y], 0)]
        if own[0] is not None and own[1] is not None:
            lines.append(Line("the model's own cut", [own[0]], [own[1]], 1, "D"))
        panels.append(Lines(_titled(at, "average_precision", "average precision"), lines, (0, 1)))
    charts.draw_lines(stem, panels, ("sensitivity (recall)", "precision"), f"Precision and recall, {where}", dpi)


def draw_calibration(stem: Path, report: Report, where: str, dpi: int) -> None:
    """Observed share over probability at each cut, with its band."""
    panels = []
    for at in _judged(report):
        if not isinstance(at.calibration, Absent):
            x, y = [one.probability for one in at.calibration], [one.observed for one in at.calibration]
            band = [one.low for one in at.calibration], [one.high for one in at.calibration]
            lines = [
                Line("perfectly calibrated", [0, 1], [0, 1], None, "--"),
                Line("model, 95 % band", x, y, 0, "-", band),
            ]
            panels.append(Lines(_titled(at, "calibration_slope", "slope"), lines, (0, 1)))
    charts.draw_lines(stem, panels, ("probability", "share with the event"), f"Calibration at the cuts, {where}", dpi)


def draw_decisions(stem: Path, report: Report, where: str, dpi: int) -> None:
    """Net benefit of every way to decide over the thresholds, at each cut."""
    units = wording.units("patient", report.levels["patient"])
    panels = []
    for at in _judged(report):
        found = at.decisions
        if isinstance(found, Absent):
            continue
        lines = [_decision_line(found, way, place) for place, way in enumerate(found.ways)]
        top = max(found.positives / found.n, *(value for way in found.ways for value in way.values))
        title = f"score {at.event}: {found.positives} of {found.n} {units}"
        panels.append(Lines(title, lines, (-0.15 * top, 1.1 * top)))
    title = f"Decision curves with the model's 95 % intervals, {where}"
    charts.draw_lines(stem, panels, ("threshold of probability", "net benefit"), title, dpi)


def _decision_line(found: DecisionCurves, way: NetBenefit, place: int) -> Line:
    if way.by == "nothing":
        return Line(way.name, found.thresholds, way.values, None, "--" if way.key == "all" else ":")
    own = way.more is None
    ends = zip(way.values, way.low, way.high, strict=True)
    band = tuple(
        zip(
            *((value if low is None else low, value if high is None else high) for value, low, high in ends),
            strict=True,
        )
    )
    dashes = "-" if way.by == "probability" else "-."
    return Line(
        way.name, found.thresholds, way.values, 0 if own else place - 1, dashes, (band[0], band[1]) if own else None
    )


def draw_probabilities(stem: Path, report: Report, where: str, dpi: int) -> None:
    """Probabilities of the event by true category."""
    names = wording.category_names(report)
    found = [at for at in _judged(report) if at.spreads]
    panels = {
        f"probability of {at.event}": [
            (f"{names[one.category]} (n = {one.n})", (one.low, one.quarter, one.median, one.three_quarters, one.high))
            for one in at.spreads
        ]
        for at in found
    }
    charts.draw_boxes(stem, panels, f"Probabilities by true category, {where}", dpi)


def _judged(report: Report) -> list[AtCut]:
    """The cuts at which there is something to draw."""
    return [at for at in report.cuts.at if at.points] if report.cuts else []


def _titled(at: AtCut, name: str, text: str) -> str:
    figure = at.figures[name]
    return (
        f"score {at.event}\n{text} {formatting.in_sentence(figure)}"
        if figure.value is not None
        else f"score {at.event}"
    )
