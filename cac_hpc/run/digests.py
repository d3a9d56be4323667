"""What tells that bytes are still the same. The owner of xxhash.

Shards and slices have XXH3 (128 bit), which finds every accident at a twentieth of the cost of SHA-256; small files
that other tools may want to check have SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import xxhash

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
