"""A prediction as SLURM jobs: an array whose tasks share the parts, and a job that gathers them."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from cac_hpc.cluster import launch, scheduler, submission
from cac_hpc.predict.parts import Plan
from cac_hpc.run import composition, digests, logs, predict_commands, provenance
from cac_hpc.run.config import ClusterConfig, InputError
from cac_hpc.run.predict_commands import PredictConfig

PARTS_PER_TASK = 8  # if nobody says how many tasks there are to be: 64 studies take a core one to three minutes


def submitted(cfg: PredictConfig, code: Path, plan: Plan, waiting: Sequence[int]) -> bool:
    """Submit what is missing; False if it is to be done here, as nothing is missing or there is no SLURM.

    Args:
        code: the checkout whose jobs are copied, so that later edits do not reach them. waiting: parts.
    Raises: InputError if the settings are wrong or SLURM refuses.
    """
    assert cfg.cluster is not None
    cluster = composition.read_section(ClusterConfig, cfg.cluster, "cluster")
    kind, why = launch.available_kind(cluster)
    if kind != "slurm" or not waiting:
        logs.say(f"cluster: {kind}, {why}" if waiting else "all parts are there already")
        return False
    out = Path(cfg.out).absolute()
    submission.check_path("--out", str(out))
    token = digests.content_sha256([plan.digest, str(out)])[:8]
    names = f"cac-predict-{token}", f"cac-gather-{token}"
    if there := [job for name in names for job in _in_queue(name)]:
        logs.say(f"in the queue already: job {', '.join(there)}; {_then(out)}")
        return True
    copy = out / "slurm" / "code"
    if not copy.exists():
        provenance.take(code, copy)
    shards = min(
        cfg.shards or math.ceil(len(plan.parts) / PARTS_PER_TASK), len(plan.parts), submission.most_tasks(cluster)
    )
    tasks = sorted({index % shards for index in waiting})
    command = ["bash", str(copy / "slurm" / "predict.sh"), str(copy), *predict_commands.arguments(cfg)]
    share = [*command, "--shards", str(shards), "--workers", str(cluster.pack.cpus)]
    gpus = int(plan.settings["device"] == "cuda")
    array = submission.submit_command(out / "slurm", names[0], share, cluster, cluster.pack, gpus, tasks)
    end = submission.submit_command(
        out / "slurm", names[1], [*command, "--gather"], cluster, cluster.aggregate, after=array
    )
    shared = f"{_counted(len(tasks), 'task')} for {_counted(len(waiting), 'part')}"
    logs.say(f"submitted job {array}, {shared}, then job {end}, which gathers")
    logs.say(_then(out))
    return True


def _in_queue(name: str) -> list[str]:
    found = scheduler.jobs_called(name)
    if found is None:
        raise InputError(f"{scheduler.SILENT}, so nothing was submitted; run this again")
    return [job for job, waits in found.items() if waits]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _then(out: Path) -> str:
    return (
        f"results: {shlex.quote(str(out / 'index.html'))}; logs: {shlex.quote(str(out / 'slurm'))}; the same command "
        "again submits what is missing then"
    )
