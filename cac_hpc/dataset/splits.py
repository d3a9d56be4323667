"""The folds of a run: what each of them is, what is checked of them, and splits.json, which is written once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

from cac_hpc.dataset import held_out
from cac_hpc.dataset.held_out import Groups
from cac_hpc.run import causes, digests, disk, result_files, task_states
from cac_hpc.run.causes import NEW_RUN, RESUME, Cause
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.checks import shown
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.split import SplitConfig

Part: TypeAlias = "tuple[str, ...] | Mapping[str, tuple[int, ...]]"  # whole studies, or some slices of each
NAMED = 10  # studies that a message names


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


def check_folds(folds: Sequence[Fold], patient: Mapping[str, str], scheme: str, groups: Groups | None = None) -> None:
    """No patient in two parts of a fold, no empty part; `kfold` tests each study exactly once, and `leave_one_out` each
    one of the groups that have a fold, in a fold that learns nothing of its group.

    Raises: InputError naming fold and patients.
    """
    for index, fold in enumerate(folds):
        parts = {name: set(map(patient.__getitem__, studies)) for name, studies in fold.parts.items()}
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
                    f"fold {index}: patients {shown(sorted(shared))} are in {one} and {other}, wanted in one part"
                )
    tested = Counter(chain.from_iterable(fold.test for fold in folds))
    if scheme == "kfold" and tested != Counter(patient.keys()):
        wrong = sorted(study for study in patient if tested[study] != 1)
        raise InputError(f"kfold: studies {shown(wrong[:NAMED])} are not tested exactly once")
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
            learned = shown(sorted(seen)[:NAMED])
            raise InputError(f"fold {index} tests the group {name!r}, but learns of its studies {learned}")
        if wrong := set(fold.test) ^ {study for study, owner in patient.items() if group_of[owner] == name}:
            named = shown(sorted(wrong)[:NAMED])
            raise InputError(f"fold {index}: studies {named} are not in the test part of their group")


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
        highest = dict(zip(map(patient.__getitem__, studies), map(category.__getitem__, studies), strict=True))
        if len(highest) < len(studies):  # patients with several studies
            for study in studies:
                highest[patient[study]] = max(category[study], highest[patient[study]])
        found = Counter(highest.values())
        counts.append([found[number] for number in range(num_categories)])
    return tuple(zip(*counts, strict=True))


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
