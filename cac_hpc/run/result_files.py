"""Files that stages leave: whether they are there as they were written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cac_hpc.run import causes, digests, disk
from cac_hpc.run.causes import RESUME
from cac_hpc.run.paths import FoldPaths
from cac_hpc.settings.errors import InputError


def fold_is_done(files: FoldPaths, read: bool = False) -> bool:
    """Whether a fold's predictions are there as they were written, with the tables that belong to them.

    Args:
        read: whether to compare every byte of predictions.csv, not the size alone; the tables are small.
    """
    facts = disk.read_object(files.metrics)
    try:
        size = files.predictions.stat().st_size
    except OSError:
        return False
    if size != facts.get("predictions_bytes"):
        return False
    tables = facts.get("tables_sha256", {})
    if not isinstance(tables, dict):
        return False
    wanted = {files.root / name: digest for name, digest in tables.items()}
    if read:
        wanted[files.predictions] = facts.get("predictions_sha256")
    return all(path.is_file() and digests.file_sha256(path) == digest for path, digest in wanted.items())


def shard_is_whole(facts: Path) -> bool:
    """Whether a shard is there, as long as its facts say: what purges a scratch file system takes the large files."""
    try:
        size = facts.with_suffix(".h5").stat().st_size
    except OSError:
        return False
    return disk.read_object(facts).get("bytes") in (None, size)


def read_kept(path: Path, keys: Sequence[str], helps: str = RESUME) -> dict[str, Any]:
    """The object in a JSON file that the launcher or a stage wrote once.

    Args:
        keys: names that it has. helps: the command that writes it again where it is deleted.
    Raises: OSError; InputError if it is damaged.
    """
    try:
        found = disk.read_json(path)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {*keys} <= found.keys():
        raise InputError(causes.error(f"{path}: damaged; delete it", helps))
    return found


def is_complete(report: Path) -> bool:
    """Whether a report.json is that of a report on all folds."""
    return disk.read_object(report).get("status") == "COMPLETE"


def is_provisional(report: Path) -> bool:
    """Whether a report.json is that of a report made by hand while the folds are at work: no stage's result."""
    return disk.read_object(report).get("status") == "PROVISIONAL"
