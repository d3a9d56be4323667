"""Every number of a report at the cuts of the score that treatment depends on, and of the order of the categories.

Patients are the units; a draw takes them with all of their tests. Axes: N unit, B draw, K category.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cac_hpc.results.cuts import AtCut, BrierParts, ChanceSpread, Cuts, DecisionCurves, ObservedShare
from cac_hpc.results.figures import Absent, Figure
from cac_hpc.results.sample_size import NeededPatients
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import chances, cuts, decisions, intervals, metrics, ranking, sample_size
from cac_hpc.statistics.agreement import ratio
from cac_hpc.statistics.chances import Fit
from cac_hpc.statistics.cuts import Judge, Truth
from cac_hpc.statistics.intervals import CHANCE, InDraws, Interval, figure, without_value
from cac_hpc.statistics.metrics import Form
from cac_hpc.statistics.pooling import Units, num_distinct
from cac_hpc.statistics.ranking import Ranked

FEW = f"fewer than {intervals.FEWEST_PATIENTS} patients with the event, or without: counted, not judged"
NO_PROBABILITIES = "the predictions have no probabilities of the categories"
NO_EDGE = "labels.edges have no {:g}, and the model has no error model of its scores"
BY_SCORE = "by the predicted score"
TESTED_AGAIN = intervals.none("patients were tested more than once: their tests are not independent")
NOTHING = "nothing was tested"
PERCENTILES = (5, 25, 50, 75, 95)
MANY = 10_000  # units, from which on a draw changes figures of ranks hardly more than in proportion
DRAWN = ("auroc", "average_precision", "brier")
JUDGED = ("auroc", "auroc_delong", "average_precision", "sensitivity", "specificity", "ppv", "npv", "brier",
          "brier_of_prevalence", "calibration_intercept", "calibration_slope")  # fmt: skip


class _ByRank(NamedTuple):
    """A figure of ranks in draws, and how much it changes with how often each unit occurs."""

    figure: Callable[[Ranked, np.ndarray, np.ndarray], np.ndarray]
    change: Callable[[Ranked, np.ndarray], np.ndarray]


AREA = _ByRank(ranking.concordance, ranking.concordance_by_unit)
PRECISION = _ByRank(ranking.average_precision, ranking.average_precision_by_unit)


@dataclass(frozen=True)
class _Seen:
    """The model at one cut, where it is judged."""

    event: np.ndarray
    chance: np.ndarray | None
    rank: np.ndarray | None  # what AUROC is of
    decision: np.ndarray | None


def at_cuts(model: Judge, others: Sequence[Judge], edges: Sequence[float], cfg: ReportConfig, unit: str) -> Cuts:
    """Every number at the cuts.

    Args:
        model: on all patients that were tested. others: all readers of the same patients that are compared, the model
            among them, by its key. edges: of the categories, as in labels.edges. unit: in words.
    """
    units = model.units
    truths = [cuts.truth(cut, units.label, units.score, edges) for cut in cfg.cuts]
    seen = [_seen(model, truth, edges) for truth in truths]
    judged = [truth.cut if one else None for truth, one in zip(truths, seen, strict=True)]
    decided = decisions.decisions(others[0].units if others else units, others, judged, edges)
    drawn = intervals.in_draws([_of_draws(model, seen), (decided.units.patient, decided.benefit)], cfg.draws, cfg.seed)
    *of_cuts, of_order = _by_cut(drawn, len(seen))
    found = [
        _at_cut(units, truth, one, drawn, _why_no_chance(model, truth.cut.score, edges), curve)
        for truth, one, drawn, curve in zip(truths, seen, of_cuts, decided.curves(model.key, drawn), strict=True)
    ]
    return Cuts(unit=unit, n=len(units.label), at=found, ordinal=_ordinal(model, of_order))


def _seen(model: Judge, truth: Truth, edges: Sequence[float]) -> _Seen | None:
    """None where there are too few to be judged, or the labels do not tell."""
    if truth.event is None or cuts.few(truth.event, model.units):
        return None
    chance = model.chance(truth.cut.score, edges)
    rank = model.score if chance is None else chance
    return _Seen(truth.event, chance, rank, model.decides(truth.cut, edges))


def _at_cut(
    units: Units,
    truth: Truth,
    seen: _Seen | None,
    drawn: Mapping[str, np.ndarray],
    missing: str | None,
    curves: DecisionCurves | None,
) -> AtCut:
    """Args:
    seen: None where nothing is judged. drawn: figures in every draw. missing: why there is no probability.
    """
    event = np.zeros(0, bool) if truth.event is None else truth.event
    absent = Absent(FEW if truth.event is not None else truth.note or "")
    parts, curve, spreads = _of_chance(units, seen, absent if seen is None else Absent(missing or ""))
    return AtCut(
        cut=truth.cut.score,
        event=truth.cut.event,
        n=len(event),
        positives=int(event.sum()),
        negatives=int((~event).sum()),
        exactly=truth.exactly,
        note=truth.note,
        chance_note=missing,
        figures=_figures(units, seen, drawn, missing) if seen else _unjudged(event, absent.note),
        brier_parts=parts,
        points=[] if not seen or seen.rank is None else ranking.operating_points(event, seen.rank),
        calibration=curve,
        spreads=spreads,
        decisions=curves or absent,
        needed=_needed(seen),
    )


def _needed(seen: _Seen | None) -> list[NeededPatients]:
    """How many patients would settle it, where probabilities are judged."""
    if seen is None or seen.chance is None:
        return []
    return sample_size.needed(seen.event, seen.chance, metrics.auroc(seen.event, seen.chance))


def _of_chance(
    units: Units, seen: _Seen | None, absent: Absent
) -> tuple[BrierParts | Absent, list[ObservedShare] | Absent, list[ChanceSpread]]:
    """What there is of probabilities alone."""
    if seen is None or seen.chance is None:
        return absent, absent, []
    parts = chances.brier_parts(seen.event, seen.chance)
    return parts, chances.curve(seen.event, seen.chance, units.patient), _spreads(units, seen.chance)


def _why_no_chance(model: Judge, score: float, edges: Sequence[float]) -> str | None:
    if model.chance(score, edges) is not None:
        return None
    return NO_EDGE.format(score) if model.probabilities else NO_PROBABILITIES


def _unjudged(event_N: np.ndarray, why: str) -> dict[str, Figure]:
    return {name: without_value(len(event_N), why) for name in JUDGED}


def _figures(units: Units, seen: _Seen, drawn: Mapping[str, np.ndarray], missing: str | None) -> dict[str, Figure]:
    """All of `JUDGED`, in their order."""
    event, rank, n = seen.event, seen.rank, len(seen.event)
    why = missing or NOTHING
    by_score = BY_SCORE if rank is not None and seen.chance is None else None
    area = np.nan if rank is None else metrics.auroc(event, rank)
    precise = np.nan if rank is None else metrics.average_precision(event, rank)
    once = num_distinct(units.patient) == n
    beside = ranking.delong(event, rank) if once and rank is not None else TESTED_AGAIN

    by_draws = [intervals.bootstrap_logit(value, drawn[name], units.num_patients)
                for name, value in (("auroc", area), ("average_precision", precise))]  # fmt: skip

    return {
        "auroc": figure(area, n, why, by_draws[0], by_score),
        "auroc_delong": figure(area, n, why, beside, by_score),
        "average_precision": figure(precise, n, why, by_draws[1], by_score),
        **decisions.figures(event, seen.decision, units),
        **_calibration_figures(units, seen, intervals.bootstrap(drawn["brier"], units.num_patients), why),
    }


def _calibration_figures(units: Units, seen: _Seen, resampled: Interval, why: str) -> dict[str, Figure]:
    """Brier score, that of the prevalence, intercept and slope."""
    event, chance, n = seen.event, seen.chance, len(seen.event)
    if chance is None:
        return {name: without_value(n, why) for name in JUDGED[-4:]}
    share = float(event.mean())
    moved, bent = (fit(event, chance, units.patient) for fit in (chances.intercept, chances.slope))
    return {
        "brier": figure(metrics.brier_of_event(event, chance), n, why, resampled),
        "brier_of_prevalence": figure(share * (1 - share), n, why, CHANCE),
        "calibration_intercept": _coefficient(moved, 0, n),
        "calibration_slope": _coefficient(bent, 1, n),
    }


def _coefficient(fit: Fit | Absent, at: int, n: int) -> Figure:
    if isinstance(fit, Absent):
        return without_value(n, fit.note)
    return figure(float(fit.coefficient[at]), n, "", fit.interval(at))


def _spreads(units: Units, chance_N: np.ndarray) -> list[ChanceSpread]:
    by_category = [(category, chance_N[units.label == category]) for category in range(units.num_categories)]
    return [
        ChanceSpread(category, len(here), *np.percentile(here, PERCENTILES).round(9).tolist())
        for category, here in by_category
        if len(here)
    ]


def _of_draws(model: Judge, seen: Sequence[_Seen | None]) -> InDraws:
    """What is drawn of the model at each cut, and last of the order of the categories."""
    units = model.units
    of_cuts = [_at_draws(one) for one in seen]
    order = _of_ranks(AREA, _expected(model), units.label)
    far = ranked_probability(units.label, units.probability)

    def block(weight_BN: np.ndarray) -> list[np.ndarray]:
        found = [column for of in of_cuts for column in of(weight_BN)]
        return [*found, order(weight_BN), ratio(weight_BN @ far, weight_BN.sum(axis=1))]

    return units.patient, block


def _by_cut(drawn: Iterator[np.ndarray], num_cuts: int) -> list[dict[str, np.ndarray]]:
    """By cut, and last of the order of the categories: the figures of `_of_draws`, in every draw (B,)."""
    names = [DRAWN] * num_cuts + [("c_index", "ranked_probability_score")]
    return [{name: next(drawn) for name in one} for one in names]


def _at_draws(seen: _Seen | None) -> Callable[[np.ndarray], list[np.ndarray]]:
    """From how often each unit is drawn, (B, N), to the figures `DRAWN`, (B,); NaN where there are none."""
    if seen is None or seen.rank is None:
        return lambda weight_BN: [np.full(len(weight_BN), np.nan)] * len(DRAWN)
    area, precision = (_of_ranks(by, seen.rank, seen.event) for by in (AREA, PRECISION))
    square_N = np.full(len(seen.event), np.nan) if seen.chance is None else (seen.event - seen.chance) ** 2
    return lambda weight_BN: [
        area(weight_BN),
        precision(weight_BN),
        ratio(weight_BN @ square_N, weight_BN.sum(axis=1)),
    ]


def _of_ranks(by: _ByRank, value_N: np.ndarray, truth_N: np.ndarray) -> Form:
    """A figure of ranks in draws; of many units by how much it changes with each, which is the same but for rounding.

    Args:
        truth_N: the event or the category.
    """
    ranked = Ranked(value_N)
    if len(value_N) < MANY:
        return lambda weight_BN: by.figure(ranked, truth_N, weight_BN)
    value = by.figure(ranked, truth_N, np.ones((1, len(value_N))))[0]
    change_N = by.change(ranked, truth_N)
    return lambda weight_BN: np.asarray(value + weight_BN @ change_N)


def _expected(model: Judge) -> np.ndarray:
    """What the C-index is of: the predicted score, or the category weighed by probabilities."""
    return model.units.expected_category if model.score is None else model.score


def ranked_probability(label_N: np.ndarray, probability_NK: np.ndarray) -> np.ndarray:
    """Ranked probability score of each unit, 0 to 1: mean squared distance of cumulated probabilities from the truth.

    Source: Epstein 1969, J Appl Meteorol 8:985; divided by K - 1.
    """
    category = np.arange(probability_NK.shape[1] - 1)
    below_NK = np.cumsum(np.asarray(probability_NK, float), axis=1)[:, :-1]
    return np.asarray(((below_NK - (label_N[:, None] <= category)) ** 2).mean(axis=1))


def _ordinal(model: Judge, drawn: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """C-index and ranked probability score, and that of always giving the true frequencies."""
    units, n = model.units, len(model.units.label)
    if not n:
        return {}
    index = float(ranking.concordance(Ranked(_expected(model)), units.label, np.ones((1, n)))[0])
    far = ranked_probability(units.label, units.probability).mean() if model.probabilities else np.nan
    frequency = np.bincount(units.label, minlength=units.num_categories) / n
    of_frequency = ranked_probability(units.label, np.tile(frequency, (n, 1))).mean()
    of_index = intervals.bootstrap_logit(index, drawn["c_index"], units.num_patients)
    of_far = intervals.bootstrap(drawn["ranked_probability_score"], units.num_patients)
    return {
        "c_index": figure(index, n, "all patients are of one category", of_index),
        "ranked_probability_score": figure(far, n, NO_PROBABILITIES, of_far),
        "ranked_probability_score_of_frequencies": figure(of_frequency, n, NOTHING, CHANCE),
    }
