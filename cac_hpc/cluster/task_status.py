"""Where a task stands, from all that is known of it: ledger, result, signs of life, queue, accounting.

Success follows from the result alone. Silence is no news: a task is given up only when a queue that answers no longer
knows its job. A state that SLURM may still change (NODE_FAIL, PREEMPTED, ...) is not final as long as the job is in the
queue.
"""

from __future__ import annotations

import dataclasses
import platform
import pwd
import re
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, NamedTuple

from cac_hpc.cluster import pending, queue_records, scheduler
from cac_hpc.cluster.pending import Remedies
from cac_hpc.cluster.queue_records import (
    OPEN,
    OUT_OF_MEMORY_SIGNAL,
    STATES,
    Accounted,
    Listing,
    Queued,
    State,
    base_state,
    ending_signal,
)
from cac_hpc.machine import processes
from cac_hpc.machine.processes import RESUMABLE
from cac_hpc.run import causes, disk, stages, task_states
from cac_hpc.run.causes import RELEASE, RESUME, Cause
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES
from cac_hpc.run.task_states import TaskState
from cac_hpc.train import heartbeat

ALIVE_S = 20.0  # since the last pulse: the work goes on, whatever others say
OLDER = timedelta(hours=2)  # than what we know: a job of the same number from before
NOBODY = 2**32 - 2  # SLURM's NO_VAL and what follows
HELPLESS = ("planned", "queued", "running", "done", "unknown")  # where only a cause that brings a command has one


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known of a task now.

    told: where it stands by ledger and result: planned, submitted, running, stopped, done, failed or gone. since: when
    its job was submitted, or planned; a job from long before is another one. queue, account: None where the job is not
    there. may_restart: whether it failed in a way after which its job starts it again. pulse_age_s: of its newest sign
    of life. alive: whether the process of a task without a job is there; None if that cannot be seen from here.
    """

    stage: str
    told: str
    cause: Cause | None = None
    may_restart: bool = False
    job: str | None = None
    queue: Queued | None = None
    queue_answers: bool = True
    account: Accounted | None = None
    accounting: Literal["not asked", "silent", "answers"] = "not asked"
    pulse_age_s: float | None = None
    alive: bool | None = None
    host: str | None = None

    @property
    def beats(self) -> bool:
        return self.pulse_age_s is not None and self.pulse_age_s < ALIVE_S


class Verdict(NamedTuple):
    """Where a task stands, and why."""

    state: State
    cause: Cause | None = None


def judge(known: Evidence) -> Verdict:
    """Where a task stands."""
    state, cause = _judge(known)
    return Verdict(state, cause and replace(cause, stage=known.stage, job=known.job))


def _judge(known: Evidence) -> Verdict:
    if known.told in ("planned", "done"):
        return Verdict("done" if known.told == "done" else "planned", known.cause)
    if known.queue is not None:
        return _in_queue(known, known.queue)
    if known.told in ("failed", "gone", "stopped"):
        return _ended(known)
    if known.beats:
        return Verdict("running")
    if known.job is None:
        return _here(known)
    if not known.queue_answers:
        return Verdict("unknown", Cause("queue_silent"))
    return _left(known)


def wants_accounting(told: str, cause: Cause | None) -> bool:
    """Whether accounting could say more of a task whose job has left the queue: of memory, or of who has stopped it."""
    if told == "failed":
        return cause is not None and cause.may_be_memory
    asked = cause is not None and (cause.code in ("text", "ended_by_scheduler") or cause.signal == "SIGTERM")
    return told in ("submitted", "running") or (told == "stopped" and asked)


def is_ours(record: Queued | Accounted, token: str | None, since: str | None) -> bool:
    """Whether a record is of our job, not of one that had the same number before.

    Args:
        token: that the run's jobs have in their names. since: when we submitted it, in UTC.
    """
    named = re.fullmatch(r"cac-\w+-([0-9a-f]{8})", record.name)
    if named and named[1] != token:
        return False
    with suppress(ValueError, OverflowError, OSError):  # a time that cannot be read proves nothing
        submitted = datetime.fromisoformat(record.submitted).astimezone(timezone.utc)
        return submitted > datetime.fromisoformat(since or "").astimezone(timezone.utc) - OLDER
    return True


def _in_queue(known: Evidence, job: Queued) -> Verdict:
    state = base_state(job.state)
    meaning = STATES.get(state)
    if meaning is None:
        return Verdict("unknown", Cause("unknown_state", slurm=job.state))
    if state == "PENDING":
        return _waiting(known, job)
    if state == "RUNNING" and known.may_restart:
        return Verdict("running", Cause("in_queue", words="is about to be started again by its job", after=known.cause))
    if state in ("RUNNING", "COMPLETING") and known.told in ("failed", "gone", "stopped"):
        return _ended(known)  # it is only tidying up
    if state == "RUNNING":
        return Verdict("running", _silence(known, job))
    if meaning.queued == "held":
        return Verdict("held", Cause("in_queue", words=meaning.words, help=RELEASE))
    if meaning.queued == "suspended":
        return Verdict("suspended", Cause("in_queue", words=meaning.words, slurm=state, help="scontrol resume {job}"))
    if meaning.queued == "running" and meaning.left != "gone":
        return Verdict("running", Cause("in_queue", words=f"is ending: {meaning.words}", slurm=state))
    if meaning.left == "failed":
        return Verdict(
            meaning.queued,
            Cause("in_queue", words=f"{meaning.words}; SLURM still has it in the queue and may start it again"),
        )
    return Verdict(meaning.queued, Cause("in_queue", words=meaning.words, slurm=state))


def _waiting(known: Evidence, job: Queued) -> Verdict:
    cause, found = Cause("in_queue", words="waits", slurm=job.reason, after=known.cause), pending.reason_for(job.reason)
    if found is None:
        return Verdict("queued", cause)
    held = found.kind in ("held", "never starts")
    return Verdict("held" if held else "queued", replace(cause, words=found.words, help=found.help))


def _silence(known: Evidence, job: Queued) -> Cause | None:
    """What is to be said of a job that runs."""
    if known.told == "submitted":
        return Cause("not_heard")
    if known.pulse_age_s is None or known.beats:
        return None
    return Cause("silent", seconds=known.pulse_age_s, node=job.node or None)


def _ended(known: Evidence) -> Verdict:
    """What the ledger says, and the cause where accounting knows it better."""
    state: State = "failed" if known.told == "failed" else "gone" if known.told == "gone" else "stopped"
    account = known.account
    if account and state == "failed" and (memory := _memory(account)):
        return Verdict(state, replace(memory, after=known.cause))
    if account and state == "stopped" and base_state(account.state) == "CANCELLED":
        by_scheduler = known.cause and known.cause.code in ("cancelled", "ended_by_scheduler")
        before = known.cause.after if known.cause and by_scheduler else known.cause
        return Verdict(state, Cause("cancelled", user=_who(account.state), after=before))
    return Verdict(state, known.cause or Cause("no_result"))


def _here(known: Evidence) -> Verdict:
    """A task that runs without SLURM lives as long as its process."""
    if known.alive is None:
        return Verdict("unknown", Cause("out_of_sight", node=known.host))
    return Verdict("running") if known.alive else Verdict("gone", Cause("process_gone"))


def _left(known: Evidence) -> Verdict:
    """The queue no longer has the job, and there is no result."""
    account = known.account
    if account is None:
        silent = {"silent": "accounting does not answer", "answers": "accounting does not know it"}
        return Verdict("gone", Cause("unknown_end", words=silent.get(known.accounting, "no more is known")))
    if memory := _memory(account):
        return Verdict("failed", memory)
    state = base_state(account.state)
    meaning = STATES.get(state)
    if meaning is None or (meaning.left == "gone" and state != "COMPLETED"):
        return Verdict("gone", Cause("late_accounting", slurm=account.state))
    if state == "COMPLETED":
        step = f"; a step: {account.bad_step}" if account.bad_step else ""
        slurm = f"{account.state} {account.exit_code}{step}"
        return Verdict("gone", Cause("job_completed", words=meaning.words, slurm=slurm))
    return _final(known, account, state, meaning.words)


def _final(known: Evidence, account: Accounted, state: str, words: str) -> Verdict:
    """A job that SLURM says has failed."""
    node = account.node if account.node and "None" not in account.node else None
    if state == "CANCELLED":
        cause = Cause("cancelled", user=_who(account.state), node=node, elapsed=account.elapsed or None)
        if known.told != "submitted":
            return Verdict("failed", cause)
        started = account.elapsed not in ("", "00:00:00")
        return Verdict("stopped", replace(cause, code="cancelled_silent" if started else "cancelled_waiting"))
    if state == "TIMEOUT":
        return Verdict("failed", Cause("time_limit", node=node, elapsed=account.time_limit or None))
    if state == "NODE_FAIL" or state == "BOOT_FAIL":
        return Verdict("failed", Cause("node_failed", words=words, node=node))
    if state == "FAILED":
        return _exit(account, node)
    return Verdict("failed", Cause("job_ended", words=words, node=node, slurm=account.state))


def _exit(account: Accounted, node: str | None) -> Verdict:
    """A job that ended with an exit code, as ``code:signal``."""
    code = account.exit_code.split(":")[0]
    if account.exit_code == "0:53":
        return Verdict("failed", Cause("no_log_folder", node=node))
    if code == str(RESUMABLE):
        return Verdict("stopped", Cause("saved", node=node))
    if number := ending_signal(account.exit_code):
        name = processes.signal_name(number)
        return Verdict("failed", Cause("job_killed", signal=name, node=node, slurm=account.exit_code))
    return Verdict("failed", Cause("job_failed", node=node, value=code or None))


def _memory(account: Accounted) -> Cause | None:
    """Killed for memory: SLURM says so of a step, or it was killed when it had as much as it asked for."""
    asked, peak = account.asked_bytes, account.peak_bytes
    full = asked is not None and peak is not None and peak > 0.95 * asked
    by = {ending_signal(account.exit_code), ending_signal(account.bad_step)}
    sure = account.out_of_memory or OUT_OF_MEMORY_SIGNAL in by
    if not sure and not (full and signal.SIGKILL in by):
        return None
    # looked at every few seconds: what grew faster was never seen at its height
    return Cause(
        "slurm_out_of_memory",
        words=None if sure else "probably",
        limit_bytes=asked,
        peak_bytes=peak if peak and peak > (asked or 0) / 2 else None,
        help=f"{RESUME} --cluster.{{section}}.mem_gb MORE" if "c" in account.asked else None,  # it is per core
    )


def _who(state: str) -> str | None:
    """Who cancelled a job, of ``CANCELLED by 1000``; None if SLURM does not say."""
    found = re.search(r"by (\d+)", state)
    user = int(found[1]) if found else NOBODY
    if user >= NOBODY:
        return None
    with suppress(KeyError, OverflowError):
        return pwd.getpwuid(user).pw_name + (" or by SLURM itself" if user == 0 else "")
    return f"user {user}"


class RunStates:
    """Where a run stands, looked at once or again and again: a look is one call of squeue, and of sacct at most one."""

    def __init__(self, run: RunPaths) -> None:
        self.run = run
        self.token = queue_records.token_of(run)
        self._accounting, self._remedies = scheduler.Accounting(), Remedies(run)
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
        since = {s.job: s.since for s in left if s.job and wants_accounting(s.state, s.cause)}
        return self._accounting.find(since, lambda job, start: is_ours(start, self.token, since[job]))

    def _judge(self, told: TaskState, queued: Queued | None, answers: bool, account: Accounted | None) -> TaskState:
        known = Evidence(
            stage=told.stage,
            told=told.state,
            cause=told.cause,
            may_restart=told.may_restart,
            job=told.job,
            queue=queued,
            queue_answers=answers,
            account=account,
            accounting="silent" if self._accounting.silent else "answers",
            pulse_age_s=_pulse_age_s(self.run, told) if told.state in ("submitted", "running") else None,
            alive=processes.start_time(told.pid or 0) is not None if told.node == platform.node() else None,
            host=told.node,
        )
        found = self._with_remedy(judge(known), queued)
        node = told.node or (queued.node if queued else "") or None
        helps = found.cause if found.state not in HELPLESS or (found.cause and found.cause.help) else None
        command = causes.command(helps, self.run.root) if helps else None
        return dataclasses.replace(told, state=found.state, cause=found.cause, command=command, node=node)

    def _with_remedy(self, found: Verdict, queued: Queued | None) -> Verdict:
        """A verdict on a job that waits, with the numbers of a limit that it alone is over, and what helps."""
        cause = found.cause
        remedy = self._remedies.find(cause.stage or "", queued.reason) if queued and cause and cause.slurm else None
        if remedy is None or cause is None:
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
    return scheduler.queue(queue_records.owner_of(run).users)


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
