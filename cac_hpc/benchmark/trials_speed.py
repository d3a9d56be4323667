"""What a trial of the lesion model takes beyond its training, how long many take two workers, and how busy these are.

The first part runs in a process of its own and counts its clock and its processor time from the start of that process.
``python -m cac_hpc.benchmark.trials_speed RUN`` is such a process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from cac_hpc.benchmark import costs, lesion_speed, screen, trials_efficiency
from cac_hpc.benchmark.screen import Goal
from cac_hpc.benchmark.trials_efficiency import Efficiency
from cac_hpc.settings.checks import require

# the goals: of a trial, of all trials by so many workers, and of the share of the time that they train
OVERHEAD_S, WHOLE_MIN, WORKERS, EFFICIENT = 2.0, 15.0, 2, 0.9
RANDOM: dict[str, object] = {
    "trials.settings": "{train.learning_rate: {log_uniform: [1.0e-3, 3.0e-2]}}", "trials.sampler": "random",
}  # fmt: skip
TIMES = (("seconds", "epochs_s"), ("cpu_s", "epochs_cpu_s"))  # of all, and of the epochs among it
LEGEND = (
    "overhead: of one fold's trials by one worker, all that is not an epoch, from\n"
    "the start of the process, divided by the trials: by the clock, and in processor\n"
    "time, on which other work on the machine hardly tells. whole: trials of all\n"
    "folds as configs/trials/lesions.yaml has them, by {workers} workers that start together.\n"
    "lengths: trials of one fold that differ ten-fold in length, by {workers} workers: the\n"
    "share of their time that they train, as trials are shared out, and in batches."
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """whole: trials of each fold in the second part; lengths: trials of the third; 0 leaves a part out."""

    studies: int = 68
    trials: int = 50
    whole: int = 200
    lengths: int = 24
    keep: str | None = None

    def __post_init__(self) -> None:
        require(self.studies >= 12, "--studies", self.studies, "12 or more")
        require(self.trials >= 1, "--trials", self.trials, "1 or more")
        require(self.whole >= 0, "--whole", self.whole, "0 or more")
        require(self.lengths >= 0, "--lengths", self.lengths, "0 or more")


def add_options(parser: argparse.ArgumentParser) -> None:
    """``[--studies N] [--trials N] [--whole N] [--lengths N] [--keep DIR]``."""
    costs.add_options(
        parser,
        Asked,
        {
            "studies": "in the cohort",
            "trials": "of which the overhead is measured",
            "whole": "trials of each of five folds that two workers train; 0: none",
            "lengths": "trials that differ ten-fold in length; 0: none",
        },
    )


def measure(asked: Asked, code: Path) -> None:
    """Measure it and print it.

    Args:
        code: the checkout whose settings and jobs are measured.
    """
    with costs.work_folder(asked.keep) as folder:
        one = RANDOM | {"trials.number": asked.trials}
        run = lesion_speed.prepared(folder, "overhead", asked.studies, code, more=one)
        command = [sys.executable, "-m", "cac_hpc.benchmark.trials_speed", str(run)]
        costs.call(code, command, folder / "log")
        found = costs.last_json(folder / "log")
        whole = _whole(folder, asked, code) if asked.whole else None
        lengths = trials_efficiency.measure(folder, asked.studies, asked.lengths, code) if asked.lengths else None
    _show(asked, found, whole, lengths)


def _whole(folder: Path, asked: Asked, code: Path) -> dict[str, float]:
    """Train all trials of all folds: seconds by the clock and of processor time, of all workers."""
    more = {"trials": code / "configs" / "trials" / "lesions.yaml", "trials.number": asked.whole}
    run = lesion_speed.prepared(folder, "whole", asked.studies, code, more=more)
    env, before, started = costs.environment(code), os.times(), time.monotonic()
    command = [sys.executable, str(code / "jobs" / "run_trials.py"), "--run", str(run), "--worker"]
    workers = [subprocess.Popen([*command, str(number)], env=env) for number in range(WORKERS)]
    try:
        if sum(worker.wait() for worker in workers):
            raise RuntimeError(f"{run}: a worker failed; its output is above")
    finally:
        for worker in workers:
            worker.kill()
    spent = os.times()
    cpu_s = spent.children_user + spent.children_system - before.children_user - before.children_system
    return {"seconds": time.monotonic() - started, "cpu_s": cpu_s}


def one_fold(root: Path) -> dict[str, float]:
    """Train the trials of fold 0: what the process and its epochs took, by the clock and in processor time."""
    from cac_hpc.run.paths import RunPaths
    from cac_hpc.settings import stored_settings
    from cac_hpc.train import epochs
    from cac_hpc.trials import plan
    from cac_hpc.trials.worker import Server

    run, inner, spent = RunPaths(root), epochs._run_epoch, [0.0, 0.0]
    of_all = plan.read(run.trials_plan)

    def timed(*given: Any) -> Any:
        before = time.perf_counter(), time.process_time()
        found = inner(*given)
        after = time.perf_counter(), time.process_time()
        spent[:] = [total + end - start for total, start, end in zip(spent, before, after, strict=True)]
        return found

    with mock.patch.object(epochs, "_run_epoch", timed):
        Server(run, 0, 0, stored_settings.load(run.config), of_all).serve(0)
    return {"trials": of_all.number, "epochs_s": spent[0], "epochs_cpu_s": spent[1]}


def _show(
    asked: Asked, found: dict[str, float], whole: dict[str, float] | None, lengths: dict[str, Efficiency] | None
) -> None:
    count = found["trials"]
    overhead = [(found[total] - found[of_epochs]) / count for total, of_epochs in TIMES]
    rows: list[list[str | None]] = [
        [f"epochs of {count:g} trials", *(f"{found[of_epochs]:.1f}" for _, of_epochs in TIMES)],
        ["overhead of a trial", *(f"{seconds:.3f}" for seconds in overhead)],
    ]
    if whole:
        title = f"whole: {asked.whole} trials of five folds"
        rows.append([title, f"{whole['seconds']:.0f}", f"{whole['cpu_s']:.0f}"])
    for how, one in (lengths or {}).items():
        rows.append([f"lengths: {asked.lengths} trials, {how}", f"{one.seconds:.0f}", None])
    title = f"{screen.machine('cpu')}: {asked.studies} studies; load of the machine {os.getloadavg()[0]:.1f}"
    columns = ("", "s by the clock", "s of processor time")
    screen.show(title, columns, rows, LEGEND.format(workers=WORKERS), _goals(asked, overhead[0], whole, lengths))


def _goals(
    asked: Asked, overhead_s: float, whole: dict[str, float] | None, lengths: dict[str, Efficiency] | None
) -> Iterator[Goal]:
    """What is wanted, what was found and whether that will do."""
    yield f"overhead of a trial {OVERHEAD_S:g} s", f"{overhead_s:.2f}", overhead_s <= OVERHEAD_S
    if whole:
        minutes = whole["seconds"] / 60
        yield f"{asked.whole} trials of five folds in {WHOLE_MIN:g} min", f"{minutes:.1f}", minutes <= WHOLE_MIN
    if lengths:
        free, batches = (lengths[how].share for how in trials_efficiency.HOW)
        wanted = f"workers train {EFFICIENT:.0%} of the time, in batches {batches:.0%}"
        yield wanted, f"{free:.0%}", free >= EFFICIENT


def main(root: str) -> None:
    started = time.perf_counter()
    found = one_fold(Path(root))
    print(json.dumps(found | {"seconds": time.perf_counter() - started, "cpu_s": time.process_time()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
