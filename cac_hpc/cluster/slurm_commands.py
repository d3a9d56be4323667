"""SLURM through its own commands: whether it is there, what it says of jobs and nodes, what is done with jobs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from signal import SIG_IGN, SIGKILL, SIGTERM, signal

from cac_hpc.cluster import queue_records
from cac_hpc.cluster.ownership import Owner
from cac_hpc.cluster.queue_records import FINAL, Accounted, Listing
from cac_hpc.machine import environment

TIMEOUT_S = 20
SUBMIT_TIMEOUT_S = 300  # sbatch itself asks a busy controller again and again
SILENT = "SLURM does not answer (squeue)"
ENDING = "COMPLETING"  # of a job that has ended or was cancelled, and may still be saving
ACCOUNTING_TIMEOUT_S = 10
PAUSE_S, LONGEST_PAUSE_S = 2.5, 300.0  # before accounting is asked again for what it could not say


def unavailable() -> str | None:
    """Why there is no SLURM here; None if there is one that answers."""
    if shutil.which("sbatch") is None:
        return "there is no sbatch on this machine"
    if is_silent():
        return "sbatch is here, but no SLURM controller answers"
    return None


def is_silent() -> bool:
    """Whether no controller answers; without a scontrol there is nothing to wait for."""
    return shutil.which("scontrol") is not None and "is UP" not in (ask(["scontrol", "ping"]) or "")


def queue(users: Iterable[int], shielded: bool = False) -> Listing | None:
    """All jobs of these users that are in the queue, in one call; None if SLURM does not say.

    All of them: asked for numbers that it has forgotten, squeue answers with an error only.
    """
    names = ",".join(str(user) for user in sorted(set(users)))
    answer = ask(
        ["squeue", "--noheader", "--array", f"--user={names}", f"--format={queue_records.QUEUE_FORMAT}"],
        shielded=shielded,
    )
    return None if answer is None else queue_records.read_queue(answer)


class Sacct:
    """sacct, asked as rarely as it makes sense: what is final is kept, and one that is off, slow or late is left alone.

    silent: whether it gave no answer, or none that can be read.
    """

    def __init__(self) -> None:
        self.silent = False
        self._known: dict[str, Accounted] = {}
        self._pause_s, self._not_before_s = PAUSE_S, 0.0

    def find(self, jobs: Collection[str], is_ours: Callable[[str, Accounted], bool]) -> dict[str, Accounted]:
        """The newest start of each of these jobs, which have left the queue, where it is known; in one call at most.

        Args:
            is_ours: whether a record is of that job, not of an older one with the same number.
        """
        # one that is not asked for now may be back in the queue, and end in another way
        self._known = {job: start for job, start in self._known.items() if job in jobs}
        open_jobs = [job for job in jobs if not self._is_final(job)]
        if open_jobs and time.monotonic() >= self._not_before_s:
            answer = self._ask(open_jobs)
            for job in open_jobs:
                if newest := queue_records.newest([start for start in answer.get(job, []) if is_ours(job, start)]):
                    self._known[job] = newest
            self._pause_s = PAUSE_S if all(map(self._is_final, jobs)) else min(2 * self._pause_s, LONGEST_PAUSE_S)
            self._not_before_s = time.monotonic() + self._pause_s
        return dict(self._known)

    def _ask(self, jobs: Sequence[str]) -> dict[str, list[Accounted]]:
        arrays = ",".join(sorted({job.split("_")[0] for job in jobs}))
        fields = ",".join(queue_records.ACCOUNT_FIELDS)
        command = ["sacct", "--duplicates", "--parsable2", f"--jobs={arrays}", f"--format={fields}"]
        answer = ask(command, ACCOUNTING_TIMEOUT_S)
        read = None if answer is None else queue_records.read_accounts(answer)
        self.silent = read is None
        return read or {}

    def _is_final(self, job: str) -> bool:
        start = self._known.get(job)
        # 16?: accounting has heard of the end before it has heard of the job
        return start is not None and queue_records.base_state(start.state) in FINAL and "?" not in start.asked


def node_address(node: str) -> str:
    """The address under which SLURM reaches a node; its name where SLURM does not say."""
    found = re.search(r"NodeAddr=(\S+)", ask(["scontrol", "show", "node", node]) or "")
    return found[1] if found else node


def cancel(jobs: Sequence[str], owner: Owner) -> str | None:
    """Take jobs of ours out of the queue, those that are there; returns why SLURM refuses, or that one is not ours."""
    there, wrong = _in_queue(jobs, owner)
    return wrong or (_order(["scancel", *there]) if there else None)


def _variables() -> dict[str, str]:
    """What a command gets whose answer is read."""
    return environment.for_slurm() | {"LC_ALL": "C"}


def ask(command: list[str], timeout_s: float = TIMEOUT_S, shielded: bool = False) -> str | None:
    """What one of SLURM's commands says; None if it is not there, fails or takes too long.

    Args:
        shielded: from SIGTERM, for the sake of an order; only where no other thread runs.
    """
    try:
        child = subprocess.Popen(
            command, env=_variables(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, encoding="utf-8", errors="replace", start_new_session=True,
            preexec_fn=_ignore_sigterm if shielded else None,
        )  # fmt: skip
    except OSError:
        return None
    with child:
        try:
            answer = child.communicate(timeout=timeout_s)[0]
        except BaseException as error:
            with suppress(ProcessLookupError):  # a site's wrapper, and what it has started: it would hold the line
                os.killpg(child.pid, SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                return None
            raise
    return answer if child.returncode == 0 else None


def state(job: str) -> str | None:
    """The controller's word for a job's state now; None if it does not say."""
    found = re.search(r"JobState=(\w+)", ask(["scontrol", "show", "job", job, "--oneliner"]) or "")
    return found[1] if found else None


def send_signal(job: str, name: str, owner: Owner) -> str | None:
    """Send a signal to the steps of a job of ours; returns why SLURM refuses."""
    return _order_for(job, ["scancel", f"--signal={name}", job], owner)


def requeue(job: str, owner: Owner) -> str | None:
    """Have a job of ours started again, of an array the one task alone; returns why SLURM refuses."""
    return _order_for(job, ["scontrol", "requeue", job], owner)


def exclude(job: str, nodes: Sequence[str], owner: Owner) -> str | None:
    """Keep a job of ours from nodes; returns why SLURM refuses."""
    return _order_for(job, ["scontrol", "update", f"JobId={job}", f"ExcNodeList={','.join(nodes)}"], owner)


def rename(job: str, before: str, name: str) -> str | None:
    """Give a job of this user that is called ``before`` another name; returns why that cannot be."""
    listing = queue([os.getuid()])
    found = listing.find(job) if listing else None
    if found is None or found.name != before:
        return SILENT if listing is None else f"SLURM calls job {job} {found.name!r}" if found else f"no job {job}"
    return _order(["scontrol", "update", f"JobId={job}", f"JobName={name}"])


def submit(script: Path) -> tuple[bool, str]:
    """Have sbatch take a script; returns whether it says so, and all that it says, which may be a site's words.

    Which job it has become SLURM says, see `jobs_called`.
    """
    try:
        done = _run(["sbatch", str(script)], SUBMIT_TIMEOUT_S, environment.for_slurm())
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, _no_answer("sbatch", error)
    return done.returncode == 0, f"{done.stdout}\n{done.stderr}".strip()


def jobs_called(name: str) -> dict[str, bool] | None:
    """The user's jobs and arrays of this name that the controller knows; None if it does not say.

    Returns: whether each is in the queue: what sbatch has just refused has a number, too, and counts as failed.
    """
    user, columns = str(os.getuid()), "--format=%F|%T|%U|%j"
    answer = ask(["squeue", "--noheader", "--states=all", f"--user={user}", f"--name={name}", columns])
    if answer is None:
        return None
    found: dict[str, bool] = {}
    for job, state, *who in (line.strip().split("|", 3) for line in answer.splitlines() if line.count("|") >= 3):
        if who == [user, name]:
            found[job] = found.get(job, False) or state not in FINAL
    return found


def test_only(script: Path) -> str:
    """What SLURM says to a script without taking it: when and where it would start, or why it would not."""
    try:
        done = _run(["sbatch", "--test-only", str(script)])
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"no answer ({error})"
    return " ".join((done.stderr or done.stdout).replace("sbatch: ", "").split())


def _order_for(job: str, command: list[str], owner: Owner) -> str | None:
    """Give SLURM an order for a job, if SLURM says that it is ours; returns why it was not given or not followed."""
    there, wrong = _in_queue([job], owner)
    return wrong or (_order(command) if there else f"SLURM no longer has job {job} in the queue")


def _in_queue(jobs: Sequence[str], owner: Owner) -> tuple[list[str], str | None]:
    """Those of the jobs that are in the queue; and why none of them is to be touched, if so."""
    listing = queue(owner.users, shielded=True) if jobs else Listing()
    if listing is None:
        return [], SILENT
    there = [job for job in jobs if listing.all_of(job)]
    for job in there:
        for found in listing.all_of(job):
            if not owner.may_act_on(found):
                return [], f"job {job} is {found.name!r} of user {found.user}, no job of this run: it was left alone"
    return there, None


def _run(
    command: list[str],
    timeout_s: float = TIMEOUT_S,
    variables: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=variables or _variables(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        encoding="utf-8", errors="replace", timeout=timeout_s, preexec_fn=before, check=False,
    )  # fmt: skip


def _no_answer(command: str, error: OSError | subprocess.TimeoutExpired) -> str:
    if isinstance(error, OSError):
        return f"{command}: {error.strerror}"
    return f"{command} did not answer within {error.timeout:g} s"


def _order(command: list[str]) -> str | None:
    """Give SLURM an order; returns its words if it does not follow.

    A requeue has SLURM send SIGTERM to every process of the step that asks for it: the order is given to its end.
    """
    try:
        done = _run(command, before=_ignore_sigterm)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _no_answer(command[0], error)
    return " ".join((done.stderr or done.stdout).split()) or f"{command[0]} failed" if done.returncode else None


def _ignore_sigterm() -> None:
    signal(SIGTERM, SIG_IGN)


def granted(job: str) -> dict[str, str]:
    """What the controller has noted of a job, field by field; of an array what its waiting tasks have in common."""
    answer = ask(["scontrol", "show", "job", job, "--oneliner"]) or ""
    return dict(re.findall(r"(\S+?)=(\S*)", answer.partition("\n")[0]))


def minutes_text(minutes: int) -> str:
    """A time limit as SLURM writes it."""
    days, rest = divmod(minutes, 24 * 60)
    return (f"{days}-" if days else "") + f"{rest // 60:02d}:{rest % 60:02d}:00"
