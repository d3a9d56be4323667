"""How far the trials of a run are, from their own files: a line for each fold, and the table of all trials."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cac_hpc.run import disk, logs, result_files
from cac_hpc.run.logs import amount
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.task_states import Tried
from cac_hpc.settings import stored_settings
from cac_hpc.settings.checks import require
from cac_hpc.settings.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from cac_hpc.settings.config import Config
    from cac_hpc.trials.standing import FoldTrials, Trial

FEW = 5  # trials of each fold that are shown where all folds are


class RunTrials:
    """The trials of a run, looked at once or again and again: what was read once is not read again."""

    def __init__(self, run: RunPaths) -> None:
        self._run, self._folds = run, dict[int, "FoldTrials"]()

    def tried(self, fold: int) -> Tried | None:
        """How far the trials of a fold are; None as long as nothing can be tried, or without trials."""
        files = self._run.trials(fold)
        if not files.studies.exists():
            return None
        chosen = _chosen(files.choice)
        return _of_choice(self._run, chosen) if chosen else _of_trials(self.look(fold))

    def look(self, fold: int) -> FoldTrials:
        """Every trial of a fold, as it stands now."""
        from cac_hpc.trials import plan, standing

        if fold not in self._folds:
            cfg = stored_settings.load(self._run.config)
            self._folds[fold] = standing.FoldTrials(self._run, fold, cfg, plan.read(self._run.trials_plan))
        self._folds[fold].look()
        return self._folds[fold]


def lines(tried: Mapping[int, Tried]) -> list[str]:
    """A line for each fold, by its number."""
    found = []
    for fold, one in tried.items():
        best = "" if one.trial is None else f" trial {one.trial}, {_figure(one.figure)}"
        if one.chosen:
            among = amount(one.number, "trial")
            found.append(f"fold {fold} has chosen{best} by its validation patients, among {among}")
            continue
        counts = f"{one.done} of {one.number} trials done, {one.ended} ended early, {one.running} begun"
        found.append(f"fold {fold}: {counts}{best and f'; best{best}'}")
    return found


def show(root: Path, fold: str | None, as_json: bool) -> int:
    """Print the trials of a run: settings, figure of the validation patients, how far each got, and why not further.

    Args:
        fold: all trials of this one; without it the best ones of every fold.
    Returns: 0.
    Raises: InputError if the run has no trials, or no such fold.
    """
    run = RunPaths(root)
    cfg = stored_settings.load(run.config)
    if not cfg.trials.active:
        raise InputError(f"{root}: found no trials in its settings, wanted a run launched with --trials FILE")
    folds = range(cfg.split.folds)
    if fold is not None:
        require(fold.isdecimal() and int(fold) in folds, "--fold", fold, f"0 to {cfg.split.folds - 1}")
        folds = range(int(fold), int(fold) + 1)
    looked, trials = RunTrials(run), {}
    for one in folds:
        if (tried := looked.tried(one)) is None:
            raise InputError(f"{run.trials(one).studies}: not there yet, wanted a run that is packed and sealed")
        trials[one] = tried, looked.look(one).trials
    if as_json:
        print(json.dumps(_as_json(run, cfg, trials), indent=2))
        return 0
    for one, (tried, every) in trials.items():
        shown = every if fold is not None else _best_first(every)[:FEW]
        logs.say("\n".join(lines({one: tried})))
        logs.console().print(_table(cfg, _best_first(shown), every, tried))
    if fold is None:
        logs.say("all trials of a fold: --fold K; as JSON: --json")
    return 0


def _chosen(path: Path) -> dict[str, Any] | None:
    found = disk.read_object(path)
    return found if {"trial", "figure", "candidates"} <= found.keys() else None


def _of_choice(run: RunPaths, chosen: Mapping[str, Any]) -> Tried:
    number = int(result_files.read_kept(run.trials_plan, ["number"])["number"])
    done = int(chosen["candidates"])
    return Tried(number, done, number - done, 0, chosen["trial"], chosen["figure"], chosen=True)


def _of_trials(fold: FoldTrials) -> Tried:
    counts = {state: sum(trial.state == state for trial in fold.trials) for state in ("done", "running")}
    begun, ended = [trial for trial in fold.trials if trial.figures], sum(trial.final for trial in fold.trials)
    best = next(iter(_best_first(begun)), None)
    trial, figure = (None, None) if best is None else (best.number, best.figures[-1])
    return Tried(len(fold.trials), counts["done"], ended - counts["done"], counts["running"], trial, figure)


def _best_first(trials: Sequence[Trial]) -> list[Trial]:
    """Those that were trained furthest first, of these the ones with the highest figure."""

    def rank(trial: Trial) -> tuple[int, float, int]:
        figure = trial.figures[-1] if trial.figures else None
        return -len(trial.figures), float("inf") if figure is None else -figure, trial.number

    return sorted(trials, key=rank)


def _as_json(run: RunPaths, cfg: Config, folds: Mapping[int, tuple[Tried, Sequence[Trial]]]) -> dict[str, Any]:
    return {
        "run": str(run.root),
        "select_by": cfg.trials.select_by,
        "of": f"{cfg.trials.select_on} patients",
        "folds": [
            {"fold": fold, **dataclasses.asdict(tried), "trials": [_trial(cfg, one, every) for one in every]}
            for fold, (tried, every) in folds.items()
        ],
    }


def _trial(cfg: Config, trial: Trial, every: Sequence[Trial]) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "settings": trial.settings,
        "state": trial.state,
        "why": _why(cfg, trial, every),
        "figure": trial.figures[-1] if trial.figures else None,
        "figures": list(trial.figures),
        "epochs": _epochs(trial),
        "parts": len({part for part, _ in trial.reached}),
        "parameters": max((rung.parameters for rung in trial.reached.values()), default=None),
        "seconds": round(trial.seconds, 2),
    }


def _table(cfg: Config, shown: Sequence[Trial], every: Sequence[Trial], tried: Tried) -> Table:
    """A row per trial; figure: of the validation patients. A setting that a trial leaves alone has the run's value."""
    from cac_hpc.trials import space

    names = list(dict.fromkeys(name for trial in every for name in trial.settings or ()))
    short = [name.rpartition(".")[2] for name in names]
    heads = [last if short.count(last) == 1 else name for last, name in zip(short, names, strict=True)]
    parts = max((part for trial in every for part, _ in trial.reached), default=0) > 0
    columns = ["trial", "settings", "figure", "epochs", *["parts"] * parts, "s", "state"]
    runs, rows = {name: space.value_of(cfg, name) for name in names}, []
    for trial in shown:
        known, mark = trial.settings, " *" if trial.number == tried.trial else ""
        values = [] if known is None else [_value(known.get(name, runs[name])) for name in names]
        settings = ", ".join(f"{head}={value}" for head, value in zip(heads, values, strict=False)) or None
        done = [len({part for part, _ in trial.reached}) or None] * parts
        figure = _figure(trial.figures[-1]) if trial.figures else None
        words = {"running": "begun", "left_out": "left out"}  # nobody may be at work on it: the run may be stopped
        state = ", ".join(filter(None, (words.get(trial.state, trial.state), _why(cfg, trial, every))))
        seconds = f"{trial.seconds:.3g}" if trial.reached else None
        rows.append([f"{trial.number}{mark}", settings, figure, _epochs(trial), *done, seconds, state])
    best = "chosen" if tried.chosen else "best so far"
    title = f"{cfg.trials.select_by} of the {cfg.trials.select_on} patients, * {best}"
    return logs.table(title, columns, rows, tight=True)


def _why(cfg: Config, trial: Trial, every: Sequence[Trial]) -> str | None:
    """Why a trial was not trained to its end."""
    if trial.state == "left_out":
        return f"by trials.gpu_hours {cfg.trials.gpu_hours:g}"
    if trial.state == "failed":
        return trial.failure
    if trial.state != "pruned":
        return None
    rung = len(trial.figures) - 1
    reached = [one.figures[rung] for one in every[: trial.number] if rung < len(one.figures)]
    mine = trial.figures[rung]
    better = sum(mine is None or (figure is not None and figure >= mine) for figure in reached)
    return f"behind {better} of {len(reached)}"


def _epochs(trial: Trial) -> int | None:
    return max((rung.epochs for rung in trial.reached.values()), default=None)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_value, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figure(figure: float | None) -> str:
    return "undefined" if figure is None else f"{figure:.3f}"
