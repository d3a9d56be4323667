"""The sbatch scripts of stages and commands: what a job asks of SLURM, and what runs in it. The owner of submitit.

A job of a stage runs slurm/task.sh of the run's own copy of the code, the same as one that is submitted by hand: it
needs nothing of the launcher, which may end at any moment.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cac_hpc.cluster import needs, nodes, ownership, site_limits
from cac_hpc.machine import environment
from cac_hpc.run import disk, stages
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import Stage, Task
from cac_hpc.settings.cluster import ClusterConfig, Resources
from cac_hpc.settings.config import Config
from cac_hpc.settings.slurm_notation import ranges

DEFAULT_ARRAY_SIZE = 1001  # SLURM's own MaxArraySize


def write_script(run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task], after: str | None = None) -> Path:
    """Write the script that submits the tasks; returns its path.

    Args:
        after: the job that it waits for, with SLURM's rule, as afterok:123.
    """
    cluster, size = cfg.cluster, per_task(run, cfg, stage)
    indices = {array_index(task, size) or 0 for task in tasks} if stage.option else set[int]()
    nodes_of_job = cluster.nodes_per_fold if stage.ranks else 1
    parameters = {
        "job_name": ownership.job_name(run, stage.name),
        **_asked(cluster, stages.resources(stage, cfg), cpus_of_job(cfg, stage), nodes_of_job, stages.gpus(stage, cfg)),
        "exclude": ",".join(nodes.excluded_names(run, cfg)) or None,
        "dependency": after,
    }
    mail = {"mail-user": cluster.mail_user, "mail-type": "FAIL" if stage.name != "aggregate" else "END,FAIL"}
    further = _options(cluster, indices) | (mail if cluster.mail_user else {}) | cluster.sbatch
    command = ["bash", str(_task_script(run)), str(run.root), stage.name, "--per_task", str(size)]
    script = run.slurm / f"{stage.name}.sbatch"
    disk.write_text(script, _text(run.slurm, cluster, parameters, further, command, [guard(run)]))
    return script


def write_command_script(
    folder: Path,
    name: str,
    command: Sequence[str],
    cluster: ClusterConfig,
    asked: Resources,
    gpus: int = 0,
    tasks: Collection[int] = (),
    after: str | None = None,
) -> Path:
    """Write the script that submits a command that belongs to no run; returns its path.

    Args:
        folder: of scripts and logs. name: of the job, which is its own. tasks: indices of an array. after: a job whose
            end it waits for, however it ends.
    """
    parameters = {
        "job_name": name,
        **_asked(cluster, asked, asked.cpus, 1, gpus),
        "exclude": cluster.exclude,
        "dependency": f"afterany:{after}" if after else None,
    }
    script = folder / f"{name}.sbatch"
    disk.write_text(script, _text(folder, cluster, parameters, _options(cluster, tasks) | cluster.sbatch, command))
    return script


def array_index(task: Task, per_task: int) -> int | None:
    return None if task.index is None else task.index // per_task


def per_task(run: RunPaths, cfg: Config, stage: Stage) -> int:
    """Tasks of a stage that one array index does: folds and workers of trials as set, shards as many as it takes to
    stay below the limit."""
    if stage.trains:
        return cfg.cluster.folds_per_node
    most = needs.most_pack_tasks(site_limits.read_once(cfg.cluster.partition), cfg) or DEFAULT_ARRAY_SIZE
    return math.ceil(len(stages.tasks_of(cfg, run, stage.name)) / most) if stage.option else 1


def cpus_of_job(cfg: Config, stage: Stage) -> int:
    """CPUs that a job of a stage asks for on each node."""
    return stages.side_by_side(stage, cfg) * stages.cpus(stage, cfg)


def guard(run: RunPaths) -> str:
    """A line of shell that ends a job whose code is not there any more; all else is checked by what it starts."""
    script = _task_script(run)
    again = shlex.quote(f"python jobs/launch_cv.py --resume {shlex.quote(str(run.root))} puts it back")
    told = shlex.quote(f"error: {script} is missing, as where a scratch file system is purged;")
    return f"[ -r {shlex.quote(str(script))} ] || {{ echo {told} {again} >&2; exit 2; }}"


def _task_script(run: RunPaths) -> Path:
    return run.code / "slurm" / "task.sh"


def _text(
    folder: Path,
    cluster: ClusterConfig,
    parameters: Mapping[str, Any],
    further: Mapping[str, Any],
    command: Sequence[str],
    setup: Sequence[str] = (),
) -> str:
    """A script with what the site's settings ask of every job.

    Args:
        folder: of scripts and logs. parameters: of this job, by submitit's names. further: options of sbatch. command:
            what srun starts on every node. setup: lines of shell before those of the site.
    """
    import submitit

    executor = submitit.SlurmExecutor(folder=folder)
    asked = {
        **parameters,
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "exclusive": cluster.exclusive or None,
        "signal_delay_s": cluster.warning_s,
        "stderr_to_stdout": True,
        "setup": [
            f"export CAC_HPC_PYTHON={shlex.quote(sys.executable)}",
            f"unset {' '.join(environment.not_for_jobs())}",
            *setup,
            *cluster.setup,
            "trap : USR1 USR2 TERM # a signal for the job is the task's: this shell waits for its end",
        ],
        # srun no longer takes the cpus from the job; a node that ends must leave the others time to save
        "srun_args": [f"--cpus-per-task={parameters['cpus_per_task']}", "--kill-on-bad-exit=0", *cluster.srun],
        "additional_parameters": dict(further),
    }
    executor.update_parameters(**{key: value for key, value in asked.items() if value is not None})
    executor.parameters |= {"wckey": None} | ({"map_count": 1} if "array" in further else {})  # it writes an --array
    return executor._make_submission_file_text(shlex.join(command), "") + "\n"


def _asked(cluster: ClusterConfig, asked: Resources, cpus: int, num_nodes: int, gpus: int) -> dict[str, Any]:
    """Time, nodes, memory, cores and GPUs, by submitit's names.

    Args:
        cpus, gpus: of a job on each node.
    """
    mem_mb = round(asked.mem_gb * 1024)
    return {
        "time": asked.time_min,
        "nodes": num_nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": cpus,
        "mem": None if cluster.mem_per_cpu else f"{mem_mb}M",
        "mem_per_cpu": f"{math.ceil(mem_mb / cpus)}M" if cluster.mem_per_cpu else None,
        "gpus_per_node": None if cluster.gres else gpus or None,
        "gres": cluster.gres if gpus else None,
    }


def _options(cluster: ClusterConfig, indices: Collection[int]) -> dict[str, Any]:
    """Options that submitit has no name for, the same of any job.

    Args:
        indices: of its array, if it is one.
    """
    # limits of the login node are no limits of the job
    further: dict[str, Any] = {"kill-on-invalid-dep": "yes", "requeue": True, "propagate": "NONE"}
    if indices:
        further["array"] = f"{','.join(ranges(indices))}%{cluster.array_parallelism}"
    if cluster.reservation:
        further["reservation"] = cluster.reservation
    return further
