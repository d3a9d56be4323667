"""The stage graph, once, as data; and where each of its tasks stands, read from the run folder."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cac_hpc.machine import processes
from cac_hpc.machine.environment import for_task
from cac_hpc.run import causes, digests, ledger, paths
from cac_hpc.run.causes import RESUME, Cause
from cac_hpc.run.config import Config, InputError, Resources
from cac_hpc.run.paths import FoldPaths, RunPaths


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


SILENT = ("fenced", "used", "cancelled", "shown", "chosen")  # events that change no state
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
            return fold_is_done(FoldPaths(self.result.parent))
        if not self.result.exists() or not all(path.exists() for path in self.further):
            return False
        if self.stage.name == "pack":
            return shard_is_whole(self.result)
        return self.stage.name != "aggregate" or paths.read_object(self.result).get("status") == "COMPLETE"

    def __str__(self) -> str:
        return self.stage.name if self.index is None else f"{self.stage.name} {self.index}"


def fold_is_done(files: FoldPaths, read: bool = False) -> bool:
    """Whether a fold's predictions are there as they were written, with the tables that belong to them.

    Args:
        read: whether to compare every byte of predictions.csv, not the size alone; the tables are small.
    """
    facts = paths.read_object(files.metrics)
    try:
        size = files.predictions.stat().st_size
    except OSError:
        return False
    if size != facts.get("predictions_bytes"):
        return False
    tables = facts.get("tables_sha256", {})
    if not isinstance(tables, dict):
        return False
    wanted = {files.root / name: digest for name, digest in tables.items()}
    if read:
        wanted[files.predictions] = facts.get("predictions_sha256")
    return all(path.is_file() and digests.file_sha256(path) == digest for path, digest in wanted.items())


def shard_is_whole(facts: Path) -> bool:
    """Whether a shard is there, as long as its facts say: what purges a scratch file system takes the large files."""
    try:
        size = facts.with_suffix(".h5").stat().st_size
    except OSError:
        return False
    return paths.read_object(facts).get("bytes") in (None, size)


def read_kept(path: Path, keys: Sequence[str], helps: str = RESUME) -> dict[str, Any]:
    """The object in a JSON file that the launcher or a stage wrote once.

    Args:
        keys: names that it has. helps: the command that writes it again where it is deleted.
    Raises: OSError; InputError if it is damaged.
    """
    try:
        found = paths.read_json(path)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not {*keys} <= found.keys():
        raise InputError(causes.error(f"{path}: damaged; delete it", helps))
    return found


def is_provisional(report: Path) -> bool:
    """Whether a report.json is that of a report made by hand while the folds are at work: no stage's result."""
    return paths.read_object(report).get("status") == "PROVISIONAL"


@dataclass(frozen=True)
class Tried:
    """How far the trials of a fold are.

    done: trained to their end. ended: pruned, failed or left out. running: begun, and not ended. trial, figure: the
    best so far by the fold's validation patients. chosen: whether the fold is trained with its settings.
    """

    number: int
    done: int
    ended: int
    running: int
    trial: int | None = None
    figure: float | None = None
    chosen: bool = False


@dataclass(frozen=True)
class TaskState:
    """Where a task stands: planned, submitted, running, stopped (it saved and can go on), done, failed or gone.

    pid, attempt: of the newest start. cause: why it stands there. since: when its job was submitted, or the task
    planned. may_restart: whether it failed in a way after which its job starts it again, and has not yet said so. What
    follows since is known to monitor alone. command: what helps. eta_s: until the task is done. tried: of a fold.
    """

    stage: str
    task: int | None
    state: str
    job: str | None = None
    node: str | None = None
    pid: int | None = None
    attempt: int = 0
    progress: str | None = None
    cause: Cause | None = None
    since: str | None = None
    may_restart: bool = False
    command: str | None = None
    epoch: int | None = None
    epochs: int | None = None
    val_loss: float | None = None
    slices_per_second: float | None = None
    eta_s: float | None = None
    tried: Tried | None = None

    @property
    def reason(self) -> str | None:
        """The cause as a sentence."""
        return causes.sentence(self.cause) if self.cause else None


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
    num_shards = len(read_kept(plan, ["shards"])["shards"]) if name == "pack" else 0
    return [task for task in plan_tasks(cfg, run, num_shards) if task.stage.name == name]


def waiting(tasks: Sequence[Task]) -> list[Task]:
    """The tasks without a result, and the single tasks of later stages that build on them."""
    found: list[Task] = []
    for task in tasks:
        builds_on_waiting = any(task.stage.after == other.stage.name for other in found)
        if not task.done or (builds_on_waiting and task.stage.option is None):
            found.append(task)
    return found


def take_as_done(run: RunPaths, tasks: Sequence[Task]) -> None:
    """Tell the ledger of results that are there and valid, where it still says that their task failed or stopped."""
    undone = {(state.stage, state.task) for state in survey(run) if state.state in ("failed", "stopped", "gone")}
    for task in tasks:
        if task.done and (task.stage.name, task.index) in undone:
            ledger.record(run.ledger, task.stage.name, task.index, "ended", ok=True)


def count(tasks: Sequence[Task]) -> str:
    return "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"


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


def last_ends(run: RunPaths, task: Task, since: int = 0) -> list[dict[str, Any]]:
    """How a task's newest start ended, in the words of all who told; empty if nobody did.

    Args:
        since: number of events in the ledger that are older than this start.
    """
    found: list[dict[str, Any]] = []
    for event in _newest_start(ledger.read(run.ledger)[since:], task.stage.name, task.index):
        if event["event"] == "started":
            found = []
        elif event["event"] == "ended":  # what ended a rank comes before what others have seen of it
            is_kill = event["cause"] is not None and event["cause"].code in causes.KILLS
            found = [event, *found] if is_kill else [*found, event]
    return found


def was_stopped(run: RunPaths, task: Task, since: int = 0) -> bool:
    """Whether a task's newest start has saved and ended because it was asked to; ``since`` as for `last_ends`."""
    return any(event.get("resumable") for event in last_ends(run, task, since)[-1:])


def _newest_start(events: Sequence[dict[str, Any]], stage: str, task: int | None) -> list[dict[str, Any]]:
    """The story of a task, without what a start that was replaced by a newer one told after that."""
    mine, newest = [], 0
    for event in events:
        if (event["stage"], event["task"]) != (stage, task) or event["event"] in SILENT:
            continue
        attempt = event.get("attempt")
        if attempt is None or attempt >= newest or event["event"] not in ("progress", "ended"):
            newest = max(newest, attempt or 0)
            mine.append(event)
    return mine


def bad_nodes(run: RunPaths) -> list[dict[str, Any]]:
    """What is known of each node that ever failed its check: node, time, why, job."""
    return [bad for bad in ledger.lines(run.excluded) if isinstance(bad, dict) and isinstance(bad.get("node"), str)]


def survey(run: RunPaths) -> list[TaskState]:
    """Where every planned task stands, from its result file and the ledger alone."""
    events = ledger.read(run.ledger)
    tasks = dict.fromkeys((event["stage"], event["task"]) for event in events if event["event"] not in SILENT)
    return [_state(run, stage, task, _newest_start(events, stage, task)) for stage, task in tasks]


def _state(run: RunPaths, stage: str, task: int | None, history: list[dict[str, Any]]) -> TaskState:
    known: dict[str, Any] = {"state": "planned"}
    for event in history:
        known["state"] = {
            "planned": "planned",
            "submitted": "submitted",
            "started": "running",
            "progress": "running",
            "requeued": "submitted",
            "ended": "done" if event.get("ok") else "stopped" if event.get("resumable") else "failed",
        }[event["event"]]
        lost = bool(event.get("lost")) or known.get("may_restart", False)
        known["may_restart"] = event["event"] == "ended" and not event.get("final") and lost
        if event["event"] in ("started", "submitted"):
            known.pop("cause", None)  # of an attempt before
        if event["event"] in ("planned", "submitted"):
            known["since"] = event.get("time")
        known |= {key: event[key] for key in ("job", "node", "pid", "attempt") if event.get(key) is not None}
        if event["event"] in ("submitted", "requeued"):
            known = {key: value for key, value in known.items() if key not in ("node", "pid")}
        if event["cause"] and ("cause" not in known or event.get("final")):
            known["cause"] = event["cause"]  # what came first, the others only follow from it; or the supervisor's
        if event["event"] == "progress":
            known["progress"] = _progress(event) or known.get("progress")
    result = next((str(event["result"]) for event in history if event.get("result")), None)
    if stage in SHARED and result and _is_there(run, stage, result):
        known |= {"state": "done", "may_restart": False}  # whoever of its tasks did it
    if known["state"] not in ("failed", "stopped"):
        if history[-1]["event"] != "requeued":
            known.pop("cause", None)
        # an array task is never run again once its result is there; seal and aggregate are
        if result and (task is not None or known["state"] == "planned") and _is_there(run, stage, result):
            known["state"] = "done"
        elif known["state"] == "done" and result and not _is_there(run, stage, result):
            shown = result.removesuffix(".json") + ".h5" if stage == "pack" else result
            known |= {"state": "gone", "cause": Cause("result_missing", stage, task, file=shown)}
    return TaskState(stage, task, **known)


def _progress(event: dict[str, Any]) -> str | None:
    epoch, loss = event.get("epoch"), event.get("val_loss")
    known = isinstance(epoch, int) and isinstance(loss, int | float)
    return f"epoch {epoch}, validation loss {loss:.3f}" if known else None


def _is_there(run: RunPaths, stage: str, result: str) -> bool:
    path = run.root / result
    if stage == "aggregate":
        return path.exists() and not is_provisional(path)
    if stage == "folds":
        return fold_is_done(FoldPaths(path.parent))
    if stage == "trials":
        folds = path.parent.parent.glob("fold-*/studies.csv")
        return path.exists() and all(one.with_name(path.name).exists() for one in folds)
    return path.exists() and (stage != "pack" or shard_is_whole(path))
