"""What may be tried, and by which values: settings below model and train that change no split, no label, no packing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cac_hpc.settings import composition, config, setting_names, typed_values
from cac_hpc.settings.checks import require
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.train import models, optimizers

RANGES = ("uniform", "log_uniform")
OTHERWISE = {  # settings below model and train that are no choice between models, and what to do instead
    "model.kind": "each kind has a run of its own, compared with report.compare",
    "train.seed": "use trials.seeds: the same settings are then trained with several seeds",
    "train.device": "it does not change what is learned",
    "train.compile": "it does not change what is learned",
    "train.deterministic": "it does not change what is learned",
    **dict.fromkeys(config.WITHOUT_EFFECT, "it changes no prediction"),
}


@dataclass(frozen=True)
class Listed:
    """A setting with its values, written out."""

    name: str
    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that stand for all where combinations are checked."""
        return self.values


@dataclass(frozen=True)
class Range:
    """A number anywhere from low to high, both included; step: between two that are wanted; log: even by its logarithm.

    whole: whether it is a whole number.
    """

    name: str
    low: float
    high: float
    step: float | None
    log: bool
    whole: bool

    @property
    def ends(self) -> tuple[Any, ...]:
        return (self.low, self.high)


Space = tuple[Listed | Range, ...]


def of(cfg: Config) -> Space:
    """The settings of `trials.settings` with their values, each of its setting's own type.

    Raises: InputError that names the first setting which may not be tried, or whose values it cannot have.
    """
    return tuple(_one(name, given) for name, given in cfg.trials.settings.items())


def configurations(cfg: Config) -> tuple[dict[str, Any], ...]:
    """The trials that `trials.configurations` writes out, each value of its setting's own type; {} is the run's own.

    Raises: InputError as in `of`, or if two are the same.
    """
    found: list[dict[str, Any]] = []
    for index, given in enumerate(cfg.trials.configurations):
        key = f"trials.configurations[{index}]"
        one = {_checked(name, key): _typed(name, value, f"{key}: {name}") for name, value in given.items()}
        require(one not in found, key, _shown(one), "different from those before it")
        found.append(one)
    return tuple(found)


def checked(cfg: Config, values: Mapping[str, Any]) -> Config:
    """The settings of a trial.

    Args:
        values: by dotted name.
    Raises: InputError that names the trial's settings and the one that is wrong.
    """
    try:
        found = composition.changed(cfg, values)
        models.chosen(found)
        optimizers.check(found.train)
    except InputError as error:
        raise InputError(f"trials: of the trial {_shown(values)}: {error}") from None
    for name in values:
        _check_effect(found, name, values)
    return found


def value_of(cfg: Config, name: str) -> Any:
    """The value that a setting has in the run, plain."""
    found: Any = cfg
    for part in name.split("."):
        found = getattr(found, part)
    return config.plain(found)


def _check_effect(found: Config, name: str, values: Mapping[str, Any]) -> None:
    """What is tried changes what is trained: else trials differ by name alone.

    Args:
        found: the settings of a trial. values: those of them that it tries.
    """
    by, ignoring = optimizers.IGNORED.get(name, ("model.kind", found.model.kind))
    ignored = models.ignores(ignoring, name) if by == "model.kind" else value_of(found, by) == ignoring
    if ignored and by not in values:
        raise InputError(f"trials: {name} is tried, but changes nothing, as {by} is {ignoring}; leave it out")


def _one(name: str, given: Any) -> Listed | Range:
    key = f"trials.settings.{_checked(name, 'trials.settings')}"
    kinds = {*given} - {"step"} if isinstance(given, Mapping) else set()
    if len(kinds) == 1 and kinds <= {*RANGES}:
        return _range(name, key, given, *kinds)
    if kinds == {"choice"}:
        require("step" not in given, f"{key}.step", given.get("step"), "left out: a choice has no step")
        given = given["choice"]
    wanted = "a list of values, or one of {uniform: [low, high]}, {log_uniform: [low, high]}, {choice: [...]}"
    require(isinstance(given, list | tuple) and len(given) > 0, key, given, wanted)
    values = tuple(_typed(name, value, key) for value in given)
    for index, value in enumerate(values):
        require(value not in values[:index], key, value, "listed once")
    return Listed(name, values)


def _range(name: str, key: str, given: Mapping[str, Any], kind: str) -> Range:
    ends, step, log = given[kind], given.get("step"), kind == "log_uniform"
    wanted = "two numbers [low, high] with low < high" + (", above 0" if log else "")
    numbers = isinstance(ends, list | tuple) and len(ends) == 2 and all(type(end) in (int, float) for end in ends)
    require(numbers and ends[0] < ends[1] and not (log and ends[0] <= 0), f"{key}.{kind}", ends, wanted)
    low, high = (_typed(name, end, f"{key}.{kind}") for end in ends)
    require(step is None or not log, f"{key}.step", step, "left out, with log_uniform")
    if step is not None:
        step = _typed(name, step, f"{key}.step")
        require(type(step) is type(low) and 0 < step <= high - low, f"{key}.step", step, "above 0, within the range")
    return Range(name, low, high, step, log, isinstance(low, int))


def _checked(name: str, key: str) -> str:
    """The name of a setting that may be tried.

    Raises: InputError that says why another may not be.
    """
    if name.partition(".")[0] not in ("model", "train"):
        wanted = "below model or train: others change the data, their division or what is tested; make a run for each"
        meant = [one for one in (f"model.{name}", f"train.{name}") if setting_names.exists(one)]
        wanted = f"below model or train, by dotted name: {meant[0]}" if meant else wanted
        raise InputError(f"{key} names {typed_values.shown(name)}, but must name settings {wanted}")
    try:
        setting_names.type_of(name)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
    if name in OTHERWISE:
        raise InputError(f"{key}: {name} is not tried: {OTHERWISE[name]}")
    return name


def _typed(name: str, given: Any, key: str) -> Any:
    """A value of a setting, plain.

    Raises: InputError if it cannot be that.
    """
    return config.plain(typed_values.typed(name, given, key))


def _shown(values: Mapping[str, Any]) -> str:
    """A trial's settings as messages show them."""
    text = ", ".join(f"{name} {value}" for name, value in values.items()) or "with the run's own settings"
    return text if len(text) <= 200 else f"{text[:200]}..."
