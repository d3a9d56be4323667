"""What the page shows at a threshold or an edge that its reader chooses: written here, chosen by page.js."""

from __future__ import annotations

from dataclasses import dataclass

from cac_hpc.results.cuts import AtCut, DecisionCurves, NetBenefit
from cac_hpc.results.matrices import Matrix
from cac_hpc.results.report import Report
from cac_hpc.sections import formatting, wording
from cac_hpc.sections.formatting import number

MODEL = "model"  # its key among the ways to decide


@dataclass(frozen=True)
class Shown:
    """One choice: a sentence, rows of a table (a way to decide, its net benefit, sensitivity and specificity), and
    counts of patients (above and positive, above and negative, below and positive, below and negative).
    """

    said: str
    rows: list[list[str]]
    counts: list[str]


@dataclass(frozen=True)
class Curve:
    """A way to decide, as a line over the thresholds."""

    name: str
    values: list[float]


@dataclass(frozen=True)
class Decisions:
    """A cut of the score: what stands at each threshold, and the curves."""

    event: str
    thresholds: list[str]
    shown: list[Shown]
    curves: list[Curve]


@dataclass(frozen=True)
class Edge:
    """The categories above an edge against those up to it."""

    text: str
    shown: Shown


@dataclass(frozen=True)
class Explored:
    """All choices; edges: of each level."""

    decisions: list[Decisions]
    edges: dict[str, list[Edge]]


def explored(report: Report) -> Explored:
    """What can be chosen on the page of a report."""
    at = report.cuts.at if report.cuts else []
    edges = {level: _edges(report, found.pooled) for level, found in wording.tested(report)}
    return Explored([_decisions(one, one.decisions) for one in at if isinstance(one.decisions, DecisionCurves)], edges)


def _decisions(at: AtCut, found: DecisionCurves) -> Decisions:
    places = range(len(found.thresholds))
    curves = [Curve(way.name, [round(value, 4) for value in way.values]) for way in found.ways]
    return Decisions(at.event, [f"{t:.2f}" for t in found.thresholds], [_at(at, found, p) for p in places], curves)


def _at(at: AtCut, found: DecisionCurves, place: int) -> Shown:
    """What stands at one threshold."""
    rows = [[way.name, *_of_way(way, found, place)] for way in found.ways]
    own = next((way for way in found.ways if way.key == MODEL), None)
    said = f"Score {at.event}, threshold {found.thresholds[place]:.2f}:"
    if own is None:
        return Shown(f"{said} the model decides nothing here.", rows, [])
    above = (own.true_positives[place], found.positives - own.true_positives[place])
    below = (own.false_positives[place], found.n - found.positives - own.false_positives[place])
    cells = _of_way(own, found, place)
    said += f" the model's net benefit is {cells[0]}, sensitivity {cells[1]}, specificity {cells[2]}."
    return Shown(said, rows, [str(count) for count in (*above, *below)])


def _of_way(way: NetBenefit, found: DecisionCurves, place: int) -> list[str]:
    negatives = found.n - found.positives
    return [
        formatting.said(way.values[place], way.low[place], way.high[place]),
        number(way.true_positives[place] / found.positives, 2),
        number(1 - way.false_positives[place] / negatives, 2),
    ]


def _edges(report: Report, pooled: Matrix) -> list[Edge]:
    """Every edge between two categories."""
    return [
        Edge(f"above {one.score_up_to:g}", _split(pooled.confusion_matrix, at, f"Score above {one.score_up_to:g}:"))
        for at, one in enumerate(report.categories[:-1], start=1)
        if one.score_up_to is not None
    ]


def _split(matrix: list[list[int]], at: int, begin: str) -> Shown:
    """A matrix of two categories from one of several.

    Args:
        at: the first category of the upper one.
    """
    above = [sum(row[at:]) for row in matrix]
    below = [sum(row[:at]) for row in matrix]
    true, missed, false, right = sum(above[at:]), sum(below[at:]), sum(above[:at]), sum(below[:at])
    shares = {
        "sensitivity": (true, true + missed),
        "specificity": (right, right + false),
        "positive predictive value": (true, true + false),
        "negative predictive value": (right, right + missed),
    }
    said = ", ".join(f"{name} {number(part / of if of else None, 2)}" for name, (part, of) in shares.items())
    return Shown(f"{begin} {said}.", [], [str(count) for count in (true, missed, false, right)])
