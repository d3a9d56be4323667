"""The stage graph on this machine: one stage after the other, GPUs shared out to folds if there are any."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from types import FrameType

from cac_hpc.cluster import gpu_drivers, task_logs
from cac_hpc.machine import environment, processes
from cac_hpc.run import disk, ledger, logs, stages, task_states
from cac_hpc.run.causes import Cause
from cac_hpc.run.logs import amount
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
            f"train.device is cuda and a fold has {amount(cfg.cluster.ranks, 'rank')}, but this "
            f"machine shows {amount(len(gpu_drivers.visible_gpus()), 'GPU')}; wanted one per rank, or "
            "--train.device cpu --train.precision fp32"
        )
    if unfit := gpu_drivers.fault():
        raise InputError(f"{unfit}; or --train.device cpu --train.precision fp32")


def stop(child: subprocess.Popen[bytes], ranks: bool) -> None:
    """End a child that still runs, gently first, and wait until it is gone.

    Args:
        ranks: whether it is a torchrun. Its ranks are asked then, and save; torchrun itself would give them no time.
    """
    if child.stdin is not None:
        child.stdin.close()  # one that waits to begin ends
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
    run_task = _runner(run, cfg, tasks, room, children)
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
            while not all(result.done() for result in results):  # a thread may have started one meanwhile
                _stop_all(children)
                wait(results, timeout=POLL_S)
    failed = [task for task, result in zip(tasks, results, strict=True) if result.result() != 0]
    return [task for task in failed if not (stage.shared and task.done)]


def _runner(
    run: RunPaths,
    cfg: Config,
    tasks: Sequence[Task],
    room: Sequence[str | None],
    children: list[tuple[subprocess.Popen[bytes], bool]],
) -> Callable[[Task], int]:
    """What runs a task of a stage and returns its exit code, called by as many threads as there is room for.

    Of folds that are trained one after the other, the next loads its modules while the one before is trained.
    """
    free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for gpus in room:
        free.put(gpus)
    following = dict(itertools.pairwise(tasks)) if tasks[0].stage.ranks and len(room) == 1 else {}
    started: dict[Task, subprocess.Popen[bytes]] = {}

    def run_task(task: Task) -> int:
        gpus = free.get()
        try:
            if task.stage.shared and task.done:
                return 0
            child = started.pop(task, None)
            if child is None or child.poll() is not None:
                child = _start_task(run, cfg, task, gpus, children)
            _let_begin(child, cfg.cluster.ranks)
            if task in following:
                started[following[task]] = _start_task(run, cfg, following[task], gpus, children)
            return _wait_for(run, task, child)
        finally:
            free.put(gpus)

    return run_task


def _stop_all(children: list[tuple[subprocess.Popen[bytes], bool]]) -> None:
    """All at the same time: each may need a while to save."""
    with ThreadPoolExecutor(max(1, len(children))) as pool:
        list(pool.map(lambda child: stop(*child), children))


def _start_task(
    run: RunPaths, cfg: Config, task: Task, gpus: str | None, children: list[tuple[subprocess.Popen[bytes], bool]]
) -> subprocess.Popen[bytes]:
    """Start what does a task; ranks load their modules, and wait to be let begin."""
    argv = stages.command(task, run, cfg.cluster.ranks, ["--standalone"])
    variables = stages.environment(run, cfg, environment.for_tasks_here())
    variables |= {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
    variables |= {processes.WAITS: "1"} if task.stage.ranks else {}
    line = subprocess.PIPE if task.stage.ranks else subprocess.DEVNULL
    with disk.open_own(_log(run, task), "ab") as log:
        child = subprocess.Popen(argv, env=variables, stdin=line, stdout=log, stderr=log, close_fds=False)
    children.append((child, task.stage.ranks))
    return child


def _let_begin(child: subprocess.Popen[bytes], num_ranks: int) -> None:
    if child.stdin is not None:
        with contextlib.suppress(BrokenPipeError), child.stdin as line:
            line.write(b"." * num_ranks)


def _wait_for(run: RunPaths, task: Task, child: subprocess.Popen[bytes]) -> int:
    """The exit code of what does a task; the ledger is told of a failure that nobody has told it of."""
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
