"""The run's ledger: one JSON line per event of a stage; the story outlives the shell and the scheduler."""

from __future__ import annotations

import functools
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from cac_hpc.run import causes, disk, logs
from cac_hpc.run.causes import Cause

EVENTS = (
    "planned", "submitted", "started", "progress", "ended", "requeued", "fenced", "used", "cancelled",
    "shown", "chosen",
)  # fmt: skip


def record(ledger: Path, stage: str, task: int | None, event: str, cause: Cause | None = None, **facts: Any) -> None:
    """Append one event; a line goes out in one write, so lines of different jobs do not mix.

    Args:
        ledger: the run's ledger.jsonl.
        stage: name of the stage; task: index within the stage, None for the stage as a whole.
        event: one of EVENTS.
        cause: why; its code and fields are kept.
        facts: what else is known, as plain values.
    """
    why = {"cause": causes.to_json(cause)} if cause else {}
    append(ledger, stage=stage, task=task, event=event, **facts, **why)


def append(path: Path, **facts: Any) -> None:
    """Append facts and the time to a file of JSON lines.

    Raises: InputError if a link or anything else but a plain file stands there.
    """
    line = {"time": datetime.now(timezone.utc).isoformat(timespec="seconds"), **facts}
    with disk.named(path), disk.open_own(path, "ab", buffering=0) as file:
        file.write(json.dumps(line, allow_nan=False).encode() + b"\n")


@contextmanager
def stage(
    ledger: Path,
    name: str,
    task: int | None,
    rank: int | None = None,
    speaks: bool = True,
    attempt: int | None = None,
    begins: bool = True,
) -> Iterator[dict[str, Any]]:
    """Record that a task started and how it ended; an error is recorded and goes on.

    Args:
        rank: of this process, where there are several.
        speaks: False on all ranks but the main one, which tell of their failures only.
        attempt: number of this start, where starts are numbered.
        begins: False if the process has told of its start before it took another program's place.
    Yields: facts about a good end, to be changed.
    """
    at = whereabouts() | ({} if attempt is None else {"attempt": attempt})
    if speaks and begins:
        record(ledger, name, task, "started", **at)
    end: dict[str, Any] = {"ok": True}
    try:
        yield end
    except BaseException as error:
        cause = causes.of(error, rank=rank, node=None if rank is None else at["node"])
        kind = {"lost": True} if getattr(error, "lost", False) else {}  # not the work's own fault
        record(ledger, name, task, "ended", cause, ok=False, attempt=at["attempt"], **kind)
        with causes.in_run(ledger.parent, stage=name, task=task):
            raise
    if speaks:
        record(ledger, name, task, "ended", attempt=at["attempt"], **end)


def whereabouts() -> dict[str, Any]:
    """The node and, under SLURM, the job that this process belongs to."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
    return {
        "node": os.environ.get("SLURMD_NODENAME") or platform.node(),
        "job": job,
        "attempt": int(os.environ.get("SLURM_RESTART_COUNT", "0")),
        "pid": os.getpid(),
    }


def read(ledger: Path) -> list[dict[str, Any]]:
    """All events, oldest first, each with its cause or None; old ledgers have a text, as ``reason``, in its place.

    Other lines are left out, and how many they are is logged once.
    """
    found = lines(ledger)
    events = [_with_cause(line) for line in found if _is_event(line)]
    if skipped := len(found) - len(events):
        _tell(ledger, skipped)
    return events


def lines(path: Path) -> list[Any]:
    """What a file of JSON lines holds, None for a damaged line; a line that is still being written is left out.

    Texts in it are parts of one line and command no terminal, whoever wrote them.
    """
    if not path.is_file():
        return []
    *whole, last = path.read_text(encoding="utf-8", errors="replace").split("\n")
    found = [_parsed(line) for line in whole if line.strip()]
    return found if (parsed := _parsed(last)) is None else [*found, parsed]


def _parsed(line: str) -> Any:
    try:
        return logs.lines_of(json.loads(line))
    except (ValueError, RecursionError):
        return None


def _is_event(line: Any) -> bool:
    if not isinstance(line, dict) or line.get("event") not in EVENTS or not isinstance(line.get("stage"), str):
        return False
    numbers = isinstance(line.get("task", ""), int | None) and isinstance(line.get("attempt"), int | None)
    texts = all(isinstance(line.get(name), str | None) for name in ("job", "node", "result"))
    plain = not any(isinstance(value, dict | list) for name, value in line.items() if name != "cause")
    return numbers and texts and plain and _has_time(line)


def _with_cause(event: dict[str, Any]) -> dict[str, Any]:
    """The event with a cause in place of code and fields, or of a text; what happened counts, whatever its cause is."""
    given = event.get("cause")
    if given is None:
        cause = Cause("text", detail=str(event["reason"])) if event.get("reason") else None
    else:
        cause = causes.from_json(given) or Cause("text", detail="its cause cannot be read")
    return event | {"cause": cause and replace(cause, stage=event["stage"], task=event["task"])}


def _has_time(line: dict[str, Any]) -> bool:
    """Whether the time can be read and compared with others."""
    try:
        return datetime.fromisoformat(line["time"]).tzinfo is not None
    except (KeyError, TypeError, ValueError):
        return False


@functools.cache  # once for each number, for the ledger is read again and again
def _tell(ledger: Path, skipped: int) -> None:
    logs.log.warning("%s: lines that are no events were skipped: %d", ledger, skipped)
