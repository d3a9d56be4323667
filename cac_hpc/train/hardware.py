"""What a rank computes on: its name, the memory in use, how busy it is."""

from __future__ import annotations

import resource

import torch

from cac_hpc.train.distributed import World


def name(world: World) -> str:
    """As its maker calls it; of a CPU what it computes with, on which the last digits depend."""
    if world.device.type == "cuda":
        return torch.cuda.get_device_name(world.device)
    return f"cpu ({torch.backends.cpu.get_cpu_capability()})"


def peak_memory_mb(world: World) -> float:
    """The most that was in use at once, of the GPU's memory or of this process's."""
    if world.device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(world.device) / 1e6, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, 1)


def utilization_percent(world: World) -> float | None:
    """What NVIDIA's library says of the GPU's last second; None where it cannot be asked."""
    if world.device.type != "cuda":
        return None
    try:
        return float(torch.cuda.utilization(world.device))
    except (ModuleNotFoundError, RuntimeError):
        return None
