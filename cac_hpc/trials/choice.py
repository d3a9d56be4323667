"""Which trial a fold chooses by its validation patients, and how sure that choice is.

Axes: T trial, B draw of patients, S seed, P patient, K category.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cac_hpc.results.figures import Figure
from cac_hpc.run import disk
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import WorkError
from cac_hpc.trials import plan
from cac_hpc.trials.plan import Rung

EQUAL = 1e-9  # figures that differ by less are equal: the smaller model is chosen
ALONE = "there is no other trial that was trained to its end"


@dataclass(frozen=True)
class TrialResult:
    """A trial at the last rung that it has reached; parts: what all of its trainings have predicted there."""

    number: int
    settings: Mapping[str, Any]
    pruned: bool
    parts: tuple[Rung, ...]


@dataclass(frozen=True)
class Choice:
    """The trial that was chosen, and what tells how sure that is.

    figure: of the chosen by trials.select_by, None if undefined. by_seed: the same of each seed. ties: other trials
    with an equal figure. difference: the chosen less the runner-up, with its interval. chosen_again: share of the draws
    of validation patients in which the same trial would have been chosen. seed_sd: standard deviation of a figure over
    seeds, pooled over all trials; None with one seed. patients: of validation. candidates: trials trained to their end.
    """

    trial: int
    settings: Mapping[str, Any]
    figure: float | None
    by_seed: tuple[float | None, ...]
    parameters: int
    ties: int
    runner_up: int | None
    runner_up_settings: Mapping[str, Any] | None
    runner_up_figure: float | None
    difference: Figure
    chosen_again: float
    chosen_in_draws: Mapping[int, float]
    seed_sd: float | None
    patients: int
    candidates: int


def figure(parts: Sequence[Rung], select_by: str, num_categories: int, seeds: int) -> float | None:
    """The figure of a trial: of each seed that of all its validation patients together, and the mean over the seeds.

    Args:
        parts: of all seeds and inner divisions, at one rung. select_by: a name of METRICS.
    Returns: None where it is undefined for a seed, or a part has failed: it then counts as the worst.
    """
    if any(part.failure for part in parts):
        return None
    return _known(_of_seeds(parts, select_by, num_categories, seeds).mean())


def choose(cfg: Config, num_categories: int, trials: Sequence[TrialResult]) -> Choice:
    """The trial with the highest figure among those trained to their end; of equal ones the smallest, then the first.

    The same is done again in draws of the validation patients, in which all trials are compared on the same patients.

    Raises: WorkError if none was trained to its end.
    """
    from cac_hpc.statistics import intervals  # a second, which those who only look at trials do not have

    whole = [one for one in trials if not one.pruned and not any(part.failure for part in one.parts)]
    done = sorted(whole, key=lambda one: (_parameters(one), one.number))
    if not done:
        raise WorkError(_none_left(trials))
    names = sorted({patient for one in done for part in one.parts for patient in part.patient})
    figure_TS = np.array([_of_seeds(one.parts, cfg.trials.select_by, num_categories, cfg.trials.seeds) for one in done])
    weight_BP = intervals.draw(len(names), range(cfg.report.draws), cfg.trials.seed)
    figure_TB = np.array([_drawn(cfg, one, names, num_categories, weight_BP) for one in done])
    figure_T = figure_TS.mean(axis=1)
    first = int(_best(figure_T[:, None])[0])
    others = np.delete(np.arange(len(done)), first)
    second = int(others[_best(figure_T[others, None])[0]]) if len(others) else None
    times_T = np.bincount(_best(figure_TB), minlength=len(done)) / figure_TB.shape[1]
    chosen, runner_up = done[first], None if second is None else done[second]
    return Choice(
        trial=chosen.number,
        settings=dict(chosen.settings),
        figure=_known(figure_T[first]),
        by_seed=tuple(map(_known, figure_TS[first])),
        parameters=_parameters(chosen),
        ties=int(_equal(figure_T, figure_T[first]).sum()) - 1,
        runner_up=None if runner_up is None else runner_up.number,
        runner_up_settings=None if runner_up is None else dict(runner_up.settings),
        runner_up_figure=None if second is None else _known(figure_T[second]),
        difference=_difference(figure_T, figure_TB, first, second, len(names)),
        chosen_again=float(times_T[first]),
        chosen_in_draws={one.number: float(times) for one, times in zip(done, times_T, strict=True) if times},
        seed_sd=_seed_sd(figure_TS),
        patients=len(names),
        candidates=len(done),
    )


def write(path: Path, chosen: Choice) -> None:
    """Write choice.json, by which the fold is trained and tested."""
    disk.write_json(path, dataclasses.asdict(chosen))


def _none_left(trials: Sequence[TrialResult]) -> str:
    failures = [part.failure for one in trials for part in one.parts if part.failure]
    why = f": {failures[0]}" if failures else ""
    return f"none of {len(trials)} trials could be trained to its end{why}; start a new run with other trials"


def _of_seeds(parts: Sequence[Rung], select_by: str, num_categories: int, seeds: int) -> np.ndarray:
    """The figure of each seed, (S,); NaN where undefined."""
    matrix_SKK = np.zeros((seeds, num_categories, num_categories))
    for part in parts:
        np.add.at(matrix_SKK[part.part % seeds], (np.array(part.label, int), np.array(part.predicted, int)), 1)
    return plan.metric(select_by).of(matrix_SKK)


def _drawn(
    cfg: Config, trial: TrialResult, names: Sequence[str], num_categories: int, weight_BP: np.ndarray
) -> np.ndarray:
    """The figure of a trial in every draw of the validation patients, (B,), its seeds averaged.

    A mean over categories is of those that a draw has, as the choice among these patients would be.
    """
    of_metric, seeds = plan.metric(cfg.trials.select_by), cfg.trials.seeds
    matrix_SPKK = np.zeros((seeds, len(names), num_categories, num_categories))
    for part in trial.parts:
        where = (np.searchsorted(names, part.patient), np.array(part.label, int), np.array(part.predicted, int))
        np.add.at(matrix_SPKK[part.part % seeds], where, 1)
    drawn_SBKK = np.tensordot(matrix_SPKK, weight_BP, (1, 1)).transpose(0, 3, 1, 2)
    return np.asarray(of_metric.of(drawn_SBKK).mean(axis=0))


def _best(figure_TB: np.ndarray) -> np.ndarray:
    """The number of the first trial with the highest figure of each draw, (B,); undefined is the worst."""
    known_TB = np.where(np.isnan(figure_TB), -np.inf, figure_TB)
    return np.asarray((known_TB >= known_TB.max(axis=0) - EQUAL).argmax(axis=0))


def _equal(figure_T: np.ndarray, value: float) -> np.ndarray:
    return np.isnan(figure_T) if np.isnan(value) else np.abs(figure_T - value) <= EQUAL


def _difference(
    figure_T: np.ndarray, figure_TB: np.ndarray, first: int, second: int | None, num_patients: int
) -> Figure:
    """The chosen less the runner-up, with the interval of their difference in the draws."""
    from cac_hpc.statistics import intervals

    if second is None:
        return intervals.without_value(num_patients, ALONE)
    interval = intervals.bootstrap(figure_TB[first] - figure_TB[second], num_patients)
    undefined = "one of the two has no figure"
    return intervals.figure(figure_T[first] - figure_T[second], num_patients, undefined, interval)


def _seed_sd(figure_TS: np.ndarray) -> float | None:
    """Standard deviation over seeds within trials, of the trials that have a figure of every seed."""
    known_TS = figure_TS[~np.isnan(figure_TS).any(axis=1)]
    if figure_TS.shape[1] < 2 or not len(known_TS):
        return None
    return float(np.sqrt(known_TS.var(axis=1, ddof=1).mean()))


def _parameters(trial: TrialResult) -> int:
    return max(part.parameters for part in trial.parts)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
