"""The process group: rank, world size, device, exact sums and gathers. The only reader of torchrun's variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@contextmanager
def process_group(device_type: str) -> Iterator[World]:
    """Join the group torchrun describes; a plain ``python`` run is a world of one.

    Raises: RuntimeError if CUDA was asked for and this rank has no GPU.
    """
    rank, size, local = (
        int(os.environ.get(key, default)) for key, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    if device_type == "cuda":
        visible = torch.cuda.device_count()
        if local >= visible:
            raise RuntimeError(
                f"rank {rank}: train.device is cuda, but {visible} GPUs are visible and local rank "
                f"{local} needs one of its own; ask for more GPUs or set train.device cpu"
            )
        torch.cuda.set_device(local)  # else NCCL puts every rank on GPU 0
    device = torch.device(device_type, local) if device_type == "cuda" else torch.device("cpu")
    if size > 1:
        dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    yield World(rank, size, device)
    if size > 1:  # on success only: after an error this could wait for lost ranks
        dist.destroy_process_group()


def data_parallel(model: nn.Module, world: World) -> nn.Module:
    """The model as every rank trains it: gradients averaged over the ranks."""
    if world.size == 1:
        return model
    return DistributedDataParallel(model, device_ids=[world.device] if world.device.type == "cuda" else None)


def total(values: list[float], world: World) -> list[float]:
    """Sum each value over all ranks, in float64, the same on every rank."""
    if world.size == 1:
        return values
    sums = torch.tensor(values, dtype=torch.float64, device=world.device)
    dist.all_reduce(sums)
    return [float(value) for value in sums]


def gather(part: T, world: World) -> list[T]:
    """The parts of all ranks in rank order, on every rank; the parts may differ in size."""
    if world.size == 1:
        return [part]
    parts: list[Any] = [None] * world.size
    dist.all_gather_object(parts, part)
    return parts


def barrier(world: World) -> None:
    """Wait for all ranks."""
    if world.size > 1:
        dist.barrier()
