"""Whether the slices of a dataset fit on the device or in host memory: arithmetic, without the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cac_hpc.machine.memory import GIB, Limit
from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.train import TrainConfig

Kind = Literal["device", "host", "stream"]
RANK_BYTES = GIB  # what a rank takes beside the slices
STREAM_WINDOW = 2048  # slices shuffled together when nothing else is asked for


@dataclass(frozen=True)
class Room:
    """What decides the residency, in bytes: the slices, and for a node its ranks and what they may use together.

    gpu: free on the rank's GPU, None without one.
    """

    slices: int
    ranks: int
    host: Limit
    gpu: int | None

    @property
    def needed(self) -> int:
        """Host memory that a node needs to hold the slices."""
        return self.slices + self.ranks * RANK_BYTES


def slice_bytes(num_slices: int, size: int) -> int:
    """What so many slices of int16 HU take, packed or in memory."""
    return 2 * num_slices * size**2


def asked(cluster: ClusterConfig) -> Limit:
    """What a fold may use of the memory that its job asks for: folds of one job share it."""
    each = round(cluster.fold.mem_gb * GIB) // cluster.folds_per_node
    return Limit(each, "cluster.fold.mem_gb" + (" / cluster.folds_per_node" if cluster.folds_per_node > 1 else ""))


def effective_window(cfg: TrainConfig, kind: Kind) -> int | None:
    """How many slices are shuffled together; None: all. It is part of what makes a result."""
    return STREAM_WINDOW if cfg.shuffle_window is None and kind == "stream" else cfg.shuffle_window


def choose(asked: str, room: Room) -> tuple[Kind, str]:
    """Where the slices are kept, and why.

    Args:
        asked: train.residency; without a GPU, ``device`` is ``host``.
    Raises: InputError if what was asked for does not fit.
    """
    slices, host = f"{gib(room.slices)} of slices", f"{gib(room.host.bytes)} ({room.host.says})"
    needed = f"{slices} and {room.ranks} x {gib(RANK_BYTES)} for ranks"
    in_host = room.needed <= room.host.bytes
    if asked == "stream":
        return "stream", f"{slices} stay in their files, as train.residency says"
    if not in_host and asked != "auto":
        raise InputError(f"train.residency is {asked!r}, but {needed} do not fit in {host}; wanted auto or stream")
    if room.gpu is not None and in_host and asked != "host":
        half = f"half of the {gib(room.gpu)} that are free on the GPU"
        if 2 * room.slices <= room.gpu:
            return "device", f"{slices} fit in {half}"
        if asked == "device":
            raise InputError(f"train.residency is 'device', but {slices} do not fit in {half}; wanted auto or host")
    return ("host", f"{needed} fit in {host}") if in_host else ("stream", f"{needed} do not fit in {host}")


def gib(num_bytes: int) -> str:
    return f"{num_bytes / GIB:.3g} GiB" if num_bytes < 1000 * GIB else f"{num_bytes / GIB:.0f} GiB"
