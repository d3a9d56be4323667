"""The stage graph on this machine: one stage after the other, GPUs shared out to folds if there are any."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import FrameType

from cac_hpc.cluster import gpu_drivers, task_logs
from cac_hpc.machine import environment, processes
from cac_hpc.run import disk, ledger, logs, stages, task_states
from cac_hpc.run.causes import Cause
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES, Stage, Task
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError

RUNS_HERE = True
STOP_S = 40  # for what was asked to stop
POLL_S = 0.5


def unavailable() -> None:
    """This machine is always there."""


def in_queue(run: RunPaths) -> dict[str, str]:
    """Nothing: tasks here have no queue."""
    return {}


def require_own(run: RunPaths, jobs: Sequence[str]) -> None:
    """Tasks here are no jobs."""


def try_out(run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task]) -> tuple[str, bool]:
    """The command of the first task of a stage; nothing refuses it."""
    return shlex.join(stages.command(tasks[0], run, cfg.cluster.ranks, ["--standalone"])), False


def start(
    run: RunPaths, cfg: Config, waiting: Sequence[Task], queued: Mapping[str, str]
) -> Generator[None, None, None]:
    """Run the waiting tasks, yielding while they run; what a stopped launcher started stops with it.

    Ends early when a stage fails that the next one needs whole.
    """
    signal.signal(signal.SIGTERM, _leave)
    children: list[tuple[subprocess.Popen[bytes], bool]] = []
    try:
        for stage in STAGES:
            tasks = [task for task in waiting if task.stage is stage]
            failed = (yield from _run_stage(run, cfg, stage, tasks, children)) if tasks else []
            for task in failed:
                if task_states.was_stopped(run, task):
                    logs.say(f"{task} was stopped and has saved", sys.stderr)
                    continue
                logs.say(
                    f"{task} failed; the end of {_log(run, task)}:\n{task_logs.tail(_log(run, task), 15)}", sys.stderr
                )
            if failed and any(later.after == stage.name and later.rule == "afterok" for later in STAGES):
                return
    finally:
        _stop_all(children)


def check(cfg: Config) -> None:
    """The GPUs that a fold asks for are on this machine, and the installed torch can use them.

    Raises: InputError if not.
    """
    if cfg.train.device != "cuda":
        return
    if len(gpu_drivers.visible_gpus()) < cfg.cluster.ranks:
        raise InputError(
            f"train.device is cuda and a fold has {cfg.cluster.ranks} ranks, but this machine shows "
            f"{len(gpu_drivers.visible_gpus())} GPUs; wanted one per rank, or --train.device cpu --train.precision fp32"
        )
    if unfit := gpu_drivers.fault():
        raise InputError(f"{unfit}; or --train.device cpu --train.precision fp32")


def stop(child: subprocess.Popen[bytes], ranks: bool) -> None:
    """End a child that still runs, gently first, and wait until it is gone.

    Args:
        ranks: whether it is a torchrun. Its ranks are asked then, and save; torchrun itself would give them no time.
    """
    deadline = time.monotonic() + STOP_S
    while child.poll() is None and time.monotonic() < deadline:
        for pid in processes.children(child.pid) if ranks else [child.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=1)  # a rank may have started only now
    child.kill()
    child.wait()


def _run_stage(
    run: RunPaths, cfg: Config, stage: Stage, tasks: list[Task], children: list[tuple[subprocess.Popen[bytes], bool]]
) -> Generator[None, None, list[Task]]:
    """Run the tasks of one stage, as many at once as the machine has room for; returns those that failed."""
    room = _room(cfg, stage)
    free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for gpus in room:
        free.put(gpus)

    def run_task(task: Task) -> int:
        gpus = free.get()
        try:
            return 0 if stage.shared and task.done else _run_task(run, cfg, task, gpus, children)
        finally:
            free.put(gpus)

    with ThreadPoolExecutor(len(room)) as pool:
        results = [pool.submit(run_task, task) for task in tasks]
        try:
            while not all(result.done() for result in results):
                yield
                wait(results, timeout=POLL_S)
            yield
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            _stop_all(children)
    failed = [task for task, result in zip(tasks, results, strict=True) if result.result() != 0]
    return [task for task in failed if not (stage.shared and task.done)]


def _stop_all(children: list[tuple[subprocess.Popen[bytes], bool]]) -> None:
    """All at the same time: each may need a while to save."""
    with ThreadPoolExecutor(max(1, len(children))) as pool:
        list(pool.map(lambda child: stop(*child), children))


def _run_task(
    run: RunPaths, cfg: Config, task: Task, gpus: str | None, children: list[tuple[subprocess.Popen[bytes], bool]]
) -> int:
    argv = stages.command(task, run, cfg.cluster.ranks, ["--standalone"])
    variables = stages.environment(run, cfg, environment.for_tasks_here())
    variables |= {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
    with disk.open_own(_log(run, task), "ab") as log:
        child = subprocess.Popen(argv, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=False)
    children.append((child, task.stage.ranks))
    code = child.wait()
    if code and not task_states.last_ends(run, task):
        cause = Cause("process_ended", exit_code=code, file=str(_log(run, task).relative_to(run.root)))
        ledger.record(run.ledger, task.stage.name, task.index, "ended", cause, ok=False)
    return code


def _room(cfg: Config, stage: Stage) -> list[str | None]:
    """One entry per task that can run at a time: the GPUs it gets, or None."""
    cpus, ranks = stages.cpus(stage, cfg), 1
    if stage.ranks:
        cpus, ranks = cfg.cluster.ranks * cfg.cluster.cpus_per_rank, cfg.cluster.ranks
    if not stage.trains or cfg.train.device == "cpu":
        return [None] * max(1, len(os.sched_getaffinity(0)) // cpus)
    gpus = gpu_drivers.visible_gpus()
    each: list[str | None] = [",".join(gpus[first : first + ranks]) for first in range(0, len(gpus) - ranks + 1, ranks)]
    return each * (stages.side_by_side(stage, cfg) if stage.shared else 1)


def _log(run: RunPaths, task: Task) -> Path:
    return run.slurm / f"{task.stage.name}{'' if task.index is None else f'-{task.index}'}.log"


def _leave(signum: int, _: FrameType | None) -> None:
    raise SystemExit(128 + signum)
