"""The bytes of a file of voxels, plain or compressed: as many as its header promises, and never more.

A header that was damaged may promise anything, and a few bytes may inflate to any number: nothing is allocated before
there is something to put into it.
"""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, cast

from cac_hpc.settings.errors import InputError

MAX_VOXELS = 1 << 28  # of an array: 1,024 slices of 512 x 512
MAX_HEADER = 1 << 20  # bytes
CHUNK = 1 << 20  # bytes
GZIP, BZIP2 = b"\x1f\x8b", b"BZh"


@contextmanager
def opened(path: Path, wanted: str) -> Iterator[BufferedReader]:
    """Open a file; what then is wrong with it, or with what it is inflated to, is the user's to know.

    Args:
        wanted: what the file should be.
    Raises: InputError naming the file.
    """
    if not path.is_file():  # opening a pipe would wait for who writes into it
        raise InputError(f"{path}: found no such file, wanted {wanted}")
    try:
        with path.open("rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: {error}, wanted {wanted}") from None


def inflated(stream: BufferedReader) -> IO[bytes]:
    """What a stream holds from here on, inflated if it begins as gzip's or bzip2's does."""
    start = stream.peek(3)
    if start.startswith(GZIP):
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    return bz2.BZ2File(stream) if start.startswith(BZIP2) else stream


def exactly(stream: IO[bytes], num_bytes: int, path: Path) -> bytearray:
    """All that is left of a stream.

    Args:
        num_bytes: how much that should be.
    Raises: InputError if it is less or more.
    """
    found = bytearray()
    while chunk := stream.read(min(CHUNK, num_bytes + 1 - len(found))):
        found += chunk
    if len(found) != num_bytes:
        amount = f"only {len(found)}" if len(found) < num_bytes else "more"
        raise InputError(f"{path}: found {amount} bytes of voxels, wanted the {num_bytes} that its header promises")
    return found


def check_size(shape: tuple[int, ...], path: Path) -> None:
    """An array of that shape can be a volume.

    Raises: InputError if it has no voxels, or more than any volume.
    """
    num_voxels = 1
    for size in shape:
        num_voxels *= int(size)
    if min(shape, default=0) < 1 or num_voxels > MAX_VOXELS:
        found = " x ".join(map(str, shape)) or "no axis"
        raise InputError(f"{path}: its header says {found} voxels, wanted 1 to {MAX_VOXELS}")
