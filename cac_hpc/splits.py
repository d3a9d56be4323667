"""Patient-exclusive folds, stratified on the patients' categories and written once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cac_hpc import paths
from cac_hpc.config import InputError, SplitConfig


@dataclass(frozen=True)
class Fold:
    """The study numbers of one fold's three parts, sorted."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def make_folds(patient: Mapping[str, str], category: Mapping[str, int], cfg: SplitConfig) -> list[Fold]:
    """Divide the patients; a patient's studies stay together, and count with the highest of their categories.

    `kfold` tests each patient once and takes the validation patients from the rest; `holdout` draws the three parts
    anew for every fold.

    Args:
        patient, category: of each study, by study number.
    Raises: InputError if there are too few patients for the scheme.
    """
    studies: dict[str, list[str]] = {}
    for study, owner in patient.items():
        studies.setdefault(owner, []).append(study)
    patients = np.array(sorted(studies))
    if len(patients) < cfg.folds:
        raise InputError(
            f"split.folds is {cfg.folds}, but the labels name only {len(patients)} patients; "
            "wanted at least one patient per fold"
        )
    target = np.array([max(category[study] for study in studies[name]) for name in patients])
    parts = (_kfold if cfg.scheme == "kfold" else _holdout)(target, cfg)
    folds = [
        Fold(
            *(tuple(sorted(study for name in patients[part] for study in studies[name])) for part in (train, val, test))
        )
        for train, val, test in parts
    ]
    check_folds(folds, patient, cfg.scheme)
    return folds


def check_folds(folds: Sequence[Fold], patient: Mapping[str, str], scheme: str) -> None:
    """No patient in two parts of a fold, no empty part, and under `kfold` each study tested exactly once.

    Raises: InputError naming fold and patients.
    """
    for index, fold in enumerate(folds):
        parts = {name: {patient[study] for study in studies} for name, studies in asdict(fold).items()}
        if empty := [name for name, members in parts.items() if not members]:
            raise InputError(f"fold {index} has no patient in its {' and '.join(empty)} part, wanted at least one each")
        for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
            if shared := parts[one] & parts[other]:
                raise InputError(
                    f"fold {index}: patients {sorted(shared)} are in {one} and {other}, wanted in one part"
                )
    tested = Counter(study for fold in folds for study in fold.test)
    if scheme == "kfold" and tested != Counter(patient.keys()):
        wrong = sorted(study for study in patient if tested[study] != 1)
        raise InputError(f"kfold: studies {wrong[:10]} are not tested exactly once")


def count_patients(
    fold: Fold, patient: Mapping[str, str], category: Mapping[str, int], num_categories: int
) -> tuple[tuple[int, int, int], ...]:
    """Of each category, the patients in the training, validation and test part; by the highest of their studies."""
    counts = []
    for studies in (fold.train, fold.val, fold.test):
        highest: dict[str, int] = {}
        for study in studies:
            highest[patient[study]] = max(category[study], highest.get(patient[study], 0))
        counts.append([list(highest.values()).count(number) for number in range(num_categories)])
    return tuple(zip(*counts, strict=True))


def write_splits(path: Path, folds: Sequence[Fold], cfg: SplitConfig, studies_sha256: str) -> None:
    """Write splits.json, once: folds that are already there must be these.

    Raises: InputError if the file holds other folds.
    """
    content = {
        "scheme": cfg.scheme,
        "seed": cfg.seed,
        "studies_sha256": studies_sha256,
        "folds": [{name: list(part) for name, part in asdict(fold).items()} for fold in folds],
    }
    if not path.exists():
        paths.write_json(path, content)
    elif paths.read_json(path) != content:
        raise InputError(f"{path}: holds other folds than the settings and studies give; use a new run folder")


def read_splits(path: Path) -> list[Fold]:
    """Read the folds back.

    Raises: InputError if the run has none yet.
    """
    if not path.is_file():
        raise InputError(f"{path}: not there, wanted the folds; run the pack stage first (jobs/pack.py)")
    return [Fold(**{name: tuple(part) for name, part in fold.items()}) for fold in paths.read_json(path)["folds"]]


def _kfold(target: np.ndarray, cfg: SplitConfig) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Deal the patients to the folds' test parts, category by category; validation patients come from the rest."""
    order = _by_category(target, np.random.default_rng(cfg.seed))
    for index in range(cfg.folds):
        test = order[index :: cfg.folds]
        yield *_train_and_val(np.setdiff1d(order, test), target, cfg, np.random.default_rng([cfg.seed, index])), test


def _holdout(target: np.ndarray, cfg: SplitConfig) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Independent draws of the three parts."""
    everybody = np.arange(len(target))
    for index in range(cfg.folds):
        rng = np.random.default_rng([cfg.seed, index])
        test = _draw(everybody, target, cfg.test_fraction, rng)
        yield *_train_and_val(np.setdiff1d(everybody, test), target, cfg, rng), test


def _train_and_val(
    rest: np.ndarray, target: np.ndarray, cfg: SplitConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    val = _draw(rest, target, cfg.val_fraction, rng)
    return np.setdiff1d(rest, val), val


def _draw(members: np.ndarray, target: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """A fraction of all patients, at even distances through the members by category: each gives its share."""
    count = min(len(members), round(len(target) * fraction))
    places = ((np.arange(count) + rng.uniform()) * len(members) / max(count, 1)).astype(int)
    return np.asarray(members[_by_category(target[members], rng)[places]])


def _by_category(target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions in the order of their category, within a category in random order."""
    shuffled: np.ndarray = rng.permutation(len(target))
    return np.asarray(shuffled[np.argsort(target[shuffled], kind="stable")])
