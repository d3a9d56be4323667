"""Jobs that stay in the queue of a real SLURM, and tools put before its own."""

import json
import os

from cac_hpc.run.paths import RunPaths
from tests.support.runs import REPO, job
from tests.support.waiting import wait_for

DEV = REPO / "configs" / "cluster" / "dev.yaml"


LATER = ("--cluster.sbatch", '{"begin": "now+1hour"}')  # jobs that stay in the queue


def launch(run, env, *options):
    return job("launch_cv.py", "--resume", run, "--cluster", DEV, *LATER, *options, env=env)


def put_on_path(folder, env, **bodies):
    """An environment in which these tools are lines of shell."""
    folder.mkdir()
    for tool, body in bodies.items():
        (folder / tool).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (folder / tool).chmod(0o755)
    return env | {"PATH": f"{folder}{os.pathsep}{env['PATH']}"}


def clear(slurm, run):
    job("cancel.py", run, env=slurm.env)
    wait_for(lambda: not ours(slurm, run), 30, "an empty queue")


def ours(slurm, run):
    token = json.loads(RunPaths(run).provenance.read_text(encoding="utf-8"))["run_id"]
    names = slurm.run("squeue", "--noheader", "--format=%j").split()
    return sorted(name for name in names if name.endswith(token))
