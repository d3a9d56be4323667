"""Stage trials: one of its processes, which trains what can be trained of a fold's trials, until every fold has chosen.

A process serves one fold, and has no label but those that the fold's trials may see. When there is nothing left to do
it starts itself again for another fold, and knows nothing of the one before.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cac_hpc.machine import processes
from cac_hpc.machine.processes import RESUMABLE, Stopped
from cac_hpc.run import causes, disk, ledger, logs
from cac_hpc.run.causes import Cause
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.train.fencing import Fence, Fenced
from cac_hpc.trials import choice, plan, standing
from cac_hpc.trials.holders import Holders
from cac_hpc.trials.plan import Plan
from cac_hpc.trials.standing import FoldTrials, Trial

if TYPE_CHECKING:
    from cac_hpc.trials.training import Session

LOOK_S = 0.2  # between two looks at what others do
STAY_S = 5.0  # in a fold in which it has trained, before it looks for another
MOST_S = 60.0  # in any other, when there is nothing to do in any
TELL_S = 60.0  # between two lines about its progress


def work(root: Path, worker: int, fold: int | None = None, idle: int = 0) -> int:
    """Train trials of one fold after the other, until every fold has chosen.

    Args:
        fold: to begin with. idle: folds before it in which there was nothing to do; 0 at the start.
    Returns: the exit code, 0 or RESUMABLE when it was asked to stop and has saved.
    Raises: InputError if plan or data are damaged; WorkError if no trial of a fold can be trained.
    """
    run = RunPaths(root)
    cfg = stored_settings.load(run.config)
    with causes.in_run(root):
        of_all = plan.read(run.trials_plan)
    logs.setup(f"trials {worker}: ")
    with ledger.stage(run.ledger, "trials", worker, begins=fold is None) as end:
        try:
            if here := _open_folds(run, cfg, worker if fold is None else fold):
                server = Server(run, here[0], worker, cfg, of_all)
                idle = 0 if server.serve(_patience_s(idle, len(here))) else idle + 1
                if following := _open_folds(run, cfg, here[0] + 1):
                    _start_again(run, worker, following[0], idle)
                    stop_if_asked()
        except Stopped as stop:
            end |= {"ok": False, "resumable": True, "cause": causes.of(stop)}
            return RESUMABLE
    _tell_choices(run, cfg, worker)
    return 0


def _open_folds(run: RunPaths, cfg: Config, first: int) -> list[int]:
    """The folds that have not chosen yet, from that one on."""
    count = cfg.split.folds
    return [fold % count for fold in range(first, first + count) if not run.trials(fold % count).choice.exists()]


def _patience_s(idle: int, count: int) -> float:
    """How long to wait for something to do in a fold: not at all until every fold was looked at."""
    rounds = idle // count
    return min(2.0**rounds, MOST_S) if rounds else 0.0


def _start_again(run: RunPaths, worker: int, fold: int, idle: int) -> None:
    """Take this process's place, for another fold: whatever is known of this one is gone."""
    numbers = {"--worker": worker, "--fold": fold, "--idle": idle}
    given = [str(word) for pair in numbers.items() for word in pair]
    processes.become([sys.executable, sys.argv[0], "--run", str(run.root), *given])


def stop_if_asked() -> None:
    """End if this process was asked to, or nobody watches over it any more.

    Raises: Stopped.
    """
    if processes.supervisor_is_gone():
        os._exit(1)
    if signal_name := processes.heard():
        raise Stopped(Cause("stopped", signal=signal_name))


class Server:
    """This process, as long as it serves one fold."""

    def __init__(self, run: RunPaths, fold: int, worker: int, cfg: Config, of_all: Plan) -> None:
        self._run, self._fold, self._worker, self._cfg, self._plan = run, fold, worker, cfg, of_all
        self._trials, self._holders = FoldTrials(run, fold, cfg, of_all), Holders(worker)
        self._session: Session | None = None
        self._tidied: set[int] = set()
        self._told_s = time.monotonic()

    def serve(self, patience_s: float) -> bool:
        """Train what can be trained, until the fold has chosen or there was nothing to do for a while.

        Returns: whether anything was trained.
        Raises: Stopped when it was asked to stop.
        """
        until, did = time.monotonic() + patience_s, False
        with ExitStack() as stack:
            while True:
                stop_if_asked()
                self._trials.look()
                self._tidy()
                self._tell()
                if self._trials.final and self._choose():
                    return did
                if claimed := self._claim():
                    self._train(stack, *claimed)
                    until, did = time.monotonic() + STAY_S, True
                elif time.monotonic() > until and len(_open_folds(self._run, self._cfg, self._fold)) > 1:
                    return did
                else:
                    time.sleep(LOOK_S)

    def _claim(self) -> tuple[Trial, int, Fence] | None:
        """The first part that can be trained and nobody works on."""
        files = self._run.trials(self._fold)
        for trial in self._trials.trials:
            for part in trial.open:
                if trial.number >= len(self._plan.settings) and not files.settings(trial.number).exists():
                    disk.write_json(files.settings(trial.number), trial.settings)
                if fence := self._holders.claim(files.part(trial.number, part)):
                    return trial, part, fence
        return None

    def _train(self, stack: ExitStack, trial: Trial, number: int, fence: Fence) -> None:
        from cac_hpc.trials import training  # and with it torch, which takes seconds

        if self._session is None:
            opened = training.session(self._run, self._fold, self._worker, self._cfg, self._plan)
            self._session = stack.enter_context(opened)
        assert trial.settings is not None

        def goes_on(rung: int) -> bool:
            self._trials.look()
            return len(trial.rungs) == rung + 1 and number in trial.open

        part = training.Part(trial.number, number, trial.settings)
        try:
            training.train(self._session, part, len(trial.rungs), fence, goes_on)
        except Fenced as replaced:
            log.warning("trial %d of fold %d: %s", trial.number, self._fold, causes.sentence(causes.of(replaced)))

    def _choose(self) -> bool:
        """Choose, if that can be done; returns whether the fold has chosen."""
        path = self._run.trials(self._fold).choice
        if path.exists():
            return True
        trials = self._trials.results
        if self._cfg.trials.select_on == "test":
            every = [FoldTrials(self._run, fold, self._cfg, self._plan) for fold in range(self._cfg.split.folds)]
            for one in every:
                one.look()
            if not all(one.final for one in every):
                return False
            trials = standing.joined(every)
        chosen = choice.choose(self._cfg, len(self._cfg.labels.names), trials)
        if not path.exists():  # another process chooses the same, perhaps at the same time
            choice.write(path, chosen)
            log.info("fold %d has chosen trial %d of %d", self._fold, chosen.trial, len(self._trials.trials))
            _tell_choice(self._run, self._worker, self._fold, chosen.trial)
        return True

    def _tidy(self) -> None:
        """Remove what nobody needs of trials that are final: checkpoints, heartbeats, files of processes that died."""
        for trial in self._trials.trials:
            if not trial.final or trial.number in self._tidied:
                continue
            self._tidied.add(trial.number)
            for part in range(self._plan.parts):
                files = self._run.trials(self._fold).part(trial.number, part)
                for folder in (files.checkpoint(0, 0).parent, files.heartbeats):
                    shutil.rmtree(folder, ignore_errors=True)
                for scratch in (*files.root.glob(".*.tmp"), *files.attempts.glob(".*.tmp")):
                    scratch.unlink(missing_ok=True)

    def _tell(self) -> None:
        """Every now and then, tell the ledger how far the fold is."""
        if time.monotonic() - self._told_s < TELL_S:
            return
        self._told_s = time.monotonic()
        done = sum(trial.final for trial in self._trials.trials)
        count = len(self._trials.trials)
        ledger.record(self._run.ledger, "trials", self._worker, "progress", fold=self._fold, done=done, trials=count)


def _tell_choice(run: RunPaths, worker: int, fold: int, trial: int) -> None:
    ledger.record(run.ledger, "trials", worker, "chosen", fold=fold, trial=trial)


def _tell_choices(run: RunPaths, cfg: Config, worker: int) -> None:
    """Tell of choices whose process was killed before it could."""
    told = {event.get("fold") for event in ledger.read(run.ledger) if event["event"] == "chosen"}
    for fold in sorted({*range(cfg.split.folds)} - told):
        _tell_choice(run, worker, fold, disk.read_json(run.trials(fold).choice)["trial"])
