"""What follows for a task from all that is known of it: ledger, result, signs of life, queue, accounting.

Success follows from the result alone. Silence is no news: a task is given up only when a queue that answers no longer
knows its job. A state that SLURM may still change (NODE_FAIL, PREEMPTED, ...) is not final as long as the job is in the
queue.
"""

from __future__ import annotations

import pwd
import re
import signal
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from cac_hpc.cluster import pending
from cac_hpc.cluster.queue_records import (
    OUT_OF_MEMORY_SIGNAL,
    STATES,
    Accounted,
    Queued,
    State,
    base_state,
    ending_signal,
)
from cac_hpc.machine import processes
from cac_hpc.machine.processes import RESUMABLE
from cac_hpc.run.causes import RELEASE, RESUME, Cause
from cac_hpc.run.task_states import TaskState

ALIVE_S = 20.0  # since the last pulse: the work goes on, whatever others say
NOBODY = 2**32 - 2  # SLURM's NO_VAL and what follows


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known of a task now.

    task: as ledger and result tell of it. queue, account: None where its job is not there. pulse_age_s: of its newest
    sign of life. alive: whether the process of a task without a job is there; None if that cannot be seen from here.
    """

    task: TaskState
    queue: Queued | None
    queue_answers: bool
    account: Accounted | None
    accounting_answers: bool
    pulse_age_s: float | None
    alive: bool | None

    @property
    def told(self) -> str:
        """Where it stands by ledger and result."""
        return self.task.state

    @property
    def cause(self) -> Cause | None:
        """Why, by ledger and result."""
        return self.task.cause

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
    return Verdict(state, cause and replace(cause, stage=known.task.stage, job=known.task.job))


def _judge(known: Evidence) -> Verdict:
    if known.told in ("planned", "done"):
        return Verdict("done" if known.told == "done" else "planned", known.cause)
    if known.queue is not None:
        return _in_queue(known, known.queue)
    if known.told in ("failed", "gone", "stopped"):
        return _ended(known)
    if known.beats:
        return Verdict("running")
    if known.task.job is None:
        return _here(known)
    if not known.queue_answers:
        return Verdict("unknown", Cause("queue_silent"))
    return _left(known)


def wants_accounting(task: TaskState) -> bool:
    """Whether accounting could say more of a task whose job has left the queue: of memory, or of who has stopped it."""
    told, cause = task.state, task.cause
    if told == "failed":
        return cause is not None and cause.may_be_memory
    asked = cause is not None and (cause.code in ("text", "ended_by_scheduler") or cause.signal == "SIGTERM")
    return told in ("submitted", "running") or (told == "stopped" and asked)


def _in_queue(known: Evidence, job: Queued) -> Verdict:
    state = base_state(job.state)
    meaning = STATES.get(state)
    if meaning is None:
        return Verdict("unknown", Cause("unknown_state", slurm=job.state))
    if state == "PENDING":
        return _waiting(known, job)
    if state == "RUNNING" and known.task.may_restart:
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
        return Verdict("unknown", Cause("out_of_sight", node=known.task.node))
    return Verdict("running") if known.alive else Verdict("gone", Cause("process_gone"))


def _left(known: Evidence) -> Verdict:
    """The queue no longer has the job, and there is no result."""
    account = known.account
    if account is None:
        words = "accounting does not know it" if known.accounting_answers else "accounting does not answer"
        return Verdict("gone", Cause("unknown_end", words=words))
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
