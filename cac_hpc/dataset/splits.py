"""Patient-exclusive folds, stratified on the patients' categories and written once.

Folds that divide slices leak and are for contrast runs alone (split.unit: slice).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from cac_hpc.dataset import held_out
from cac_hpc.dataset.held_out import Groups
from cac_hpc.run import causes, digests, disk, result_files, task_states
from cac_hpc.run.causes import NEW_RUN, RESUME, Cause
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.split import SplitConfig

Part: TypeAlias = "tuple[str, ...] | Mapping[str, tuple[int, ...]]"  # whole studies, or some slices of each


@dataclass(frozen=True)
class Fold:
    """The study numbers of one fold's three parts, sorted; where slices are divided, each with its slices there."""

    train: Part
    val: Part
    test: Part

    @property
    def parts(self) -> dict[str, Part]:
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def by_slice(self) -> bool:
        return isinstance(self.test, Mapping)


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
                f"split.folds is {cfg.folds}, but the labels name only {len(patients)} patients; "
                "wanted at least one patient per fold"
            )
        target = target if groups is None else _within_category(patients, target, groups, patient)
        parts = (_kfold if cfg.scheme == "kfold" else _holdout)(target, cfg)
    folds = [Fold(*(_studies_of(patients[part], studies) for part in three)) for three in parts]
    check_folds(folds, patient, cfg.scheme, groups)
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
) -> tuple[dict[str, list[str]], np.ndarray, np.ndarray]:
    """The studies of each patient, the patients in order, and of each the highest category of its studies."""
    studies: dict[str, list[str]] = {}
    for study, owner in patient.items():
        studies.setdefault(owner, []).append(study)
    patients = np.array(sorted(studies))
    return studies, patients, np.array([max(category[study] for study in studies[name]) for name in patients])


def _studies_of(patients: np.ndarray, studies: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(sorted(study for name in patients for study in studies[name]))


def check_folds(folds: Sequence[Fold], patient: Mapping[str, str], scheme: str, groups: Groups | None = None) -> None:
    """No patient in two parts of a fold, no empty part; `kfold` tests each study exactly once, and `leave_one_out` each
    one of the groups that have a fold, in a fold that learns nothing of its group.

    Raises: InputError naming fold and patients.
    """
    for index, fold in enumerate(folds):
        parts = {name: {patient[study] for study in studies} for name, studies in fold.parts.items()}
        if empty := [name for name, members in parts.items() if not members]:
            where = f"fold {index} has no patient in its {' and '.join(empty)} part"
            change = "change split.val_fraction, or lower split.folds"
            if scheme == "leave_one_out" and groups:
                where += f", whose group is {groups.tested[index]!r}"
                change = "change split.val_fraction, or raise split.smallest_group in a new run"
            raise InputError(f"{where}, wanted at least one each; {change}")
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            if shared := parts[one] & parts[other]:
                raise InputError(
                    f"fold {index}: patients {sorted(shared)} are in {one} and {other}, wanted in one part"
                )
    tested = Counter(study for fold in folds for study in fold.test)
    if scheme == "kfold" and tested != Counter(patient.keys()):
        wrong = sorted(study for study in patient if tested[study] != 1)
        raise InputError(f"kfold: studies {wrong[:10]} are not tested exactly once")
    if scheme == "leave_one_out":
        assert groups is not None, "split.group names them"
        _check_held_out(folds, patient, groups)


def _check_held_out(folds: Sequence[Fold], patient: Mapping[str, str], groups: Groups) -> None:
    """Fold K tests the patients who are of group K alone, and learns of no study of that group."""
    group_of = groups.of_patients(patient)
    if len(folds) != len(groups.tested):
        raise InputError(f"leave_one_out: found {len(folds)} folds, wanted {len(groups.tested)}, one for each group")
    for index, (fold, name) in enumerate(zip(folds, groups.tested, strict=True)):
        seen = [study for study in (*fold.train, *fold.val) if groups.of_study[study] == name]
        if seen:
            raise InputError(f"fold {index} tests the group {name!r}, but learns of its studies {sorted(seen)[:10]}")
        if wrong := set(fold.test) ^ {study for study, owner in patient.items() if group_of[owner] == name}:
            raise InputError(f"fold {index}: studies {sorted(wrong)[:10]} are not in the test part of their group")


def check_slice_folds(folds: Sequence[Fold], slices: Mapping[str, int], scheme: str) -> None:
    """Every slice in one part of each fold, no empty part, and under `kfold` each slice tested exactly once.

    Args:
        slices: their number in each study.
    Raises: InputError naming fold and slices.
    """
    everything = Counter((study, at) for study, count in slices.items() for at in range(count))
    for index, fold in enumerate(folds):
        parts = {name: slices_of(part) for name, part in fold.parts.items()}
        if empty := [name for name, members in parts.items() if not members]:
            raise InputError(f"fold {index} has no slice in its {' and '.join(empty)} part, wanted at least one each")
        if wrong := _unlike(Counter(chain(*parts.values())), everything):
            raise InputError(f"fold {index}: slices {wrong[:10]} are not in exactly one part")
    tested = Counter(chain(*(slices_of(fold.test) for fold in folds)))
    if scheme == "kfold" and (wrong := _unlike(tested, everything)):
        raise InputError(f"kfold: slices {wrong[:10]} are not tested exactly once")


def slices_of(part: Part) -> list[tuple[str, int]]:
    """The slices of a part that is made of slices, as study and number."""
    assert isinstance(part, Mapping)
    return [(study, at) for study, numbers in part.items() for at in numbers]


def count_slices(fold: Fold, category: Mapping[str, int], num_categories: int) -> tuple[tuple[int, int, int], ...]:
    """Of each category, the slices in the training, validation and test part of a fold that divides slices."""
    parts = [Counter(category[study] for study, _ in slices_of(part)) for part in fold.parts.values()]
    return tuple((parts[0][number], parts[1][number], parts[2][number]) for number in range(num_categories))


def count_patients(
    fold: Fold, patient: Mapping[str, str], category: Mapping[str, int], num_categories: int
) -> tuple[tuple[int, int, int], ...]:
    """Of each category, the patients in the training, validation and test part; by the highest of their studies."""
    counts = []
    for studies in fold.parts.values():
        highest: dict[str, int] = {}
        for study in studies:
            highest[patient[study]] = max(category[study], highest.get(patient[study], 0))
        counts.append([list(highest.values()).count(number) for number in range(num_categories)])
    return tuple(zip(*counts, strict=True))


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
            f"trials.inner_folds is {count}, but fold {fold} has {len(patients)} patients for training and validation; "
            f"wanted at least one per inner fold: at most {len(patients)}"
        )
    order = _by_category(target, np.random.default_rng([seed, fold]))
    parts = [(np.setdiff1d(order, order[index::count]), order[index::count]) for index in range(count)]
    return [tuple(_studies_of(patients[part], studies) for part in two) for two in parts]  # type: ignore[misc]


def write_splits(
    path: Path,
    folds: Sequence[Fold],
    cfg: SplitConfig,
    studies_sha256: str,
    trials_sha256: Sequence[str] = (),
    groups_sha256: str | None = None,
) -> None:
    """Write splits.json, once: folds that are already there must be these.

    Args:
        trials_sha256: of the studies.csv of each fold's trials. groups_sha256: of groups.json, where there is one.
    Raises: InputError if the file is damaged or holds other folds.
    """
    content = {
        **({"unit": cfg.unit} if cfg.unit != "patient" else {}),
        "scheme": cfg.scheme,
        "seed": cfg.seed,
        "studies_sha256": studies_sha256,
        **({"trials_sha256": list(trials_sha256)} if trials_sha256 else {}),
        **({"groups_sha256": groups_sha256} if groups_sha256 else {}),
        "folds": [{name: _to_json(part) for name, part in fold.parts.items()} for fold in folds],
    }
    if not path.exists():
        disk.write_json(path, content)
    elif result_files.read_kept(path, ["folds"]) != content:
        raise InputError(f"{path}: holds other folds than the settings and studies give; use a new run folder")


def read_splits(path: Path) -> list[Fold]:
    """Read the folds back.

    Raises: InputError if the run has none yet, or they are damaged.
    """
    if not path.is_file():
        raise InputError(_why_missing(path))
    content = result_files.read_kept(path, ["folds", "studies_sha256"])
    by_slice = content.get("unit") == "slice"
    try:
        return [Fold(**{name: _from_json(part, by_slice) for name, part in fold.items()}) for fold in content["folds"]]
    except (AttributeError, TypeError, ValueError):
        raise InputError(causes.error(f"{path}: damaged; delete it", RESUME)) from None


def read_groups(run: RunPaths) -> Groups | None:
    """The groups of patients that the folds were made with; None if there are none.

    Raises: InputError if they are not as they were then.
    """
    wanted = result_files.read_kept(run.splits, ["folds"]).get("groups_sha256")
    if wanted is None:
        return None
    groups = held_out.read(run.groups)
    if digests.file_sha256(run.groups) != wanted:
        raise InputError(causes.error(f"{run.groups}: not the groups that {run.splits.name} was made with", NEW_RUN))
    return groups


def _why_missing(path: Path) -> Cause | str:
    """Why a run has no folds: its seal failed, or was not made."""
    seal = next((state for state in task_states.survey(RunPaths(path.parent)) if state.stage == "seal"), None)
    if seal is None or seal.state != "failed" or seal.cause is None:
        return f"{path}: not there, wanted the folds; run the pack stage first (jobs/pack.py)"
    words = f"{path}: missing, because stage seal failed: {causes.sentence(seal.cause)}"
    return causes.error(words, seal.cause.help or RESUME)


def _to_json(part: Part) -> list[str] | dict[str, str]:
    """Studies as a list, slices as one line for each study."""
    if isinstance(part, Mapping):
        return {study: " ".join(map(str, numbers)) for study, numbers in part.items()}
    return list(part)


def _from_json(part: Any, by_slice: bool) -> Part:
    if by_slice:
        return {study: tuple(map(int, numbers.split())) for study, numbers in part.items()}
    return tuple(part)


def _unlike(found: Counter[tuple[str, int]], wanted: Counter[tuple[str, int]]) -> list[tuple[str, int]]:
    """The slices that are counted differently."""
    return [] if found == wanted else sorted(key for key in {**found, **wanted} if found[key] != wanted[key])


def _divide_slices(slices: Mapping[str, int], category: Mapping[str, int], cfg: SplitConfig) -> list[Fold]:
    """Deal the slices, study after study in the order of their categories."""
    studies = sorted(slices, key=lambda study: (category[study], study))
    target = np.repeat(np.arange(len(studies)), [slices[study] for study in studies])
    members = [(study, at) for study in studies for at in range(slices[study])]
    parts = (_kfold if cfg.scheme == "kfold" else _holdout)(target, cfg)
    folds = [Fold(*(_by_study([members[row] for row in part]) for part in three)) for three in parts]
    check_slice_folds(folds, slices, cfg.scheme)
    return folds


def _by_study(members: Sequence[tuple[str, int]]) -> dict[str, tuple[int, ...]]:
    return {study: tuple(at for _, at in group) for study, group in groupby(sorted(members), key=itemgetter(0))}


def _kfold(target: np.ndarray, cfg: SplitConfig) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Deal the patients to the folds' test parts, category by category; validation patients come from the rest."""
    order = _by_category(target, np.random.default_rng(cfg.seed))
    for index in range(cfg.folds):
        test = order[index :: cfg.folds]
        rest, rng = np.setdiff1d(order, test), np.random.default_rng([cfg.seed, index])
        yield *_train_and_val(rest, target, len(target) * cfg.val_fraction, rng), test


def _holdout(target: np.ndarray, cfg: SplitConfig) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Independent draws of the three parts."""
    everybody = np.arange(len(target))
    for index in range(cfg.folds):
        rng = np.random.default_rng([cfg.seed, index])
        test = _draw(everybody, target, len(target) * cfg.test_fraction, rng)
        rest = np.setdiff1d(everybody, test)
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
    return np.setdiff1d(rest, val), val


def _draw(members: np.ndarray, target: np.ndarray, number: float, rng: np.random.Generator) -> np.ndarray:
    """So many patients, rounded, at even distances through the members by category: each gives its share."""
    count = min(len(members), round(number))
    places = ((np.arange(count) + rng.uniform()) * len(members) / max(count, 1)).astype(int)
    return np.asarray(members[_by_category(target[members], rng)[places]])


def _by_category(target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions in the order of their category, within a category in random order."""
    shuffled: np.ndarray = rng.permutation(len(target))
    return np.asarray(shuffled[np.argsort(target[shuffled], kind="stable")])
