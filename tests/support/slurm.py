"""A real SLURM, started and stopped by tests."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support.runs import REPO

CLUSTER = REPO / "slurm" / "dev" / "cluster.py"


@dataclass(frozen=True)
class Slurm:
    """A running development cluster; ``env`` points SLURM's tools at it."""

    folder: Path
    env: dict[str, str]

    def run(self, *command: str) -> str:
        """Run one command against the cluster, fail the test if it fails, and return what it printed."""
        done = subprocess.run(command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def sbatch(self, script: str, *options: str) -> str:
        """Submit a line of shell and return its job id; what it prints goes to JOB.out in the cluster's folder."""
        return self.run("sbatch", "--parsable", "--output=%A_%a.out", *options, f"--wrap={script}")


@contextlib.contextmanager
def running_cluster(folder: Path, *options: str) -> Iterator[Slurm]:
    """A cluster until the block ends, or this process does, killed perhaps, as by Ctrl-C under pytest-xdist.

    Without its packages or root the test is skipped, or fails under CI=true.
    """
    stop = [sys.executable, str(CLUSTER), "stop", "--dir", str(folder)]
    waiting = ["sh", "-c", 'cat; exec "$@"', "sh", *stop]  # for the end of the pipe, which ends with whoever holds it
    with subprocess.Popen(
        waiting,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as stopping:
        try:
            yield _start(folder, *options)
        finally:
            said = stopping.communicate(timeout=120)[1]
    assert (stopping.returncode, said) == (0, ""), said


def _start(folder: Path, *options: str) -> Slurm:
    """CAC_TEST_SLURM=none skips what needs a cluster: for runs that are about something else (`make versions`)."""
    if os.environ.get("CAC_TEST_SLURM") == "none":
        pytest.skip("CAC_TEST_SLURM is none: no test starts a SLURM")
    done = cluster("start", "--dir", str(folder), *options)
    if done.returncode == 2:
        unavailable(f"no SLURM for this test: {done.stderr.strip()}")
    assert done.returncode == 0, f"the development cluster did not start: {done.stderr}"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH_"))}
    path = (
        f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # an activated environment, for sbatch scripts
    )
    return Slurm(folder, inherited | {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": path})


def cluster(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, CLUSTER, *arguments], capture_output=True, text=True, timeout=120)


def unavailable(reason: str) -> NoReturn:
    """Skip where people work; fail in CI, where nobody would notice a skip."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
