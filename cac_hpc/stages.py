"""The stage graph, once, as data; and where each of its tasks stands, read from the run folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cac_hpc import ledger, paths, processes
from cac_hpc.config import Config, Resources
from cac_hpc.paths import RunPaths


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
    ranks: bool = False  # torchrun starts the script once per rank


STAGES = (
    Stage("pack", "pack.py", option="--shard", resources="pack"),
    Stage("seal", "pack.py", ("--seal",), after="pack"),
    Stage("folds", "train_fold.py", option="--fold", after="seal", resources="fold", ranks=True),
    Stage("aggregate", "aggregate.py", after="folds", rule="afterany"),
)


@dataclass(frozen=True)
class Task:
    """One task of a stage; it is done when its result file is there."""

    stage: Stage
    index: int | None
    result: Path

    @property
    def done(self) -> bool:
        if not self.result.exists():
            return False
        return self.stage.name != "aggregate" or bool(paths.read_json(self.result)["status"] == "COMPLETE")

    def __str__(self) -> str:
        return self.stage.name if self.index is None else f"{self.stage.name} {self.index}"


@dataclass(frozen=True)
class TaskState:
    """Where a task stands: planned, submitted, running, stopped (it saved and can go on), done or failed."""

    stage: str
    task: int | None
    state: str
    job: str | None = None
    node: str | None = None
    pid: int | None = None
    attempt: int = 0
    progress: str | None = None
    reason: str | None = None


def plan_tasks(cfg: Config, run: RunPaths, num_shards: int) -> list[Task]:
    """All tasks of a run, in the order of the stages."""
    dataset = run.dataset(cfg.data.packed_dir)
    results = {
        "pack": [dataset.shard_facts(index) for index in range(num_shards)],
        "seal": [run.splits],
        "folds": [run.fold(index).predictions for index in range(cfg.split.folds)],
        "aggregate": [run.report / "report.json"],
    }
    return [
        Task(stage, index if stage.option else None, result)
        for stage in STAGES
        for index, result in enumerate(results[stage.name])
    ]


def waiting(tasks: Sequence[Task]) -> list[Task]:
    """The tasks without a result, and the single tasks of later stages that build on them."""
    found: list[Task] = []
    for task in tasks:
        builds_on_waiting = any(task.stage.after == other.stage.name for other in found)
        if not task.done or (builds_on_waiting and task.stage.option is None):
            found.append(task)
    return found


def resources(stage: Stage, cfg: Config) -> Resources:
    asked: Resources = getattr(cfg.cluster, stage.resources)
    return asked


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
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        *rendezvous,
        f"--nproc-per-node={num_ranks}",
        f"--log-dir={run.slurm / 'torchrun'}",
        "--",
    ]
    return [*torchrun, *script_command(task, run)]


def environment(run: RunPaths, cfg: Config) -> dict[str, str]:
    """The variables that a task's command runs with: own code, threads as the settings say, and whom it ends with."""
    threads = str(cfg.cluster.cpus_per_rank)
    own = {"PYTHONPATH": str(run.code), "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return {**os.environ, **own, **processes.supervised()}


def was_stopped(run: RunPaths, stage: str, index: int | None) -> bool:
    """Whether a task's newest attempt has saved and ended because it was asked to."""
    newest = [event for event in ledger.read(run.ledger) if (event["stage"], event["task"]) == (stage, index)][-1:]
    return any(event.get("resumable") for event in newest)


def survey(run: RunPaths) -> list[TaskState]:
    """Where every planned task stands, from its result file and the ledger alone."""
    events: dict[tuple[str, int | None], list[dict[str, Any]]] = {}
    for event in ledger.read(run.ledger):
        events.setdefault((event["stage"], event["task"]), []).append(event)
    return [_state(run, stage, task, history) for (stage, task), history in events.items()]


def _state(run: RunPaths, stage: str, task: int | None, history: list[dict[str, Any]]) -> TaskState:
    known: dict[str, Any] = {"state": "planned"}
    for event in history:
        known["state"] = {
            "planned": "planned",
            "submitted": "submitted",
            "started": "running",
            "progress": "running",
            "ended": "done" if event.get("ok") else "stopped" if event.get("resumable") else "failed",
        }[event["event"]]
        if event["event"] == "started":
            known.pop("reason", None)  # of an attempt before
        known |= {key: event[key] for key in ("job", "node", "pid", "attempt") if event.get(key) is not None}
        if event.get("reason"):
            known.setdefault("reason", event["reason"])  # what came first: the others only follow from it
        if event["event"] == "progress":
            known["progress"] = f"epoch {event['epoch']}, validation loss {event['val_loss']:.3f}"
    result = next((event["result"] for event in history if event["event"] == "planned"), None)
    if known["state"] not in ("failed", "stopped"):
        known.pop("reason", None)
        # an array task is never run again once its result is there; seal and aggregate are
        if result and (run.root / result).exists() and (task is not None or known["state"] == "planned"):
            known["state"] = "done"
    return TaskState(stage, task, **known)
