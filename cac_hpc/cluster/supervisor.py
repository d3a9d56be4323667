"""What SLURM starts on every node of a job: it looks at the node, does the tasks, and owns every request to stop.

A request (time limit, preemption, scancel) may reach this process alone, so it passes it on to the ranks itself, waits
until they have saved, and asks SLURM to start the same array task again. Where SLURM does not, the task is left
resumable. Everything that matters is in the run folder: any process may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cac_hpc.cluster import gpu_drivers, preflight, rendezvous, restarts
from cac_hpc.cluster.restarts import Place
from cac_hpc.machine import environment, memory, processes
from cac_hpc.machine.processes import RESUMABLE
from cac_hpc.run import causes, ledger, provenance, stages, task_states
from cac_hpc.run.causes import Cause
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES, Task
from cac_hpc.settings import stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.train import fencing

POLL_S = 0.2
RELAY_S = 1.0  # between two requests: a rank may have started only now
LOOK_S = 1.0  # between two looks at the memory
IGNORED = (signal.SIGUSR1, signal.SIGUSR2)  # by what we start, until it listens itself: they would kill it


@dataclass
class Child:
    """A task at work. process: the script, or the torchrun that has started its ranks. before: number of the newest
    start of the fold when it began. told: number of events in the ledger then."""

    task: Task
    process: subprocess.Popen[bytes]
    began: float
    before: int
    told: int
    peak_bytes: int = 0

    @property
    def listeners(self) -> list[int]:
        """Who is asked to stop: of a torchrun its ranks, for torchrun itself would give them no time to save."""
        pid = self.process.pid
        return processes.children(pid) if self.task.stage.ranks else [pid]

    @property
    def published(self) -> bool:
        """Whether the result is there, whatever happened after that; seal and aggregate may renew an older one."""
        return self.task.index is not None and self.task.done


def supervise(root: Path, stage_name: str, index: int | None, per_task: int) -> int:
    """Do the tasks of a stage that belong to one array index.

    Args:
        index: of the array; None for SLURM's. per_task: tasks per array index.
    Returns: the exit code: 0 if every task has its result, RESUMABLE if it goes on when it is started again.
    Raises: InputError if there is no such stage, or it needs an index.
    """
    run, here = RunPaths(root), restarts.place()
    cfg = stored_settings.load(run.config)
    tasks = _tasks(cfg, run, stage_name, index, per_task)
    if not tasks:
        log.info("%s: everything is done already", stage_name)
        return 0
    restarts.take_name(run, stage_name, here)
    try:
        _check_code(run)
        wrong = preflight.fault(run, cfg, tasks[0].stage)
    except (InputError, WorkError) as error:  # as it would be on every node
        return restarts.end(run, tasks, causes.of(error), code=2 if isinstance(error, InputError) else 1)
    if wrong:
        return restarts.leave_node(run, cfg, tasks, here, wrong)
    if wrong := _missing_card(cfg, tasks[0]):  # a setting, so another node is no remedy
        node = ledger.whereabouts()["node"]
        return restarts.end(run, tasks, Cause("no_network_card", node=node, detail=wrong), code=1)
    worthy = restarts.give_up_fruitless(run, cfg, tasks, here) if here.is_first else tasks
    if not worthy:
        return 1
    before = memory.oom_kills()
    children = _work(run, cfg, worthy, here)
    code = _judge(run, cfg, children, here, memory.oom_kills() - before)
    left = [task for task in worthy[len(children) :] if not task.done]
    if left and not code:  # asked to stop between two shards
        return restarts.requeue_tasks(run, left, here)
    return code or int(len(worthy) < len(tasks))


def _check_code(run: RunPaths) -> None:
    """What runs is the run's own copy of the code, all of it; changes of it are noted.

    Raises: InputError naming what is missing, or what runs instead.
    """
    provenance.check_complete(run.root)
    provenance.check_origin(run.root)
    if changed := provenance.note_changes(run):
        log.warning("%s: %s", run.code, provenance.told(changed))


def _missing_card(cfg: Config, task: Task) -> str | None:
    """A network card that the ranks are to talk over and this node does not have, if they talk at all."""
    read = environment.CARDS if cfg.train.device == "cuda" else environment.CARDS[:1]
    return environment.missing_card(os.environ, read) if task.stage.ranks and cfg.cluster.ranks > 1 else None


def _work(run: RunPaths, cfg: Config, tasks: Sequence[Task], here: Place) -> list[Child]:
    """Do the tasks: those that train side by side, shards one after the other, until one is asked to stop."""
    children: list[Child] = []
    for wave in [tasks] if tasks[0].stage.trains else [[task] for task in tasks]:
        if processes.heard() and children:
            break
        before_s = _cpu_seconds()
        started = [_start(run, cfg, task, slot, here) for slot, task in enumerate(wave)]
        children += started
        try:
            _watch(started)
        finally:
            for child in started:
                child.process.kill()
                child.process.wait()
        for child in started:
            _record_use(run, cfg, child, here, (_cpu_seconds() - before_s) / len(started))
    return children


def _cpu_seconds() -> float:
    """Processor time of all that we have started and that has ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tasks(cfg: Config, run: RunPaths, name: str, index: int | None, per_task: int) -> list[Task]:
    """What this array index has to do still. Packing without an index packs all that is missing, and seals.

    Raises: InputError, see `supervise`.
    """
    stage = next((stage for stage in STAGES if stage.name == name), None)
    if stage is None:
        raise InputError(f"--stage is {name!r}, wanted one of {', '.join(stage.name for stage in STAGES)}")
    if index is None and "SLURM_ARRAY_TASK_ID" in os.environ:
        index = int(os.environ["SLURM_ARRAY_TASK_ID"])
    if stage.name == "pack" and index is None:
        return [Task(replace(stage, option=None), None, run.splits)]
    if not stage.option:
        return stages.tasks_of(cfg, run, name)
    if index is None:
        raise InputError(f"--stage {name} needs an index: submit it with --array, or give --index")
    every = stages.tasks_of(cfg, run, name)
    found = every[index * per_task : (index + 1) * per_task]
    if not found:
        raise InputError(f"--stage {name} --index {index}: the run has {len(every)} such tasks, counted from 0")
    return [task for task in found if not task.done]


def _start(run: RunPaths, cfg: Config, task: Task, slot: int, here: Place) -> Child:
    options = rendezvous.torchrun_options(run, task, here.node, here.num_nodes, here.key) if task.stage.ranks else []
    variables = stages.environment(run, cfg, os.environ)
    if task.stage.trains and cfg.train.device == "cuda":
        variables["CUDA_VISIBLE_DEVICES"] = _gpus(stages.ranks(task.stage, cfg), slot)

    def deaf() -> None:
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)

    argv = stages.command(task, run, cfg.cluster.ranks_per_node, options)
    log.info("%s starts on %s", task, ledger.whereabouts()["node"])
    before = fencing.newest_number(run.fold(task.index or 0).attempts) if task.stage.ranks else 0
    told = len(ledger.read(run.ledger))
    return Child(task, subprocess.Popen(argv, env=variables, preexec_fn=deaf), time.monotonic(), before, told)


def _gpus(ranks: int, slot: int) -> str:
    """The GPUs of the job's fold or worker number ``slot``; where there are fewer than ranks, they share them."""
    visible = gpu_drivers.visible_gpus()
    return ",".join(visible[(slot * ranks + rank) % len(visible)] for rank in range(ranks))


def _watch(children: Sequence[Child]) -> None:
    """Until all have ended: pass on requests to stop, look at their memory."""
    told, looked = 0.0, 0.0
    while running := [child for child in children if child.process.poll() is None]:
        now = time.monotonic()
        if processes.heard() and now - told >= RELAY_S:
            told = now
            for pid in [pid for child in running for pid in child.listeners]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        if now - looked >= LOOK_S:
            looked = now
            for child in running:
                child.peak_bytes = max(child.peak_bytes, memory.tree_bytes(child.process.pid))
        time.sleep(POLL_S)


def _record_use(run: RunPaths, cfg: Config, child: Child, here: Place, cpu_seconds: float) -> None:
    stage = child.task.stage
    gpus = stages.gpus(stage, cfg) / stages.side_by_side(stage, cfg)
    ledger.record(
        run.ledger, stage.name, child.task.index, "used", job=here.job, node=ledger.whereabouts()["node"],
        cpus=stages.cpus(stage, cfg), gpus=gpus, seconds=round(time.monotonic() - child.began, 1),
        cpu_seconds=round(cpu_seconds, 1), peak_mb=round(child.peak_bytes / 1e6, 1),
        at=restarts.progress(run, child.task),
    )  # fmt: skip


def _judge(run: RunPaths, cfg: Config, children: Sequence[Child], here: Place, oom_kills: int) -> int:
    """What follows from how the tasks ended; returns the exit code.

    Args:
        oom_kills: processes that the kernel has ended meanwhile, because the job's memory was used up.
    """
    undone = [child for child in children if child.process.returncode and not child.published]
    if not undone:
        return 0
    if any(_is_replaced(run, child) for child in undone):
        log.error("another job has taken over: this one is thought dead, and ends without a word")
        return 1
    code = max(child.process.returncode if child.process.returncode > 0 else 1 for child in undone)
    for child in undone:
        if child.process.returncode < 0 and not task_states.last_ends(run, child.task, child.told):
            _say_killed(run, child)
    if oom_kills:
        return restarts.end(run, [child.task for child in undone], _out_of_memory(cfg, undone[0].task, oom_kills), code)
    if not here.is_first:
        return code  # the first node asks for what follows
    resumable = [child for child in undone if _may_resume(run, child)]
    for child in undone:
        if child not in resumable and not task_states.last_ends(run, child.task, child.told):
            restarts.end(run, [child.task], Cause("process_ended", exit_code=child.process.returncode), code)
    if resumable:
        return restarts.requeue_tasks(run, [child.task for child in resumable], here)
    if all(task_states.was_stopped(run, child.task, child.told) for child in undone):
        return RESUMABLE  # by somebody who asked the fold and not the job: it stays stopped
    return code


def _say_killed(run: RunPaths, child: Child) -> None:
    """Tell the ledger of a script, or a torchrun with its ranks, that a signal has ended."""
    task, code = child.task, child.process.returncode
    program, node = "torchrun" if task.stage.ranks else "the process", ledger.whereabouts()["node"]
    cause = Cause("process_killed", node=node, program=program, exit_code=code)
    attempt = fencing.newest_number(run.fold(task.index or 0).attempts) if task.stage.ranks else None
    ledger.record(run.ledger, task.stage.name, task.index, "ended", cause, ok=False, lost=True, attempt=attempt)


def _is_replaced(run: RunPaths, child: Child) -> bool:
    files = run.fold(child.task.index or 0)
    return child.task.stage.ranks and fencing.is_replaced(files, child.before, ledger.whereabouts())


def _may_resume(run: RunPaths, child: Child) -> bool:
    """Whether the end was nobody's fault: the job was asked to stop, or a rank or its node was lost."""
    ends = task_states.last_ends(run, child.task, child.told)
    return any(end.get("lost") for end in ends) or processes.heard() is not None


def _out_of_memory(cfg: Config, task: Task, oom_kills: int) -> Cause:
    given_mb = int(os.environ.get("SLURM_MEM_PER_NODE", "0"))  # by hand it may be another than the settings ask for
    asked = given_mb / 1024 if given_mb else stages.resources(task.stage, cfg).mem_gb
    return Cause("host_out_of_memory", limit_bytes=asked * 1024**3, count=oom_kills)
