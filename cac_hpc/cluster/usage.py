"""What a run used, compared with its request, from the ledger alone: time, memory, core and GPU hours, and advice."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cac_hpc.dataset import integrity
from cac_hpc.machine.memory import GIB
from cac_hpc.run import ledger, logs, stages
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import Stage
from cac_hpc.settings.cluster import Resources
from cac_hpc.settings.config import Config
from cac_hpc.train import capacity
from cac_hpc.train.capacity import Room

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("stage", "tasks", "starts", "minutes", "GiB", "core h", "busy", "GPU h", "queue")
NICE_MIN = (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 960, 1440, 2160, 2880, 4320, 5760, 7200, 10080)
NICE_GB = (0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
TIGHT = 0.8  # of what was asked: the next run may need a little more than this one
PAUSE_S = 2.0  # between two tasks of one job; a job that was requeued waits longer
USED = ("seconds", "cpus", "gpus", "peak_mb")  # the numbers of a ``used`` event
Event = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class StageUse:
    """What a stage took. Hours are summed over all attempts, what they were given whether they used it or not.

    starts: attempts of all tasks. seconds: the longest job. peak_gib: the most that a job held on a node. busy: share
    of the cores' time that was computed in. queue_s: the longest wait of a task for its start, not counted while the
    stage before was at work.
    """

    stage: str
    tasks: int
    starts: int
    seconds: float | None
    peak_gib: float | None
    core_hours: float
    gpu_hours: float
    busy: float | None
    queue_s: float | None
    resources: str
    time_min: int
    mem_gb: float


def read(run: RunPaths, cfg: Config) -> list[StageUse]:
    """Of every stage that has started, what its attempts took; without a ``used`` event, its start and end count."""
    events: dict[str, list[Event]] = defaultdict(list)
    for event in ledger.read(run.ledger):
        if event["event"] != "used" or _has_numbers(event):
            events[event["stage"]].append(event)
    return [
        _stage_use(stage, events[stage.name], _events_before(stage, events), cfg)
        for stage in stages.STAGES
        if any(event["event"] in ("started", "used") for event in events[stage.name])
    ]


def _events_before(stage: Stage, events: Mapping[str, list[Event]]) -> list[Event]:
    """Of the nearest stage before it that the run has."""
    return next((events[name] for name in stages.before(stage.name) if events.get(name)), [])


def _has_numbers(used: Event) -> bool:
    numbers = [used.get(name) for name in USED] + [used.get("cpu_seconds") or 0]
    return all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)


def table(uses: Sequence[StageUse]) -> Table:
    rows = [
        (
            use.stage,
            use.tasks,
            use.starts,
            f"{_number(use.seconds and use.seconds / 60)}/{use.time_min}",
            f"{_number(use.peak_gib)}/{use.mem_gb:g}",
            _number(use.core_hours or None),
            "-" if use.busy is None else f"{use.busy:.0%}",
            _number(use.gpu_hours or None),
            _number(None if use.queue_s is None else use.queue_s / 60),
        )
        for use in uses
    ]
    tasks, starts = sum(use.tasks for use in uses), sum(use.starts for use in uses)
    hours = [_number(sum(getattr(use, name) for use in uses) or None) for name in ("core_hours", "gpu_hours")]
    rows.append(("all", tasks, starts, "", "", hours[0], "", hours[1], ""))
    return logs.table(
        "minutes and GiB as used/asked, the longest wait in the queue in minutes", COLUMNS, rows, numbers=True
    )


def advice(uses: Sequence[StageUse], cfg: Config) -> list[str]:
    """One line for each setting that asked for far more than was used, or hardly more."""
    said: list[str] = []
    for name in dict.fromkeys(use.resources for use in uses):
        mine = [use for use in uses if use.resources == name]
        asked: Resources = getattr(cfg.cluster, name)
        # tasks of this machine wait in no queue, and have no limit
        minutes = [use.seconds / 60 for use in mine if use.seconds is not None and use.queue_s is not None]
        gib = [use.peak_gib for use in mine if use.peak_gib is not None]
        said += _compared(f"cluster.{name}.time_min", asked.time_min, max(minutes, default=None), 2.0, NICE_MIN)
        least = _resident_gib(cfg) if name == "fold" else 0.0
        said += _compared(f"cluster.{name}.mem_gb", asked.mem_gb, max(gib, default=None), 1.25, NICE_GB, least)
    return said + [line for use in uses for line in _idle(use, cfg)]


def _stage_use(stage: Stage, events: Sequence[Event], before: Sequence[Event], cfg: Config) -> StageUse:
    used = [event for event in events if event["event"] == "used"]
    asked, waits = stages.resources(stage, cfg), list(_waits(events, _last_end(before)))
    side_by_side = stages.side_by_side(stage, cfg)  # tasks of one job, each with an event of its own
    starts = [event for event in events if event["event"] == "started"] or used
    timed = [event for event in used if event.get("cpu_seconds") is not None]
    given = sum(event["seconds"] * event["cpus"] for event in timed)
    return StageUse(
        stage=stage.name,
        tasks=len({event["task"] for event in starts}),
        starts=len({_attempt(event) for event in starts}),
        seconds=max([*_job_spans(used), *_spans(events)], default=None),
        peak_gib=max((side_by_side * event["peak_mb"] * 1e6 / GIB for event in used), default=None),
        core_hours=sum(event["seconds"] * event["cpus"] for event in used) / 3600,
        gpu_hours=sum(event["seconds"] * event["gpus"] for event in used) / 3600,
        busy=sum(event["cpu_seconds"] for event in timed) / given if given else None,
        queue_s=max(waits, default=None),
        resources=stage.resources,
        time_min=asked.time_min,
        mem_gb=asked.mem_gb,
    )


def _attempt(event: Event) -> tuple[Any, ...]:
    """What tells one start of a task from another: its job and how often that was requeued, here its process."""
    job = event.get("job")
    return event["task"], job, event.get("attempt"), None if job else event.get("pid")


def _job_spans(used: Iterable[Event]) -> Iterator[float]:
    """Seconds of each job: tasks that it did side by side, or one after the other without a pause, count together."""
    known: dict[tuple[Any, ...], tuple[float, float]] = {}
    for number, event in enumerate(used):
        end = _time(event).timestamp()
        key = (event["job"], event.get("node")) if event.get("job") else (number,)
        start = end - event["seconds"]
        first, last = known.get(key, (start, start))
        if start - last > PAUSE_S:
            yield last - first
            first = start
        known[key] = (min(first, start), end)
    yield from (last - first for first, last in known.values())


def _spans(events: Iterable[Event]) -> Iterator[float]:
    """Seconds from each start of a task to its end."""
    start: dict[int | None, datetime] = {}
    for event in events:
        if event["event"] == "started":
            start[event["task"]] = _time(event)
        elif event["event"] == "ended" and event["task"] in start:
            yield (_time(event) - start.pop(event["task"])).total_seconds()


def _waits(events: Iterable[Event], before: datetime | None) -> Iterator[float]:
    """Seconds from each submission or requeue of a task to its start."""
    since: dict[int | None, datetime] = {}
    for event in events:
        if event["event"] in ("submitted", "requeued"):
            since[event["task"]] = _time(event)
        elif event["event"] == "started" and event["task"] in since:
            start, asked = _time(event), since.pop(event["task"])
            if before is not None and before <= start:  # a stage that is started again need not wait for the one before
                asked = max(asked, before)
            yield (start - asked).total_seconds()


def _last_end(events: Iterable[Event]) -> datetime | None:
    return max((_time(event) for event in events if event["event"] == "ended"), default=None)


def _time(event: Event) -> datetime:
    return datetime.fromisoformat(event["time"])


def _resident_gib(cfg: Config) -> float:
    """What a job of folds must ask to hold its slices in memory: streamed, they come in another order."""
    seal = RunPaths(Path(cfg.run)).dataset(cfg.data.packed_dir).seal
    if cfg.train.residency == "stream" or not seal.exists():
        return 0.0
    slices = capacity.slice_bytes(integrity.read_checked(seal)["slices"], cfg.pack.size)
    needed = Room(slices, cfg.cluster.ranks_per_node, capacity.asked(cfg.cluster), None).needed
    return cfg.cluster.folds_per_node * needed / GIB


def _compared(
    key: str, asked: float, used: float | None, margin: float, nice: Sequence[float], least: float = 0.0
) -> Iterator[str]:
    """Say what to ask for next time, where that is not what was asked.

    Args:
        margin: times what was used is enough, if it is not below ``least``. nice: the numbers to choose from.
    """
    if used is None:
        return
    wanted = max(used * margin, least)
    enough = next((number for number in nice if number >= wanted), math.ceil(wanted))
    what = f"{key} {asked:g} was asked, {_number(used)} used:"
    if asked >= 2 * enough:
        yield f"{what} {enough:g} would do and start sooner"
    elif used > TIGHT * asked and enough > asked:
        yield f"{what} {enough:g} would be safer"


def _idle(use: StageUse, cfg: Config) -> Iterator[str]:
    """Cores that were given and not used; beside a GPU they are there to feed it."""
    if use.resources == "fold":
        key, cores = "cluster.cpus_per_rank", cfg.cluster.cpus_per_rank
        if cfg.train.device == "cuda":
            return
    else:
        key, cores = f"cluster.{use.resources}.cpus", getattr(cfg.cluster, use.resources).cpus
    enough = math.ceil(cores * (1.0 if use.busy is None else use.busy))
    if 2 * enough <= cores:
        kept = f"{_number(cores * (use.busy or 0))} kept busy by stage {use.stage}"
        yield f"{key} {cores} was asked, {kept}: {enough} would do"


def _number(value: float | None) -> str:
    """Two digits are enough, and more before the point."""
    return "-" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.2g}"
