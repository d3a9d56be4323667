"""Figures of groups of patients, and the difference of each group from all others of the same fact.

Groups of a fact have nobody in common, so a difference follows from the interval of each side, without draws. Every
interval is one that small groups can have; coverage for 10 to 40 patients: docs/report.md. Axes: N unit, P patient, K
category, Q kind of patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from cac_hpc.results.figures import Difference, Figure
from cac_hpc.results.groups import Subgroup, SubgroupFact, Subgroups
from cac_hpc.statistics import agreement, cuts, intervals, unpaired
from cac_hpc.statistics.cuts import Judge
from cac_hpc.statistics.intervals import CONFIDENCE, FEWEST_PATIENTS, Interval, figure, without_value
from cac_hpc.statistics.metrics import ONE_CATEGORY
from cac_hpc.statistics.pooling import Units

ACCURACY, KAPPA, ERROR = "accuracy", "kappa_quadratic", "category_error"
SENSITIVITY, SPECIFICITY = "sensitivity", "specificity"
JACKKNIFE_Z, ADJUSTED_T = "jackknife_z", "adjusted_t"
ROLES = ("all others", "group")
NO_VARIANCE = 1e-20  # of kappa: as of a group who are all put in one category, whose kappa is 0 whoever is left out
FEW = f"fewer than {FEWEST_PATIENTS} patients: counted, not judged"
Share = tuple[np.ndarray, np.ndarray]  # of each patient: how many units have it, of how many, (P,)


@dataclass(frozen=True)
class Grouping:
    """Which patients are of which group, by a fact.

    group_P: index of each patient's group, -1 of none. several, withheld, unknown: patients of no group, and why.
    """

    fact: str
    names: Sequence[str]
    group_P: np.ndarray
    several: int
    withheld: int
    unknown: int


@dataclass(frozen=True)
class _Patients:
    """What each patient's tests come down to.

    shares: by the name of a figure. error: sum of signed category errors, and tests, (P,). matrix_QKK, kind_P: the
    confusion matrices that patients have, and which of them each has.
    """

    shares: Mapping[str, Share]
    error: Share
    matrix_QKK: np.ndarray
    kind_P: np.ndarray


def subgroups(
    model: Judge, groupings: Sequence[Grouping], edges: Sequence[float], at: Sequence[float], unit: str
) -> Subgroups:
    """Every figure of every group.

    Args:
        model: on all patients that were tested. edges: of the categories, as in labels.edges. at: the cuts.
        unit: in words.
    """
    patients = _patients(model, edges, at)
    facts = [_fact(patients, one) for one in groupings]
    compared = [one for fact in facts for one in _different(fact)]
    return Subgroups(
        unit=unit,
        fewest=FEWEST_PATIENTS,
        facts=facts,
        comparisons=len(compared),
        excluding_0=sum(low > 0 or high < 0 for low, high in compared),
        by_chance=round((1 - CONFIDENCE) * len(compared), 2),
    )


def _different(fact: SubgroupFact) -> list[tuple[float, float]]:
    """Limits of all differences; of two groups one is the other with its sign changed, and counts once."""
    groups = fact.groups[:1] if len(fact.groups) == 2 else fact.groups
    limits = [(one.low, one.high) for group in groups for one in group.differences.values()]
    return [(low, high) for low, high in limits if low is not None and high is not None]


def _patients(model: Judge, edges: Sequence[float], at: Sequence[float]) -> _Patients:
    units = model.units
    everyone, error_N = np.ones(len(units.label)), (units.predicted - units.label).astype(float)
    shares = {ACCURACY: _by_patient(units, units.predicted == units.label, everyone)}
    for score in at:
        truth = cuts.truth(score, units.label, units.score, edges)
        decided = model.decides(truth.cut, edges)
        if truth.event is not None and decided is not None:
            shares[f"{SENSITIVITY}_{score:g}"] = _by_patient(units, truth.event & decided, truth.event)
            shares[f"{SPECIFICITY}_{score:g}"] = _by_patient(units, ~truth.event & ~decided, ~truth.event)
    return _Patients(shares, _by_patient(units, error_N, everyone), *_kinds(units))


def _by_patient(units: Units, part_N: np.ndarray, whole_N: np.ndarray) -> Share:
    part, whole = (np.bincount(units.patient, one, units.num_patients) for one in (part_N, whole_N))
    return part, whole


def _kinds(units: Units) -> tuple[np.ndarray, np.ndarray]:
    """The confusion matrices of patients, each once, (Q, K, K), and which each patient has, (P,)."""
    num_patients, num_categories = units.num_patients, units.num_categories
    cell_N = units.label * num_categories + units.predicted
    if len(cell_N) == num_patients:  # each was tested once
        kinds, kind_N = np.unique(cell_N, return_inverse=True)
        kind_P = np.empty(num_patients, int)
        kind_P[units.patient] = kind_N
        return np.eye(num_categories**2)[kinds].reshape(-1, num_categories, num_categories), kind_P
    size = num_patients * num_categories**2
    counts = np.bincount(units.patient * num_categories**2 + cell_N, minlength=size).reshape(num_patients, -1)
    rows, kind_P = np.unique(counts, axis=0, return_inverse=True)
    return rows.reshape(-1, num_categories, num_categories).astype(float), kind_P.ravel()


def _fact(patients: _Patients, grouping: Grouping) -> SubgroupFact:
    group_P, count = grouping.group_P, len(grouping.names)
    sizes = np.bincount(group_P[group_P >= 0], minlength=count)
    groups = [
        _group(patients, name, np.flatnonzero(group_P == index), np.flatnonzero((group_P != index) & (group_P >= 0)))
        for index, name in enumerate(grouping.names)
        if sizes[index]
    ]
    return SubgroupFact(grouping.fact, groups, grouping.several, grouping.withheld, grouping.unknown)


def _group(patients: _Patients, name: str, own: np.ndarray, others: np.ndarray) -> Subgroup:
    """Args:
    own, others: indices of the patients of the group, and of the other groups of the fact.
    """
    figures, rest = _figures(patients, own), _figures(patients, others)
    judged = len(own) >= FEWEST_PATIENTS
    differences: dict[str, Difference] = {}
    if judged and len(others) >= FEWEST_PATIENTS:
        differences = {key: unpaired.difference(rest[key], one, ROLES) for key, one in figures.items()}
    return Subgroup(name, len(own), judged, figures if judged else {}, differences)


def _figures(patients: _Patients, chosen: np.ndarray) -> dict[str, Figure]:
    """Figures of some patients, those of too few without a value."""
    sums, tests = (column[chosen] for column in patients.error)
    shares = {name: _share(part[chosen], whole[chosen]) for name, (part, whole) in patients.shares.items()}
    found = {ACCURACY: shares.pop(ACCURACY), KAPPA: _kappa(patients, chosen), ERROR: _mean_error(sums, tests)}
    return found | shares


def _share(part_P: np.ndarray, whole_P: np.ndarray) -> Figure:
    count = int(whole_P.sum())
    if np.count_nonzero(whole_P) < FEWEST_PATIENTS:
        return without_value(count, FEW)
    return figure(part_P.sum() / count, count, FEW, intervals.proportion(part_P, whole_P))


def _mean_error(sum_P: np.ndarray, tests_P: np.ndarray) -> Figure:
    """Mean signed category error; its interval is Student's after half a patient was added who is off by 1, either way.

    Without them a group in which nobody, or one, is off would seem sure of its mean. Where patients were tested more
    than once it is a ratio of sums.

    Source: Bonett and Price 2012, J Educ Behav Stat 37:479, who add whole ones; halves are what Jeffreys' prior adds to
    proportions, and cover as stated in docs/report.md.
    """
    count, tests = len(sum_P), float(tests_P.sum())
    if count < FEWEST_PATIENTS:
        return without_value(int(tests), FEW)
    usual = tests / count  # tests of an added patient
    middle = float(sum_P.sum()) / (tests + usual)
    squares = ((sum_P - middle * tests_P) ** 2).sum() + usual**2 * ((1 - middle) ** 2 + (1 + middle) ** 2) / 2
    error = np.sqrt((count + 1) / count * squares) / (tests + usual)
    half = float(error * scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1))
    found = Interval(round(middle - half, intervals.DECIMALS), round(middle + half, intervals.DECIMALS), ADJUSTED_T)
    return figure(float(sum_P.sum()) / tests, int(tests), FEW, found)


def _kappa(patients: _Patients, chosen: np.ndarray) -> Figure:
    """Quadratic kappa, its interval by leaving out each patient once, on Fisher's scale.

    Source: Efron and Stein 1981 (jackknife); Lin 1989, Biometrics 45:255, for the scale: quadratic kappa is his
    concordance correlation of the category numbers.
    """
    count_Q = np.bincount(patients.kind_P[chosen], minlength=len(patients.matrix_QKK))
    there = np.flatnonzero(count_Q)
    total = np.tensordot(count_Q, patients.matrix_QKK, axes=1)
    n, count = int(total.sum()), len(chosen)
    if count < FEWEST_PATIENTS:
        return without_value(n, FEW)
    value = float(agreement.kappa(total, 2))
    without = agreement.kappa(total - patients.matrix_QKK[there], 2)
    return figure(value, n, ONE_CATEGORY, _on_fisher(value, without, count_Q[there], count))


def _on_fisher(value: float, without_Q: np.ndarray, count_Q: np.ndarray, count: int) -> Interval:
    """Args:
    without_Q: the value without one patient of each kind. count_Q: patients of each kind.
    """
    if np.isnan(value) or np.isnan(without_Q).any():
        return intervals.none("undefined without one of the patients, so there is no interval")
    if not -1 < value < 1:
        return intervals.none("at its bound, so there is no interval")
    mean = (count_Q * without_Q).sum() / count
    variance = (count - 1) / count * (count_Q * (without_Q - mean) ** 2).sum()
    if variance < NO_VARIANCE:
        return intervals.none("the same without any one of the patients, so there is no interval")
    half = np.sqrt(variance) / (1 - value**2) * scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
    low, high = (round(float(end), intervals.DECIMALS) for end in np.tanh(np.arctanh(value) + half * np.array([-1, 1])))
    return Interval(low, high, JACKKNIFE_Z)
