"""What is tried in every fold, settled when the run is launched; and what each training of a trial leaves behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cac_hpc.run import disk
from cac_hpc.settings.checks import require
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.statistics.metrics import METRICS, Metric
from cac_hpc.trials import sampling, space

FORMAT_VERSION = 1
NOT_BEST_HIGHEST = ("majority_accuracy", "two_or_more_off", "over_estimated_share", "under_estimated_share")


@dataclass(frozen=True)
class Plan:
    """The trials of a run; those of one fold are numbered from 0.

    settings: by dotted name, of each trial whose settings are known; those of further trials tpe draws when the figures
    of the trials before are known. number: of trials in each fold. lag: settings and beginning of a trial follow from
    the trials whose number is that much smaller or smaller still, so that so many can be at work at once. rungs: epochs
    after which a trial is looked at; None is the end of its training, always the last. seeds, divisions: each trial is
    trained with so many seeds on so many inner divisions.
    """

    settings: tuple[Mapping[str, Any], ...]
    number: int
    lag: int
    rungs: tuple[int | None, ...]
    seeds: int
    divisions: int

    @property
    def parts(self) -> int:
        """Trainings of each trial; part P has seed P % seeds and division P // seeds."""
        return self.seeds * self.divisions


@dataclass(frozen=True)
class Rung:
    """What one part of a trial has predicted of its validation patients, trained up to one rung: rung-R.json.

    settings: of the trial. epochs: trained so far. tested_epoch: whose weights predicted. patient, label, predicted: of
    each validation patient its name, its true and its predicted category. parameters: numbers that training adjusts.
    seconds: since the rung before, of all starts that it took. failure: why it could not be trained on, as when a loss
    was no number; it has then predicted nothing.
    """

    fold: int
    trial: int
    part: int
    rung: int
    settings: Mapping[str, Any]
    epochs: int = 0
    tested_epoch: int = 0
    patient: tuple[str, ...] = ()
    label: tuple[int, ...] = ()
    predicted: tuple[int, ...] = ()
    parameters: int = 0
    seconds: float = 0.0
    failure: str | None = None


def make(cfg: Config) -> Plan:
    """Settle what every fold tries.

    Raises: InputError that names the setting, or the trial, that is wrong.
    """
    metric(cfg.trials.select_by)
    _check_contrast(cfg)
    unit, wanted = cfg.split.unit, "patient, as trials are chosen by patients"
    require(unit == "patient", "split.unit", unit, wanted)
    settings, later = sampling.settings_of_all(cfg), sampling.num_later(cfg)
    return Plan(
        settings=settings,
        number=len(settings) + later,
        lag=sampling.lag(cfg),
        rungs=_rungs(cfg, _fewest_epochs(cfg, settings, later)),
        seeds=cfg.trials.seeds,
        divisions=cfg.trials.inner_folds or 1,
    )


def metric(name: str) -> Metric:
    """The figure by which trials are chosen.

    Raises: InputError if there is none of that name, or a higher one would be no better.
    """
    known = {one.name: one for one in METRICS if one.per == "matrix" and one.name not in NOT_BEST_HIGHEST}
    require(name in known, "trials.select_by", name, f"one of {', '.join(known)}: a higher one is better")
    return known[name]


def write(path: Path, plan: Plan) -> None:
    disk.write_json(path, {"format": FORMAT_VERSION, **dataclasses.asdict(plan)})


def read(path: Path) -> Plan:
    """The plan of a run.

    Raises: InputError if it is missing, damaged or of another version.
    """
    try:
        content = disk.read_json(path)
    except OSError:
        raise InputError(f"{path}: not there, wanted the plan of the trials; start the run with launch_cv.py") from None
    except ValueError:
        raise InputError(f"{path}: damaged; delete it and resume the run, and it is made again") from None
    found = content.pop("format", None) if isinstance(content, dict) else None
    if found != FORMAT_VERSION:
        raise InputError(f"{path}: format {found!r}, but this version reads {FORMAT_VERSION}; use the run's own code")
    try:
        content |= {"settings": tuple(content["settings"]), "rungs": tuple(content["rungs"])}
        return _whole(Plan(**content))
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: damaged; delete it and resume the run, and it is made again") from None


def _whole(found: Plan) -> Plan:
    """Raises: ValueError if it is none."""
    counts = (found.number, found.lag, found.seeds, found.divisions, *found.rungs[:-1])
    if not all(type(count) is int and count > 0 for count in counts) or found.rungs[-1:] != (None,):
        raise ValueError("numbers are not whole ones above 0")
    if not all(isinstance(one, dict) for one in found.settings) or len(found.settings) > found.number:
        raise ValueError("settings are none of trials")
    return found


def write_rung(path: Path, rung: Rung, check: Callable[[], None] = disk.no_check) -> None:
    """Write what a part has predicted, at once and whole.

    Args:
        check: called right before the file gets its name; what it raises prevents that.
    """
    disk.write_json(path, dataclasses.asdict(rung), check)


def read_rung(path: Path, settings: Mapping[str, Any] | None = None, num_categories: int | None = None) -> Rung | None:
    """What a part has predicted; None if it is not there, damaged, or of other settings or categories than these.

    Args:
        settings: of the trial, where they are known. num_categories: that there are, where that is known.
    """
    try:
        content = disk.read_json(path)
        lists = {name: tuple(content[name]) for name in ("patient", "label", "predicted")}
        found = Rung(**{**content, **lists})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    categories = range(2**31 if num_categories is None else num_categories)
    whole = len(found.patient) == len(found.label) == len(found.predicted)
    whole = whole and all(type(one) is int and one in categories for one in (*found.label, *found.predicted))
    whole = whole and isinstance(found.seconds, float | int) and isinstance(found.parameters, int)
    return found if whole and (settings is None or found.settings == settings) else None


def _rungs(cfg: Config, shortest: int) -> tuple[int | None, ...]:
    """Epochs after which trials are looked at: none where less than a factor is left to be saved, but for the first.

    Args:
        shortest: epochs of the trial that has the fewest.
    """
    first, factor = cfg.trials.pruning.first_epoch, cfg.trials.pruning.factor
    if first is None:
        return (None,)
    wanted = f"below {shortest}, the epochs of the shortest trial, or null"
    require(first < shortest, "trials.pruning.first_epoch", first, wanted)
    epochs: list[int | None] = [first]
    while (first := first * factor) * factor <= shortest:
        epochs.append(first)
    return (*epochs, None)


def _fewest_epochs(cfg: Config, settings: Sequence[Mapping[str, Any]], later: int) -> int:
    """Epochs of the shortest trial; each is checked on the way.

    Args:
        later: how many trials tpe draws.
    """
    tried = [space.checked(cfg, one).train.epochs for one in settings]
    drawn: list[int] = [end for values in space.of(cfg) if values.name == "train.epochs" for end in values.ends]
    return min([*tried, *(drawn or ([cfg.train.epochs] if later else []))])


def _check_contrast(cfg: Config) -> None:
    """With select_on test one trial is chosen for all folds: all of them must have trained all of the same trials."""
    if cfg.trials.select_on == "validation":
        return
    why = "as trials.select_on is test"
    require(cfg.trials.sampler != "tpe", "trials.sampler", cfg.trials.sampler, f"grid or random, {why}")
    require(cfg.trials.inner_folds is None, "trials.inner_folds", cfg.trials.inner_folds, f"null, {why}")
    require(cfg.trials.gpu_hours is None, "trials.gpu_hours", cfg.trials.gpu_hours, f"null, {why}")
    first = cfg.trials.pruning.first_epoch
    require(first is None, "trials.pruning.first_epoch", first, f"null, {why}")
