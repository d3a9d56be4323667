"""The trials of a run, and what each fold has chosen among them, from the trials' own files alone.

Choices are worked out again from what the trials have predicted: one that does not follow from them is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from cac_hpc.dataset.splits import Fold
from cac_hpc.results.audits import Audit
from cac_hpc.results.figures import Absent, Difference
from cac_hpc.results.serialization import Json
from cac_hpc.results.trials import ChosenSettings, FoldChoice, Importance, SettingImportance, TrialRow, Trials
from cac_hpc.run import disk
from cac_hpc.settings import composition, config
from cac_hpc.settings.checks import shown
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.train import TrainConfig
from cac_hpc.trials import choice, sampling, standing
from cac_hpc.trials.choice import Choice, TrialResult
from cac_hpc.trials.plan import Plan, Rung
from cac_hpc.trials.standing import FoldTrials, Trial

METHOD = "functional ANOVA of a random forest, Hutter 2014, by Optuna"
ENDED: Mapping[str, Literal["trained", "pruned", "failed", "not_begun"]] = {
    "done": "trained", "pruned": "pruned", "failed": "failed", "left_out": "not_begun",
}  # fmt: skip
OWN = ("model", "train")  # sections of settings that a fold may have of its own
FREE = tuple(f"{key}:" for key in config.WITHOUT_EFFECT)
NAMED = 5  # patients that a message names
LOOKED = (
    "every trial was looked at on the validation patients of its fold alone, with their sealed labels, and each fold "
    "was trained with the settings that follow from these looks"
)


@dataclass(frozen=True)
class Tried:
    """The trials of all folds that have chosen; of fold None, where the folds chose one together."""

    cfg: Config
    plan: Plan
    trials: Mapping[int | None, Sequence[Trial]]
    choices: Mapping[int | None, Choice]


def read(cfg: Config, of: Plan, folds: Sequence[FoldTrials], chosen: Sequence[Path]) -> Tried:
    """Read the trials of every fold that has chosen, and check its choice.

    Args:
        chosen: choice.json of each fold.
    Raises: InputError if files of trials are missing or damaged, or a choice does not follow from them.
    """
    done = [fold for fold, path in zip(folds, chosen, strict=True) if path.is_file()]
    for fold in done:
        fold.look()
        if not fold.final:
            raise InputError(f"{chosen[fold.fold]}: {_not_there(fold)}")
    results: dict[int | None, list[TrialResult]] = {fold.fold: fold.results for fold in done}
    trials: dict[int | None, list[Trial]] = {fold.fold: fold.trials for fold in done}
    if cfg.trials.select_on == "test":
        together = len(done) == len(folds)
        results, trials = ({None: standing.joined(folds)}, {None: _together(folds)}) if together else ({}, {})
    choices = {number: choice.choose(cfg, len(cfg.labels.names), found) for number, found in results.items()}
    for fold in done:
        if made := choices.get(fold.fold, choices.get(None)):
            _check_choice(chosen[fold.fold], made)
    return Tried(cfg, of, trials, choices)


def _not_there(fold: FoldTrials) -> str:
    """Which trial of a fold that has chosen is not whole."""
    trial = next(trial for trial in fold.trials if not trial.final)
    what = f"trial {trial.number}, among which it chose, has no valid rung-{len(trial.rungs)}.json any more"
    return f"{what}; delete this file, and resuming the run trains the trial and chooses again"


def _together(folds: Sequence[FoldTrials]) -> list[Trial]:
    """The same trials of all folds, each with the parts of all of them."""
    return [
        Trial(
            of_folds[0].number,
            of_folds[0].settings,
            next((one.state for one in of_folds if one.state != "done"), "done"),
            [sum(parts, ()) for parts in zip(*(one.rungs for one in of_folds), strict=False)],
        )
        for of_folds in zip(*(fold.trials for fold in folds), strict=True)
    ]


def _check_choice(path: Path, made: Choice) -> None:
    """The fold's choice is what follows from its trials.

    Raises: InputError naming what it says instead.
    """
    try:
        stated = disk.read_json(path)
        found = {name: stated[name] for name in ("trial", "settings", "figure", "runner_up")}
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: damaged; delete it, and resuming the run makes it again from the trials") from None
    for name, value in found.items():
        wanted = config.plain(getattr(made, name))
        if not _same(value, wanted):
            said = f"{name} is {value!r}, but the trials of the fold give {wanted!r}"
            raise InputError(f"{path}: {said}; delete it, and resuming the run chooses again and trains the fold")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return bool(one == other)


def check_looks(tried: Tried, folds: Sequence[Fold], studies: pd.DataFrame) -> Audit:
    """Every trial was looked at on the patients that it may be chosen by, each with the label that was sealed.

    Args:
        studies: columns study, patient, category.
    Raises: InputError naming the trial, if it was looked at on others.
    """
    parts = ["test"] if tried.cfg.trials.select_on == "test" else ["val"]
    parts += ["train"] if tried.cfg.trials.inner_folds else []
    named = studies.set_index("study")[["patient", "category"]].astype({"category": int})
    wanted = {}
    for index, fold in enumerate(folds):
        members = named.loc[sorted({study for part in parts for study in fold.parts[part]})]
        highest = members.groupby("patient")["category"].max()
        wanted[index] = dict(zip(map(str, highest.index), map(int, highest), strict=True))
    for one in (one for trials in tried.trials.values() for one in trials):
        for rung in one.rungs:
            _check_look(one.number, rung, tried.plan.seeds, wanted)
    if tried.cfg.trials.select_on == "test":
        return Audit("trials", False, "trials of this contrast run were chosen by the test patients, by its design")
    return Audit("trials", True, LOOKED)


def _check_look(trial: int, rung: Sequence[Rung], seeds: int, wanted: Mapping[int, Mapping[str, int]]) -> None:
    """Of each fold and seed, every patient once with his label; a part that failed has predicted nobody."""
    for fold, seed in sorted({(part.fold, part.part % seeds) for part in rung}):
        mine = [part for part in rung if (part.fold, part.part % seeds) == (fold, seed)]
        found = sorted(pair for part in mine for pair in zip(part.patient, part.label, strict=True))
        every, failed = sorted(wanted[fold].items()), any(part.failure for part in mine)
        if found != ([pair for pair in every if pair in found] if failed else every):
            others = sorted({name for name, _ in found} - wanted[fold].keys())
            what = "without some of its patients, or with other labels"
            what = f"on patients {shown(others[:NAMED])}" if others else what
            raise InputError(
                f"trial {trial} of fold {fold} was looked at {what}, wanted those of the fold's validation part, "
                "each once, with the labels that the dataset was sealed with; start a new run"
            )


def check_trained(facts: Json, tried: Tried, fold: int) -> None:
    """The fold was trained with the settings that it chose.

    Args:
        facts: metrics.json.
    Raises: ValueError naming the first setting that is another one.
    """
    chosen = tried.choices.get(fold, tried.choices.get(None))
    if chosen is None:
        raise ValueError("the fold has not chosen among its trials: choice.json is not there")
    wanted, trained = composition.changed(tried.cfg, chosen.settings), facts.get("settings")
    if not isinstance(trained, dict):
        raise ValueError("metrics.json does not say with which settings the fold was trained (settings)")
    for name in OWN:
        differing = config.differences(trained.get(name), config.plain(getattr(wanted, name)), name)
        if differing := [line for line in differing if not line.startswith((*FREE, *_left_open(wanted.train)))]:
            said = differing[0].replace(" / ", ", chosen ")
            raise ValueError(f"trained with other settings than it chose among its trials ({said})")


def _left_open(cfg: TrainConfig) -> Iterator[str]:
    """Settings that the training itself settles, by the machine."""
    if cfg.precision == "auto":
        yield "train.precision:"
    if cfg.shuffle_window is None:
        yield "train.shuffle_window:"


def report(tried: Tried) -> Trials:
    """What the report says of the trials."""
    cfg = tried.cfg
    rows = [_row(tried, fold, one) for fold, trials in tried.trials.items() for one in trials]
    choices = [_of_fold(fold, one) for fold, one in tried.choices.items()]
    same = len(tried.plan.settings) == tried.plan.number and None not in tried.choices
    return Trials(
        select_by=cfg.trials.select_by,
        select_on=cfg.trials.select_on,
        sampler=cfg.trials.sampler,
        number=tried.plan.number,
        rungs=len(tried.plan.rungs),
        seeds=tried.plan.seeds,
        inner_folds=cfg.trials.inner_folds,
        seconds=math.fsum(row.seconds for row in rows),
        choices=choices,
        chosen=_how_often(choices) if same else None,
        importance=_importance(tried, rows),
        trials=rows,
    )


def _row(tried: Tried, fold: int | None, one: Trial) -> TrialRow:
    """A trial with its figures."""
    seeds, by, num_categories = tried.plan.seeds, tried.cfg.trials.select_by, len(tried.cfg.labels.names)
    last = one.rungs[-1] if one.rungs else ()
    of_seeds = [[part for part in last if part.part % seeds == seed] for seed in range(seeds)]
    return TrialRow(
        fold=fold,
        trial=one.number,
        settings=dict(one.settings or {}),
        ended=ENDED[one.state],
        epochs=[max(part.epochs for part in parts) for parts in one.rungs],
        figures=[choice.figure(parts, by, num_categories, seeds) for parts in one.rungs],
        of_seeds=[choice.figure(parts, by, num_categories, 1) for parts in of_seeds if parts],
        parameters=max((part.parameters for part in last), default=None),
        seconds=math.fsum(part.seconds for parts in one.rungs for part in parts),
    )


def _of_fold(fold: int | None, one: Choice) -> FoldChoice:
    less = one.difference
    return FoldChoice(
        fold=fold,
        patients=one.patients,
        trial=one.trial,
        settings=dict(one.settings),
        figure=one.figure,
        runner_up=one.runner_up,
        over_runner_up=Difference(
            one.runner_up_figure, one.figure, less.value, less.low, less.high, less.interval, less.note
        ),
        again=one.chosen_again,
        tied=one.ties,
        seed_sd=one.seed_sd,
    )


def _how_often(choices: Sequence[FoldChoice]) -> list[ChosenSettings]:
    """Which settings were chosen in which folds, those of most folds first."""
    found: dict[int, list[FoldChoice]] = {}
    for one in choices:
        found.setdefault(one.trial, []).append(one)
    often = sorted(found.values(), key=lambda same: (-len(same), same[0].trial))
    return [ChosenSettings(same[0].settings, [one.fold for one in same if one.fold is not None]) for same in often]


def _importance(tried: Tried, rows: Sequence[TrialRow]) -> Importance | Absent:
    """How much of the differences between the figures of a fold's trials each setting explains."""
    shares: dict[str, dict[str, float]] = {}
    notes: list[str] = []
    counted = 0
    for fold in tried.trials:
        of_fold = [row for row in rows if row.fold == fold and row.figures]
        found = sampling.importance(tried.cfg, [_as_trial(row) for row in of_fold])
        if isinstance(found, str):
            notes.append(found)
            continue
        counted += sum(row.ended == "trained" for row in of_fold)
        for name, share in found.items():
            shares.setdefault(name, {})["all" if fold is None else str(fold)] = share
    if not shares:
        return Absent(notes[0] if notes else "no fold has chosen yet")
    settings = [SettingImportance(name, math.fsum(of.values()) / len(of), of) for name, of in shares.items()]
    return Importance(METHOD, counted, sorted(settings, key=lambda one: (-one.mean, one.setting)))


def _as_trial(row: TrialRow) -> sampling.Trial:
    state: Literal["pruned", "complete"] = "complete" if row.ended == "trained" else "pruned"
    return sampling.Trial(row.trial, row.settings, row.figures[-1], len(row.figures) - 1, state)
