"""Stages as SLURM jobs: what each asks for, and how it is submitted, once. The owner of submitit.

submitit writes the sbatch scripts and submits them. What runs in a job is slurm/task.sh of the run's own copy of the
code, the same as for jobs submitted by hand: a job needs nothing of the launcher, which may end at any moment.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import shlex
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cac_hpc.cluster import exclusions, limits, scheduler
from cac_hpc.cluster.limits import Limits
from cac_hpc.run import ledger, paths, stages
from cac_hpc.run.config import Config, InputError
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES, Stage, Task

DEFAULT_ARRAY_SIZE = 1001  # SLURM's own MaxArraySize
ENDING_S, POLL_S = 120.0, 1.0  # longer than SLURM gives a job to end


def in_queue(run: RunPaths) -> dict[str, str]:
    """The run's stages that are in the queue, by the names of their jobs: also what no ledger tells of.

    Waits for jobs that are ending: what they leave undone is to be submitted again.

    Raises: InputError if SLURM does not answer, or a job does not end.
    """
    deadline = time.monotonic() + ENDING_S
    while True:
        listed = scheduler.jobs_by_name()
        if listed is None:
            raise InputError("SLURM does not answer (squeue), so nothing was submitted; run this again")
        jobs = {stage.name: listed.get(job_name(run, stage), {}) for stage in STAGES}
        found = {
            stage: max((job for job, state in states.items() if state != scheduler.ENDING), key=int, default="")
            for stage, states in jobs.items()
        }
        ending = sorted({job for stage, states in jobs.items() for job in states if not found[stage]})
        if not ending:
            return {stage: job for stage, job in found.items() if job}
        if time.monotonic() > deadline:
            raise InputError(f"job {', '.join(ending)} of this run is ending, but not gone; run this again when it is")
        time.sleep(POLL_S)


def submit(run: RunPaths, cfg: Config, waiting: Sequence[Task], queued: Mapping[str, str]) -> None:
    """Submit the stages with waiting tasks, each after the one it waits for.

    Args:
        queued: jobs of stages that are in the queue already; they are kept.
    Raises: InputError with SLURM's own words if it refuses one; what it took of this call is cancelled then.
    """
    if not waiting:
        print("everything is done already")
    known: dict[str, str] = {}
    taken: list[str] = []
    for stage in STAGES:
        tasks = [task for task in waiting if task.stage is stage]
        if not tasks:
            continue
        job, how = queued.get(stage.name), "kept"
        if job is None:
            job, how = _sbatch(run, cfg, stage, tasks, known.get(stage.after or ""), taken), "submitted"
            taken.append(job)
        known[stage.name] = job
        _record(run, cfg, stage, tasks, job)
        count = "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"
        print(f"{how} {stage.name:<10} job {job}, {count}", flush=True)
        if how == "submitted":
            for line in _differences(job, cfg, stage):
                print(f"note: {line}")


def write_script(run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task]) -> Path:
    """Write the script that would submit the tasks; returns its path."""
    script = run.slurm / f"{stage.name}.sbatch"
    executor = _executor(run, cfg, stage, tasks, None)
    paths.write_text(script, executor._make_submission_file_text(_command(run, cfg, stage, tasks), "") + "\n")
    return script


def job_name(run: RunPaths, stage: Stage) -> str:
    """What the job of a stage is called: it tells the run's own from all others."""
    return f"cac-{stage.name}-{paths.read_json(run.provenance)['run_id']}"


def array_index(cfg: Config, task: Task, per_task: int) -> int | None:
    return None if task.index is None else task.index // per_task


def per_task(cfg: Config, stage: Stage, num_tasks: int) -> int:
    """Tasks of a stage that one array index does: folds as set, shards as many as it takes to stay below the limit."""
    if stage.ranks:
        return cfg.cluster.folds_per_node
    most = limits.most_pack_tasks(_limits(cfg.cluster.partition), cfg) or DEFAULT_ARRAY_SIZE
    return math.ceil(num_tasks / most) if stage.option else 1


@functools.cache
def _limits(partition: str | None) -> Limits:
    """Asked once: a launch does not take as long as they last."""
    return limits.read(partition)


def _sbatch(
    run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task], after: str | None, taken: Sequence[str]
) -> str:
    """Submit one stage; returns its job.

    Raises: InputError if SLURM refuses it.
    """
    import submitit

    executor = _executor(run, cfg, stage, tasks, after)
    try:
        with scheduler.clean_environment(), contextlib.redirect_stderr(io.StringIO()):  # told once, below
            job = executor._submit_command(_command(run, cfg, stage, tasks)).job_id
    except submitit.core.utils.FailedJobError as error:
        listed = scheduler.jobs_by_name() or {}
        if found := listed.get(job_name(run, stage)):  # the answer was lost, not the job
            return max(found, key=int)
        scheduler.cancel(taken)
        raise InputError(
            f"cluster: SLURM refused stage {stage.name} ({' '.join(str(error).split())}); nothing is left in the "
            "queue, change the cluster settings and launch again"
        ) from None
    for link in run.slurm.glob(".submission_file_*"):  # to what has got the job's name
        link.unlink(missing_ok=True)
    return str(job)


def _record(run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task], job: str) -> None:
    """Tell the ledger which job does a task, if it does not know."""
    size = per_task(cfg, stage, _num_tasks(cfg, run, stage))
    known = {(event["task"], event.get("job")) for event in ledger.read(run.ledger) if event["stage"] == stage.name}
    for task in tasks:
        index = array_index(cfg, task, size)
        own = job if index is None else f"{job}_{index}"
        if (task.index, own) not in known:
            ledger.record(run.ledger, stage.name, task.index, "submitted", job=own)


def _num_tasks(cfg: Config, run: RunPaths, stage: Stage) -> int:
    return len(stages.tasks_of(cfg, run, stage.name))


def _command(run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task]) -> str:
    """What srun starts on every node."""
    size = per_task(cfg, stage, _num_tasks(cfg, run, stage))
    return shlex.join(["bash", str(run.code / "slurm" / "task.sh"), str(run.root), stage.name, "--per_task", str(size)])


def _guard(run: RunPaths) -> str:
    """A line of shell that ends a job whose code is not there any more; all else is checked by what it starts."""
    script = run.code / "slurm" / "task.sh"
    again = shlex.quote(f"python jobs/launch_cv.py --resume {shlex.quote(str(run.root))} puts it back")
    told = shlex.quote(f"error: {script} is missing, as where a scratch file system is purged;")
    return f"[ -r {shlex.quote(str(script))} ] || {{ echo {told} {again} >&2; exit 2; }}"


def _executor(run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task], after: str | None) -> Any:
    """A submitit executor with all that the stage asks of SLURM."""
    import submitit

    cluster, excluded = cfg.cluster, exclusions.names(run, cfg)
    executor = submitit.SlurmExecutor(folder=run.slurm)
    parameters: dict[str, Any] = {
        "job_name": job_name(run, stage),
        **_asked(cfg, stage),
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "exclude": ",".join(excluded) or None,
        "exclusive": cluster.exclusive or None,
        "signal_delay_s": cluster.warning_s,
        "stderr_to_stdout": True,
        "dependency": f"{stage.rule}:{after}" if after else None,
        "setup": [
            f"export CAC_HPC_PYTHON={shlex.quote(sys.executable)}",
            _guard(run),
            *cluster.setup,
            "trap : USR1 USR2 TERM # a signal for the job is the task's: this shell waits for its end",
        ],
        # srun no longer takes the cpus from the job; a node that ends must leave the others time to save
        "srun_args": [f"--cpus-per-task={_cpus(cfg, stage)}", "--kill-on-bad-exit=0", *cluster.srun],
        "additional_parameters": _further(run, cfg, stage, tasks),
    }
    executor.update_parameters(**{key: value for key, value in parameters.items() if value is not None})
    executor.parameters |= {"wckey": None} | ({"map_count": 1} if stage.option else {})  # its own --array is overruled
    return executor


def _asked(cfg: Config, stage: Stage) -> dict[str, Any]:
    """Time, nodes, memory, cores and GPUs."""
    asked, cluster, cpus = stages.resources(stage, cfg), cfg.cluster, _cpus(cfg, stage)
    mem_mb = round(asked.mem_gb * 1024)
    gpus = (cfg.gpus_asked or None) if stage.ranks else None
    return {
        "time": asked.time_min,
        "nodes": cluster.nodes_per_fold if stage.ranks else 1,
        "ntasks_per_node": 1,
        "cpus_per_task": cpus,
        "mem": None if cluster.mem_per_cpu else f"{mem_mb}M",
        "mem_per_cpu": f"{math.ceil(mem_mb / cpus)}M" if cluster.mem_per_cpu else None,
        "gpus_per_node": None if cluster.gres else gpus,
        "gres": cluster.gres if gpus else None,
    }


def _further(run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task]) -> dict[str, Any]:
    """Options that submitit has no name for."""
    cluster, size = cfg.cluster, per_task(cfg, stage, _num_tasks(cfg, run, stage))
    further: dict[str, Any] = {"kill-on-invalid-dep": "yes", "requeue": True}
    if stage.option:
        indices = {array_index(cfg, task, size) or 0 for task in tasks}
        further["array"] = f"{_ranges(indices)}%{cluster.array_parallelism}"
    if cluster.reservation:
        further["reservation"] = cluster.reservation
    if cluster.mail_user:
        further |= {"mail-user": cluster.mail_user, "mail-type": "FAIL" if stage.name != "aggregate" else "END,FAIL"}
    return further | cluster.sbatch


def _ranges(indices: Collection[int]) -> str:
    """Indices as sbatch takes them: 0-3,7."""
    starts = [index for index in sorted(indices) if index - 1 not in indices]
    ends = [index for index in sorted(indices) if index + 1 not in indices]
    return ",".join(f"{low}-{high}" if low < high else f"{low}" for low, high in zip(starts, ends, strict=True))


def _cpus(cfg: Config, stage: Stage) -> int:
    cluster = cfg.cluster
    ranks = cluster.folds_per_node * cluster.ranks_per_node * cluster.cpus_per_rank
    return ranks if stage.ranks else stages.resources(stage, cfg).cpus


def _differences(job: str, cfg: Config, stage: Stage) -> list[str]:
    """What SLURM has made of a job, where that is not what was asked for."""
    granted, cluster = scheduler.granted(job), cfg.cluster
    asked = {
        "Partition": cluster.partition,
        "Account": cluster.account,
        "QOS": cluster.qos,
        "TimeLimit": scheduler.minutes_text(stages.resources(stage, cfg).time_min),
        "NumNodes": None if not stage.ranks else f"{cluster.nodes_per_fold}",
    }
    return [
        f"job {job} ({stage.name}) has {key} {granted[key]}, {wanted} was asked for"
        for key, wanted in asked.items()
        if wanted and granted.get(key) and granted[key].split("-")[0] != wanted and granted[key] != wanted
    ]
