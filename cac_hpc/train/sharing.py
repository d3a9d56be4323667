"""Memory that all ranks of a node share."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from cac_hpc.train import distributed
from cac_hpc.train.distributed import World


@contextmanager
def shared(num_bytes: int, world: World) -> Iterator[SharedBytes]:
    """Memory that all ranks of a node write and read; arrays mapped inside the block stay when it ends.

    It has no name in any file system and takes no room in /dev/shm: it is gone with the last process that maps it. A
    rank may leave the block only when every rank of its node has mapped.
    """
    made = -1
    if world.local_rank == 0:
        made = os.memfd_create("cac_hpc slices")
        os.truncate(made, num_bytes)
    pid, first_fd = distributed.gather((os.getpid(), made), world)[world.first_on_node]
    opened = os.open(f"/proc/{pid}/fd/{first_fd}", os.O_RDWR | os.O_CLOEXEC)
    try:
        yield SharedBytes(opened, num_bytes)
    finally:
        os.close(opened)
        if made >= 0:
            os.close(made)


@dataclass(frozen=True)
class SharedBytes:
    fd: int
    bytes: int

    def int16(self, shape: tuple[int, ...], touch: bool = False) -> np.ndarray:
        """The memory as an int16 array; ``touch`` maps all of it now, not page by page when it is used."""
        flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if touch else 0)
        return np.frombuffer(mmap.mmap(self.fd, self.bytes, flags=flags), np.int16).reshape(shape)
