"""Whether packed shards and tables are still what was written: by digests in the facts beside them and in the seal.

Nothing in a file is believed before its digest was checked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cac_hpc.run import causes, digests, disk, escaping
from cac_hpc.run.causes import PACK
from cac_hpc.run.digests import OfFile
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.settings.errors import InputError

FORMAT_VERSION = 4  # 4: candidates and views; 3: slices in the patient frame


def fault(path: Path, digest: str, of_file: OfFile = digests.of_file) -> str | None:
    """What is wrong with a shard that should have this digest, or None; nothing in it is believed before."""
    if not path.is_file():
        return "missing"
    try:
        found = of_file(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if found == digest else f"does not match its {digests.ALGORITHM}, so it is damaged"


def packed_fault(dataset: DatasetPaths, index: int, of_file: OfFile = digests.of_file) -> str | None:
    """Why a packed shard cannot be used, or None: its facts are whole, it is as they say and the sealed one."""
    if not dataset.shard_facts(index).exists():
        return "not packed yet"
    try:
        digest = read_checked(dataset.shard_facts(index))["digest"]
    except InputError:
        return "what was noted of it is damaged"
    if sealed_digest(dataset, index) not in (None, digest):
        return "is not the one that was sealed"
    return fault(dataset.shard(index), digest, of_file)


def sealed_digest(dataset: DatasetPaths, index: int) -> str | None:
    """The digest that the seal wants a shard to have; None before the seal."""
    return read_checked(dataset.seal)["shards"][index]["digest"] if dataset.seal.exists() else None


def table_fault(path: Path, sealed: dict[str, Any]) -> str | None:
    """What is wrong with a table of a sealed dataset, or None; people do open them."""
    if not path.is_file():
        return "missing"
    return None if digests.file_sha256(path) == sealed.get(f"{path.stem}_sha256") else "not as it was sealed"


def write_checked(path: Path, content: dict[str, Any], version: int = FORMAT_VERSION) -> None:
    """Write facts about shards so that `read_checked` finds every change of them."""
    marks = {"format_version": version, "content_sha256": digests.content_sha256(content)}
    disk.write_json(path, marks | content)


def read_checked(path: Path) -> dict[str, Any]:
    """What `write_checked` wrote.

    Raises: InputError if it is damaged or of another format version.
    """
    try:
        content: dict[str, Any] = disk.read_json(path)
        version, digest = content.pop("format_version"), content.pop("content_sha256", None)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        version, digest = FORMAT_VERSION, None
    check_version(path, version)
    if digest is None or digests.content_sha256(content) != digest:
        raise InputError(causes.error(f"{path}: damaged; delete it", PACK))
    return content


def check_version(path: Path, found: object) -> None:
    if found != FORMAT_VERSION:
        version = f"format version {escaping.short(found)}"
        raise InputError(f"{path}: found {version}, wanted {FORMAT_VERSION}; pack into another data.packed_dir")
