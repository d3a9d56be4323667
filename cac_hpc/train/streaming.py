"""Slices read when they are needed, one block ahead, and batches copied onto the device ahead of their use.

Axes: N slice, H row, W column.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import torch
from torch import Tensor

from cac_hpc.run import causes, digests
from cac_hpc.run.causes import PACK
from cac_hpc.settings.errors import InputError

BLOCK_BYTES = 256 << 20  # the most that one block takes; two are in memory
CALL_BYTES = 1 << 20  # the most that one call reads, so that its slices are still in the cache when they are checked
AHEAD = 2  # batches on their way while one is computed with


@dataclass(frozen=True)
class Places:
    """Where the slices of a dataset lie: (N,) shard, in file order, and offset in bytes; their digests (N, 16)."""

    files: Sequence[Path]
    shard: np.ndarray
    offset: np.ndarray
    digest: np.ndarray


class Reader:
    """Reads batches of slices from verified shards, each slice checked against its digest as it comes in.

    It holds two blocks of memory from its first pass on, and a thread while a pass is under way.
    """

    def __init__(self, places: Places, size: int, block: int, pinned: bool = False) -> None:
        """
        Args:
            size: pixels per side. block: slices that are read together, at most; fewer if `BLOCK_BYTES` hold fewer.
            pinned: whether the batches lie in memory that a GPU copies from.
        """
        self._places, self._size, self._pinned = places, size, pinned
        self._slice_bytes = 2 * size * size
        self._block = max(1, min(block, BLOCK_BYTES // self._slice_bytes))
        self._buffers: list[Tensor] = []
        self._busy = False

    def batches(self, rows: Sequence[np.ndarray]) -> Generator[Tensor, None, None]:
        """The int16 (n, H, W) slices of each array of row numbers, valid until the next ones are asked for.

        One pass at a time: the next one starts when this generator is exhausted or closed.

        Raises: InputError naming shard and row of a slice that is not as it was packed; OSError naming the shard that
        cannot be read.
        """
        assert not self._busy, "another pass over the slices is under way"
        self._busy, stop = True, Event()
        blocks = list(_blocks(rows, self._block))
        self._make_room(max((sum(map(len, block)) for block in blocks), default=0))
        jobs = zip(blocks, itertools.cycle(self._buffers), strict=False)
        with ThreadPoolExecutor(1, "read-ahead") as thread:
            try:
                coming = [thread.submit(self._read_block, *job, stop) for job in itertools.islice(jobs, 1)]
                while coming:
                    filled_NHW, block = coming.pop().result()
                    coming += [thread.submit(self._read_block, *job, stop) for job in itertools.islice(jobs, 1)]
                    yield from torch.split(filled_NHW, [len(part) for part in block])
            finally:
                stop.set()
                self._busy = False

    def _make_room(self, most: int) -> None:
        if not self._buffers or len(self._buffers[0]) < most:
            self._buffers.clear()  # before the larger ones are made
            shape = (most, self._size, self._size)
            self._buffers += [torch.empty(shape, dtype=torch.int16, pin_memory=self._pinned) for _ in range(2)]

    def _read_block(
        self, block: Sequence[np.ndarray], buffer_NHW: Tensor, stop: Event
    ) -> tuple[Tensor, Sequence[np.ndarray]]:
        """Read the slices of a block in file order, each to where its batch wants it."""
        rows = np.concatenate(block)
        into = buffer_NHW.numpy()[: len(rows)].view(np.uint8).reshape(len(rows), self._slice_bytes)
        places = self._places
        order = np.lexsort((places.offset[rows], places.shard[rows]))
        shard = places.shard[rows[order]]
        for positions in np.split(order, np.flatnonzero(np.diff(shard)) + 1):
            if len(positions):
                self._read_file(into, rows, positions, stop)
        return buffer_NHW[: len(rows)], block

    def _read_file(self, into: np.ndarray, rows: np.ndarray, positions: np.ndarray, stop: Event) -> None:
        """Read the slices at these positions of the block, all of one shard, in the order of their offsets."""
        places = self._places
        shard = int(places.shard[rows[positions[0]]])
        gaps = np.flatnonzero(np.diff(places.offset[rows[positions]]) != self._slice_bytes) + 1
        at_once = max(1, CALL_BYTES // self._slice_bytes)
        with _opened(places.files[shard]) as fd:
            for neighbours in np.split(positions, gaps):
                for first in range(0, len(neighbours), at_once):
                    if stop.is_set():
                        return
                    some = neighbours[first : first + at_once]
                    slices = [into[position] for position in some.tolist()]
                    whole = _read(fd, slices, int(places.offset[rows[some[0]]]))
                    for data, row in zip(slices, rows[some].tolist(), strict=True):
                        if not whole or digests.of_bytes(data.data) != places.digest[row].tobytes():
                            raise self._damaged(row)

    def _damaged(self, row: int) -> InputError:
        shard = int(self._places.shard[row])
        in_shard = row - int(np.searchsorted(self._places.shard, shard))
        what = f"row {in_shard} is not as it was packed, so the shard was damaged meanwhile"
        return InputError(causes.error(f"{self._places.files[shard]}: {what}", f"{PACK} --shard {shard}"))


def _blocks(rows: Sequence[np.ndarray], most: int) -> Iterator[list[np.ndarray]]:
    """Batches in their order, as many together as have ``most`` rows; a larger one is a block of its own."""
    block: list[np.ndarray] = []
    count = 0
    for part in rows:
        if block and count + len(part) > most:
            yield block
            block, count = [], 0
        block.append(part)
        count += len(part)
    if block:
        yield block


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A file open for reading; what the operating system refuses in the block is told with its path."""
    fd = -1
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        yield fd
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        if fd >= 0:
            os.close(fd)


def _read(fd: int, slices: Sequence[np.ndarray], offset: int) -> bool:
    """Fill the slices from the file, one after the other; whether it had that many bytes."""
    left = [data.data for data in slices]
    while left:
        count = os.preadv(fd, left, offset)
        if count == 0:
            return False
        offset += count
        while left and count >= len(left[0]):
            count -= len(left.pop(0))
        if left:
            left[0] = left[0][count:]
    return True


class _Slot:
    """Room for one batch on the GPU: when it was filled, and when nobody computes with it any more."""

    def __init__(self, like: Tensor, device: torch.device) -> None:
        self.hu_NHW = torch.empty_like(like, device=device)
        self.filled = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self.free = torch.cuda.Event()  # type: ignore[no-untyped-call]


def on_device(host: Generator[Tensor, None, None], device: torch.device) -> Generator[Tensor, None, None]:
    """The batches of ``host`` on the device, in order; each is valid until the next one is asked for.

    To a GPU they are copied on a stream of their own, `AHEAD` batches ahead; on the CPU they are handed on.

    Args:
        host: int16 (n, H, W) batches in host memory, pinned for a GPU; each valid until the next one is asked for.
    """
    return _on_gpu(host, device) if device.type == "cuda" else host


def _on_gpu(host: Generator[Tensor, None, None], device: torch.device) -> Generator[Tensor, None, None]:
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    computing = torch.cuda.current_stream(device)
    slots: deque[_Slot] = deque()  # the one filled longest ago first
    coming: deque[tuple[_Slot, Tensor]] = deque()
    with closing(host):
        try:
            for batch_NHW in host:
                slot = _slot_for(batch_NHW, slots, device, computing, copying)
                coming.append((slot, _copy(batch_NHW, slot, copying)))
                if len(coming) > AHEAD:
                    yield from _hand_over(coming, computing)
                slot.filled.synchronize()  # the next batch may be written where this one lay
            while coming:
                yield from _hand_over(coming, computing)
        finally:
            copying.synchronize()  # before the memory of either side is given to others


def _slot_for(
    batch_NHW: Tensor,
    slots: deque[_Slot],
    device: torch.device,
    computing: torch.cuda.Stream,
    copying: torch.cuda.Stream,
) -> _Slot:
    """The slot used longest ago, or a new one while there are few or those there are too small."""
    if len(slots) > AHEAD:
        slot = slots.popleft()
        if len(slot.hu_NHW) >= len(batch_NHW):
            copying.wait_event(slot.free)
            slots.append(slot)
            return slot
    slot = _Slot(batch_NHW, device)
    copying.wait_stream(computing)  # its memory may have been somebody's who still computes
    slots.append(slot)
    return slot


def _copy(batch_NHW: Tensor, slot: _Slot, copying: torch.cuda.Stream) -> Tensor:
    into_NHW = slot.hu_NHW[: len(batch_NHW)]
    with torch.cuda.stream(copying):
        into_NHW.copy_(batch_NHW, non_blocking=True)
        slot.filled.record(copying)
    return into_NHW


def _hand_over(coming: deque[tuple[_Slot, Tensor]], computing: torch.cuda.Stream) -> Generator[Tensor, None, None]:
    slot, hu_NHW = coming.popleft()
    computing.wait_event(slot.filled)
    yield hu_NHW
    slot.free.record(computing)
