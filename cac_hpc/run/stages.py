"""The stage graph, once, as data; and what each of its tasks is: a result file, a command, its share of a node."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cac_hpc.machine import processes
from cac_hpc.machine.environment import for_task
from cac_hpc.run import result_files
from cac_hpc.run.logs import amount
from cac_hpc.run.paths import FoldPaths, RunPaths

if TYPE_CHECKING:
    from cac_hpc.settings.cluster import Resources
    from cac_hpc.settings.config import Config


@dataclass(frozen=True)
class Stage:
    """One stage of the run; with an ``option`` it is an array, one task per value of that option."""

    name: str
    script: str  # below jobs/
    arguments: tuple[str, ...] = ()
    option: str | None = None
    after: str | None = None
    rule: Literal["afterok", "afterany"] = "afterok"
    resources: str = "aggregate"  # the field of settings.cluster
    trains: bool = False  # on the GPUs, cluster.folds_per_node tasks in a job
    ranks: bool = False  # torchrun starts the script once per rank
    shared: bool = False  # its tasks share the same work: each is done when all of it is


STAGES = (
    Stage("pack", "pack.py", option="--shard", resources="pack"),
    Stage("seal", "pack.py", ("--seal",), after="pack"),
    Stage("trials", "run_trials.py", option="--worker", after="seal", resources="fold", trains=True, shared=True),
    Stage("folds", "train_fold.py", option="--fold", after="trials", resources="fold", trains=True, ranks=True),
    Stage("aggregate", "aggregate.py", after="folds", rule="afterany"),
)
SHARED = tuple(stage.name for stage in STAGES if stage.shared)


def before(name: str) -> Iterator[str]:
    """The stages that a stage builds on, the nearest first; a run may be without some of them."""
    after = {stage.name: stage.after for stage in STAGES}
    while found := after.get(name):
        yield (name := found)


@dataclass(frozen=True)
class Task:
    """One task of a stage; it is done when its result file is there. further: what must be there with it."""

    stage: Stage
    index: int | None
    result: Path
    further: tuple[Path, ...] = ()

    @property
    def done(self) -> bool:
        if self.stage.name == "folds":
            return result_files.fold_is_done(FoldPaths(self.result.parent))
        if not self.result.exists() or not all(path.exists() for path in self.further):
            return False
        if self.stage.name == "pack":
            return result_files.shard_is_whole(self.result)
        return self.stage.name != "aggregate" or result_files.is_complete(self.result)

    def __str__(self) -> str:
        return self.stage.name if self.index is None else f"{self.stage.name} {self.index}"


def plan_tasks(cfg: Config, run: RunPaths, num_shards: int) -> list[Task]:
    """All tasks of a run, in the order of the stages."""
    dataset = run.dataset(cfg.data.packed_dir)
    *tried, last_tried = [run.trials(index) for index in range(cfg.split.folds)]
    results = {
        "pack": [dataset.shard_facts(index) for index in range(num_shards)],
        "seal": [run.splits],
        "trials": [last_tried.choice for _ in range(cfg.num_workers)],
        "folds": [run.fold(index).predictions for index in range(cfg.split.folds)],
        "aggregate": [run.report_json],
    }
    further = {
        "seal": (dataset.seal, *dataset.tables, *(one.studies for one in (*tried, last_tried) if cfg.trials.active)),
        "trials": tuple(one.choice for one in tried),
    }
    return [
        Task(stage, index if stage.option else None, result, further.get(stage.name, ()))
        for stage in STAGES
        for index, result in enumerate(results[stage.name])
    ]


def tasks_of(cfg: Config, run: RunPaths, name: str) -> list[Task]:
    """All tasks of a stage of a run that has been planned."""
    plan = run.dataset(cfg.data.packed_dir).plan
    num_shards = len(result_files.read_kept(plan, ["shards"])["shards"]) if name == "pack" else 0
    return [task for task in plan_tasks(cfg, run, num_shards) if task.stage.name == name]


def waiting(tasks: Sequence[Task]) -> list[Task]:
    """The tasks without a result, and the single tasks of later stages that build on them."""
    found: list[Task] = []
    for task in tasks:
        builds_on_waiting = any(task.stage.after == other.stage.name for other in found)
        if not task.done or (builds_on_waiting and task.stage.option is None):
            found.append(task)
    return found


def count(tasks: Sequence[Task]) -> str:
    return amount(len(tasks), "task")


def resources(stage: Stage, cfg: Config) -> Resources:
    asked: Resources = getattr(cfg.cluster, stage.resources)
    return asked


def side_by_side(stage: Stage, cfg: Config) -> int:
    """Tasks that a job of a stage does at the same time."""
    return cfg.cluster.folds_per_node if stage.trains else 1


def ranks(stage: Stage, cfg: Config) -> int:
    """Processes of a task of a stage that trains, on each node: each has a GPU, if there are GPUs."""
    return cfg.cluster.ranks_per_node if stage.ranks else 1


def cpus(stage: Stage, cfg: Config) -> int:
    """CPUs of a task, on each node."""
    return cfg.cluster.cpus_per_rank * ranks(stage, cfg) if stage.trains else resources(stage, cfg).cpus


def gpus(stage: Stage, cfg: Config) -> int:
    """GPUs of a job, on each node."""
    if not stage.trains:
        return 0
    return cfg.gpus_asked if stage.ranks else min(cfg.gpus_asked, side_by_side(stage, cfg))


def script_command(task: Task, run: RunPaths) -> list[str]:
    """The script of a task and its arguments, from the run's own copy of the code."""
    index = [task.stage.option, str(task.index)] if task.stage.option else []
    return [str(run.code / "jobs" / task.stage.script), "--run", str(run.root), *task.stage.arguments, *index]


def command(task: Task, run: RunPaths, num_ranks: int, rendezvous: Sequence[str]) -> list[str]:
    """The command that does a task on one node: the script, under torchrun where ranks are wanted.

    Args:
        num_ranks: on this node. rendezvous: torchrun's options for how the ranks of all nodes find each other.
    """
    if not task.stage.ranks:
        return [sys.executable, *script_command(task, run)]
    options = shlex.join([*rendezvous, f"--nproc-per-node={num_ranks}", f"--log-dir={run.slurm / 'torchrun'}"])
    start = [sys.executable, str(run.code / "jobs" / "start_ranks.py"), "--run", str(run.root)]
    return [*start, "--fold", str(task.index), f"--torchrun={options}"]


def environment(run: RunPaths, cfg: Config, given: Mapping[str, str]) -> dict[str, str]:
    """The variables that a task's command runs with: own code, threads as the settings say, and whom it ends with.

    Args:
        given: what it has beside these, by the list in cac_hpc.machine.environment.
    """
    threads = str(cfg.cluster.cpus_per_rank)
    sites = [path for path in given.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(run.code)]
    named = [] if os.pathsep in str(run.code) else [str(run.code)]  # it would be two; the script finds its package
    python_path = os.pathsep.join([*named, *sites])
    own = {"PYTHONPATH": python_path, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return {**for_task(given), **own, **processes.supervised()}
