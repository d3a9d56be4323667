"""The main job: check, prepare the run folder, then submit the stage graph to SLURM or run it here.

The owner of submitit.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cac_hpc import config, ledger, local, monitor, plan, provenance, scheduler, settings, stages
from cac_hpc.config import Config, InputError
from cac_hpc.paths import RunPaths, write_json, write_text
from cac_hpc.settings import LaunchOptions
from cac_hpc.stages import STAGES, Stage, Task
from cac_hpc.stopping import RESUMABLE

# a moved folder, other resources, another title, what only decides whether to go on: the same science
FREE = (
    "run:", "cluster.", "report.", "pack.limits.rejected_studies:", "train.allow_inexact_resume:",
    "train.checkpoint_minutes:", "train.residency:",
)  # fmt: skip


def launch(cfg: Config, options: LaunchOptions, source: Path) -> int:
    """Do what ``jobs/launch_cv.py`` promises.

    Args:
        source: the checkout whose jobs/ and slurm/ the run keeps a copy of.
    Returns: the exit code, 0 or 1.
    Raises: InputError for whatever is wrong with the user's input, before anything is written or submitted.
    """
    run = RunPaths(Path(cfg.run))
    dataset_plan = plan.make_plan(cfg)
    _check_run_folder(run, cfg)
    plan.check_dataset(run.dataset(cfg.data.packed_dir), dataset_plan)
    kind, why = _choose_kind(cfg)
    tasks = stages.plan_tasks(cfg, run, len(dataset_plan.shards))
    print(
        f"{len(dataset_plan.labels)} studies, {dataset_plan.num_files} files, {dataset_plan.num_bytes / 1e6:.0f} MB: "
        f"{len(dataset_plan.shards)} shards, {cfg.split.folds} folds of {cfg.cluster.ranks} ranks"
    )
    for warning in dataset_plan.warnings:
        print(f"note: {warning}")
    print(f"run folder: {run.root}")
    print(f"cluster: {kind}, {why}", flush=True)
    if kind == "slurm" and _in_queue(run):  # its jobs read the settings that are there
        return _follow(run, tasks) if options.wait else 0
    if not run.config.exists():
        _create(run, cfg, dataset_plan, tasks, source)
    if kind == "local" and not options.dry_run:
        with local.exclusive(run):
            write_text(run.config, config.to_yaml(cfg))
            monitor.follow(run, local.run_stages(run, cfg, stages.waiting(tasks)))
        return _result(run, tasks)
    write_text(run.config, config.to_yaml(cfg))
    if options.dry_run:
        return _dry_run(run, cfg, kind, tasks)
    _submit(run, cfg, stages.waiting(tasks))
    if options.wait:
        return _follow(run, tasks)
    here = shlex.quote(str(run.root))
    print(f"where it stands: python jobs/status.py {here}\nthe report:      python jobs/report.py {here}")
    return 0


def _follow(run: RunPaths, tasks: list[Task]) -> int:
    monitor.follow(run, monitor.until_settled(run))
    return _result(run, tasks)


def _result(run: RunPaths, tasks: list[Task]) -> int:
    """Say where the report of a run that has ended is; returns the exit code."""
    if tasks[-1].result.exists():
        print(f"the report: {run.report / 'report.md'}\nin here:    python jobs/report.py {shlex.quote(str(run.root))}")
    unfinished = [str(task) for task in tasks if not task.done]
    if unfinished:
        print(f"without a valid result: {', '.join(unfinished)}")
        print(f"to go on:   python jobs/launch_cv.py --resume {shlex.quote(str(run.root))}")
    return 1 if unfinished else 0


class StageJob:
    """What submitit runs, once per node: the stage's command, supervised.

    It knows where the run is and nothing else; what to do is read from the run folder when the job starts.
    """

    def __init__(self, root: Path, stage: str, index: int | None) -> None:
        self.root, self.stage, self.index = root, stage, index
        self._child: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Run the command and leave with its exit code, so that SLURM's record of the job is the stage's."""
        run = RunPaths(self.root)
        cfg = settings.load(run.config)
        stage = next(stage for stage in STAGES if stage.name == self.stage)
        argv = stages.command(Task(stage, self.index, run.root), run, cfg.cluster.ranks_per_node, _rendezvous())
        # SLURM's warning is for this process: it would kill torchrun, which inherits that it is ignored
        self._child = subprocess.Popen(
            argv, env=stages.environment(run, cfg), preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        )
        try:
            while (code := self._child.poll()) is None:
                time.sleep(0.2)  # no blocking wait: the handler of the warning stops the child meanwhile
        finally:
            local.stop(self._child, stage.ranks)
        if code and stages.was_stopped(run, self.stage, self.index):
            raise SystemExit(RESUMABLE)
        if code:
            raise SystemExit(code if code > 0 else 128 - code)

    def checkpoint(self) -> Any:
        """Called by submitit before the time limit or a preemption: stop, and start again from the files."""
        import submitit

        if self._child is not None:
            local.stop(self._child, ranks=self.stage == "folds")
        return submitit.helpers.DelayedSubmission(StageJob(self.root, self.stage, self.index))


def _rendezvous() -> list[str]:
    """How the ranks of a fold find each other: a free port on one node, a port by the job's number on several."""
    import submitit

    job = submitit.JobEnvironment()
    if job.num_nodes == 1:
        return ["--standalone"]
    number = int(os.environ["SLURM_JOB_ID"])  # of the array task, so two folds never share a port
    return [
        f"--nnodes={job.num_nodes}",
        f"--node-rank={job.node}",
        f"--master-addr={scheduler.node_address(job.hostnames[0])}",
        f"--master-port={20000 + number % 10000}",
    ]


def _choose_kind(cfg: Config) -> tuple[str, str]:
    """Here or on SLURM, and why.

    Raises: InputError if the choice cannot work.
    """
    absent = scheduler.unavailable() if cfg.cluster.kind != "local" else None
    if cfg.cluster.kind == "slurm" and absent:
        raise InputError(f"cluster.kind is slurm, but {absent}; log in to the cluster or set cluster.kind local")
    if cfg.cluster.kind == "slurm" or (cfg.cluster.kind == "auto" and not absent):
        if "%" in cfg.run:
            raise InputError(
                f"run is {cfg.run!r}, but SLURM gives % a meaning of its own in file names; wanted a path without it"
            )
        return "slurm", "as set" if cfg.cluster.kind == "slurm" else "a SLURM controller answers"
    local.check_devices(cfg)
    return "local", "as set" if cfg.cluster.kind == "local" else f"{absent}"


def _check_run_folder(run: RunPaths, cfg: Config) -> None:
    """The folder is new, or holds this very run; how it uses the cluster, stops and is reported may change.

    Raises: InputError naming the settings that differ.
    """
    if not run.config.exists():
        if run.root.exists() and (not run.root.is_dir() or any(run.root.iterdir())):
            raise InputError(f"run is {str(run.root)!r}, which holds other files; wanted a new folder or that of a run")
        return
    stored = config.plain(settings.load(run.config))
    changed = [line for line in config.differences(stored, config.plain(cfg)) if not line.startswith(FREE)]
    if changed:
        raise InputError(
            f"run is {str(run.root)!r}, which holds another run (found / wanted: {'; '.join(changed[:5])});"
            " choose a new run folder"
        )


def _create(run: RunPaths, cfg: Config, dataset_plan: plan.DatasetPlan, tasks: list[Task], source: Path) -> None:
    """Write everything that the jobs need; the run folder appears with all of it or not at all.

    Raises: InputError if the folders cannot be written.
    """
    scratch = RunPaths(run.root.with_name(f".{run.root.name}.{secrets.token_hex(4)}.tmp"))
    try:
        scratch.slurm.mkdir(parents=True)
        provenance.copy_code(source, scratch.code)
        write_json(scratch.provenance, provenance.collect(source))
        for task in tasks:
            result = os.path.relpath(task.result, run.root)
            ledger.record(scratch.ledger, task.stage.name, task.index, "planned", result=result)
        write_text(scratch.config, config.to_yaml(cfg))
        plan.write_plan(scratch.dataset(cfg.data.packed_dir), dataset_plan)
        scratch.root.replace(run.root)
    except OSError as error:
        raise InputError(f"cannot write the run folder {run.root} or data.packed_dir: {error}") from error
    finally:
        shutil.rmtree(scratch.root, ignore_errors=True)


def _submit(run: RunPaths, cfg: Config, waiting: list[Task]) -> None:
    """Submit the stages with waiting tasks, each after the one it waits for.

    Raises: InputError with SLURM's own words if it refuses one; what it took before is cancelled.
    """
    import submitit

    if not waiting:
        print("everything is done already")
    submitted: dict[str, str] = {}
    for stage in STAGES:
        tasks = [task for task in waiting if task.stage is stage]
        if not tasks:
            continue
        executor = _executor(run, cfg, stage, submitted.get(stage.after or ""))
        try:
            with scheduler.clean_environment(), contextlib.redirect_stderr(io.StringIO()):  # told once, below
                jobs = executor.submit_array([StageJob(run.root, stage.name, task.index) for task in tasks])
        except submitit.core.utils.FailedJobError as error:
            scheduler.cancel(list(submitted.values()))
            said = " ".join(str(error).split())
            raise InputError(
                f"cluster: SLURM refused stage {stage.name} ({said}); nothing is left in the queue, "
                "change the cluster settings and launch again"
            ) from None
        for task, job in zip(tasks, jobs, strict=True):
            ledger.record(run.ledger, stage.name, task.index, "submitted", job=job.job_id)
        submitted[stage.name] = jobs[0].job_id.split("_")[0]
        count = "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"
        print(f"submitted {stage.name:<10} job {submitted[stage.name]}, {count}", flush=True)


def _executor(run: RunPaths, cfg: Config, stage: Stage, after: str | None) -> Any:
    """A submitit executor with all that the stage asks of SLURM."""
    import submitit

    asked, cluster, env = stages.resources(stage, cfg), cfg.cluster, run.code / "slurm" / "env.sh"
    cpus = cluster.ranks_per_node * cluster.cpus_per_rank if stage.ranks else asked.cpus
    # a warning that comes before submitit listens would end the job: SLURM sends one again right after a requeue
    deaf = '/bin/sh -c \'trap "" USR2; exec "$0" "$@"\' ' + shlex.quote(sys.executable)
    executor = submitit.SlurmExecutor(folder=run.slurm / "%j", python=deaf)
    parameters: dict[str, Any] = {
        "job_name": f"cac-{stage.name}",
        "time": asked.time_min,
        "mem": f"{round(asked.mem_gb * 1024)}M",
        "nodes": cluster.nodes_per_fold if stage.ranks else 1,
        "ntasks_per_node": 1,
        "cpus_per_task": cpus,
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "array_parallelism": cluster.array_parallelism,
        "gpus_per_node": cluster.ranks_per_node if stage.ranks and cfg.train.device == "cuda" else None,
        "dependency": f"{stage.rule}:{after}" if after else None,
        "setup": [f"export PYTHONPATH={shlex.quote(str(run.code))}", f"source {shlex.quote(str(env))}"],
        "srun_args": [f"--cpus-per-task={cpus}"],  # srun no longer takes it from the job
        "additional_parameters": {"kill-on-invalid-dep": "yes", **cluster.sbatch},
    }
    executor.update_parameters(**{key: value for key, value in parameters.items() if value is not None})
    return executor


def _in_queue(run: RunPaths) -> bool:
    """Whether jobs of an earlier launch are still in the queue; says so."""
    states = [state for state in monitor.read_states(run) if state.state in ("queued", "running", "submitted")]
    jobs = sorted({state.job.split("_")[0] for state in states if state.job})
    if jobs:
        print(f"this run is in the queue already: job {', '.join(jobs)}")
    return bool(jobs)


def _dry_run(run: RunPaths, cfg: Config, kind: str, tasks: list[Task]) -> int:
    """Write the script of every stage, or name the commands; submit nothing."""
    for stage in STAGES:
        mine = [task for task in tasks if task.stage is stage]
        if kind == "slurm":
            script = run.slurm / f"{stage.name}.sbatch"
            executor = _executor(run, cfg, stage, None)
            if stage.option:
                executor.parameters["map_count"] = len(mine)
            write_text(script, executor._make_submission_file_text(executor._submitit_command_str, "") + "\n")
            print(f"{stage.name}: {len(mine)} tasks, {script}")
        else:
            argv = stages.command(mine[0], run, cfg.cluster.ranks, ["--standalone"])
            print(f"{stage.name}: {len(mine)} tasks, {shlex.join(argv)}")
    print("nothing was submitted")
    return 0
