"""Steps of a slice network on noise that is there already: what a training takes when it waits for nothing.

``python -m cac_hpc.benchmark.noise_steps RUN DEVICE SECONDS LIMIT_S VARIANT ...`` prints as JSON what large matrices
reach, then of each variant ``SIZE,BATCH,PRECISION,HOW,LAYOUT`` slices and operations per second and peak memory; HOW is
``eager``, ``compiled`` or ``graphs``. Of ``SIZE,BATCH`` alone it measures the convolutions one by one. What is not
begun after LIMIT_S is left out. Axes: N slice, H row, W column.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cac_hpc.benchmark import loaders
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.model import ModelConfig
from cac_hpc.train import models, networks, steps
from cac_hpc.train.checkpoint import new_state
from cac_hpc.train.distributed import World

FIRST = 3  # steps that settle kernels and memory and are not counted
BACKWARD = 3  # operations of a step, as a multiple of those of a prediction


def stepper(
    cfg: Config, device: torch.device, batch: int, how: str = "eager", layout: str = "channels_last"
) -> Callable[[], None]:
    """A training step of the network of these settings, on the same noise each time.

    Args:
        how: ``eager``; ``compiled`` by torch.compile; ``graphs``, which compiles and replays CUDA graphs.
        layout: of the weights in memory, ``channels_last`` as the product has them, or ``contiguous``.
    """
    state = new_state(cfg, World(0, 1, device))
    hu_NHW = torch.randint(-1000, 1000, (batch, cfg.pack.size, cfg.pack.size), dtype=torch.int16, device=device)
    label_N = torch.arange(batch, device=device) % len(cfg.labels.names)
    model = state.model
    if layout == "contiguous":
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if how != "eager":
        model = torch.compile(model, mode="reduce-overhead" if how == "graphs" else "default")  # type: ignore[assignment]

    step = loaders.stepper(cfg, state, model, device)
    return lambda: step(hu_NHW, label_N)


def rate(step: Callable[[], None], seconds: float) -> float:
    """Steps per second, after the first few."""
    for _ in range(FIRST):
        step()
    loaders.wait()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds or not count:
        step()
        count += 1
        if count % 8 == 0:
            loaders.wait()
    loaders.wait()
    return count / (time.perf_counter() - started)


def measured(
    given: Config, device: torch.device, seconds: float, size: int, batch: int, precision: str, how: str, layout: str
) -> dict[str, float]:
    """Slices and operations per second and the most memory, of the network of these settings in this variant."""
    kind = "fp32" if precision == "tf32" else precision
    train = dataclasses.replace(given.train, device=device.type, batch_size=batch, precision=kind)  # type: ignore[arg-type]
    cfg = dataclasses.replace(given, train=train, pack=dataclasses.replace(given.pack, size=size))
    steps.fix_arithmetic(cfg)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    slices_per_s = batch * rate(stepper(cfg, device, batch, how, layout), seconds)
    once = models.chosen(cfg).flops(cfg.model, size, len(cfg.labels.names))
    return {"slices_per_s": slices_per_s, "flops": BACKWARD * once * slices_per_s, "peak_mb": peak_mb(device)}


def peak_mb(device: torch.device) -> float:
    """Most memory of the GPU that tensors took, or of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def layers(cfg: ModelConfig, device: torch.device, seconds: float, size: int, batch: int) -> list[dict[str, float]]:
    """Each convolution forwards and backwards alone in bf16, by its fastest algorithm: what the machine offers."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    found, channels = [], 1
    for filters in cfg.filters:
        layer = nn.Conv2d(channels, filters, cfg.kernel, padding=cfg.kernel // 2)
        layer.to(device, torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.randn(batch, channels, size, size, device=device, dtype=torch.bfloat16)
        x = x.to(memory_format=torch.channels_last).requires_grad_(channels > 1)  # nobody asks for that of the slices
        grad = torch.randn_like(layer(x))

        def both(layer: nn.Module = layer, x: torch.Tensor = x, grad: torch.Tensor = grad) -> None:
            torch.autograd.backward(layer(x), grad)

        passes = BACKWARD if channels > 1 else BACKWARD - 1
        flops = passes * 2 * batch * size * size * channels * filters * cfg.kernel**2
        step_s = 1 / rate(both, seconds)
        found.append({"filters": filters, "size": size, "seconds": step_s, "flops": flops / step_s})
        channels, size = filters, size // 2
    return found


def main(root: str, device_type: str, seconds: str, limit_s: str, *variants: str) -> None:
    began, cfg, device = time.monotonic(), stored_settings.load(RunPaths(Path(root)).config), torch.device(device_type)
    steps.fix_arithmetic(cfg)  # before the first product: what is settled then stays
    kinds = ["fp32", "bf16", *(["fp16"] if device.type == "cuda" else [])]
    found: dict[str, object] = {"matrix": {kind: loaders.matrix_flops(device, networks.DTYPES[kind]) for kind in kinds}}
    for variant in variants:
        size, batch, *others = variant.split(",")
        if time.monotonic() - began > float(limit_s):
            found[variant] = "left out: no time was left"
            continue
        try:
            about = device, float(seconds), int(size), int(batch)
            found[variant] = measured(cfg, *about, *others) if others else layers(cfg.model, *about)
        except RuntimeError as error:  # of this variant: it does not fit, or cannot be compiled
            found[variant] = f"failed: {str(error)[:200]}"
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
