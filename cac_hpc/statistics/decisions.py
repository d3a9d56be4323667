"""Decisions at a cut of the score: how often they are right, and what they are worth (net benefit, decision curves).

At threshold t of probability a false positive costs t / (1 - t) of what a true one is worth: net benefit = (true
positives - false positives times t / (1 - t)) / units. Treating nobody has 0.

Source: Vickers and Elkin 2006, Med Decis Making 26:565. Axes: N unit, B draw, T threshold, C column of sums, Q kind of
units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cac_hpc.results.cuts import DecisionCurves, NetBenefit
from cac_hpc.results.figures import Figure
from cac_hpc.statistics import cuts, intervals
from cac_hpc.statistics.agreement import ratio
from cac_hpc.statistics.cuts import Cut, Judge
from cac_hpc.statistics.intervals import figure, without_value
from cac_hpc.statistics.pooling import Units
from cac_hpc.statistics.ranking import Ranked

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

    @property
    def number(self) -> np.ndarray:
        """At how many thresholds each unit is treated, (N,), which says at which."""
        return self.treated if self.treated.ndim == 1 else self.treated.sum(axis=1)

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
    """Ways to decide at one cut.

    columns: of each way, of one unit of each kind. alike: which kinds of `Decisions` every way decides alike here.
    """

    event: np.ndarray
    ways: Sequence[_Way]
    absent: list[str]
    columns: Sequence[np.ndarray]
    alike: Ranked

    def benefit(self, count_BQ: np.ndarray) -> list[np.ndarray]:
        """Net benefit of each way where each kind of unit occurs so often, (B, T) each."""
        count_BQ = self.alike.by_value(count_BQ)
        count_B = count_BQ.sum(axis=1)
        return [way.benefit(count_BQ @ one, count_B) for way, one in zip(self.ways, self.columns, strict=True)]


@dataclass(frozen=True)
class Decisions:
    """Ways to decide on the same units at some cuts; None at one where they are too few to be judged.

    alike: units that every way decides alike at every cut.
    """

    units: Units
    at: Sequence[_AtCut | None]
    alike: Ranked

    def benefit(self, weight_BN: np.ndarray) -> list[np.ndarray]:
        """Net benefit at each cut of each way where each unit occurs as often as its weight says, (B, T) each."""
        count_BQ = self.alike.by_value(weight_BN)
        return [benefit for one in self.at if one for benefit in one.benefit(count_BQ)]

    def curves(self, model: str, drawn: Iterator[np.ndarray]) -> list[DecisionCurves | None]:
        """Net benefit of every way at each cut.

        Args:
            model: its key among the judges. drawn: what `benefit` found in all draws.
        """
        values = iter(self.benefit(np.ones((1, len(self.units.label)))))
        return [
            _curves(model, one, [next(values)[0] for _ in one.ways], [next(drawn) for _ in one.ways], self.units)
            if one
            else None
            for one in self.at
        ]


def decisions(units: Units, judges: Sequence[Judge], at: Sequence[Cut | None], edges: Sequence[float]) -> Decisions:
    """Every way to decide on the same units, none where nobody judges.

    Args:
        at: the cuts; None: not judged. edges: of the categories, as in labels.edges.
    """
    found = [_decided(judges, cut, edges) if cut and judges else None for cut in at]
    kinds = [_kinds([event, *(way.number for way in ways)]) for event, ways, _ in filter(None, found)]
    alike, kind_of = Ranked(-_kinds(kinds or [np.zeros(len(units.label), int)])), iter(kinds)
    first = alike.order_N[alike.first_G]
    return Decisions(units, [_at_cut(*one, next(kind_of), first) if one else None for one in found], alike)


def _decided(
    judges: Sequence[Judge], cut: Cut, edges: Sequence[float]
) -> tuple[np.ndarray, list[_Way], list[str]] | None:
    """Who has the event, and the ways to decide, see `_ways`; None of too few to be judged."""
    units = judges[0].units
    event = cuts.decided(cut, units.label, units.score, edges)
    return None if cuts.few(event, units) else (event, *_ways(judges, event, cut, edges))


def _kinds(numbers: Sequence[np.ndarray]) -> np.ndarray:
    """A number for each unit, (N,), which only units have in common that have all of these (N,) in common."""
    kind_N = np.zeros(len(numbers[0]), np.int64)
    for one in numbers:
        _, kind_N = np.unique(kind_N * (int(one.max(initial=0)) + 1) + one, return_inverse=True)
    return kind_N


def _at_cut(event_N: np.ndarray, ways: list[_Way], absent: list[str], kind_N: np.ndarray, first: np.ndarray) -> _AtCut:
    """Args:
    kind_N: of units that are decided alike here. first: a unit of each kind of `Decisions`.
    """
    alike = Ranked(-kind_N[first])
    of_kind = first[alike.order_N[alike.first_G]]
    return _AtCut(event_N, ways, absent, [way.columns(event_N)[of_kind] for way in ways], alike)


def _curves(
    model: str, found: _AtCut, values: Sequence[np.ndarray], drawn: Sequence[np.ndarray], units: Units
) -> DecisionCurves:
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
