"""Where a task stands, from all that is known of it: ledger, result, signs of life, queue, accounting.

Success follows from the result alone. Silence is no news: a task is given up only when a queue that answers no longer
knows its job. A state that SLURM may still change (NODE_FAIL, PREEMPTED, ...) is not final as long as the job is in the
queue. Every reason comes with the command that mends it; RUN in it stands for the run folder.
"""

from __future__ import annotations

import pwd
import re
import signal
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal, NamedTuple

from cac_hpc.cluster import reasons
from cac_hpc.cluster.records import OUT_OF_MEMORY_SIGNAL, Accounted, Queued, base_state, ending_signal
from cac_hpc.cluster.states import RELEASE, RESUME, STATES, State
from cac_hpc.machine.stopping import RESUMABLE

ALIVE_S = 20.0  # since the last pulse: the work goes on, whatever others say
OLDER = timedelta(hours=2)  # than what we know: a job of the same number from before
LOG = "python jobs/status.py RUN --log STAGE"
FIELD = {"pack": "pack", "folds": "fold"}  # of the cluster settings, where a stage asks for memory and time
KILLED = re.compile(r"SIGKILL|signal 9|exit code 137|died in|no sign of life|gave no sign")  # that may be memory
ASKED = re.compile(r"SIGTERM|^cancelled, or")  # to stop, by whom accounting may say
NOBODY = 2**32 - 2  # SLURM's NO_VAL and what follows


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is known of a task now.

    told: where it stands by ledger and result: planned, submitted, running, stopped, done, failed or gone. since: when
    its job was submitted, or planned; a job from long before is another one. queue, account: None where the job is not
    there. pulse_age_s: of its newest sign of life. alive: whether the process of a task without a job is there; None if
    that cannot be seen from here.
    """

    stage: str
    told: str
    reason: str | None = None
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
    """Where a task stands, why, and what mends it."""

    state: State
    reason: str | None = None
    mend: str | None = None


def judge(known: Evidence) -> Verdict:
    """Where a task stands."""
    if known.told in ("planned", "done"):
        return Verdict("done" if known.told == "done" else "planned", known.reason)
    if known.queue is not None:
        return _filled(_in_queue(known, known.queue), known)
    if known.told in ("failed", "gone", "stopped"):
        return _filled(_ended(known), known)
    if known.beats:
        return Verdict("running")
    if known.job is None:
        return _here(known)
    if not known.queue_answers:
        return Verdict("unknown", "SLURM does not answer (squeue)")
    return _filled(_left(known), known)


def wants_accounting(told: str, reason: str | None) -> bool:
    """Whether accounting could say more of a task whose job has left the queue."""
    signs = {"failed": KILLED, "stopped": ASKED}
    return told in ("submitted", "running") or (told in signs and bool(signs[told].search(reason or "")))


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
        return Verdict("unknown", f"SLURM calls its state {job.state!r}, which is not known here")
    if state == "PENDING":
        return _waiting(known, job)
    if state in ("RUNNING", "COMPLETING") and known.told in ("failed", "gone", "stopped"):
        return _ended(known)  # it is only tidying up
    if state == "RUNNING":
        return Verdict("running", _silence(known, job))
    if meaning.queued == "held":
        return Verdict("held", meaning.words, RELEASE)
    if meaning.queued == "suspended":
        return Verdict("suspended", f"{meaning.words} (SLURM: {state})", "scontrol resume JOB")
    if meaning.queued == "running" and meaning.left != "gone":
        return Verdict("running", f"is ending: {meaning.words} (SLURM: {state})")
    if meaning.left == "failed":
        return Verdict(meaning.queued, f"{meaning.words}; SLURM still has it in the queue and may start it again")
    return Verdict(meaning.queued, f"{meaning.words} (SLURM: {state})")


def _waiting(known: Evidence, job: Queued) -> Verdict:
    before = f"; before: {known.reason}" if known.reason else ""
    slurm = f" (SLURM: {job.reason})" if job.reason else ""
    found = reasons.meaning(job.reason)
    if found is None:
        return Verdict("queued", f"waits{slurm}{before}")
    held = found.kind in ("held", "never starts")
    return Verdict("held" if held else "queued", f"{found.words}{slurm}{before}", found.mend)


def _silence(known: Evidence, job: Queued) -> str | None:
    """What is to be said of a job that runs."""
    if known.told == "submitted":
        return "SLURM has started it; nothing heard of the work yet"
    if known.pulse_age_s is None or known.beats:
        return None
    return f"no sign of life for {known.pulse_age_s:.0f} s, but SLURM still has it running on {job.node or '?'}"


def _ended(known: Evidence) -> Verdict:
    """What the ledger says, and the cause where accounting knows it better."""
    state: State = "failed" if known.told == "failed" else "gone" if known.told == "gone" else "stopped"
    account = known.account
    why = _memory(known, account) if account and state == "failed" else None
    if why:
        return Verdict(state, f"{why.reason}; told: {known.reason}", why.mend)
    reason = known.reason
    if account and state == "stopped" and base_state(account.state) == "CANCELLED":
        reason = f"cancelled{_who(account.state)}; told: {known.reason}"
    mend = None if known.reason and "launch_cv.py" in known.reason else RESUME
    return Verdict(state, reason, mend)


def _here(known: Evidence) -> Verdict:
    """A task that runs without SLURM lives as long as its process."""
    if known.alive is None:
        return Verdict("unknown", f"runs on {known.host}, which cannot be seen from here")
    return Verdict("running") if known.alive else Verdict("gone", "its process ended without a result", RESUME)


def _left(known: Evidence) -> Verdict:
    """The queue no longer has the job, and there is no result."""
    account = known.account
    if account is None:
        silent = {"silent": "accounting does not answer", "answers": "accounting does not know it"}
        nobody = silent.get(known.accounting, "no more is known")
        return Verdict("gone", f"left the queue without a result; whether it failed or was cancelled: {nobody}")
    if why := _memory(known, account):
        return why
    state = base_state(account.state)
    meaning = STATES.get(state)
    if meaning is None or (meaning.left == "gone" and state != "COMPLETED"):
        late = f"accounting, which may be late, says {account.state!r}"
        return Verdict("gone", f"left the queue without a result; {late}")
    if state == "COMPLETED":
        step = f"; a step: {account.bad_step}" if account.bad_step else ""
        return Verdict("gone", f"{meaning.words} (SLURM: {account.state} {account.exit_code}{step})")
    return _final(known, account, state, meaning.words)


def _final(known: Evidence, account: Accounted, state: str, words: str) -> Verdict:
    """A job that SLURM says has failed."""
    node = f" on {account.node}" if account.node and "None" not in account.node else ""
    if state == "CANCELLED":
        by = _who(account.state)
        if known.told == "submitted":
            started = account.elapsed not in ("", "00:00:00")
            when = f"{node} after {account.elapsed}, before it said anything" if started else " before it started"
            return Verdict("stopped", f"cancelled{by}{when}", RESUME)
        return Verdict("failed", f"cancelled{by}{node} after {account.elapsed or 'a while'}", RESUME)
    if state == "TIMEOUT":
        more = "" if known.stage == "folds" else " --cluster.FIELD.time_min MORE"
        return Verdict("failed", f"{words} of {account.time_limit or 'its partition'}{node}", RESUME + more)
    if state == "NODE_FAIL" or state == "BOOT_FAIL":
        return Verdict("failed", f"{words}{node}, and SLURM did not start it again", RESUME)
    if state == "FAILED":
        return _exit(account, node)
    return Verdict("failed", f"{words}{node} (SLURM: {account.state})", RESUME)


def _exit(account: Accounted, node: str) -> Verdict:
    """A job that ended with an exit code, as ``code:signal``."""
    slurm = f" (SLURM: {account.exit_code})"
    if account.exit_code == "0:53":
        return Verdict(
            "failed",
            f"the folder of its log is missing or cannot be written{node} (exit 0:53), so nothing was started",
            f"make RUN/slurm writable on the nodes, then {RESUME}",
        )
    if account.exit_code.split(":")[0] == str(RESUMABLE):
        return Verdict("stopped", f"asked to stop{node}, has saved", RESUME)
    if number := ending_signal(account.exit_code):
        return Verdict("failed", f"ended by {_signal_name(number)}{node}{slurm}", RESUME)
    code = account.exit_code.split(":")[0]
    return Verdict("failed", f"ended with exit code {code or '?'}{node}", f"{LOG}, then {RESUME}")


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def _memory(known: Evidence, account: Accounted) -> Verdict | None:
    """Killed for memory: SLURM says so of a step, or it was killed when it had as much as it asked for."""
    asked, peak = account.asked_bytes, account.peak_bytes
    full = asked is not None and peak is not None and peak > 0.95 * asked
    by = {ending_signal(account.exit_code), ending_signal(account.bad_step)}
    sure = account.out_of_memory or OUT_OF_MEMORY_SIGNAL in by
    if not sure and not (full and signal.SIGKILL in by):
        return None
    # looked at every few seconds: what grew faster was never seen at its height
    had = f", a process reached {_gb(peak)}" if peak and peak > (asked or 0) / 2 else ""
    wanted = f"{2 * asked / 1024**3:.3g}" if asked and "c" not in account.asked else "MORE"
    return Verdict(
        "failed",
        f"{'' if sure else 'probably '}out of memory: asked for {_gb(asked)}{had}",
        f"{RESUME} --cluster.FIELD.mem_gb {wanted}",
    )


def _gb(size: float | None) -> str:
    return f"{size / 1024**3:.3g} GB" if size is not None else "an unknown amount"


def _who(state: str) -> str:
    """Who cancelled a job, of ``CANCELLED by 1000``."""
    found = re.search(r"by (\d+)", state)
    user = int(found[1]) if found else NOBODY
    if user >= NOBODY:
        return " (SLURM does not say by whom)"
    with suppress(KeyError, OverflowError):
        return f" by {pwd.getpwuid(user).pw_name}" + (" or by SLURM itself" if user == 0 else "")
    return f" by user {user}"


def _filled(verdict: Verdict, known: Evidence) -> Verdict:
    """The command with the names that belong into it; RUN is filled in by who knows it."""
    if verdict.mend is None and verdict.state == "gone":
        verdict = verdict._replace(mend=f"{LOG}, then {RESUME}")
    if verdict.mend is None:
        return verdict
    field = FIELD.get(known.stage, "aggregate")
    cpus = "cpus_per_rank" if known.stage == "folds" else f"{field}.cpus"
    named = (
        verdict.mend.replace("JOB", known.job or "JOB")
        .replace("FIELD", field)
        .replace("CPUS", cpus)
        .replace("STAGE", known.stage)
    )
    return verdict._replace(mend=named)
