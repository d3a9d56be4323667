"""Stages as SLURM jobs: what each asks for, and how it is submitted, once. The owner of submitit.

submitit writes the sbatch scripts and submits them. What runs in a job is slurm/task.sh of the run's own copy of the
code, the same as for jobs submitted by hand: a job needs nothing of the launcher, which may end at any moment.
"""

from __future__ import annotations

import functools
import math
import re
import shlex
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from cac_hpc.cluster import feasibility, nodes, pending, queue_records, scheduler
from cac_hpc.cluster.feasibility import Limits
from cac_hpc.machine import environment
from cac_hpc.run import disk, ledger, logs, stages
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES, Stage, Task
from cac_hpc.settings.cluster import ClusterConfig, Resources
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError

RUNS_HERE = False
REFUSAL = "allocation failure"  # in what sbatch --test-only says
NO_NODE = "node configuration is not available"
OF_SLURM = "%\\|"  # in file names a pattern, and that there is none; what parts the columns of its answers
DEFAULT_ARRAY_SIZE = 1001  # SLURM's own MaxArraySize
ENDING_S, POLL_S = 120.0, 1.0  # longer than SLURM gives a job to end
APPEARS_S = 10.0  # until the controller knows a job that it has taken
NO_ANSWER = re.compile(r"time[d]?.?out|contact|communicat|connect|answer|socket|message|receive", re.I)  # taken perhaps
ANSWER = re.compile(r"(Submitted batch job )?\d+(;\S+| on cluster \S+)?")
MOST_WORDS = 10  # lines of a site's
LAUNCH_AGAIN = "launch again: what is in the queue already is found by its name"


def unavailable() -> str | None:
    """Why there is no SLURM here; None if there is one that answers."""
    return scheduler.unavailable()


def check(cfg: Config) -> None:
    """The run folder has a name that SLURM's log files can have.

    Raises: InputError if not.
    """
    check_path("run", cfg.run)


def check_path(key: str, path: str) -> None:
    """A folder with logs of SLURM has a name that these can have.

    Raises: InputError if not.
    """
    if character := next(filter(path.__contains__, OF_SLURM), None):
        raise InputError(
            f"{key} is {path!r}, but SLURM gives {character} a meaning of its own in names of log files; wanted "
            "a path without it"
        )


def try_out(run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task]) -> tuple[str, bool]:
    """Write the script of a stage and ask SLURM what it thinks of it; returns both, and whether SLURM would refuse."""
    script = write_script(run, cfg, stage, tasks)
    said = scheduler.test_only(script)
    if NO_NODE in said and feasibility.has_no_node(_limits(cfg.cluster.partition)):
        return f"{script}\n  SLURM: {said}, as no node is in service: it would wait", False
    refused = REFUSAL in said
    return f"{script}\n  SLURM: {said}{pending.settings_of(said) if refused else ''}", refused


def in_queue(run: RunPaths) -> dict[str, str]:
    """The run's stages that are in the queue, by the names of their jobs: also what no ledger tells of.

    Waits for jobs that are ending: what they leave undone is to be submitted again.

    Raises: InputError if SLURM does not answer, or a job does not end.
    """
    deadline = time.monotonic() + ENDING_S
    while True:
        jobs = _jobs_by_stage(run)
        at_work = {stage: {job for job, ends in mine.items() if not ends} for stage, mine in jobs.items()}
        ending = sorted({job for stage, mine in jobs.items() for job in mine if not at_work[stage]})
        if not ending:
            return {stage: max(mine, key=int) for stage, mine in at_work.items() if mine}
        if time.monotonic() > deadline:
            raise InputError(f"job {', '.join(ending)} of this run is ending, but not gone; run this again when it is")
        time.sleep(POLL_S)


def _jobs_by_stage(run: RunPaths) -> dict[str, dict[str, bool]]:
    """Of the run's stages the jobs and arrays in the queue, and whether all that is left of each is ending.

    Raises: InputError if SLURM does not answer.
    """
    owner = queue_records.owner_of(run)
    listing = scheduler.queue(owner.users)
    if listing is None:
        raise InputError("SLURM does not answer (squeue), so nothing was submitted; run this again")
    found: dict[str, dict[str, bool]] = {stage.name: {} for stage in STAGES}
    for number, queued in listing.jobs.items():
        if owner.submitted(queued):
            job, mine = number.split("_")[0], found[queue_records.stage_of(queued)]
            mine[job] = mine.get(job, True) and queued.state == scheduler.ENDING
    return found


def require_own(run: RunPaths, jobs: Sequence[str]) -> None:
    """Jobs that the ledger names may be waited for only if SLURM gives them a name of this run.

    Raises: InputError naming one that it gives another name.
    """
    owner = queue_records.owner_of(run)
    listing = scheduler.queue(owner.users) if jobs else None
    for job in jobs:
        for queued in listing.all_of(job) if listing else ():
            if not owner.may_act_on(queued):
                raise InputError(
                    f"job {job} of user {queued.user} works on this run by its ledger, but is called {queued.name!r},"
                    f" not as a job of this run; wait for its end, or, if it is yours, end it: scancel {job}"
                )


def start(run: RunPaths, cfg: Config, waiting: Sequence[Task], queued: Mapping[str, str]) -> None:
    """Submit the stages with waiting tasks, each after the one it waits for.

    Args:
        queued: jobs of stages that are in the queue already; they are kept.
    Raises: InputError with SLURM's own words if it refuses one; what it took of this call is cancelled then.
    """
    if not waiting:
        logs.say("everything is done already")
    known: dict[str, str] = {}
    taken: list[str] = []
    for stage in STAGES:
        tasks = [task for task in waiting if task.stage is stage]
        if not tasks:
            continue
        job, how = queued.get(stage.name), "kept"
        if job is None:
            job, how = _sbatch(run, cfg, stage, tasks, _after(stage, known, queued), taken), "submitted"
            taken.append(job)
        known[stage.name] = job
        _record(run, cfg, stage, tasks, job)
        count = stages.count(tasks)
        logs.say(f"{how} {stage.name:<10} job {job}, {count}")
        if how == "submitted":
            for line in _differences(job, cfg, stage):
                logs.say(f"note: {line}")


def _after(stage: Stage, known: Mapping[str, str], kept: Collection[str]) -> str | None:
    """What a stage waits for, as sbatch takes it: the nearest stage before it that has a job.

    Args:
        known: jobs by stage. kept: stages whose jobs are older than this call. Where their tasks share the work, one
            may have ended badly whose work the others do.
    """
    before = next((name for name in stages.before(stage.name) if name in known), None)
    if before is None:
        return None
    return f"{'afterany' if before in kept and before in stages.SHARED else stage.rule}:{known[before]}"


def write_script(run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task], after: str | None = None) -> Path:
    """Write the script that submits the tasks; returns its path.

    Args:
        after: the job that it waits for, with SLURM's rule, as afterok:123.
    """
    script = run.slurm / f"{stage.name}.sbatch"
    executor = _executor(run, cfg, stage, tasks, after)
    disk.write_text(script, executor._make_submission_file_text(_command(run, cfg, stage, tasks), "") + "\n")
    return script


def array_index(cfg: Config, task: Task, per_task: int) -> int | None:
    return None if task.index is None else task.index // per_task


def per_task(cfg: Config, stage: Stage, num_tasks: int) -> int:
    """Tasks of a stage that one array index does: folds and workers of trials as set, shards as many as it takes to
    stay below the limit."""
    if stage.trains:
        return cfg.cluster.folds_per_node
    most = feasibility.most_pack_tasks(_limits(cfg.cluster.partition), cfg) or DEFAULT_ARRAY_SIZE
    return math.ceil(num_tasks / most) if stage.option else 1


def most_tasks(cluster: ClusterConfig) -> int:
    """How many tasks the array of a command may have, if a job that gathers is submitted with it."""
    return feasibility.most_command_tasks(_limits(cluster.partition), cluster) or DEFAULT_ARRAY_SIZE


def check_command(cluster: ClusterConfig, gpus: int) -> None:
    """The cluster starts the jobs of a command: an array with cluster.pack's resources, a job with cluster.aggregate's.

    Says what they will wait for.

    Args:
        gpus: of a task of the array.
    Raises: InputError for what cannot work, one line for each fault.
    """
    limits, asked = _limits(cluster.partition), feasibility.Jobs(cluster, gpus)
    if faults := feasibility.faults(limits, asked):
        raise InputError("\n".join(faults))
    for note in feasibility.notes(limits, asked):
        logs.say(f"note: {note}")


@functools.cache
def _limits(partition: str | None) -> Limits:
    """Asked once: a launch does not take as long as they last."""
    return feasibility.read(partition)


def _sbatch(
    run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task], after: str | None, taken: Sequence[str]
) -> str:
    """Submit one stage; returns its job, as SLURM gives it for the job's name: what sbatch prints may be a site's.

    Raises: InputError if SLURM refuses it, or does not say which job it has become.
    """
    owner, name = queue_records.owner_of(run), queue_records.job_name(run, stage.name)
    script = write_script(run, cfg, stage, tasks, after)
    before = scheduler.jobs_called(name)
    if before is None:
        raise InputError(f"{scheduler.SILENT}, so stage {stage.name} was not submitted; {LAUNCH_AGAIN}")
    accepted, said = scheduler.submit(script)
    late = accepted or NO_ANSWER.search(said)
    found = _new_jobs(name, before, APPEARS_S if late else 0.0, accepted)
    if found is None:
        raise InputError(f"{scheduler.SILENT}, so it is not known which job is stage {stage.name}; {LAUNCH_AGAIN}")
    if not found:
        raise InputError(_refusal(stage, name, accepted, said, scheduler.cancel(taken, owner)))
    job, *others = sorted(found, key=int, reverse=True)
    if others:
        logs.say(f"note: sbatch submitted stage {stage.name} {len(found)} times; cancelled job {', '.join(others)}")
        scheduler.cancel(others, owner)
    for line in _words(said):
        logs.say(f"note: sbatch says: {line}")
    script.replace(run.slurm / f"{job}_submission.sh")
    return job


def _new_jobs(name: str, before: Collection[str], patience_s: float, ended: bool) -> set[str] | None:
    """The jobs of this name that were not there before; None if SLURM does not say.

    Args:
        patience_s: how long to wait for one. ended: whether one that has ended counts, too.
    """
    deadline = time.monotonic() + patience_s
    while True:
        now = scheduler.jobs_called(name)
        new = {job for job, waits in (now or {}).items() if waits or ended} - set(before)
        if new or time.monotonic() >= deadline:
            return None if now is None else new
        time.sleep(POLL_S)


def _refusal(stage: Stage, name: str, accepted: bool, said: str, left: str | None) -> str:
    """What to say of a stage that has not become a job.

    Args:
        left: why the stages before it could not be taken out of the queue.
    """
    words = "; ".join(_words(said)) or "without a word"
    why = f"SLURM refused stage {stage.name} ({words}){pending.settings_of(words)}"
    if accepted:
        answer = "; ".join(" ".join(logs.harmless(line).split()) for line in said.splitlines() if line.strip())
        return (
            f"cluster: sbatch took stage {stage.name} and printed {answer[:200]!r}, but SLURM has no job {name} of"
            " yours, so it is not known what became of it; what came before it was cancelled: look for it with"
            " squeue --me, end it by scancel, and see to it that jobs keep the names that they are submitted with"
        )
    queue = f"still in the queue is what came before it ({left}), " if left else "nothing is left in the queue, "
    return f"cluster: {why}; {queue}change the cluster settings and launch again"


def _words(said: str) -> list[str]:
    """What sbatch said but the number of the job, line by line, without what commands a terminal."""
    lines = [" ".join(logs.harmless(line).split()) for line in said.splitlines()]
    return list(dict.fromkeys(line for line in lines if line and not ANSWER.fullmatch(line)))[:MOST_WORDS]


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
    parameters = {
        "job_name": queue_records.job_name(run, stage.name),
        **_asked(cfg, stage),
        "exclude": ",".join(nodes.excluded_names(run, cfg)) or None,
        "dependency": after,
    }
    further = _further(run, cfg, stage, tasks)
    return _site_executor(run.slurm, cfg.cluster, parameters, further, _cpus(cfg, stage), [_guard(run)])


def _site_executor(
    folder: Path,
    cluster: ClusterConfig,
    parameters: Mapping[str, Any],
    further: Mapping[str, Any],
    cpus: int,
    setup: Sequence[str] = (),
) -> Any:
    """A submitit executor with what the site's settings ask of every job.

    Args:
        folder: of scripts and logs. parameters: of this job, by submitit's names. further: options of sbatch. cpus: of
            its step. setup: lines of shell before those of the site.
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
        "srun_args": [f"--cpus-per-task={cpus}", "--kill-on-bad-exit=0", *cluster.srun],
        "additional_parameters": dict(further),
    }
    executor.update_parameters(**{key: value for key, value in asked.items() if value is not None})
    executor.parameters |= {"wckey": None} | ({"map_count": 1} if "array" in further else {})  # it writes an --array
    return executor


def submit_command(
    folder: Path,
    name: str,
    command: Sequence[str],
    cluster: ClusterConfig,
    asked: Resources,
    gpus: int = 0,
    tasks: Collection[int] = (),
    after: str | None = None,
) -> str:
    """Submit a command that belongs to no run; returns its job, which may be an array.

    Args:
        folder: of scripts and logs. name: of the job, which is its own. tasks: indices of an array. after: a job whose
            end it waits for, however it ends.
    Raises: InputError with SLURM's own words if it refuses.
    """
    parameters = {
        "job_name": name,
        **_resources(asked, cluster, asked.cpus),
        "nodes": 1,
        "gpus_per_node": None if cluster.gres else gpus or None,
        "gres": cluster.gres if gpus else None,
        "exclude": cluster.exclude,
        "dependency": f"afterany:{after}" if after else None,
    }
    executor = _site_executor(folder, cluster, parameters, _of_site(cluster, tasks), asked.cpus)
    script = folder / f"{name}.sbatch"
    disk.write_text(script, executor._make_submission_file_text(shlex.join(command), "") + "\n")
    before = scheduler.jobs_called(name)
    if before is None:
        raise InputError(f"{scheduler.SILENT}, so nothing was submitted; run this again")
    accepted, said = scheduler.submit(script)
    late = accepted or NO_ANSWER.search(said)
    if not (found := _new_jobs(name, before, APPEARS_S if late else 0.0, accepted)):
        words = "; ".join(_words(said)) or "without a word"
        raise InputError(f"cluster: SLURM refused {name} ({words}){pending.settings_of(words)}")
    return max(found, key=int)


def _asked(cfg: Config, stage: Stage) -> dict[str, Any]:
    """Time, nodes, memory, cores and GPUs."""
    cluster, gpus = cfg.cluster, stages.gpus(stage, cfg) or None
    return {
        **_resources(stages.resources(stage, cfg), cluster, _cpus(cfg, stage)),
        "nodes": cluster.nodes_per_fold if stage.ranks else 1,
        "gpus_per_node": None if cluster.gres else gpus,
        "gres": cluster.gres if gpus else None,
    }


def _resources(asked: Resources, cluster: ClusterConfig, cpus: int) -> dict[str, Any]:
    mem_mb = round(asked.mem_gb * 1024)
    return {
        "time": asked.time_min,
        "ntasks_per_node": 1,
        "cpus_per_task": cpus,
        "mem": None if cluster.mem_per_cpu else f"{mem_mb}M",
        "mem_per_cpu": f"{math.ceil(mem_mb / cpus)}M" if cluster.mem_per_cpu else None,
    }


def _further(run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task]) -> dict[str, Any]:
    """Options that submitit has no name for."""
    cluster, size = cfg.cluster, per_task(cfg, stage, _num_tasks(cfg, run, stage))
    indices = {array_index(cfg, task, size) or 0 for task in tasks} if stage.option else set[int]()
    further: dict[str, Any] = {}
    if cluster.mail_user:
        further |= {"mail-user": cluster.mail_user, "mail-type": "FAIL" if stage.name != "aggregate" else "END,FAIL"}
    return _of_site(cluster, indices) | further | cluster.sbatch


def _of_site(cluster: ClusterConfig, indices: Collection[int]) -> dict[str, Any]:
    """The same of any job. indices: of its array, if it is one."""
    # limits of the login node are no limits of the job
    further: dict[str, Any] = {"kill-on-invalid-dep": "yes", "requeue": True, "propagate": "NONE"}
    if indices:
        further["array"] = f"{_ranges(indices)}%{cluster.array_parallelism}"
    if cluster.reservation:
        further["reservation"] = cluster.reservation
    return further | cluster.sbatch


def _ranges(indices: Collection[int]) -> str:
    """Indices as sbatch takes them: 0-3,7."""
    starts = [index for index in sorted(indices) if index - 1 not in indices]
    ends = [index for index in sorted(indices) if index + 1 not in indices]
    return ",".join(f"{low}-{high}" if low < high else f"{low}" for low, high in zip(starts, ends, strict=True))


def _cpus(cfg: Config, stage: Stage) -> int:
    return stages.side_by_side(stage, cfg) * stages.cpus(stage, cfg)


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
    found = [
        f"{key} {granted[key]}, {wanted} was asked for"
        for key, wanted in asked.items()
        if wanted and granted.get(key) and granted[key].split("-")[0] != wanted and granted[key] != wanted
    ]
    if cpus := feasibility.cpu_difference(granted, cfg, stage.resources):
        found.append(cpus)
    return [f"job {job} ({stage.name}) has {line}" for line in found]
