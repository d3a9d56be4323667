"""Where each task of a run stands, from its result file and the ledger alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cac_hpc.run import causes, ledger, result_files
from cac_hpc.run.causes import Cause
from cac_hpc.run.paths import FoldPaths, RunPaths
from cac_hpc.run.stages import SHARED, Task

SILENT = ("fenced", "used", "cancelled", "shown", "chosen")  # events that change no state


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
    follows is known to `cluster.task_status` alone. command: what helps. eta_s: until it is done. tried: of a fold.
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
        return path.exists() and not result_files.is_provisional(path)
    if stage == "folds":
        return result_files.fold_is_done(FoldPaths(path.parent))
    if stage == "trials":
        folds = path.parent.parent.glob("fold-*/studies.csv")
        return path.exists() and all(one.with_name(path.name).exists() for one in folds)
    return path.exists() and (stage != "pack" or result_files.shard_is_whole(path))


def take_as_done(run: RunPaths, tasks: Sequence[Task]) -> None:
    """Tell the ledger of results that are there and valid, where it still says that their task failed or stopped."""
    undone = {(state.stage, state.task) for state in survey(run) if state.state in ("failed", "stopped", "gone")}
    for task in tasks:
        if task.done and (task.stage.name, task.index) in undone:
            ledger.record(run.ledger, task.stage.name, task.index, "ended", ok=True)


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
