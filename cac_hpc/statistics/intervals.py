"""95 % intervals: Wilson's for proportions, resampled patients for all else. Axes: B draw, P patient, C column.

Slices of one patient resemble each other, so patients are what is resampled, and what a proportion's interval counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
FEWEST_PATIENTS = 10  # below it, resampling says little about what other patients would have given
FEWEST_DEFINED = 0.9  # share of the draws in which a figure must be defined
DRAWS_AT_ONCE = 32
DECIMALS = 6  # of what was resampled: chance has changed the third one already

WILSON, WILSON_CLUSTER, BOOTSTRAP = "wilson", "wilson_cluster", "bootstrap"


@dataclass(frozen=True)
class Interval:
    """low and high are None where there is none; note then says why."""

    low: float | None
    high: float | None
    method: str | None
    note: str | None = None


def none(note: str) -> Interval:
    return Interval(None, None, None, note)


def wilson(successes: float, count: float) -> tuple[float, float]:
    """Interval of a proportion of independent units.

    Args:
        successes, count: with count above 0; effective numbers may be fractions.
    Source: Wilson 1927, J Am Stat Assoc 22:209.
    """
    z2, share = stats.norm.ppf((1 + CONFIDENCE) / 2) ** 2, successes / count
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = np.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2))) / (1 + z2 / count)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))


def proportion(successes_P: np.ndarray, count_P: np.ndarray) -> Interval:
    """Interval of a proportion of units that belong to patients.

    Where no patient has more than one unit it is Wilson's. Else it is Wilson's at the effective number of units: the
    number of independent ones that would vary as much as the patients do, made smaller for few patients. A
    proportion of 0 or 1 does not show how much patients vary: each then counts as one unit.

    Source: Korn and Graubard 1998, Survey Methodology 24:193, around Wilson's interval.
    """
    here = count_P > 0
    x, m = successes_P[here].astype(float), count_P[here].astype(float)
    if not len(m):
        return none("nothing to count")
    if m.max() == 1:
        return Interval(*wilson(x.sum(), m.sum()), WILSON)
    if len(m) == 1:
        return none("units of one patient only")
    count, share = m.sum(), x.sum() / m.sum()
    effective = _effective_count(x, m)
    return Interval(*wilson(share * effective, effective), WILSON_CLUSTER, f"as {min(effective, count):.1f} units")


def _effective_count(x_P: np.ndarray, m_P: np.ndarray) -> float:
    num_patients, count, share = len(m_P), m_P.sum(), x_P.sum() / m_P.sum()
    variance = num_patients / (num_patients - 1) * ((x_P - share * m_P) ** 2).sum() / count**2
    if share in (0, 1):
        return float(num_patients)
    effective = share * (1 - share) / variance if variance > 0 else count
    quantile = (1 + CONFIDENCE) / 2
    few = (stats.t.ppf(quantile, count - 1) / stats.t.ppf(quantile, num_patients - 1)) ** 2
    return float(np.clip(effective * few, 1, count))


def blocks(num_draws: int) -> list[range]:
    """The numbers of all draws, as many together as fit into a processor's memory."""
    return [range(first, min(first + DRAWS_AT_ONCE, num_draws)) for first in range(0, num_draws, DRAWS_AT_ONCE)]


def draw(num_patients: int, numbers: range, seed: int) -> np.ndarray:
    """Patients drawn with replacement, as many as there are: how often each was, (b, P) float64.

    A draw follows from its number and the seed alone, so that blocks can be drawn in any order.
    """
    weight_BP = np.empty((len(numbers), num_patients))
    for row, number in zip(weight_BP, numbers, strict=True):
        drawn = np.random.default_rng([seed, number]).integers(num_patients, size=num_patients)
        row[:] = np.bincount(drawn, minlength=num_patients)
    return weight_BP


def bootstrap(value_B: np.ndarray, num_patients: int) -> Interval:
    """Percentile interval of a figure's value in every draw, NaN where it was undefined; wider for few patients.

    Source: Efron 1979; the expanded percentiles are those of Hesterberg 2015, Am Stat 69:371, section 4.
    """
    if num_patients < FEWEST_PATIENTS:
        return none(f"no interval from fewer than {FEWEST_PATIENTS} patients")
    known = value_B[~np.isnan(value_B)]
    if len(known) < FEWEST_DEFINED * len(value_B) or not len(known):
        return none(f"undefined in {len(value_B) - len(known)} of {len(value_B)} draws")
    if np.ptp(known) == 0:
        return none("the same in every draw, so resampling cannot tell")
    spread = np.sqrt(num_patients / (num_patients - 1)) * stats.t.ppf((1 - CONFIDENCE) / 2, num_patients - 1)
    tail = float(stats.norm.cdf(spread))
    low, high = np.quantile(known, [tail, 1 - tail])
    note = None if len(known) == len(value_B) else f"undefined in {len(value_B) - len(known)} of {len(value_B)} draws"
    return Interval(round(float(low), DECIMALS), round(float(high), DECIMALS), BOOTSTRAP, note)


def around(value: float, interval: Interval) -> Interval:
    """The interval of that figure; none where resampling moved it all to one side, as it does a calibration error."""
    half = 0.5 * 10**-DECIMALS  # by which the bounds were rounded
    if interval.low is None or interval.high is None or interval.low - half <= value <= interval.high + half:
        return interval
    return none("resampling shifts it by more than it spreads, so there is no interval")
