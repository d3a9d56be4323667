"""Figures with 95 % intervals: Wilson's for proportions, resampled patients for all else.

Axes: B draw, N unit, P patient. Slices of one patient resemble each other, so patients are what is resampled, and what
a proportion's interval counts.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy

from cac_hpc.results.figures import Figure

CONFIDENCE = 0.95
FEWEST_PATIENTS = 10  # below it, resampling says little about what other patients would have given
FEWEST_DEFINED = 0.9  # share of the draws in which a figure must be defined
DRAWS_AT_ONCE = 32
DECIMALS = 6  # of what was resampled: chance has changed the third one already

WILSON, WILSON_CLUSTER, BOOTSTRAP, BOOTSTRAP_LOGIT = "wilson", "wilson_cluster", "bootstrap", "bootstrap_logit"
STUDENT = "student"

# whose each unit is, an index: all of a patient's units are drawn together; and what is made of how often each unit
# occurs, from weights (b, N) to arrays (b, ...)
InDraws = tuple[np.ndarray, Callable[[np.ndarray], list[np.ndarray]]]


@dataclass(frozen=True)
class Interval:
    """low and high are None where there is none; note then says why."""

    low: float | None
    high: float | None
    method: str | None
    note: str | None = None


def none(note: str) -> Interval:
    return Interval(None, None, None, note)


CHANCE = none("to compare with")  # of a figure that guessing reaches


@functools.cache
def normal(quantile: float) -> float:
    """Of the normal distribution; a report asks for the same few a thousand times, and scipy takes 0.1 ms for each."""
    return float(scipy.stats.norm.ppf(quantile))


@functools.cache
def student(quantile: float, freedom: float) -> float:
    """Of Student's t with so many degrees of freedom."""
    return float(scipy.stats.t.ppf(quantile, freedom))


@functools.cache
def _normal_share(value: float) -> float:
    """How much of the normal distribution is below a value."""
    return float(scipy.stats.norm.cdf(value))


def wilson(successes: float, count: float) -> tuple[float, float]:
    """Interval of a proportion of independent units.

    Args:
        successes, count: with count above 0; effective numbers may be fractions.
    Source: Wilson 1927, J Am Stat Assoc 22:209.
    """
    z2, share = normal((1 + CONFIDENCE) / 2) ** 2, successes / count
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
    few = (student(quantile, count - 1) / student(quantile, num_patients - 1)) ** 2
    return float(np.clip(effective * few, 1, count))


def mean(total_P: np.ndarray, count_P: np.ndarray) -> Interval:
    """Interval of a mean over units that belong to patients: Student's t, by how much the patients differ.

    Args:
        total_P: sum over the units of each patient. count_P: how many units these are, 1 or more.
    """
    num_patients, count = len(count_P), count_P.sum()
    if num_patients < FEWEST_PATIENTS:
        return none(f"no interval from fewer than {FEWEST_PATIENTS} patients")
    value = total_P.sum() / count
    variance = num_patients / (num_patients - 1) * ((total_P - value * count_P) ** 2).sum() / count**2
    half = float(student((1 + CONFIDENCE) / 2, num_patients - 1) * np.sqrt(variance))
    return Interval(float(value) - half, float(value) + half, STUDENT)


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


def in_draws(parts: Sequence[InDraws], num_draws: int, seed: int) -> Iterator[np.ndarray]:
    """What each part makes of how often each unit occurs in draws of patients, joined over the draws, part after part.

    Parts of the same units are made of the same draws at once. Of too few patients nothing is drawn, so that what is
    made is empty.
    """
    patient_N = parts[0][0]
    if any(not np.array_equal(patient_N, other_N) for other_N, _ in parts[1:]):
        for part in parts:
            yield from in_draws([part], num_draws, seed)
        return

    def of(weight_BN: np.ndarray) -> list[np.ndarray]:
        return [found for _, of_part in parts for found in of_part(weight_BN)]

    num_patients = int(patient_N.max(initial=-1)) + 1
    each_once = np.array_equal(patient_N, np.arange(num_patients))
    if num_patients < FEWEST_PATIENTS:
        yield from of(np.zeros((0, len(patient_N))))
        return

    def block(numbers: range) -> list[np.ndarray]:
        weight_BP = draw(num_patients, numbers, seed)
        return of(weight_BP if each_once else np.take(weight_BP, patient_N, axis=1))

    with ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0)))) as pool:
        yield from map(np.concatenate, zip(*pool.map(block, blocks(num_draws)), strict=True))


def bootstrap(value_B: np.ndarray, num_patients: int) -> Interval:
    """Percentile interval of a figure's value in every draw, NaN where it was undefined; wider for few patients.

    Source: Efron 1979; the expanded percentiles are those of Hesterberg 2015, Am Stat 69:371, section 4.
    """
    if why := _not_from(value_B, num_patients):
        return none(why)
    known = value_B[~np.isnan(value_B)]
    spread = np.sqrt(num_patients / (num_patients - 1)) * student((1 - CONFIDENCE) / 2, num_patients - 1)
    tail = _normal_share(spread)
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(round(float(low), DECIMALS), round(float(high), DECIMALS), BOOTSTRAP, _undefined(value_B))


def bootstrap_logit(value: float, value_B: np.ndarray, num_patients: int) -> Interval:
    """Interval of a figure of 0 to 1 by its standard deviation over the draws, on the scale of log odds.

    Near 1, as AUROC often is, percentiles lie too high: what was drawn twice is in order with itself.

    Args:
        value: the figure. value_B: in every draw, NaN where it was undefined.
    Source: Boyd, Eng and Page 2013, ECML PKDD, of average precision; Kottas, Kuss and Zapf 2014, BMC Med Res Methodol
    14:26, of AUROC.
    """
    if why := _not_from(value_B, num_patients):
        return none(why)
    deviation = float(np.nanstd(value_B, ddof=1)) * np.sqrt(num_patients / (num_patients - 1))
    return on_logit(value, deviation * student((1 + CONFIDENCE) / 2, num_patients - 1), BOOTSTRAP_LOGIT, value_B)


def on_logit(value: float, half: float, method: str, value_B: np.ndarray | None = None) -> Interval:
    """Half a symmetric interval taken to both sides on the scale of log odds, where it cannot leave 0 to 1."""
    if not 0 < value < 1:
        return none("at its bound, so there is no interval")
    ends = scipy.special.expit(scipy.special.logit(value) + np.array([-half, half]) / (value * (1 - value)))
    low, high = (round(float(end), DECIMALS) for end in ends)
    return Interval(low, high, method, None if value_B is None else _undefined(value_B))


def _not_from(value_B: np.ndarray, num_patients: int) -> str | None:
    """Why there is no interval from these draws, if there is none."""
    if num_patients < FEWEST_PATIENTS:
        return f"no interval from fewer than {FEWEST_PATIENTS} patients"
    known = value_B[~np.isnan(value_B)]
    if len(known) < FEWEST_DEFINED * len(value_B) or not len(known):
        return _undefined(value_B)
    return "the same in every draw, so resampling cannot tell" if np.ptp(known) == 0 else None


def _undefined(value_B: np.ndarray) -> str | None:
    count = int(np.isnan(value_B).sum())
    return f"undefined in {count} of {len(value_B)} draws" if count or not len(value_B) else None


def around(value: float, interval: Interval) -> Interval:
    """The interval of that figure; none where resampling moved it all to one side, as it does a calibration error."""
    half = 0.5 * 10**-DECIMALS  # by which the bounds were rounded
    if interval.low is None or interval.high is None or interval.low - half <= value <= interval.high + half:
        return interval
    return none("resampling shifts it by more than it spreads, so there is no interval")


def without_value(n: int, note: str) -> Figure:
    """A figure that is undefined, and why."""
    return Figure(value=None, n=n, low=None, high=None, interval=None, note=note)


def figure(value: float, n: int, undefined: str, interval: Interval, note: str | None = None) -> Figure:
    """One number as the report gives it, with the notes of value and interval.

    Args:
        undefined: why there is no value, if it is NaN.
    """
    if np.isnan(value):
        return without_value(n, undefined)
    interval = around(value, interval)
    notes = "; ".join(filter(None, (note, interval.note))) or None
    return Figure(float(value), n, interval.low, interval.high, interval.method, notes)
