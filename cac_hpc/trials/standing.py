"""Where the trials of a fold stand, read from their files: which are done, which were pruned, what can be trained now.

All of it follows from the numbers of the trials and what they have predicted, never from the order in which that came,
nor from which process trained what. So the trials end the same, whatever is killed on the way.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cac_hpc.run import disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.config import Config
from cac_hpc.trials import choice, plan, sampling
from cac_hpc.trials.choice import TrialResult
from cac_hpc.trials.plan import Plan, Rung

State = Literal["waiting", "running", "pruned", "done", "failed", "left_out"]
FINAL = ("pruned", "done", "failed", "left_out")


@dataclass
class Trial:
    """Where one trial stands.

    settings: None where they follow from trials that are not final yet. rungs: of each rung that it has reached, what
    all its parts have predicted there; figures: the trial's figure at each; reached: the same of each part and rung.
    state: left_out by trials.gpu_hours. open: the parts that can be trained now, to the rung after the last one.
    """

    number: int
    settings: Mapping[str, Any] | None = None
    state: State = "waiting"
    rungs: list[tuple[Rung, ...]] = field(default_factory=list)
    figures: list[float | None] = field(default_factory=list)
    reached: dict[tuple[int, int], Rung] = field(default_factory=dict)
    open: tuple[int, ...] = ()

    @property
    def final(self) -> bool:
        return self.state in FINAL

    @property
    def seconds(self) -> float:
        """Of training, of all its parts."""
        return sum(rung.seconds for rung in self.reached.values())

    @property
    def failure(self) -> str | None:
        """Why it could not be trained on."""
        return next((rung.failure for rung in self.reached.values() if rung.failure), None)


class FoldTrials:
    """The trials of one fold, as last looked at; what was read once is not read again."""

    def __init__(self, run: RunPaths, fold: int, cfg: Config, of_all: Plan) -> None:
        self.fold = fold
        self.trials = [Trial(number) for number in range(of_all.number)]
        for trial, settings in zip(self.trials, of_all.settings, strict=False):
            trial.settings = settings
        self._files, self._cfg, self._plan = run.trials(fold), cfg, of_all

    @property
    def final(self) -> bool:
        """Whether no trial is trained any more."""
        return all(trial.final for trial in self.trials)

    @property
    def results(self) -> list[TrialResult]:
        """What the choice is made from, of trials that have reached a rung."""
        return [
            TrialResult(trial.number, trial.settings, trial.state == "pruned", trial.rungs[-1])
            for trial in self.trials if trial.rungs and trial.settings is not None
        ]  # fmt: skip

    def look(self) -> None:
        """Look again at the trials that are not final yet."""
        begun = _names(self._files.root)
        for trial in self.trials:
            if not trial.final:
                self._look(trial, f"trial-{trial.number:04d}" in begun)

    def goes_on(self, trial: Trial, rung: int) -> bool | None:
        """Whether a trial that has reached a rung is trained beyond it; None as long as that cannot be known."""
        figures: dict[int, float | None] = {}
        for other in self.trials[: trial.number + 1]:
            if rung < len(other.figures):
                figures[other.number] = other.figures[rung]
            elif not other.final:
                return None
        return sampling.goes_on(self._cfg, trial.number, rung, figures)

    def _look(self, trial: Trial, begun: bool) -> None:
        if not self._may_begin(trial, begun):
            return
        trial.state = "running" if begun else "waiting"
        while not trial.final:
            rung, trial.open = len(trial.rungs), ()
            if rung and (further := self.goes_on(trial, rung - 1)) is not True:
                trial.state = "running" if further is None else "pruned"
                return
            if not self._reach(trial, rung, begun):
                return
            if trial.failure:
                trial.state = "failed"
            elif rung == len(self._plan.rungs) - 1:
                trial.state = "done"

    def _reach(self, trial: Trial, rung: int, begun: bool) -> bool:
        """Whether all parts of a trial have reached a rung."""
        num_categories, by = len(self._cfg.labels.names), self._cfg.trials.select_by
        for part in range(self._plan.parts) if begun else ():
            if (part, rung) not in trial.reached and (
                found := plan.read_rung(self._files.rung(trial.number, part, rung), trial.settings, num_categories)
            ):
                trial.reached[part, rung] = found
        trial.open = tuple(part for part in range(self._plan.parts) if (part, rung) not in trial.reached)
        if trial.open:
            return False
        trial.rungs.append(tuple(trial.reached[part, rung] for part in range(self._plan.parts)))
        trial.figures.append(choice.figure(trial.rungs[-1], by, num_categories, self._plan.seeds))
        return True

    def _may_begin(self, trial: Trial, begun: bool) -> bool:
        """Whether a trial's settings are known and it is within the budget; while either is unknown, it may not."""
        earlier = self.trials[: max(trial.number - self._plan.lag + 1, 0)]
        if trial.settings is None:
            if begun:
                trial.settings = disk.read_object(self._files.settings(trial.number)) or None  # by its first process
            if trial.settings is None and all(one.final for one in earlier):
                trial.settings = self._drawn(trial)
        if trial.settings is None:
            return False
        if (hours := self._cfg.trials.gpu_hours) is None:
            return True
        if not all(one.final for one in earlier):
            return False
        if sum(one.seconds for one in earlier) > 3600 * hours:
            trial.state = "left_out"
        return not trial.final

    def _drawn(self, trial: Trial) -> Mapping[str, Any] | None:
        """The settings that follow from the trials before, as soon as the settings of all these are known."""
        states: dict[State, Literal["running", "pruned", "complete"]] = {"done": "complete", "pruned": "pruned"}
        before = [
            sampling.Trial(
                one.number, one.settings, one.figures[-1] if one.figures else None, len(one.figures) - 1,
                states.get(one.state, "pruned" if one.final else "running"),
            )
            for one in self.trials[: trial.number] if one.settings is not None
        ]  # fmt: skip
        if len(before) < trial.number:
            return None
        return sampling.next_settings(self._cfg, self.fold, trial.number, before)


def joined(folds: Sequence[FoldTrials]) -> list[TrialResult]:
    """The same trials of all folds, each with the parts of all of them: for a choice that the folds make together."""
    of_folds = [{one.number: one for one in fold.results} for fold in folds]
    return [
        TrialResult(
            number, first.settings, any(one[number].pruned for one in of_folds),
            tuple(part for one in of_folds for part in one[number].parts),
        )
        for number, first in of_folds[0].items()
    ]  # fmt: skip


def _names(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in os.scandir(folder)}
    except OSError:
        return set()
