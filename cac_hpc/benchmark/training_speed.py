"""How fast we train, measured side by side with others, in one run on one machine.

Everybody feeds the study's network from the same packed slices, each as a process of its own, in turns. Beside them
stands the product itself: a fold trained by torchrun, with one rank and with two.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cac_hpc.benchmark import costs, screen, training_runs
from cac_hpc.benchmark.screen import Goal
from cac_hpc.run import logs
from cac_hpc.settings.checks import require

COMPUTE, RESIDENT, STREAM = "compute only", "cac_hpc resident", "cac_hpc stream"
FEED, FULL, STREAMED = 25_000, 0.95, 0.8  # the goals: slices/s; of compute only; of resident
LEGEND = (
    "feed: slices per second that are handed over, to nobody. train: with the network.\n"
    "x: train, as a multiple of compute only, the same step on slices that are there\n"
    "already. By the fastest run of each. MB: peak memory of the process. fold: the\n"
    "product, by its own speed.csv."
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """device: cuda or cpu, the first that is there if None. studies, slices, size: of the cohort."""

    device: str | None = None
    studies: int = 12
    slices: int = 40
    size: int = 256
    batch: int = 32
    seconds: float = 10.0
    repeats: int = 2
    keep: str | None = None

    def __post_init__(self) -> None:
        require(self.studies >= 12, "--studies", self.studies, "12 or more")
        require(self.slices >= 10, "--slices", self.slices, "10 or more")
        require(32 <= self.size <= 1024, "--size", self.size, "32 to 1024")
        require(self.batch >= 2, "--batch", self.batch, "2 or more")
        require(self.seconds > 0, "--seconds", self.seconds, "above 0")
        require(self.repeats >= 1, "--repeats", self.repeats, "1 or more")


def add_options(parser: argparse.ArgumentParser) -> None:
    """``[--device D] [--studies N] [--slices N] [--size N] [--batch N] [--repeats N] [--seconds S] [--keep DIR]``."""
    parser.add_argument("--device", choices=["cuda", "cpu"], help="what computes (default: a GPU if there is one)")
    costs.add_options(
        parser,
        Asked,
        {
            "studies": "in the cohort",
            "slices": "of a study",
            "size": "pixels per side of a slice",
            "batch": "slices of a step",
            "repeats": "of every measurement",
            "seconds": "that each is measured",
        },
    )


def measure(asked: Asked, code: Path) -> None:
    """Measure everybody and print the comparison.

    Args:
        code: the checkout whose jobs are measured.
    """
    import torch

    from cac_hpc.benchmark import loaders

    device = asked.device or ("cuda" if torch.cuda.is_available() else "cpu")
    names = [name for name in loaders.LOADERS if loaders.installed(name)]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    folds: dict[int, list[float]] = {ranks: [] for ranks in _ranks(device)}
    with costs.work_folder(asked.keep) as folder:
        shape = (asked.studies, asked.slices, asked.size)
        runs = {
            ranks: training_runs.prepared(
                folder, str(ranks), device, shape, code,
                {"split.folds": 2, "train.epochs": 2, "train.batch_size": asked.batch, "cluster.ranks_per_node": ranks},
            )
            for ranks in folds
        }  # fmt: skip
        with logs.progress("measured", asked.repeats * (len(names) + len(runs))) as advance:
            for _ in range(asked.repeats):
                for name, results in found.items():
                    results.append(_load(name, runs[1], device, asked, folder / "log", code))
                    advance()
                for ranks, rates in folds.items():
                    rates.append(_fold(runs[ranks], ranks, folder / "log", code))
                    advance()
    _show(found, {ranks: max(rates) for ranks, rates in folds.items()}, device, asked)


def _ranks(device: str) -> list[int]:
    """Numbers of ranks that are compared."""
    import torch

    room = torch.cuda.device_count() if device == "cuda" else len(os.sched_getaffinity(0))
    return [ranks for ranks in (1, 2, 4, 8) if ranks <= room]


def _load(name: str, run: Path, device: str, asked: Asked, log: Path, code: Path) -> dict[str, float]:
    """What one loader says of itself."""
    command = [sys.executable, "-m", "cac_hpc.benchmark.loaders", name, str(run), device, str(asked.seconds)]
    costs.call(code, command, log)
    return costs.last_json(log)


def _fold(run: Path, ranks: int, log: Path, code: Path) -> float:
    """Slices per second of the fastest epoch of a fold trained by so many ranks."""
    shutil.rmtree(run / "folds", ignore_errors=True)
    command = training_runs.command(run, 0, ranks, code)
    costs.call(code, command, log)
    return training_runs.best_rate(run)


def _show(found: dict[str, list[dict[str, float]]], folds: dict[int, float], device: str, asked: Asked) -> None:
    best = {name: {key: max(each[key] for each in results) for key in results[0]} for name, results in found.items()}
    compute = best[COMPUTE]["training"]
    rows: list[list[Any]] = [
        [name, "-" if name == COMPUTE else f"{own['feeding']:.0f}", f"{own['training']:.1f}",
         f"{own['training'] / compute:.3f}", f"{own['peak_mb']:.0f}"]
        for name, own in best.items()
    ]  # fmt: skip
    ranks = {number: "1 rank" if number == 1 else f"{number} ranks" for number in folds}
    rows += [
        [f"fold, {ranks[number]}", "-", f"{rate:.1f}", f"{rate / compute:.3f}", "-"] for number, rate in folds.items()
    ]
    title = f"{screen.machine(device)}: {asked.size} x {asked.size}, batches of {asked.batch}, {asked.repeats} repeats"
    share = best[COMPUTE]["flops"] / best[COMPUTE]["matrix_flops"]
    flops = f"{best[COMPUTE]['flops'] / 1e12:.3g} TFLOP/s, {share:.0%} of what large matrices reach here"
    legend = f"{LEGEND}\ncompute only: {flops}"
    screen.show(title, ("", "feed", "train", "x", "MB"), rows, legend, _goals(best, folds))


def _goals(best: dict[str, dict[str, float]], folds: dict[int, float]) -> Iterator[Goal]:
    """What is wanted, what was found and whether that will do."""
    feed = best[RESIDENT]["feeding"]
    yield f"resident feeding of {FEED} slices/s", f"{feed:.0f}", feed >= FEED
    ratio = folds[1] / best[COMPUTE]["training"]
    yield f"a fold {FULL:g} times as fast as compute only", f"{ratio:.3f}", ratio >= FULL
    ratio = best[STREAM]["training"] / best[RESIDENT]["training"]
    alone = best[STREAM]["feeding"] / feed
    yield (
        f"training from a stream {STREAMED:g} times as fast as resident",
        f"{ratio:.3f}, feeding alone {alone:.2f}",
        (ratio >= STREAMED),
    )
