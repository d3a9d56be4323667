"""Decisions at a cut of the score: how often they are right, and what they are worth (net benefit, decision curves).

At threshold t of probability a false positive costs t / (1 - t) of what a true one is worth: net benefit = (true
positives - false positives times t / (1 - t)) / units. Treating nobody has 0.

Source: Vickers and Elkin 2006, Med Decis Making 26:565. Axes: N unit, B draw, T threshold, C column of sums, Q kind of
units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from cac_hpc.results.cuts import DecisionCurves, NetBenefit
from cac_hpc.results.figures import Figure
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import cuts, intervals
from cac_hpc.statistics.agreement import ratio
from cac_hpc.statistics.cuts import Cut, Judge
from cac_hpc.statistics.intervals import figure, without_value
from cac_hpc.statistics.pooling import Units

THRESHOLDS = np.round(np.arange(1, 20) * 0.05, 2)  # 0.05 to 0.95
COST = THRESHOLDS / (1 - THRESHOLDS)  # of a false positive
ALL, NONE = "treat all", "treat none"
UNDECIDED = "no score, and labels.edges have no such edge: nothing is decided at this cut"
NOBODY = "nobody is decided so"
ABSENT = "{}: neither probabilities nor a cut of its own here"
Limits = list[float | None]


@dataclass(frozen=True)
class _Way:
    """A way to decide: whom it treats, (N,) whatever the threshold or (N, T), and of whom its own cut says so."""

    key: str
    name: str
    by: Literal["probability", "own_cut", "nothing"]
    treated: np.ndarray
    figures: dict[str, Figure]

    def columns(self, event_N: np.ndarray) -> np.ndarray:
        """Sums over units that net benefit follows from, (N, C): itself, or true and false positives."""
        if self.treated.ndim == 2:
            return benefits(event_N, self.treated)
        return np.stack([event_N & self.treated, ~event_N & self.treated], axis=1).astype(float)

    def benefit(self, sums_BC: np.ndarray, count_B: np.ndarray) -> np.ndarray:
        """Net benefit, (B, T)."""
        found = sums_BC if self.treated.ndim == 2 else sums_BC[:, :1] - sums_BC[:, 1:] * COST
        return ratio(found, count_B[:, None])


def benefits(event_N: np.ndarray, treated_NT: np.ndarray) -> np.ndarray:
    """What each unit adds to the net benefit at each threshold, before the division by units, (N, T)."""
    return np.asarray(np.where(event_N[:, None], 1.0, -COST) * treated_NT)


@dataclass(frozen=True)
class _AtCut:
    """Ways to decide at one cut. first, alike: see `_alike`."""

    event: np.ndarray
    ways: Sequence[_Way]
    absent: list[str]
    columns: Sequence[np.ndarray]
    first: np.ndarray
    alike: scipy.sparse.csr_array

    def benefit(self, weight_BN: np.ndarray) -> list[np.ndarray]:
        """Net benefit of each way where each unit occurs as often as its weight says, (B, T) each."""
        count_BQ = (self.alike @ np.ascontiguousarray(weight_BN.T)).T
        sums = (count_BQ @ one[self.first] for one in self.columns)
        return [way.benefit(one, count_BQ.sum(axis=1)) for way, one in zip(self.ways, sums, strict=True)]


def curves(
    model: str, judges: Sequence[Judge], at: Sequence[Cut | None], edges: Sequence[float], cfg: ReportConfig
) -> list[DecisionCurves | None]:
    """Net benefit of every way to decide on the same patients, in the same draws; None of too few to be judged.

    Args:
        model: its key among the judges. at: the cuts; None: not judged. edges: of the categories, as in labels.edges.
    """
    if not judges:
        return [None] * len(at)
    units, found = judges[0].units, [_at_cut(judges, cut, edges) if cut else None for cut in at]

    def benefit(weight_BN: np.ndarray) -> list[np.ndarray]:
        return [benefit for one in found if one for benefit in one.benefit(weight_BN)]

    drawn = intervals.in_draws(units.patient, cfg.draws, cfg.seed, benefit) if any(found) else iter(())
    return [_curves(model, one, [next(drawn) for _ in one.ways], units) if one else None for one in found]


def _at_cut(judges: Sequence[Judge], cut: Cut, edges: Sequence[float]) -> _AtCut | None:
    units = judges[0].units
    event = cuts.decided(cut, units.label, units.score, edges)
    if cuts.few(event, units):
        return None
    ways, absent = _ways(judges, event, cut, edges)
    return _AtCut(event, ways, absent, [way.columns(event) for way in ways], *_alike(ways, event))


def _curves(model: str, found: _AtCut, drawn: Sequence[np.ndarray], units: Units) -> DecisionCurves:
    values = [value[0] for value in found.benefit(np.ones((1, len(found.event))))]
    own = next((at for at, way in enumerate(found.ways) if way.key == model), None)
    ways = [
        _net_benefit(way, found.event, units, value, draws, None if own in (None, at) else (values[own], drawn[own]))
        for at, (way, value, draws) in enumerate(zip(found.ways, values, drawn, strict=True))
    ]
    return DecisionCurves(len(found.event), int(found.event.sum()), THRESHOLDS.tolist(), ways, found.absent)


def _ways(
    judges: Sequence[Judge], event_N: np.ndarray, cut: Cut, edges: Sequence[float]
) -> tuple[list[_Way], list[str]]:
    """Treating all and none, then each reader, and which readers decide nothing."""
    everyone = np.ones(len(event_N), bool)
    ways, absent = [_Way("all", ALL, "nothing", everyone, {}), _Way("none", NONE, "nothing", ~everyone, {})], []
    for judge in judges:
        chance, decision = judge.chance(cut.score, edges), judge.decides(cut, edges)
        found = figures(event_N, decision, judge.units)
        if chance is not None:
            treated = chance[:, None] >= THRESHOLDS
            ways.append(_Way(judge.key, judge.name, "probability", treated, found))
        elif decision is not None:
            ways.append(_Way(judge.key, judge.name, "own_cut", decision, found))
        else:
            absent.append(ABSENT.format(judge.name))
    return ways, absent


def _alike(ways: Sequence[_Way], event_N: np.ndarray) -> tuple[np.ndarray, scipy.sparse.csr_array]:
    """Units that every way decides alike: the first of each kind, and which kind each unit is, (Q, N)."""
    treated = [way.treated if way.treated.ndim == 1 else way.treated.sum(axis=1) for way in ways]
    kind_N = event_N.astype(np.int64)
    for one in treated:
        _, kind_N = np.unique(kind_N * (len(THRESHOLDS) + 1) + one, return_inverse=True)
    _, first = np.unique(kind_N, return_index=True)
    ones = np.ones(len(kind_N))
    return first, scipy.sparse.csr_array((ones, (kind_N, np.arange(len(kind_N)))), shape=(len(first), len(kind_N)))


def _net_benefit(
    way: _Way,
    event_N: np.ndarray,
    units: Units,
    value_T: np.ndarray,
    drawn_BT: np.ndarray,
    model: tuple[np.ndarray, np.ndarray] | None,
) -> NetBenefit:
    """Args:
    model: net benefit of the model, (T,), and in every draw (B, T); None of itself, or where it decides nothing.
    """
    low, high = _limits(value_T, drawn_BT, units)
    more = None if model is None else model[0] - value_T
    more_low, more_high = (None, None) if model is None or more is None else _limits(more, model[1] - drawn_BT, units)
    return NetBenefit(
        key=way.key,
        name=way.name,
        by=way.by,
        values=value_T.tolist(),
        low=low,
        high=high,
        more=None if more is None else more.tolist(),
        more_low=more_low,
        more_high=more_high,
        decisions=way.figures,
        true_positives=_treated(way, event_N),
        false_positives=_treated(way, ~event_N),
    )


def _treated(way: _Way, among_N: np.ndarray) -> list[int]:
    """How many of these units it treats at each threshold."""
    counts = np.asarray(way.treated[among_N].sum(axis=0))
    return [int(count) for count in np.broadcast_to(counts, len(THRESHOLDS))]


def _limits(value_T: np.ndarray, drawn_BT: np.ndarray, units: Units) -> tuple[Limits, Limits]:
    found = [
        intervals.around(float(value), intervals.bootstrap(drawn, units.num_patients))
        for value, drawn in zip(value_T, drawn_BT.T, strict=True)
    ]
    return [one.low for one in found], [one.high for one in found]


def figures(event_N: np.ndarray, decision_N: np.ndarray | None, units: Units) -> dict[str, Figure]:
    """Sensitivity, specificity and predictive values of decisions, with intervals of proportions of patients."""
    decided = np.zeros(len(event_N), bool) if decision_N is None else decision_N
    wanted = {
        "sensitivity": (event_N & decided, event_N),
        "specificity": (~event_N & ~decided, ~event_N),
        "ppv": (event_N & decided, decided),
        "npv": (~event_N & ~decided, ~decided),
    }
    return {name: _share(*of, decision_N is None, units) for name, of in wanted.items()}


def _share(part_N: np.ndarray, whole_N: np.ndarray, undecided: bool, units: Units) -> Figure:
    count = int(whole_N.sum())
    if undecided or not count:
        return without_value(count, UNDECIDED if undecided else NOBODY)
    of_patients = [np.bincount(units.patient[here], minlength=units.num_patients) for here in (part_N, whole_N)]
    return figure(part_N.sum() / count, count, NOBODY, intervals.proportion(*of_patients))
