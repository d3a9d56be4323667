"""The stage graph on this machine: one stage after the other, GPUs shared out to folds if there are any."""

from __future__ import annotations

import fcntl
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from cac_hpc import ledger, stages
from cac_hpc.config import Config, InputError
from cac_hpc.paths import RunPaths
from cac_hpc.stages import STAGES, Stage, Task

STOP_S = 40  # torchrun itself waits 30 s for its ranks
POLL_S = 0.5


@contextmanager
def exclusive(run: RunPaths) -> Iterator[None]:
    """Be the only launcher that runs this run's stages on this machine.

    Children inherit the lock, so what a killed launcher left behind still holds it.

    Raises: InputError if somebody else is.
    """
    with run.lock.open("a") as lock:
        os.set_inheritable(lock.fileno(), True)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{run.root}: another launcher, or what it left running, works on this run on this machine; "
                "wait for it or end it (python jobs/status.py shows what runs)"
            ) from None
        yield


def run_stages(run: RunPaths, cfg: Config, waiting: list[Task]) -> Generator[None, None, None]:
    """Run the waiting tasks, yielding while they run; what a stopped launcher started stops with it.

    Ends early when a stage fails that the next one needs whole.
    """
    signal.signal(signal.SIGTERM, _leave)
    children: list[subprocess.Popen[bytes]] = []
    try:
        for stage in STAGES:
            tasks = [task for task in waiting if task.stage is stage]
            failed = (yield from _run_stage(run, cfg, stage, tasks, children)) if tasks else []
            for task in failed:
                print(f"{task} failed; the end of {_log(run, task)}:\n{_tail(_log(run, task))}", file=sys.stderr)
            if failed and any(later.after == stage.name and later.rule == "afterok" for later in STAGES):
                return
    finally:
        for child in children:
            stop(child)


def check_devices(cfg: Config) -> None:
    """The GPUs that a fold asks for are on this machine.

    Raises: InputError if they are not.
    """
    if cfg.train.device == "cuda" and len(_gpus()) < cfg.cluster.ranks:
        raise InputError(
            f"train.device is cuda and a fold has {cfg.cluster.ranks} ranks, but this machine shows "
            f"{len(_gpus())} GPUs; wanted one per rank, or --train.device cpu --train.precision fp32"
        )


def stop(child: subprocess.Popen[bytes]) -> None:
    """End a child that still runs, gently first, and wait until it is gone."""
    if child.poll() is not None:
        return
    child.terminate()  # torchrun hands it on to its ranks
    try:
        child.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _run_stage(
    run: RunPaths, cfg: Config, stage: Stage, tasks: list[Task], children: list[subprocess.Popen[bytes]]
) -> Generator[None, None, list[Task]]:
    """Run the tasks of one stage, as many at once as the machine has room for; returns those that failed."""
    room = _room(cfg, stage)
    free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for gpus in room:
        free.put(gpus)

    def run_task(task: Task) -> int:
        gpus = free.get()
        try:
            return _run_task(run, cfg, task, gpus, children)
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
            for child in children:
                stop(child)
    return [task for task, result in zip(tasks, results, strict=True) if result.result() != 0]


def _run_task(run: RunPaths, cfg: Config, task: Task, gpus: str | None, children: list[subprocess.Popen[bytes]]) -> int:
    argv = stages.command(task, run, cfg.cluster.ranks, ["--standalone"])
    environment = stages.environment(run, cfg) | ({} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus})
    with _log(run, task).open("ab") as log:
        child = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, close_fds=False
        )
    children.append(child)
    code = child.wait()
    if code and not any(event["event"] == "ended" for event in _events_since_start(run, task)):
        ledger.record(
            run.ledger,
            task.stage.name,
            task.index,
            "ended",
            ok=False,
            reason=f"ended with exit code {code}; {_log(run, task).relative_to(run.root)} says more",
        )
    return code


def _events_since_start(run: RunPaths, task: Task) -> Iterator[dict[str, object]]:
    """The task's events from its last start on, newest first."""
    for event in reversed(ledger.read(run.ledger)):
        if (event["stage"], event["task"]) == (task.stage.name, task.index):
            yield event
            if event["event"] == "started":
                return


def _room(cfg: Config, stage: Stage) -> list[str | None]:
    """One entry per task that can run at a time: the GPUs it gets, or None."""
    if not stage.ranks:
        return [None] * max(1, len(os.sched_getaffinity(0)) // stages.resources(stage, cfg).cpus)
    if cfg.train.device == "cpu":
        return [None] * max(1, len(os.sched_getaffinity(0)) // (cfg.cluster.ranks * cfg.cluster.cpus_per_rank))
    gpus, ranks = _gpus(), cfg.cluster.ranks
    return [",".join(gpus[first : first + ranks]) for first in range(0, len(gpus) - ranks + 1, ranks)]


def _gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(index) for index, _ in enumerate(line for line in listed.splitlines() if line.startswith("GPU "))]


def _log(run: RunPaths, task: Task) -> Path:
    return run.slurm / f"{task.stage.name}{'' if task.index is None else f'-{task.index}'}.log"


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _leave(signum: int, _: FrameType | None) -> None:
    raise SystemExit(128 + signum)
