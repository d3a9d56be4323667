"""A report comes to its place whole: made in another folder of the run, which then takes the place of the one before.

Whoever makes one at the same time does so in a folder of its own, so what is there is always of one report alone. What
people have put into the folder goes on from report to report; what a killed process has left, the next one removes.
Folds may be without a result: here is what they are at, or why they have none.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, NamedTuple

from cac_hpc.machine import processes
from cac_hpc.report import checksums
from cac_hpc.run import digests, disk, lock, paths, result_files
from cac_hpc.run.causes import Cause
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.task_states import TaskState
from cac_hpc.settings.errors import InputError

LEFT_AFTER_S = 86400.0  # then a folder of another machine's process is taken for left behind
LOOKS = 5  # at a report that is removed, before what stays in it is given up
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
OURS = {  # in any report, whether it has a list of its files or not
    "report.json",
    "circumstances.json",
    checksums.FILE,
    *(paths.page_name(status, *kind) for kind in paths.PAGES for status in paths.STATUSES),
}
DOING = {
    "planned": "waiting for its turn",
    "queued": "waiting in the queue",
    "held": "held in the queue, python jobs/status.py RUN says why",
    "running": "running",
    "suspended": "suspended",
    "unknown": "perhaps at work, which cannot be seen from here",
}


@contextmanager
def elsewhere(report: Path) -> Iterator[Path]:
    """Yield a new, empty folder for a report; what is not published is gone afterwards.

    Args:
        report: the place of the run's report, here and below.
    Raises: InputError if the report's place is a link.
    """
    if report.is_symlink():
        raise InputError(f"{report}: {checksums.LINK}")
    tidy(report)
    folder = _new_name(report, "made")
    folder.mkdir()
    try:
        with disk.named(report):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stays(report: Path) -> Callable[[Path], bool]:
    """Return whether a report is final and new since this call, so that a provisional one must not replace it."""
    before = _digest(report)
    return lambda folder: (
        _digest(folder) not in (None, before) and not result_files.is_provisional(folder / "report.json")
    )


def publish(made: Path, report: Path, keeps: Callable[[Path], bool] = lambda folder: False) -> bool:
    """Put the report that was made into its place. Files there that are none of a report's stay.

    Args:
        keeps: whether the report that is there is to stay.
    Returns: whether the report that was made is there now.
    """
    if keeps(report):
        return False
    new = _new_name(report, "whole")
    made.replace(new)
    old = _put(new, report)
    if kept := keeps(old):  # it came just now
        old = _put(old, report)
    _discard(old, report)
    disk.sync(report.parent)
    return not kept


def tidy(report: Path) -> None:
    """Put back the report that a killed process took away, and remove what else such a process has left."""
    left = [path for path in report.parent.glob(".report.*.tmp") if _is_left(path)]
    whole = sorted((path for path in left if ".whole." in path.name), key=_made_at)
    if whole and not report.exists():
        _moved(whole[-1], report)
    for path in left:
        if ".whole." in path.name:
            _discard(path, report)
        shutil.rmtree(path, ignore_errors=True)


def _put(new: Path, report: Path) -> Path:
    """Give a report its place; returns where the one that was there is now, if any was."""
    while not _exchange(new, report):
        old = _new_name(report, "whole")
        with suppress(FileNotFoundError):
            report.replace(old)
        if _moved(new, report):
            return old
        _discard(old, report)  # another has come meanwhile
    return new


def _exchange(one: Path, other: Path) -> bool:
    """Whether two folders could be given each other's name in one step, which not every system and file system can."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except AttributeError:
        return False
    return bool(renameat2(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _moved(new: Path, place: Path) -> bool:
    """Whether a folder could be given a name, which nothing but an empty folder has."""
    try:
        new.replace(place)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _discard(old: Path, report: Path) -> None:
    """Remove a report that is not there any more, after moving what people have put into it to the one that is."""
    ours = OURS | set(checksums.read(old) or ())
    for _ in range(LOOKS):  # a file of people's may arrive while another process carries it
        for path in [path for path in old.rglob("*") if path.is_symlink() or not path.is_dir()]:
            name = path.relative_to(old)
            if name.as_posix() in ours:
                path.unlink(missing_ok=True)
            elif not name.name.startswith(".nfs"):  # of a file that somebody has open
                _carry_over(path, report / name)
        with suppress(OSError):
            for folder in sorted((path for path in old.rglob("*") if path.is_dir()), reverse=True):
                folder.rmdir()
            old.rmdir()
            return
    shutil.rmtree(old, ignore_errors=True)


def _carry_over(path: Path, target: Path) -> None:
    """Move a file of people's to where the report has nothing of that name."""
    with suppress(FileExistsError, NotADirectoryError):  # the report has a file where they had a folder
        while _is_there(path) and not _is_there(target):
            with suppress(FileNotFoundError):  # a report without such a folder took the place just now
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _digest(report: Path) -> str | None:
    try:
        return digests.file_sha256(report / "report.json")
    except OSError:
        return None


def _made_at(report: Path) -> float:
    try:
        return (report / "report.json").stat().st_mtime
    except OSError:
        return 0.0


def _new_name(report: Path, kind: Literal["made", "whole"]) -> Path:
    """made: a report that is being made. whole: one that is about to come to its place, or was there."""
    return report.parent / f".report.{kind}.{platform.node()}.{os.getpid()}-{os.urandom(4).hex()}.tmp"


def _is_left(folder: Path) -> bool:
    """Whether the process that made the folder has ended, or will not come back to it."""
    with suppress(FileNotFoundError):
        if time.time() - folder.stat().st_ctime > LEFT_AFTER_S:  # which a new name renews
            return True
    found = re.fullmatch(r"\.report\.(?:made|whole)\.(.*)\.(\d+)-[0-9a-f]+\.tmp", folder.name)
    return found is not None and found[1] == platform.node() and processes.start_time(int(found[2])) is None


class Expected(NamedTuple):
    """What may still come by itself.

    at_work: the folds that may come to a result, and what each is doing. surely: whether one of them is known to be at
    work or to wait for its turn; of the others nobody can tell. aggregates: whether the final report may come.
    """

    at_work: dict[int, str]
    surely: bool
    aggregates: bool


def find_expected(run: RunPaths) -> Expected:
    """What of a run may still come by itself."""
    from cac_hpc.cluster.queue_records import OPEN
    from cac_hpc.cluster.task_status import RunStates  # not for who finds a final report

    launching = lock.is_held(run.lock)  # a launcher on this machine starts what is planned
    states = [
        state for state in RunStates(run).states() if state.state in OPEN or (state.state == "planned" and launching)
    ]
    folds = {state.task: state for state in states if state.stage == "folds" and state.task is not None}
    return Expected(
        at_work={index: _doing(state) for index, state in folds.items()},
        surely=any(state.state != "unknown" for state in folds.values()),
        aggregates=any(state.stage == "aggregate" for state in states),
    )


def cause_of_fold(states: Iterable[TaskState], fold: int) -> Cause:
    """Why a fold has ended without a result, by what the ledger says of all tasks."""
    found = next((state for state in states if (state.stage, state.task) == ("folds", fold)), None)
    if found is None or found.state in ("planned", "submitted"):
        return (found and found.cause) or Cause("never_started")
    if found.state == "running":
        return Cause("interrupted", place=(found.progress or "its start").partition(",")[0])
    return found.cause or Cause("no_result")


def _doing(state: TaskState) -> str:
    known = state.state == "running" and state.epoch and state.epochs
    return f"{DOING[state.state]}, epoch {state.epoch} of {state.epochs}" if known else DOING[state.state]
