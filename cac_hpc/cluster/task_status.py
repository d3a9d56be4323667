"""Where every task of a run stands now: what is known of each is gathered, judged, and shown with what helps."""

from __future__ import annotations

import dataclasses
import functools
import platform
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cac_hpc.cluster import ownership, pending, slurm_commands
from cac_hpc.cluster.ownership import is_ours
from cac_hpc.cluster.queue_records import OPEN, Accounted, Listing, Queued
from cac_hpc.cluster.verdicts import Evidence, Verdict, judge, wants_accounting
from cac_hpc.machine import processes
from cac_hpc.run import causes, disk, stages, task_states
from cac_hpc.run.causes import Cause
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES
from cac_hpc.run.task_states import TaskState
from cac_hpc.train import heartbeat

if TYPE_CHECKING:
    from cac_hpc.cluster.remedies import Remedies

HELPLESS = ("planned", "queued", "running", "done", "unknown")  # where only a cause that brings a command has one


class RunStates:
    """Where a run stands, looked at once or again and again: a look is one call of squeue, and of sacct at most one."""

    def __init__(self, run: RunPaths) -> None:
        self.run = run
        self.token = ownership.token_of(run)
        self._accounting = slurm_commands.Sacct()
        self._epochs = heartbeat.wanted_epochs(run.config)
        self._own_epochs: dict[int, int] = {}  # of folds that have chosen among trials

    def states(self) -> list[TaskState]:
        """Where every task stands now."""
        told = task_states.survey(self.run)
        jobs = [state for state in told if state.job and state.state not in ("planned", "done")]
        listing = queue_of(self.run) if jobs else Listing()
        queued = {} if listing is None else self._queued(jobs, listing)
        answers = listing is not None and listing.whole
        accounts = self._accounts([state for state in jobs if state.job not in queued]) if answers else {}
        found = [
            self._judge(state, queued.get(state.job or ""), answers, accounts.get(state.job or "")) for state in told
        ]
        return _with_cause(self.run, [self._with_pace(state) for state in found], told)

    def _queued(self, jobs: Sequence[TaskState], listing: Listing) -> dict[str, Queued]:
        found = {state.job: (listing.find(state.job), state.since) for state in jobs if state.job}
        return {job: queued for job, (queued, since) in found.items() if queued and is_ours(queued, self.token, since)}

    def _accounts(self, left: Sequence[TaskState]) -> Mapping[str, Accounted]:
        """What accounting says of the jobs that have left the queue, where that matters."""
        since = {state.job: state.since for state in left if state.job and wants_accounting(state)}
        return self._accounting.find(since, lambda job, start: is_ours(start, self.token, since[job]))

    def _judge(self, told: TaskState, queued: Queued | None, answers: bool, account: Accounted | None) -> TaskState:
        known = Evidence(
            task=told,
            queue=queued,
            queue_answers=answers,
            account=account,
            accounting_answers=not self._accounting.silent,
            pulse_age_s=_pulse_age_s(self.run, told) if told.state in ("submitted", "running") else None,
            alive=processes.start_time(told.pid or 0) is not None if told.node == platform.node() else None,
        )
        found = self._with_remedy(judge(known), queued)
        node = told.node or (queued.node if queued else "") or None
        helps = found.cause if found.state not in HELPLESS or (found.cause and found.cause.help) else None
        command = causes.command(helps, self.run.root) if helps else None
        return dataclasses.replace(told, state=found.state, cause=found.cause, command=command, node=node)

    def _with_remedy(self, found: Verdict, queued: Queued | None) -> Verdict:
        """A verdict on a job that waits, with the numbers of a limit that it alone is over, and what helps."""
        cause = found.cause
        if not queued or not cause or not cause.slurm or not any(pending.asks_for(queued.reason)):
            return found
        remedy = self._remedies.find(cause.stage or "", queued.reason)
        if remedy is None:
            return found
        cause = dataclasses.replace(cause, help=remedy.help or cause.help)
        if remedy.excess:
            cause = dataclasses.replace(cause, words="never starts", detail=str(remedy.excess))
        return Verdict("held", cause)

    def _with_pace(self, state: TaskState) -> TaskState:
        """A fold with the numbers of its epochs, and while it runs with what its main rank last said."""
        if state.stage != "folds":
            return state
        files = self.run.fold(state.task or 0)
        seen = heartbeat.read_pace(files)
        numbers: dict[str, Any] = {"epochs": (epochs := self._wanted_epochs(state.task or 0))}
        numbers |= {"epoch": seen.epochs or None, "val_loss": seen.val_loss}
        pulses = heartbeat.read_pulses(files)[:1] if state.state == "running" else []
        for pulse in [pulse for pulse in pulses if not pulse.end]:
            left_s = seen.remaining_s(epochs or 0, pulse.phase, pulse.step, pulse.steps)
            numbers |= {"progress": pulse.place, "slices_per_second": seen.slices_per_second, "eta_s": left_s}
            numbers |= {"epoch": pulse.epoch} if pulse.epoch else {}
        return dataclasses.replace(state, **numbers)

    @functools.cached_property
    def _remedies(self) -> Remedies:
        from cac_hpc.cluster.remedies import Remedies  # only for a job that waits for what it asks for

        return Remedies(self.run)

    def _wanted_epochs(self, fold: int) -> int | None:
        """Of a fold, which may have chosen among trials."""
        if fold not in self._own_epochs:
            try:
                chosen = disk.read_json(self.run.trials(fold).choice)["settings"]
                self._own_epochs[fold] = int(chosen.get("train.epochs", self._epochs))
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                return self._epochs
        return self._own_epochs[fold]


def queue_of(run: RunPaths) -> Listing | None:
    """The queue of who asks and of whose run it is; None if SLURM does not say."""
    return slurm_commands.queue(ownership.owner_of(run).users)


def _pulse_age_s(run: RunPaths, state: TaskState) -> float | None:
    """How old the newest sign of life of a fold is; None if there is none, or its ranks have said that they end."""
    if state.stage != "folds":
        return None
    files = run.fold(state.task or 0)
    written = []
    for pulse in heartbeat.read_pulses(files):
        try:
            written += [] if pulse.end else [files.heartbeat(pulse.rank).stat().st_mtime]
        except OSError:
            continue
    return max(0.0, time.time() - max(written)) if written else None


def _with_cause(run: RunPaths, states: Sequence[TaskState], told: Sequence[TaskState]) -> list[TaskState]:
    """Jobs that never started because the stage before them did not end well: SLURM takes those out of the queue."""
    bad = {state.stage for state in states if state.state not in ("done", "planned", *OPEN)}
    there, whole = {state.stage for state in states}, {stage.name for stage in STAGES if stage.rule == "afterok"}
    found = []
    for state, was in zip(states, told, strict=True):
        before = stages.before(state.stage) if state.stage in whole else ()
        needed = next((name for name in before if name in there), None)
        if needed in bad and was.state == "submitted" and state.state in ("gone", "stopped"):
            cause = Cause("dependency_failed", state.stage, state.task, words=needed)
            state = dataclasses.replace(state, state="stopped", cause=cause, command=causes.command(cause, run.root))
        found.append(state)
    return found
