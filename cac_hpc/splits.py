"""Patient-exclusive folds, stratified on the patients' categories and written once."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
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
    draw = _kfold if cfg.scheme == "kfold" else _holdout
    try:
        with warnings.catch_warnings():  # a category smaller than the number of folds: the report shows the counts
            warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
            parts = draw(target, cfg)
    except ValueError as error:
        raise InputError(
            f"split.scheme {cfg.scheme}: the patients per category {dict(Counter(target.tolist()))} are "
            f"too few for {cfg.folds} folds with training, validation and test part ({error})"
        ) from error
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


def _kfold(target: np.ndarray, cfg: SplitConfig) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each patient is tested once; the validation part is one of the equal parts of the rest nearest to its share."""
    from sklearn.model_selection import StratifiedKFold  # takes two seconds: not in every rank of every fold

    parts = []
    outer = StratifiedKFold(cfg.folds, shuffle=True, random_state=cfg.seed)
    for index, (rest, test) in enumerate(outer.split(target, target)):
        shares = max(2, round(len(rest) / len(target) / cfg.val_fraction))
        inner = StratifiedKFold(shares, shuffle=True, random_state=_seed(cfg.seed, index))
        train, val = next(inner.split(rest, target[rest]))
        parts.append((rest[train], rest[val], test))
    return parts


def _holdout(target: np.ndarray, cfg: SplitConfig) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Independent draws of the three parts."""
    from sklearn.model_selection import StratifiedShuffleSplit

    parts = []
    for index in range(cfg.folds):
        outer = StratifiedShuffleSplit(1, test_size=cfg.test_fraction, random_state=_seed(cfg.seed, index))
        rest, test = next(outer.split(target, target))
        share = cfg.val_fraction / (1 - cfg.test_fraction)
        inner = StratifiedShuffleSplit(1, test_size=share, random_state=_seed(cfg.seed, index))
        train, val = next(inner.split(rest, target[rest]))
        parts.append((rest[train], rest[val], test))
    return parts


def _seed(seed: int, fold: int) -> int:
    return int(np.random.default_rng([seed, fold]).integers(2**31))
