"""The precision that a network is computed in where the settings leave it open."""

from __future__ import annotations

import dataclasses
import time

import torch

from cac_hpc.run.config import Config, Precision
from cac_hpc.train import models, steps

PROBE_SLICES, PROBE_STEPS = 8, 3
WORTH = 1.2  # times as fast as fp32 must bf16 be on a CPU: less is noise


def choose(cfg: Config, device: torch.device) -> Precision:
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
    share = steps.blank_share(spec.unit, PROBE_SLICES, cfg.pack.size, torch.device("cpu"))
    weight_K, seconds = torch.ones(len(cfg.labels.names)), []
    for _ in range(PROBE_STEPS):
        started = time.perf_counter()
        steps.warm_up(model, share, weight_K, train)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
