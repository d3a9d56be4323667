"""Folds are made: patients, or slices, are divided into training, validation and test, stratified on categories.

Folds that divide slices leak and are for contrast runs alone (split.unit: slice).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby
from operator import itemgetter

import numpy as np

from cac_hpc.dataset import splits
from cac_hpc.dataset.held_out import Groups
from cac_hpc.dataset.splits import Fold
from cac_hpc.run.logs import amount
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.split import SplitConfig


def make_folds(
    patient: Mapping[str, str],
    category: Mapping[str, int],
    cfg: SplitConfig,
    slices: Mapping[str, int] | None = None,
    groups: Groups | None = None,
) -> list[Fold]:
    """Divide the patients; a patient's studies stay together, and count with the highest of their categories.

    `kfold` tests each patient once and takes the validation patients from the rest; `holdout` draws the three parts
    anew for every fold; `leave_one_out` tests one group of patients in each fold and takes the validation patients from
    the other groups. Under split.unit slice the same is done with slices, each study giving its share.

    Args:
        patient, category: of each study, by study number.
        slices: their number in each study, which split.unit slice alone needs.
        groups: of patients, on which `kfold` and `holdout` are stratified, too, within each category.
    Raises: InputError if there are too few patients, or slices, for the scheme.
    """
    if cfg.unit == "slice":
        assert slices is not None, "slices are divided when their numbers are known"
        return _divide_slices(slices, category, cfg)
    studies, patients, target = _by_patient(patient, category)
    if cfg.scheme == "leave_one_out":
        assert groups is not None, "split.group names them"
        parts = _leave_one_out(patients, target, groups, patient, cfg)
    else:
        if len(patients) < cfg.folds:
            raise InputError(
                f"split.folds is {cfg.folds}, but the labels name only {amount(len(patients), 'patient')}; "
                "wanted at least one patient per fold"
            )
        target = target if groups is None else _within_category(patients, target, groups, patient)
        parts = (_kfold if cfg.scheme == "kfold" else _holdout)(target, cfg)
    folds = [Fold(*(_studies_of(part, studies) for part in three)) for three in parts]
    splits.check_folds(folds, patient, cfg.scheme, groups)
    return folds


def _within_category(
    patients: np.ndarray, target: np.ndarray, groups: Groups, patient: Mapping[str, str]
) -> np.ndarray:
    """A number for each category and group, in the order of the categories."""
    group_of = groups.of_patients(patient)
    names, group = np.unique([group_of[name] for name in patients], return_inverse=True)
    return np.asarray(target * len(names) + group)


def _by_patient(
    patient: Mapping[str, str], category: Mapping[str, int]
) -> tuple[list[list[str]], np.ndarray, np.ndarray]:
    """The studies of each patient, the patients in order, and of each the highest category of its studies."""
    studies: dict[str, list[str]] = {}
    for study, owner in patient.items():
        studies.setdefault(owner, []).append(study)
    patients = sorted(studies)
    each = [studies[name] for name in patients]
    return each, np.array(patients), np.array([max(map(category.__getitem__, own)) for own in each])


def _studies_of(part: np.ndarray, studies: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The studies of some patients.

    Args:
        part: places of these patients. studies: of every patient.
    """
    return tuple(sorted(chain.from_iterable(map(studies.__getitem__, part.tolist()))))


def inner_divisions(
    patient: Mapping[str, str], category: Mapping[str, int], count: int, seed: int, fold: int
) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Divide the patients that a fold does not test so often into training and validation: each validates once.

    Args:
        patient, category: of each study, by study number.
    Returns: the study numbers of both, sorted, of each division.
    Raises: InputError if there are fewer patients than divisions.
    """
    studies, patients, target = _by_patient(patient, category)
    if len(patients) < count:
        raise InputError(
            f"trials.inner_folds is {count}, but fold {fold} has {amount(len(patients), 'patient')} for training "
            f"and validation; wanted at least one per inner fold: at most {len(patients)}"
        )
    order, everybody = _by_category(target, np.random.default_rng([seed, fold])), np.arange(len(target))
    parts = [(_without(everybody, order[index::count]), order[index::count]) for index in range(count)]
    return [tuple(_studies_of(part, studies) for part in two) for two in parts]  # type: ignore[misc]


def _divide_slices(slices: Mapping[str, int], category: Mapping[str, int], cfg: SplitConfig) -> list[Fold]:
    """Deal the slices, study after study in the order of their categories."""
    studies = sorted(slices, key=lambda study: (category[study], study))
    target = np.repeat(np.arange(len(studies)), [slices[study] for study in studies])
    members = [(study, at) for study in studies for at in range(slices[study])]
    parts = (_kfold if cfg.scheme == "kfold" else _holdout)(target, cfg)
    folds = [Fold(*(_by_study([members[row] for row in part]) for part in three)) for three in parts]
    splits.check_slice_folds(folds, slices, cfg.scheme)
    return folds


def _by_study(members: Sequence[tuple[str, int]]) -> dict[str, tuple[int, ...]]:
    return {study: tuple(at for _, at in group) for study, group in groupby(sorted(members), key=itemgetter(0))}


def _kfold(target: np.ndarray, cfg: SplitConfig) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Deal the patients to the folds' test parts, category by category; validation patients come from the rest."""
    order, everybody = _by_category(target, np.random.default_rng(cfg.seed)), np.arange(len(target))
    for index in range(cfg.folds):
        test = order[index :: cfg.folds]
        rest, rng = _without(everybody, test), np.random.default_rng([cfg.seed, index])
        yield *_train_and_val(rest, target, len(target) * cfg.val_fraction, rng), test


def _holdout(target: np.ndarray, cfg: SplitConfig) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Independent draws of the three parts."""
    everybody = np.arange(len(target))
    for index in range(cfg.folds):
        rng = np.random.default_rng([cfg.seed, index])
        test = _draw(everybody, target, len(target) * cfg.test_fraction, rng)
        rest = _without(everybody, test)
        yield *_train_and_val(rest, target, len(target) * cfg.val_fraction, rng), test


def _leave_one_out(
    patients: np.ndarray, target: np.ndarray, groups: Groups, patient: Mapping[str, str], cfg: SplitConfig
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Test the patients of one group alone after the other; whoever has a study of it, too, is left out there."""
    each = groups.all_of_patients(patient)
    for index, name in enumerate(groups.tested):
        alone = np.array([each[one] == {name} for one in patients])
        rest = np.flatnonzero([name not in each[one] for one in patients])
        rng = np.random.default_rng([cfg.seed, index])
        yield *_train_and_val(rest, target, len(rest) * cfg.val_fraction, rng), np.flatnonzero(alone)


def _train_and_val(
    rest: np.ndarray, target: np.ndarray, num_val: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    val = _draw(rest, target, num_val, rng)
    return _without(rest, val), val


def _without(members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The members, in their order, that are none of the others."""
    return np.asarray(members[~np.isin(members, others)])


def _draw(members: np.ndarray, target: np.ndarray, number: float, rng: np.random.Generator) -> np.ndarray:
    """So many patients, rounded, at even distances through the members by category: each gives its share."""
    count = min(len(members), round(number))
    places = ((np.arange(count) + rng.uniform()) * len(members) / max(count, 1)).astype(int)
    return np.asarray(members[_by_category(target[members], rng)[places]])


def _by_category(target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions in the order of their category, within a category in random order."""
    shuffled: np.ndarray = rng.permutation(len(target))
    return np.asarray(shuffled[np.argsort(target[shuffled], kind="stable")])
