"""Stages as SLURM jobs, each submitted once, after the one that it waits for; and commands that belong to no run."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cac_hpc.cluster import feasibility, needs, ownership, pending, sbatch_scripts, site_limits, slurm_commands
from cac_hpc.cluster.sbatch_scripts import DEFAULT_ARRAY_SIZE
from cac_hpc.run import ledger, logs, stages
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES, Stage, Task
from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError

RUNS_HERE = False
REFUSAL = "allocation failure"  # in what sbatch --test-only says
NO_NODE = "node configuration is not available"
OF_SLURM = "%\\|"  # in file names a pattern, and that there is none; what parts the columns of its answers
ENDING_S, POLL_S = 120.0, 1.0  # longer than SLURM gives a job to end
APPEARS_S = 10.0  # until the controller knows a job that it has taken
NO_ANSWER = re.compile(r"time[d]?.?out|contact|communicat|connect|answer|socket|message|receive", re.I)  # taken perhaps
ANSWER = re.compile(r"(Submitted batch job )?\d+(;\S+| on cluster \S+)?")
MOST_WORDS = 10  # lines of a site's
LAUNCH_AGAIN = "launch again: what is in the queue already is found by its name"


def unavailable() -> str | None:
    """Why there is no SLURM here; None if there is one that answers."""
    return slurm_commands.unavailable()


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
    script = sbatch_scripts.write_script(run, cfg, stage, tasks)
    said = slurm_commands.test_only(script)
    if NO_NODE in said and site_limits.has_no_node(site_limits.read_once(cfg.cluster.partition)):
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
    owner = ownership.owner_of(run)
    listing = slurm_commands.queue(owner.users)
    if listing is None:
        raise InputError("SLURM does not answer (squeue), so nothing was submitted; run this again")
    found: dict[str, dict[str, bool]] = {stage.name: {} for stage in STAGES}
    for number, queued in listing.jobs.items():
        if owner.submitted(queued):
            job, mine = number.split("_")[0], found[ownership.stage_of(queued)]
            mine[job] = mine.get(job, True) and queued.state == slurm_commands.ENDING
    return found


def require_own(run: RunPaths, jobs: Sequence[str]) -> None:
    """Jobs that the ledger names may be waited for only if SLURM gives them a name of this run.

    Raises: InputError naming one that it gives another name.
    """
    owner = ownership.owner_of(run)
    listing = slurm_commands.queue(owner.users) if jobs else None
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


def most_tasks(cluster: ClusterConfig) -> int:
    """How many tasks the array of a command may have, if a job that gathers is submitted with it."""
    return site_limits.most_tasks(site_limits.read_once(cluster.partition), cluster, others=1) or DEFAULT_ARRAY_SIZE


def check_command(cluster: ClusterConfig, gpus: int) -> None:
    """The cluster starts the jobs of a command: an array with cluster.pack's resources, a job with cluster.aggregate's.

    Says what they will wait for.

    Args:
        gpus: of a task of the array.
    Raises: InputError for what cannot work, one line for each fault.
    """
    limits, asked = site_limits.read_once(cluster.partition), needs.Jobs(cluster, gpus)
    if faults := feasibility.faults(limits, asked):
        raise InputError("\n".join(faults))
    for note in feasibility.notes(limits, asked):
        logs.say(f"note: {note}")


def _sbatch(
    run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task], after: str | None, taken: Sequence[str]
) -> str:
    """Submit one stage; returns its job, as SLURM gives it for the job's name: what sbatch prints may be a site's.

    Raises: InputError if SLURM refuses it, or does not say which job it has become.
    """
    owner, name = ownership.owner_of(run), ownership.job_name(run, stage.name)
    script = sbatch_scripts.write_script(run, cfg, stage, tasks, after)
    accepted, said, found = _submit(script, name, f"stage {stage.name} was not submitted; {LAUNCH_AGAIN}")
    if found is None:
        raise InputError(f"{slurm_commands.SILENT}, so it is not known which job is stage {stage.name}; {LAUNCH_AGAIN}")
    if not found:
        raise InputError(_refusal(stage, name, accepted, said, slurm_commands.cancel(taken, owner)))
    job, *others = sorted(found, key=int, reverse=True)
    if others:
        logs.say(f"note: sbatch submitted stage {stage.name} {len(found)} times; cancelled job {', '.join(others)}")
        slurm_commands.cancel(others, owner)
    for line in _words(said):
        logs.say(f"note: sbatch says: {line}")
    script.replace(run.slurm / f"{job}_submission.sh")
    return job


def _submit(script: Path, name: str, otherwise: str) -> tuple[bool, str, set[str] | None]:
    """Submit a script.

    Args:
        name: of the job. otherwise: what to say where SLURM does not answer.
    Returns: whether sbatch took it, what it said, and the new jobs of that name; None if SLURM does not say.
    Raises: InputError if SLURM does not answer, before anything is submitted.
    """
    before = slurm_commands.jobs_called(name)
    if before is None:
        raise InputError(f"{slurm_commands.SILENT}, so {otherwise}")
    accepted, said = slurm_commands.submit(script)
    late = accepted or NO_ANSWER.search(said)
    return accepted, said, _new_jobs(name, before, APPEARS_S if late else 0.0, accepted)


def _new_jobs(name: str, before: Collection[str], patience_s: float, ended: bool) -> set[str] | None:
    """The jobs of this name that were not there before; None if SLURM does not say.

    Args:
        patience_s: how long to wait for one. ended: whether one that has ended counts, too.
    """
    deadline = time.monotonic() + patience_s
    while True:
        now = slurm_commands.jobs_called(name)
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
    size = sbatch_scripts.per_task(run, cfg, stage)
    known = {(event["task"], event.get("job")) for event in ledger.read(run.ledger) if event["stage"] == stage.name}
    for task in tasks:
        index = sbatch_scripts.array_index(task, size)
        own = job if index is None else f"{job}_{index}"
        if (task.index, own) not in known:
            ledger.record(run.ledger, stage.name, task.index, "submitted", job=own)


def submit_command(script: Path) -> str:
    """Submit the script of a command, whose name the job has; returns the job, which may be an array.

    Raises: InputError with SLURM's own words if it refuses.
    """
    _, said, found = _submit(script, script.stem, "nothing was submitted; run this again")
    if not found:
        words = "; ".join(_words(said)) or "without a word"
        raise InputError(f"cluster: SLURM refused {script.stem} ({words}){pending.settings_of(words)}")
    return max(found, key=int)


def _differences(job: str, cfg: Config, stage: Stage) -> list[str]:
    """What SLURM has made of a job, where that is not what was asked for."""
    granted, cluster = slurm_commands.granted(job), cfg.cluster
    asked = {
        "Partition": cluster.partition,
        "Account": cluster.account,
        "QOS": cluster.qos,
        "TimeLimit": slurm_commands.minutes_text(stages.resources(stage, cfg).time_min),
        "NumNodes": None if not stage.ranks else f"{cluster.nodes_per_fold}",
    }
    found = [
        f"{key} {granted[key]}, {wanted} was asked for"
        for key, wanted in asked.items()
        if wanted and granted.get(key) and granted[key].split("-")[0] != wanted and granted[key] != wanted
    ]
    if cpus := needs.cpu_difference(granted, cfg, stage.resources):
        found.append(cpus)
    return [f"job {job} ({stage.name}) has {line}" for line in found]
