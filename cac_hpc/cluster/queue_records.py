"""What squeue and sacct print, as records, and what each state of SLURM 22.05 to 26.05 means.

Nothing that they print raises: what cannot be read is left out, and said. A record is found under the id of its job or
array task, as ``123`` or ``123_4``. Whose job it is, `ownership` says.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from cac_hpc.settings.slurm_notation import num_bytes

QUEUE_FORMAT = "%i|%T|%V|%N|%r|%U|%Z|%o|%j"  # the name last: it may hold anything
NUM_COLUMNS = QUEUE_FORMAT.count("%")
ACCOUNT_FIELDS = (
    "JobID", "State", "ExitCode", "DerivedExitCode", "ReqMem", "MaxRSS", "Timelimit", "Elapsed", "NodeList", "Submit",
    "JobName",
)  # fmt: skip
JOB = re.compile(r"(\d{1,18})(?:_(\d{1,18}|\[[^]|]*\]?))?(?:\+\d+)?")
RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?")
MOST_TASKS = 10_000  # of one range: a longer one is damaged
OUT_OF_MEMORY = "OUT_OF_MEMORY"
OUT_OF_MEMORY_SIGNAL = 125  # SLURM's own
FATAL = (signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM)
WELL = ("", "COMPLETED", "RUNNING", "PENDING", "COMPLETING")
State = Literal[
    "planned",  # not in the queue yet
    "queued",
    "held",  # in the queue, but it does not start before somebody acts
    "running",
    "suspended",
    "stopped",  # ended without harm, can go on
    "done",
    "failed",
    "gone",  # left the queue without a result, and nobody knows why
    "unknown",  # nobody answers now
]
OPEN: tuple[State, ...] = ("queued", "held", "running", "suspended", "unknown")  # a job may still work on it


@dataclass(frozen=True)
class Queued:
    """A job as the queue knows it.

    submitted: when, in the controller's local time; node: may be a list; user: the number of whose job it is.
    folder, command: where it was submitted, its script with arguments.
    """

    state: str
    reason: str = ""
    node: str = ""
    submitted: str = ""
    user: str = ""
    folder: str = ""
    command: str = ""
    name: str = ""


@dataclass(frozen=True)
class Accounted:
    """One start of a job as accounting knows it, with what its steps add.

    asked: memory, per node, or per core where it ends in c. peak_bytes: the most that a process of any step had.
    bad_step: state and exit code of the first step that did not end well, whatever the job's own are.
    """

    state: str
    exit_code: str = ""
    asked: str = ""
    peak_bytes: float | None = None
    out_of_memory: bool = False
    bad_step: str = ""
    time_limit: str = ""
    elapsed: str = ""
    node: str = ""
    submitted: str = ""
    name: str = ""

    @property
    def asked_bytes(self) -> float | None:
        return num_bytes(self.asked)


@dataclass(frozen=True)
class Listing:
    """All that the queue holds. whole: whether every line could be read; only then is a missing job not there."""

    jobs: Mapping[str, Queued] = field(default_factory=dict)
    whole: bool = True

    def find(self, job: str) -> Queued | None:
        """A job; one of an array whose list of tasks was cut short stands for them all."""
        return self.jobs.get(job) or self.jobs.get(f"{job.split('_')[0]}_*")

    def all_of(self, job: str) -> list[Queued]:
        """A job, or all tasks of an array that are there; the one task of an array."""
        alone = self.find(job) if "_" in job else self.jobs.get(job)
        tasks = [queued for number, queued in self.jobs.items() if number.split("_")[0] == job and number != job]
        return [*filter(None, [alone]), *tasks]


def read_queue(text: str) -> Listing | None:
    """The answer of ``squeue --noheader --format=QUEUE_FORMAT``; None if nothing of it can be read."""
    jobs, damaged, noise = {}, False, False
    for line in filter(str.strip, text.splitlines()):
        number, *rest = (part.strip() for part in line.strip().split("|", NUM_COLUMNS - 1))
        ids = job_ids(number) if len(rest) == NUM_COLUMNS - 1 else []
        for job in ids:
            state, submitted, node, reason, *origin = rest
            jobs[job] = Queued(state, reason, node, submitted, *origin)
        noise = noise or not ids
        damaged = damaged or (not ids and ("|" in line or line.strip()[0].isdigit()))
    return None if noise and not jobs else Listing(jobs, not damaged)


def read_accounts(text: str) -> dict[str, list[Accounted]] | None:
    """The answer of ``sacct --parsable2``, oldest start of a job first; None if it has no header.

    Columns are found by their names, so their order and number are free; the last takes what is left of a line.
    """
    lines = [line for line in text.splitlines() if "|" in line]
    first = next((at for at, line in enumerate(lines) if {"JobID", "State"} <= set(line.split("|"))), None)
    if first is None:
        return None
    columns = lines[first].split("|")
    found: dict[str, list[Accounted]] = {}
    for line in lines[first + 1 :]:
        cells = [cell.strip() for cell in line.split("|", len(columns) - 1)]
        _add(found, dict(zip(columns, cells, strict=False)))
    return found


def job_ids(text: str) -> list[str]:
    """The jobs that an id stands for: ``12``, ``12_3``, ``12_[2-7%56]``, ``12_[0,4-8:2]``; empty if it is none.

    Of a list that was cut short, the part that is there and ``12_*`` for whatever else it held.
    """
    match = JOB.fullmatch(text.strip())
    if match is None:
        return []
    job, task = match[1], match[2]
    if task is None:
        return [job]
    if not task.startswith("["):
        return [f"{job}_{task}"]
    return list(dict.fromkeys(f"{job}_{index}" for index in _indices(task)))


def ending_signal(exit_code: str) -> int | None:
    """The signal that ended a job or step, of ``code:signal``; None if it ended by itself.

    A shell gives 128 and the number of the signal that ended its command. Up to 25.05 sacct shows such a code without
    the 128, so 137:0 as 9:0; of codes that small, only those count that programs hardly give by themselves.
    """
    match = re.search(r"(\d{1,3}):(\d{1,3})$", exit_code.strip())
    code, number = (int(match[1]), int(match[2])) if match else (0, 0)
    of_shell = code - 128 if 128 < code <= 128 + signal.SIGRTMAX else code if code in FATAL else 0
    return number or of_shell or None


def base_state(text: str) -> str:
    """The state in ``CANCELLED by 0``, ``CANCELLED+`` and the like."""
    words = re.findall(r"[A-Z_]+", text)
    return words[0] if words else ""


def _indices(task: str) -> Iterator[int | str]:
    for part in task.strip("[]").split("%")[0].split(","):
        match = RANGE.fullmatch(part.strip())
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else -1
        if match and first <= last < first + MOST_TASKS:
            yield from range(first, last + 1, max(1, int(match[3] or 1)))
        else:
            yield "*"
    if not task.endswith("]"):
        yield "*"


def _add(found: dict[str, list[Accounted]], row: Mapping[str, str]) -> None:
    """Take in a line: a start of a job, or a step of the one before."""
    number, _, step = row.get("JobID", "").partition(".")
    for job in job_ids(number):
        starts = found.setdefault(job, [])
        if not step:
            starts.append(_start(row))
        elif starts:
            starts[-1] = _with_step(starts[-1], row)


def _with_step(start: Accounted, row: Mapping[str, str]) -> Accounted:
    state, code = base_state(row.get("State", "")), row.get("ExitCode", "")
    peaks = [peak for peak in (start.peak_bytes, num_bytes(row.get("MaxRSS", ""))) if peak is not None]
    return replace(
        start,
        peak_bytes=max(peaks, default=None),
        out_of_memory=start.out_of_memory or state == OUT_OF_MEMORY,
        bad_step=start.bad_step or ("" if state in WELL else f"{state} {code}".strip()),
    )


def _start(row: Mapping[str, str]) -> Accounted:
    return Accounted(
        state=row.get("State", ""),
        exit_code=row.get("ExitCode", ""),
        asked=row.get("ReqMem", ""),
        peak_bytes=num_bytes(row.get("MaxRSS", "")),
        out_of_memory=base_state(row.get("State", "")) == OUT_OF_MEMORY,
        time_limit=row.get("Timelimit", ""),
        elapsed=row.get("Elapsed", ""),
        node=row.get("NodeList", ""),
        submitted=row.get("Submit", ""),
        name=row.get("JobName", ""),
    )


def newest(starts: Sequence[Accounted]) -> Accounted | None:
    """The start that was submitted last; a job that is requeued has several."""
    return max(enumerate(starts), key=lambda item: (item[1].submitted, item[0]))[1] if starts else None


class Meaning(NamedTuple):
    """Of a state of SLURM's: for a job in the queue, for one that has left it without a result, and in words."""

    queued: State
    left: State
    words: str


STATES = {
    "BOOT_FAIL": Meaning("queued", "failed", "its node did not boot"),
    "CANCELLED": Meaning("running", "failed", "cancelled"),
    "COMPLETED": Meaning("running", "gone", "SLURM calls it completed, but its result is not there"),
    "COMPLETING": Meaning("running", "gone", "is ending"),
    "CONFIGURING": Meaning("queued", "gone", "its nodes are being made ready"),
    "DEADLINE": Meaning("running", "failed", "not done by its deadline"),
    "EXPEDITING": Meaning("queued", "gone", "SLURM looks whether to start it again at once"),  # from 25.11 on
    "FAILED": Meaning("running", "failed", "failed"),
    "NODE_FAIL": Meaning("queued", "failed", "its node failed"),
    "OUT_OF_MEMORY": Meaning("running", "failed", "out of memory"),
    "PENDING": Meaning("queued", "gone", "waits"),
    "PREEMPTED": Meaning("queued", "failed", "preempted by a job of higher priority"),
    "REQUEUED": Meaning("queued", "gone", "starts again"),
    "REQUEUE_FED": Meaning("queued", "gone", "starts again on a cluster of the federation"),
    "REQUEUE_HOLD": Meaning("held", "gone", "put back into the queue and held"),
    "RESIZING": Meaning("running", "gone", "is changing its size"),
    "RESV_DEL_HOLD": Meaning("held", "gone", "held, because its reservation was deleted"),
    "REVOKED": Meaning("unknown", "gone", "another cluster of the federation has taken it"),
    "RUNNING": Meaning("running", "gone", "runs"),
    "SIGNALING": Meaning("running", "gone", "is being signalled"),
    "SPECIAL_EXIT": Meaning("held", "gone", "put back into the queue and held, because of its exit code"),
    "STAGE_OUT": Meaning("running", "gone", "is writing back its files"),
    "STOPPED": Meaning("suspended", "gone", "stopped by a signal"),
    "SUSPENDED": Meaning("suspended", "gone", "suspended"),
    "TIMEOUT": Meaning("running", "failed", "over its time limit"),
}
FINAL = frozenset(state for state, meaning in STATES.items() if meaning.left == "failed" or state == "COMPLETED")
