"""What tells that bytes are still the same. The owner of xxhash.

Shards and slices have XXH3 (128 bit), which finds every accident at a twentieth of the cost of SHA-256; small files
that other tools may want to check have SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xxhash

OfFile = Callable[[Path], str]  # takes a file, gives its hexadecimal digest

ALGORITHM = "xxh3_128"
BLOCK = 1 << 20
IN_ORDER = json.JSONEncoder(sort_keys=True)  # NaN, which only a damaged file has, too: its digest is another


def of_bytes(data: bytes | memoryview) -> bytes:
    """16 bytes that stand for the data (XXH3, 128 bit)."""
    return xxhash.xxh3_128_digest(data)


def of_file(path: Path) -> str:
    """Hexadecimal digest of a file (XXH3, 128 bit)."""
    digest, buffer = xxhash.xxh3_128(), bytearray(BLOCK)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return digest.hexdigest()


class Remembered:
    """Digests of files that this process has read: one that is still the same is not read again.

    It is the same if its number, size and time of change are.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}

    def of_file(self, path: Path) -> str:
        """What `of_file` says of the file."""
        stamp = _stamp(path)
        if (known := self._known.get(stamp)) is None:
            known = of_file(path)
            if _stamp(path) == stamp:  # else it changes while it is read
                self._known[stamp] = known
        return known


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with the content of a file, and stays when it is renamed."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def bytes_sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content_sha256(content: Any) -> str:
    """Digest of plain JSON content, whatever the order of its keys."""
    return hashlib.sha256(IN_ORDER.encode(content).encode()).hexdigest()
