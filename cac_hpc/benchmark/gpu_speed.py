"""Measure training on a GPU within a stated time: steps, layers, waiting, folds side by side, resume; write it as JSON.

Parts come in the order of their worth. Each is written as soon as it is done, and one that no longer fits into the
time is named and left out. The network, loaders, torchrun and the launcher are the product's own.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from cac_hpc.benchmark import circumstances, costs, inputs, screen, training_runs
from cac_hpc.run import disk, logs
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.checks import require

Found = dict[str, object]
EPOCHS, FOLDS = 15, 5  # of the study
RESIDENCIES = {"cuda": ("device", "host", "stream"), "cpu": ("host", "stream")}
LAST = ("peak_memory_mb", "gpu_utilization_percent")  # what speed.csv says of the last epoch
SPARE_S = 20.0  # of the time, for a step that has begun
STOP_S = 120.0  # a fold has a checkpoint within


@dataclass(frozen=True, kw_only=True)
class Asked:
    """device: what computes. minutes: that all may take. out: folder of gpu.json."""

    device: Literal["cuda", "cpu"] = "cuda"
    minutes: float = 8.0
    tiny: bool = False
    out: str = "build/gpu"
    keep: str | None = None

    def __post_init__(self) -> None:
        require(self.minutes > 0, "--minutes", self.minutes, "above 0")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Studies, slices of each, and pixels per side: the study's 4,700 slices."""
        return (12, 10, 32) if self.tiny else (68, 69, 256)

    @property
    def seconds(self) -> float:
        """That a step is measured."""
        return 0.05 if self.tiny else 1.0

    @property
    def epochs(self) -> int:
        return 2 if self.tiny else EPOCHS

    @property
    def short(self) -> int:
        """Epochs of a training that is done several times."""
        return min(3, self.epochs)

    @property
    def folds(self) -> int:
        return 2 if self.tiny else FOLDS


@dataclass
class Bench:
    """What the parts share. deadline: by time.monotonic(); found: what was said so far, by part."""

    asked: Asked
    folder: Path
    code: Path
    deadline: float
    found: Found = field(default_factory=dict)

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()

    def run(self, name: str, **more: object) -> Path:
        """A packed run of the study's settings, made once."""
        if (run := self.folder / f"run-{name}").exists():
            return run
        settings = {"split.folds": self.asked.folds, "train.epochs": self.asked.epochs, "train.batch_size": 32, **more}
        return training_runs.prepared(self.folder, name, self.asked.device, self.asked.shape, self.code, settings)

    def call(self, command: Sequence[str]) -> costs.Cost:
        """Run a program to its end, at most until the time is over."""
        return costs.call(self.code, command, self.folder / "log", timeout_s=max(1.0, self.left_s))

    def train(self, run: Path) -> None:
        """Train fold 0 of a run."""
        self.call(training_runs.command(run, 0, 1, self.code))

    def steps(self, variants: Sequence[str]) -> Found:
        """What a process of `noise_steps` says of these variants, with the share of a matrix product in bf16."""
        given = [self.run("steps"), self.asked.device, self.asked.seconds, max(1.0, self.left_s - SPARE_S), *variants]
        self.call([sys.executable, "-m", "cac_hpc.benchmark.noise_steps", *map(str, given)])
        found: dict[str, Any] = costs.last_json(self.folder / "log")
        for said in found.values():
            for one in said if isinstance(said, list) else [said]:
                if isinstance(one, dict) and "flops" in one:
                    one["share_of_matrix"] = round(one["flops"] / found["matrix"]["bf16"], 3)
        return found


@dataclass(frozen=True)
class Part:
    """A part of the measurement. seconds: that it takes on one large GPU, about."""

    name: str
    seconds: float
    measure: Callable[[Bench], Found]


def add_options(parser: argparse.ArgumentParser) -> None:
    """``[--device cuda|cpu] [--minutes N] [--tiny] [--out DIR] [--keep DIR]``."""
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="what computes (default cuda)")
    costs.add_options(parser, Asked, {"minutes": "that all may take: what no longer fits is left out and named"})
    parser.add_argument("--tiny", action="store_true", help="see that everything runs, on a CPU too; proves nothing")
    parser.add_argument("--out", metavar="DIR", default=Asked.out, help=f"for gpu.json (default {Asked.out})")


def measure(asked: Asked, code: Path) -> None:
    """Measure part after part while there is time, and print and write what each found.

    Args:
        code: the checkout whose jobs are measured.
    """
    out = Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 60 * asked.minutes
    with costs.work_folder(asked.keep) as folder:
        bench = Bench(asked, folder, code, deadline)
        began = asdict(circumstances.now({"now": code})) | {"device": screen.machine(asked.device)}
        bench.found |= {"tiny": asked.tiny, "minutes": asked.minutes, "began": began}
        for part in PARTS:
            started, found = time.monotonic(), _measured(part, bench)
            bench.found[part.name] = found | {"seconds": round(time.monotonic() - started, 1)}
            logs.say(f"{part.name}: {disk.json_text(bench.found[part.name]).strip()}")
            disk.write_json(out / "gpu.json", bench.found)


def _measured(part: Part, bench: Bench) -> Found:
    if bench.left_s < (min(1, part.seconds) if bench.asked.tiny else part.seconds):
        return {"left_out": f"{bench.left_s:.0f} s were left, it takes about {part.seconds:.0f}"}
    try:
        return part.measure(bench)
    except (RuntimeError, subprocess.TimeoutExpired) as error:  # the others can still be measured
        return {"failed": str(error)[-500:]}


def steps(bench: Bench, how: str = "eager") -> Found:
    """The network's steps on slices that are there, and the share of what large matrices reach in bf16."""
    return bench.steps([",".join(map(str, one)) for one in variants(bench.asked, how)])


def variants(asked: Asked, how: str) -> Iterator[tuple[int, int, str, str, str]]:
    """Size, batch, precision, how and layout of the steps that are measured, those of the study first."""
    precisions = ("bf16", "fp16", "tf32", "fp32") if asked.device == "cuda" else ("fp32", "bf16")
    for size in (32,) if asked.tiny else (256, 512):
        for batch in (4,) if asked.tiny else (32, 256):
            for precision in precisions if how == "eager" else precisions[:1]:
                yield size, batch, precision, how, "channels_last"
            if how == "eager":
                yield size, batch, precisions[0], how, "contiguous"


def layers(bench: Bench) -> Found:
    """The convolutions one by one: what a step would take that had nothing else."""
    return bench.steps(["32,4"] if bench.asked.tiny else ["256,32", "256,256", "512,32"])


def waiting(bench: Bench) -> Found:
    """Share of a fold's training that waits for slices, kept in each way; and its speed against steps alone."""
    found: Found = {}
    for kind in RESIDENCIES[bench.asked.device]:
        run = bench.run(kind, **{"train.residency": kind, "train.epochs": 2})
        bench.train(run)
        last = training_runs.speed(run)[-1]
        facts = {"waiting": training_runs.waiting(run), "slices_per_s": training_runs.best_rate(run)}
        found[kind] = facts | {name: last[name] for name in LAST if name in last}
    return found


def whole(bench: Bench) -> Found:
    """All folds one after the other by the launcher, to the report; studies are packed already."""
    threads = len(os.sched_getaffinity(0)) if bench.asked.device == "cpu" else 1  # a fold after the other there, too
    run = bench.run("whole", **{"cluster.cpus_per_rank": threads})
    cost = bench.call(inputs.job(bench.code, "launch_cv.py", resume=run))
    parts = [path.stat().st_mtime for path in (run / "folds").rglob("*") if path.is_file()]
    return {"all_s": cost.seconds, "folds_s": max(parts) - min(parts), "gap_s": inputs.gap_s(run)}


def packed(bench: Bench) -> Found:
    """All folds at the same time on one device, against one after the other."""
    run, started = bench.run("packed"), time.monotonic()
    env = costs.environment(bench.code)
    with (bench.folder / "log").open("wb") as log, contextlib.ExitStack() as stack:
        for fold in range(bench.asked.folds):
            command = training_runs.command(run, fold, 1, bench.code)
            child = stack.enter_context(subprocess.Popen(command, env=env, stdout=log, stderr=log))
            stack.callback(child.terminate)  # of those that have ended nothing
            stack.callback(child.wait, max(1.0, bench.left_s))
    seconds, alone = time.monotonic() - started, bench.found.get("whole", {})
    if not all(RunPaths(run).fold(fold).predictions.exists() for fold in range(bench.asked.folds)):
        raise RuntimeError((bench.folder / "log").read_text(errors="replace")[-500:])
    faster = alone["folds_s"] / seconds if isinstance(alone, dict) and "folds_s" in alone else None
    return {"folds_s": seconds, "times_one_after_the_other": faster}


def determinism(bench: Bench) -> Found:
    """The same fold twice, byte for byte, and what it costs."""
    rates, contents = [], []
    for name, fixed in (("first", "true"), ("second", "true"), ("free", "false")):
        run = bench.run(name, **{"train.deterministic": fixed, "train.epochs": bench.asked.short})
        bench.train(run)
        rates.append(training_runs.best_rate(run))
        contents.append(RunPaths(run).fold(0).predictions.read_bytes())
    return {"same_bytes": contents[0] == contents[1], "deterministic_against_free": rates[0] / rates[2]}


def resume(bench: Bench) -> Found:
    """A fold that is killed while it trains and started again, against one that was left alone, byte for byte."""
    runs = [
        bench.run(name, **{"train.epochs": bench.asked.short, "train.checkpoint_minutes": 0})
        for name in ("alone", "stopped")
    ]
    _stop(runs[1], bench)
    for run in runs:
        bench.train(run)
    alone, stopped = (RunPaths(run).fold(0) for run in runs)
    same = alone.predictions.read_bytes() == stopped.predictions.read_bytes()
    return {"same_bytes": same, "attempts": len(list(stopped.attempts.iterdir()))}


def _stop(run: Path, bench: Bench) -> None:
    """Start fold 0 of a run and kill it once it has a checkpoint."""
    command, fold = training_runs.command(run, 0, 1, bench.code), RunPaths(run).fold(0)
    deadline = time.monotonic() + min(STOP_S, bench.left_s)
    env = costs.environment(bench.code)
    with (bench.folder / "log").open("wb") as log:
        child = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            while child.poll() is None and not list(fold.root.glob("checkpoints/*.pt")) and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            costs.kill(child)  # as a node that fails would


def targets(bench: Bench) -> Found:
    """What was found beside what is wanted; a part that is not there leaves its targets out."""
    found: dict[str, Any] = bench.found
    kept, shape = RESIDENCIES[bench.asked.device][0], next(variants(bench.asked, "eager"))
    said: Found = {}
    with contextlib.suppress(KeyError):
        alone = found["steps"][",".join(map(str, shape))]["slices_per_s"]
        with contextlib.suppress(KeyError):
            wanted = "slices per second of a fold, as a share of steps alone: at least 0.95"
            said[wanted] = found["waiting"][kept]["slices_per_s"] / alone
        with contextlib.suppress(KeyError):
            layer_s = sum(layer["seconds"] for layer in found["layers"]["{},{}".format(*shape)])
            said["time of the convolutions alone, as a share of a step's: at least 0.5"] = layer_s * alone / shape[1]
    with contextlib.suppress(KeyError):
        said["folds side by side, times one after the other: at least 2"] = found["packed"]["times_one_after_the_other"]
    with contextlib.suppress(KeyError):
        said["the whole cross-validation: under 60 s"] = found["whole"]["all_s"]
    return said


PARTS = (
    Part("steps", 75, steps),
    Part("whole", 90, whole),
    Part("packed", 45, packed),
    Part("waiting", 60, waiting),
    Part("layers", 20, layers),
    Part("determinism", 45, determinism),
    Part("resume", 45, resume),
    Part("compiled", 60, lambda bench: steps(bench, "compiled")),
    Part("graphs", 60, lambda bench: steps(bench, "graphs")),
    Part("targets", -math.inf, targets),
)
