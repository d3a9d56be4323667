"""A report comes to its place whole: made in a folder beside it, which then takes the place of the one before.

Whoever makes one at the same time does so in a folder of its own, so what is there is always of one report alone.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from cac_hpc import archive, digests, paths, stages
from cac_hpc.paths import RunPaths


@contextmanager
def elsewhere(run: RunPaths) -> Iterator[RunPaths]:
    """Yield the run with a new, empty folder for its report; what is not published is gone afterwards."""
    folder = _new_name(run)
    folder.mkdir()
    try:
        yield replace(run, report_in=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def stays(run: RunPaths) -> Callable[[Path], bool]:
    """What tells whether a report must not give way to a provisional one begun now: it is final, and was not there."""
    before = _digest(run.report)
    return lambda folder: _digest(folder) not in (None, before) and not stages.is_provisional(folder / "report.json")


def publish(made: RunPaths, run: RunPaths, keeps: Callable[[Path], bool] = lambda folder: False) -> bool:
    """Put the report that was made into its place. Files there that are none of a report's stay.

    Args:
        keeps: whether the report that is there is to stay.
    Returns: whether the report that was made is there now.
    """
    done = False
    while not done:
        with _taken(run) as old:
            if keeps(old):
                return False
            _carry_over(old, made.report)
            done = _moved(made.report, run.report)
    paths.sync(run.root)
    return True


@contextmanager
def _taken(run: RunPaths) -> Iterator[Path]:
    """Take away the report that is there, if any, and yield it; unless another is there afterwards it is put back."""
    old = _new_name(run)
    with suppress(FileNotFoundError):
        run.report.replace(old)
    try:
        yield old
    finally:
        with suppress(FileNotFoundError):
            _moved(old, run.report)
        shutil.rmtree(old, ignore_errors=True)


def _moved(new: Path, place: Path) -> bool:
    """Whether a folder could be given a name, which nothing but an empty folder has."""
    try:
        new.replace(place)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _carry_over(old: Path, new: Path) -> None:
    """Move what people have put beside the report."""
    for path in [path for path in old.rglob("*") if path.is_symlink() or not path.is_dir()]:
        name = path.relative_to(old)
        ours = archive.belongs(f"report/{name.as_posix()}") or name.name.startswith(".")
        if not ours and not (new / name).exists():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            path.replace(new / name)


def _digest(report: Path) -> str | None:
    try:
        return digests.file_sha256(report / "report.json")
    except OSError:
        return None


def _new_name(run: RunPaths) -> Path:
    return run.root / f".report.{os.getpid()}-{secrets.token_hex(4)}.tmp"
