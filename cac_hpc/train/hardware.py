"""What a rank computes on: its name, the memory in use, how busy it is, and the precision that suits it."""

from __future__ import annotations

import dataclasses
import resource
import time

import torch

from cac_hpc.run.config import Config, Precision
from cac_hpc.train import models, steps
from cac_hpc.train.distributed import World

PROBE_SLICES, PROBE_STEPS = 8, 3
WORTH = 1.2  # times as fast as fp32 must bf16 be on a CPU: less is noise


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


def choose_precision(cfg: Config, device: torch.device) -> Precision:
    """The precision as set; for ``auto`` what the GPU has units for, or what a short probe finds faster on this CPU."""
    if cfg.train.precision != "auto":
        return cfg.train.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if _step_seconds(cfg, "fp32") > WORTH * _step_seconds(cfg, "bf16") else "fp32"


def _step_seconds(cfg: Config, name: Precision) -> float:
    """The fastest of a few steps of a new network on nothing; the caller's random numbers stay as they are."""
    train, spec = dataclasses.replace(cfg.train, precision=name), models.chosen(cfg)
    with torch.random.fork_rng(devices=[]):
        model = spec.build(cfg.model, cfg.pack.size, len(cfg.labels.names))
    share = steps.blank_share(spec, PROBE_SLICES, cfg.pack.size, torch.device("cpu"))
    weight_K, seconds = torch.ones(len(cfg.labels.names)), []
    for _ in range(PROBE_STEPS):
        started = time.perf_counter()
        steps.warm_up(model, share, weight_K, train)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
