"""Where the slices of a dataset live while a fold is trained: on the device, in host memory, or in their files.

Axes: N slice, H row, W column.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from cac_hpc.dataset import integrity, shards
from cac_hpc.dataset.shards import ShardColumns
from cac_hpc.machine import memory
from cac_hpc.run import causes
from cac_hpc.run.causes import PACK
from cac_hpc.run.logs import log
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.train import capacity, distributed, streaming
from cac_hpc.train.capacity import Kind, Room
from cac_hpc.train.distributed import World
from cac_hpc.train.slices import RowTable
from cac_hpc.train.streaming import Places, Reader

T = TypeVar("T")
UNKNOWN = -1  # category of slices that nobody trains or tests with


class Rows(Protocol):
    def batches(self, rows: Sequence[np.ndarray]) -> Generator[Tensor, None, None]:
        """The rows of each array of row numbers, (n, ...) on the device, n may be 0: slices (n, H, W), int16 HU, or the
        features of candidates (n, F), float32.

        A batch is valid until the next one is asked for. One pass at a time, to be exhausted or closed.
        """


@dataclass(frozen=True)
class Loaded:
    """A dataset ready to be trained on. window: rows that are shuffled together, None for all."""

    table: RowTable
    rows: Rows
    kind: Kind
    window: int | None


@dataclass(frozen=True)
class OnDevice:
    """All rows on the device, (N, ...)."""

    row_N: Tensor

    def batches(self, rows: Sequence[np.ndarray]) -> Generator[Tensor, None, None]:
        index = torch.from_numpy(np.concatenate([*rows, np.zeros(0, np.int64)])).to(self.row_N.device)
        buffer_N = self.row_N.new_empty((max(map(len, rows), default=0), *self.row_N.shape[1:]))
        for chosen in torch.split(index, [len(part) for part in rows]):
            yield torch.index_select(self.row_N, 0, chosen, out=buffer_N[: len(chosen)])


@dataclass(frozen=True)
class InHost:
    """All slices in host memory, (N, H, W) int16, shared by the ranks of the node."""

    hu_NHW: Tensor
    device: torch.device

    def batches(self, rows: Sequence[np.ndarray]) -> Generator[Tensor, None, None]:
        return streaming.on_device(self._gathered(rows), self.device)

    def _gathered(self, rows: Sequence[np.ndarray]) -> Generator[Tensor, None, None]:
        shape = (max(map(len, rows), default=0), *self.hu_NHW.shape[1:])
        buffer_NHW = torch.empty(shape, dtype=torch.int16, pin_memory=self.device.type == "cuda")
        for part in rows:
            yield torch.index_select(self.hu_NHW, 0, torch.from_numpy(part), out=buffer_NHW[: len(part)])


@dataclass(frozen=True)
class Streamed:
    """Slices that stay in their files."""

    reader: Reader
    device: torch.device

    def batches(self, rows: Sequence[np.ndarray]) -> Generator[Tensor, None, None]:
        return streaming.on_device(self.reader.batches(rows), self.device)


def load(dataset: DatasetPaths, category: Mapping[str, int], cfg: Config, world: World) -> Loaded:
    """Verify a sealed dataset and make its slices ready, the work shared by the ranks; every rank calls this.

    Args:
        category: of each study, by study number, as studies.csv says; slices of other studies are UNKNOWN.
    Raises: InputError, the same on every rank, that names the shard or seal that is damaged and what mends it, or
    says why the slices do not fit where train.residency wants them.
    """
    sealed = integrity.read_checked(dataset.seal)
    shape = (sealed["slices"], sealed["settings"]["pack"]["size"], sealed["settings"]["pack"]["size"])
    found = _look_around(capacity.slice_bytes(shape[0], shape[1]), cfg, world)
    kind, why = capacity.choose(cfg.train.residency, found)
    window = capacity.effective_window(cfg.train, kind)
    if world.is_main:
        log.info("residency %s: %s", kind, why)
        if window != cfg.train.shuffle_window:
            log.info("slices are shuffled within windows of %d (train.shuffle_window)", window)
    if kind == "stream":
        columns, images = _open_stream(dataset, sealed, window or shape[0], world)
    else:
        columns, images = _fill_host(dataset, sealed, shape, kind, world)
    study = np.concatenate([part.study for part in columns])
    label = np.array([category.get(name, UNKNOWN) for name in study], dtype=np.int64)
    table = RowTable(study, np.concatenate([part.slice for part in columns]), label)
    return Loaded(table, images, kind, window)


def _look_around(slices: int, cfg: Config, world: World) -> Room:
    """The room that every rank has: the narrowest of all nodes and GPUs."""
    gpu = torch.cuda.mem_get_info(world.device)[0] if world.device.type == "cuda" else None
    host = min(capacity.asked(cfg.cluster), *memory.limits())
    rooms = distributed.gather(Room(slices, world.local_size, host, gpu), world)
    return Room(
        slices,
        ranks=max(each.ranks for each in rooms),
        host=min(each.host for each in rooms),
        gpu=None if gpu is None else min(each.gpu or 0 for each in rooms),
    )


def _fill_host(
    dataset: DatasetPaths, sealed: dict[str, Any], shape: tuple[int, int, int], kind: Kind, world: World
) -> tuple[list[ShardColumns], Rows]:
    """Read all shards into memory that the ranks of the node share; a GPU that has room takes a copy of it."""
    starts = np.cumsum([0, *(facts["rows"] for facts in sealed["shards"])])
    with _shared(capacity.slice_bytes(shape[0], shape[1]), world) as mapped:
        images = mapped.int16(shape)

        def read(index: int) -> ShardColumns:
            return shards.read_shard(verified(dataset, sealed, index), images[starts[index] : starts[index + 1]])

        node = range(world.first_on_node, world.first_on_node + world.local_size)
        columns = shared_out(read, len(sealed["shards"]), world, node)
        hu_NHW = torch.from_numpy(mapped.int16(shape, touch=True))
    if kind == "device":
        return columns, OnDevice(hu_NHW.to(world.device))
    return columns, InHost(hu_NHW, world.device)


def _open_stream(
    dataset: DatasetPaths, sealed: dict[str, Any], window: int, world: World
) -> tuple[list[ShardColumns], Rows]:
    """Verify all shards, and find out where in them their slices lie."""

    def read(index: int) -> tuple[ShardColumns, np.ndarray]:
        return shards.read_places(verified(dataset, sealed, index))

    found = shared_out(read, len(sealed["shards"]), world, range(world.size))
    columns = [part for part, _ in found]
    places = Places(
        files=[dataset.root / facts["file"] for facts in sealed["shards"]],
        shard=np.repeat(np.arange(len(found)), [len(offset) for _, offset in found]),
        offset=np.concatenate([offset for _, offset in found]),
        digest=np.concatenate([part.digest for part in columns]),
    )
    share = -(-window // world.size)
    reader = Reader(places, sealed["settings"]["pack"]["size"], share, pinned=world.device.type == "cuda")
    return columns, Streamed(reader, world.device)


def verified(dataset: DatasetPaths, sealed: dict[str, Any], index: int) -> Path:
    """The path of a shard that is as it was sealed."""
    path: Path = dataset.root / sealed["shards"][index]["file"]
    if fault := integrity.fault(path, sealed["shards"][index]["digest"]):
        raise InputError(causes.error(f"{path}: {fault}", f"{PACK} --shard {index}"))
    return path


def shared_out(read: Callable[[int], T], count: int, world: World, team: range) -> list[T]:
    """What ``read`` returns for 0 to ``count`` - 1, each called by one rank of the team, all of it on every rank.

    Raises: what a rank's ``read`` raised, if bad input or the operating system was the cause, on every rank.
    """
    mine: list[T] | InputError | OSError
    try:
        mine = [read(index) for index in range(team.index(world.rank), count, len(team))]
    except (InputError, OSError) as error:
        mine = error
    parts = distributed.gather(mine, world)
    for part in parts:
        if isinstance(part, InputError | OSError):
            raise part
    found = [part for part in parts if isinstance(part, list)][team.start : team.stop]
    return [found[index % len(team)][index // len(team)] for index in range(count)]


@contextmanager
def _shared(num_bytes: int, world: World) -> Iterator[_SharedBytes]:
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
        yield _SharedBytes(opened, num_bytes)
    finally:
        os.close(opened)
        if made >= 0:
            os.close(made)


@dataclass(frozen=True)
class _SharedBytes:
    fd: int
    bytes: int

    def int16(self, shape: tuple[int, ...], touch: bool = False) -> np.ndarray:
        """The memory as an int16 array; ``touch`` maps all of it now, not page by page when it is used."""
        flags = mmap.MAP_SHARED | (mmap.MAP_POPULATE if touch else 0)
        return np.frombuffer(mmap.mmap(self.fd, self.bytes, flags=flags), np.int16).reshape(shape)
