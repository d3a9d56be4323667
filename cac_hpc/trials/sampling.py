"""Which settings each trial has, and whether it is trained on: by Optuna's samplers and pruner, whose owner this is.

Optuna keeps nothing: a study is made in memory of what the trials' own files say, each time it is asked. So whatever it
answers follows from the numbers of the trials and their figures, and not from the order in which these came.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cac_hpc.settings.checks import require
from cac_hpc.settings.config import Config
from cac_hpc.trials import space
from cac_hpc.trials.space import Listed, Range, Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MOST_TRIALS = 9999  # of a fold, whose names have four digits
TRIES = 10  # draws of tpe that repeat a trial, until chance draws instead
LARGEST_GRID = 100_000
REPEATS = 1000  # draws by chance of what was drawn before, until no more are made
MOST_COMBINATIONS = 5000  # of the ends of ranges that are checked before a run begins
FEWEST_TRIALS = 10  # from which it is told how much a setting matters
EQUAL = 1e-9  # below it figures do not differ
WORST = -1e6  # lower than any figure
DIGITS = 6  # significant, of a number that was drawn


@dataclass(frozen=True)
class Trial:
    """Where a trial stands; figure: at the last rung that it has reached, None where undefined or not yet known."""

    number: int
    settings: Mapping[str, Any]
    figure: float | None = None
    rung: int = -1
    state: Literal["running", "pruned", "complete"] = "running"


def settings_of_all(cfg: Config) -> tuple[dict[str, Any], ...]:
    """The settings of every trial that are known when a run is launched: all but those that tpe draws.

    Raises: InputError that names the first wrong setting.
    """
    values, written = space.of(cfg), space.configurations(cfg)
    sampler, number = cfg.trials.sampler, cfg.trials.number
    if not values:
        require(number is None, "trials.number", number, "null, as trials.settings is empty")
        return written
    ranges = [one.name for one in values if isinstance(one, Range)]
    wanted = f"random or tpe, as {ranges[0]} is a range" if ranges else ""
    require(sampler != "grid" or not ranges, "trials.sampler", sampler, wanted)
    wanted = f"a number, as trials.sampler is {sampler}"
    require(sampler == "grid" or number is not None, "trials.number", number, wanted)
    left = math.prod(map(_count, values)) - sum(_inside(one, values) for one in written)
    wanted = f"random or tpe: a grid has at most {LARGEST_GRID:,} combinations, here {left:,.0f}"
    require(sampler != "grid" or left <= LARGEST_GRID, "trials.sampler", sampler, wanted)
    count, most = left if number is None else number, min(left, MOST_TRIALS - len(written))
    of_grid = f": there are {left:,.0f} combinations" if number is None or most == left else ""
    require(1 <= count <= most, "trials.number", number, f"1 to {most:,.0f}{of_grid}")
    if sampler == "tpe":
        _check_ends(cfg, values)
        return written
    drawn = _random(values, cfg.trials.seed) if ranges or left > LARGEST_GRID else _grid(values, cfg.trials.seed)
    found = list(itertools.islice((one for one in drawn if one not in written), int(count)))
    require(len(found) == count, "trials.number", number, f"{len(found)} or less: draws by chance repeat themselves")
    return (*written, *found)


def num_later(cfg: Config) -> int:
    """How many further trials each fold has, whose settings tpe draws."""
    tried = cfg.trials
    return tried.number or 0 if tried.sampler == "tpe" and tried.settings else 0


def lag(cfg: Config) -> int:
    """What a trial's settings and its beginning follow from: the trials whose number is that much smaller, or more."""
    return cfg.trials.workers or cfg.split.folds


def next_settings(cfg: Config, fold: int, trial: int, before: Sequence[Trial]) -> dict[str, Any]:
    """What tpe draws for a trial: what no trial before it has, as far as chance finds such settings.

    Figures of trials that are not `lag` numbers before it are not looked at, even if they are known.

    Args:
        before: all trials of smaller number, in the order of their numbers.
    """
    import optuna

    values, known = space.of(cfg), [one.settings for one in before]
    seed = _seed(cfg.trials.seed, fold, trial)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of versions below 5
        study = _study(optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True))
    study.add_trials(
        [_past(one, values, one.number <= trial - lag(cfg)) for one in before if _inside(one.settings, values)]
    )
    asked = list(itertools.islice(_asked(study, values), TRIES))
    tries = itertools.chain(asked, _random(values, seed))
    return next((one for one in tries if one not in known), asked[0])


def goes_on(cfg: Config, trial: int, rung: int, figures: Mapping[int, float | None]) -> bool:
    """Whether a trial is trained beyond a rung, by successive halving among the trials up to its own number.

    Equal figures, of which few patients give many, are put in order by chance: else all of them would go on.

    Args:
        figures: at that rung, by number, of all trials up to this one that reached it; those of later ones change
            nothing. None where undefined: the worst.
    """
    reached = sorted(figures)
    chance = {one: EQUAL * float(np.random.default_rng([cfg.trials.seed, rung, one]).random()) for one in reached}
    told = tuple((WORST if (value := figures[one]) is None else value) + chance[one] for one in reached)
    return _halved(cfg.trials.pruning.factor, told)[reached.index(trial)]


@functools.lru_cache(maxsize=1000)
def _halved(factor: int, figures: tuple[float, ...]) -> tuple[bool, ...]:
    """Of each figure whether it is among the best 1 / factor of those up to it, or the best of too few."""
    import optuna

    study = _study(optuna.samplers.RandomSampler(0), optuna.pruners.SuccessiveHalvingPruner(1, factor))
    going_on = []
    for figure in figures:
        trial = study.ask()
        trial.report(figure, 1)
        going_on.append(not trial.should_prune())
    return tuple(going_on)


def importance(cfg: Config, trials: Sequence[Trial]) -> dict[str, float] | str:
    """How much of the figures' variance each setting explains by itself or with others; shares, of 1 together.

    Args:
        trials: of one fold. Those that were pruned do not count: their figures are of shorter trainings.
    Returns: by setting; or why it cannot be told.
    Source: Hutter, Hoos and Leyton-Brown 2014, An efficient approach for assessing hyperparameter importance (fANOVA).
    """
    import optuna

    done = [one for one in trials if one.state == "complete" and one.figure is not None]
    if len(done) < FEWEST_TRIALS:
        return f"{len(done)} trials were trained to their end and have a figure; wanted {FEWEST_TRIALS}"
    if len({one.figure for one in done}) == 1:
        return "all trials have the same figure"
    values = _seen(cfg, [one.settings for one in done])
    if not values:
        return "no setting differs between the trials"
    study = _study(optuna.samplers.RandomSampler(0))
    filled = [replace(one, settings=_with_base(cfg, one.settings, values)) for one in done]
    study.add_trials([_past(one, values, True) for one in filled])
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=cfg.trials.seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def _seen(cfg: Config, settings: Sequence[Mapping[str, Any]]) -> Space:
    """The settings in which trials differ, with the values that they have there."""
    names = list(dict.fromkeys(name for one in settings for name in one))
    found: list[Listed | Range] = []
    for name in names:
        values = [one.get(name, space.value_of(cfg, name)) for one in settings]
        distinct = [value for index, value in enumerate(values) if value not in values[:index]]
        if all(type(value) in (int, float) for value in distinct) and len(distinct) > 2:
            found.append(Range(name, min(distinct), max(distinct), None, False, False))
        elif len(distinct) > 1:
            found.append(Listed(name, tuple(distinct)))
    return tuple(found)


def _with_base(cfg: Config, settings: Mapping[str, Any], values: Space) -> dict[str, Any]:
    return {one.name: settings.get(one.name, space.value_of(cfg, one.name)) for one in values}


def _study(sampler: Any, pruner: Any = None) -> Study:
    """A study in memory, of which the highest figure is best."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # else it tells each of the trials that are entered
    return optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner or optuna.pruners.NopPruner())


def _asked(study: Study, values: Space) -> Iterator[dict[str, Any]]:
    """Settings that a study's sampler draws, one trial after the other."""
    distributions = {one.name: _distribution(one) for one in values}
    while True:
        drawn = study.ask(distributions).params
        yield {one.name: _from_optuna(one, drawn[one.name]) for one in values}


def _grid(values: Space, seed: int) -> Iterator[dict[str, Any]]:
    """Every combination once, in an order that the seed shuffles."""
    import optuna

    numbers = {one.name: list(range(len(one.ends))) for one in values}  # of listed values alone
    sampler = optuna.samplers.GridSampler(numbers, seed=seed)
    return itertools.islice(_asked(_study(sampler), values), math.prod(map(len, numbers.values())))


def _random(values: Space, seed: int) -> Iterator[dict[str, Any]]:
    """Combinations drawn by chance, none twice; it ends when many draws in a row are of those before."""
    import optuna

    seen, repeats = set(), 0
    for one in _asked(_study(optuna.samplers.RandomSampler(seed)), values):
        key = json.dumps(one)
        repeats = repeats + 1 if key in seen else 0
        if repeats > REPEATS:
            return
        if not repeats:
            seen.add(key)
            yield one


def _past(trial: Trial, values: Space, known: bool) -> FrozenTrial:
    """A trial as Optuna wants it; without its figure, where that is not to be known yet."""
    import optuna

    states = optuna.trial.TrialState
    state = {"complete": states.COMPLETE, "pruned": states.PRUNED, "running": states.RUNNING}[trial.state]
    state, figure = (state, trial.figure) if known else (states.RUNNING, None)
    if state == states.COMPLETE and figure is None:
        state = states.PRUNED  # without a figure it counts as the worst
    return optuna.create_trial(
        state=state,
        value=figure if state == states.COMPLETE else None,
        params={one.name: _to_optuna(one, trial.settings[one.name]) for one in values},
        distributions={one.name: _distribution(one) for one in values},
        intermediate_values={} if figure is None else {max(trial.rung, 0) + 1: figure},
    )


def _distribution(values: Listed | Range) -> BaseDistribution:
    """Values as Optuna has them: listed ones by their numbers, for they may be lists."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, Listed):
        return CategoricalDistribution(range(len(values.values)))
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), values.log, int(values.step or 1))
    return FloatDistribution(values.low, values.high, values.log, values.step)


def _from_optuna(values: Listed | Range, drawn: Any) -> Any:
    if isinstance(values, Listed):
        return values.values[drawn]
    return drawn if values.whole else min(max(float(f"{drawn:.{DIGITS}g}"), values.low), values.high)


def _to_optuna(values: Listed | Range, value: Any) -> Any:
    return values.values.index(value) if isinstance(values, Listed) else value


def _inside(settings: Mapping[str, Any], values: Space) -> bool:
    """Whether settings could have been drawn from these values."""
    return {*settings} == {one.name for one in values} and all(
        settings[one.name] in one.values if isinstance(one, Listed) else one.low <= settings[one.name] <= one.high
        for one in values
    )


def _count(values: Listed | Range) -> float:
    """How many values there are."""
    if isinstance(values, Listed):
        return len(values.values)
    if values.step is None and not values.whole:
        return math.inf
    return math.floor((values.high - values.low) / (values.step or 1) + 1e-9) + 1


def _check_ends(cfg: Config, values: Space) -> None:
    """Refuse a combination of the ends of ranges that is no valid one: of those between it then may be none, either."""
    combinations: Iterator[tuple[Any, ...]] = itertools.product(*(one.ends for one in values))
    if math.prod(len(one.ends) for one in values) > MOST_COMBINATIONS:
        draw = random.Random(0)
        combinations = (tuple(draw.choice(one.ends) for one in values) for _ in range(MOST_COMBINATIONS))
    for ends in combinations:
        space.checked(cfg, {one.name: end for one, end in zip(values, ends, strict=True)})


def _seed(*numbers: int) -> int:
    """One number that follows from several."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
