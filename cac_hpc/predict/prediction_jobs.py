"""A prediction as SLURM jobs: an array whose tasks share the parts, and a job that gathers them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from cac_hpc.cluster import gpu_drivers, ownership, sbatch_scripts, schedulers, slurm_commands, submission
from cac_hpc.predict.parts import Plan
from cac_hpc.run import ledger, logs, provenance
from cac_hpc.run.logs import amount
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import composition, predict_command
from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.predict_command import PredictConfig

PREDICT, GATHER = "predict", "gather"  # the stages, in the names of jobs, too
PARTS_PER_TASK = 8  # if nobody says how many tasks there are to be: 64 studies take a core one to three minutes


def submitted(cfg: PredictConfig, code: Path, plan: Plan, waiting: Sequence[int]) -> bool:
    """Submit what is missing; False if it is to be done here, as nothing is missing or there is no SLURM.

    Args:
        code: the checkout whose jobs are copied, so that later edits do not reach them. waiting: parts.
    Raises: InputError if the settings are wrong or SLURM refuses.
    """
    assert cfg.cluster is not None
    cluster = composition.read_section(ClusterConfig, cfg.cluster, "cluster")
    kind, why = schedulers.available_kind(cluster)
    if kind != "slurm" or not waiting:
        logs.say(f"cluster: {kind}, {why}" if waiting else "all parts are there already")
        return False
    out = Path(cfg.out).absolute()
    submission.check_path("--out", str(out))
    gpus = int(plan.settings["device"] == "cuda")
    _check(cluster, gpus)
    jobs = jobs_of(out)
    jobs.root.mkdir(exist_ok=True)
    ownership.claim(jobs)
    names = [ownership.job_name(jobs, stage) for stage in (PREDICT, GATHER)]
    if there := [job for name in names for job in _in_queue(name)]:
        logs.say(f"in the queue already: job {', '.join(there)}\n{_then(out, there)}")
        return True
    if not jobs.code.exists():
        provenance.take(code, jobs.code)
    command = ["bash", str(jobs.code / "slurm" / "predict.sh"), str(jobs.code), *predict_command.arguments(cfg)]
    shards = min(
        cfg.shards or math.ceil(len(plan.parts) / PARTS_PER_TASK), len(plan.parts), submission.most_tasks(cluster)
    )
    tasks = sorted({index % shards for index in waiting})
    array, end = _submit(jobs, names, command, cluster, gpus, tasks, shards)
    shared = f"{amount(len(tasks), 'task')} for {amount(len(waiting), 'part')}"
    logs.say(f"submitted job {array}, {shared}, then job {end}, which gathers\n{_then(out, [array, end])}")
    return True


def _submit(
    jobs: RunPaths,
    names: Sequence[str],
    command: Sequence[str],
    cluster: ClusterConfig,
    gpus: int,
    tasks: Sequence[int],
    shards: int,
) -> tuple[str, str]:
    """Submit the array and the job that gathers, under these names; returns their numbers."""
    share = [*command, "--shards", str(shards), "--workers", str(cluster.pack.cpus)]
    script = sbatch_scripts.write_command_script(jobs.root, names[0], share, cluster, cluster.pack, gpus, tasks)
    array = submission.submit_command(script)
    for task in tasks:
        ledger.record(jobs.ledger, PREDICT, task, "submitted", job=f"{array}_{task}", shards=shards)
    gather = [*command, "--gather"]
    end = submission.submit_command(
        sbatch_scripts.write_command_script(jobs.root, names[1], gather, cluster, cluster.aggregate, after=array)
    )
    ledger.record(jobs.ledger, GATHER, None, "submitted", job=end)
    return array, end


def jobs_of(out: Path) -> RunPaths:
    """Ledger, scripts, logs and code of a prediction's jobs, as a run has them; not there if none was submitted."""
    return RunPaths(out / "slurm")


def told(cfg: PredictConfig) -> AbstractContextManager[object]:
    """Have the ledger tell that a job of --cluster started and how it ended; nothing of any other prediction."""
    jobs = jobs_of(Path(cfg.out))
    if (cfg.shard is None and not cfg.gather) or not jobs.ledger.exists():
        return nullcontext()
    return ledger.stage(jobs.ledger, GATHER if cfg.gather else PREDICT, cfg.shard)


def _check(cluster: ClusterConfig, gpus: int) -> None:
    """The cluster can start the jobs, as far as it says; what there is to say is said.

    Raises: InputError for what cannot work, one line for each fault.
    """
    submission.check_command(cluster, gpus)
    torch = gpu_drivers.installed()
    if gpus and torch and torch.cuda is None and not torch.other:
        logs.say(f"note: torch {torch.version} is a build without CUDA, and --device is cuda; this holds for the jobs, "
                 "too, unless cluster.setup or slurm/env.sh give them another Python")  # fmt: skip


def _in_queue(name: str) -> list[str]:
    found = slurm_commands.jobs_called(name)
    if found is None:
        raise InputError(f"{slurm_commands.SILENT}, so nothing was submitted; run this again")
    return [job for job, waits in found.items() if waits]


def _then(out: Path, jobs: Sequence[str]) -> str:
    """How to look after the jobs."""
    return (
        f"where it stands: python jobs/status.py {shlex.quote(str(out))}\nto stop it:      scancel {' '.join(jobs)}\n"
        f"results:         {shlex.quote(str(out / 'index.html'))}; the same command again submits what is missing then"
    )
