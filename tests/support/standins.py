"""Stand-ins for SLURM's tools and a run folder with a ledger alone: for what SLURM can say and no test can wait for."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from cac_hpc.cluster import queue_records
from cac_hpc.run import ledger
from cac_hpc.run.paths import RunPaths

TOKEN = "0123abcd"
NAME = f"cac-folds-{TOKEN}"
HEADER = "|".join(queue_records.ACCOUNT_FIELDS)
NEVER = "2000-01-01T00:00:00"  # long before any run of a test


class FakeSlurm:
    """squeue, sacct and scancel that print, fail or hang as they are told, and remember how they were called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        self.says("squeue", "")
        self.fails("sacct")
        self.cancels()

    def says(self, tool: str, text: str) -> None:
        (self.folder / f"{tool}.txt").write_text(text, encoding="utf-8")
        self._write(tool, f'cat "{self.folder}/{tool}.txt"')

    def fails(self, tool: str) -> None:
        self._write(tool, "echo 'Slurm accounting storage is disabled' >&2; exit 1")

    def cancels(self) -> None:
        """scancel empties the queue."""
        self._write("scancel", f': > "{self.folder}/squeue.txt"')

    def hangs(self, tool: str) -> None:
        self._write(tool, "sleep 60; echo")  # of a child: ending the shell alone would leave the line open

    def calls(self, tool: str) -> list[str]:
        log = self.folder / f"{tool}.calls"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def _write(self, tool: str, body: str) -> None:
        path, does = self.folder / tool, self.folder / f"{tool}.sh"
        does.with_suffix(".new").write_text(body + "\n", encoding="utf-8")
        does.with_suffix(".new").replace(does)
        if not path.exists():  # once: a program that somebody starts just now cannot be written
            path.write_text(f'#!/bin/sh\necho "$@" >> "{self.folder}/{tool}.calls"\n. "{does}"\n', encoding="utf-8")
            path.chmod(0o755)


def bare_run(folder: Path, *stages: str, token: str | None = TOKEN) -> RunPaths:
    """What the status view needs of a run: two tasks of each stage that is named, planned."""
    run = RunPaths(folder)
    run.slurm.mkdir(parents=True)
    run.config.write_text("run: there\ntrain:\n  epochs: 4\n  batch_size: 32\n", encoding="utf-8")
    run.provenance.write_text(json.dumps({"run_id": token} if token else {}), encoding="utf-8")
    results = {
        "pack": "dataset/shards/shard-0000{}.json",
        "seal": "splits.json",
        "folds": "folds/fold-{}/predictions.csv",
        "aggregate": "report/report.json",
    }
    for stage in stages or ("folds",):
        for task in (0, 1) if stage in ("pack", "folds") else (None,):
            ledger.record(run.ledger, stage, task, "planned", result=results[stage].format(task))
    return run


def submitted(
    run: RunPaths, task: int | None = 0, stage: str = "folds", job: str = "77_0", started: bool = True
) -> None:
    ledger.record(run.ledger, stage, task, "submitted", job=job)
    if started:
        ledger.record(run.ledger, stage, task, "started", job=job, node="n1", pid=1, attempt=1)


def finish(run: RunPaths, fold: int = 0) -> None:
    """The result of a fold."""
    files = run.fold(fold)
    files.root.mkdir(parents=True, exist_ok=True)
    files.predictions.write_bytes(b"study\n")
    files.metrics.write_text(json.dumps({"predictions_bytes": 6}), encoding="utf-8")


def queued(
    state: str,
    reason: str = "None",
    job: str = "77_0",
    name: str = NAME,
    submitted: str = "N/A",
    user: int | None = None,
    folder: str = "/work",
    command: str = "x.sbatch",
) -> str:
    owner = os.getuid() if user is None else user
    return f"{job}|{state}|{submitted}|n1|{reason}|{owner}|{folder}|{command}|{name}\n"


def accounted(state: str, job: str = "77_0", **columns: str) -> str:
    """A line of sacct's answer; columns by their names."""
    row = {"JobID": job, "State": state, "ExitCode": "1:0", "NodeList": "n1", "JobName": NAME} | columns
    return "|".join(row.get(name, "") for name in queue_records.ACCOUNT_FIELDS) + "\n"


def nvidia_smi(folder: Path, driver: str, capability: str = "8.0", num_gpus: int = 1) -> Path:
    """A folder for PATH with an nvidia-smi of that driver and those GPUs; capability "": it is too old to say."""
    folder.mkdir(parents=True, exist_ok=True)
    listed = [f"GPU {index}: Tesla T4 (UUID: GPU-{index})" for index in range(num_gpus)]
    answers = {
        "-L": (listed, 0),
        "--query-gpu=driver_version --format=csv,noheader": ([driver] * num_gpus, 0),
        "--query-gpu=compute_cap --format=csv,noheader": (
            ([capability] * num_gpus, 0) if capability else (['Field "compute_cap" is not a valid field to query.'], 2)
        ),
    }
    cases = [
        f"'{asked}') printf '%s\\n' '{chr(10).join(said)}'; exit {code};;" for asked, (said, code) in answers.items()
    ]
    program = folder / "nvidia-smi"
    program.write_text("\n".join(["#!/bin/sh", 'case "$*" in', *cases, "*) exit 1;;", "esac", ""]), encoding="utf-8")
    program.chmod(0o755)
    return folder


def torch_build(folder: Path, version: str, **said: str | None) -> Path:
    """A folder for PYTHONPATH with a torch that says how it was built, as torch does, and that nobody may import."""
    (folder / "torch").mkdir(parents=True)
    (folder / "torch" / "__init__.py").write_text("raise ImportError('torch was imported')\n", encoding="utf-8")
    lines = [f"{name}: Optional[str] = {value!r}" for name, value in {"cuda": None, "hip": None, **said}.items()]
    header = [
        "from typing import Optional",
        "",
        "__all__ = ['__version__', 'cuda', 'hip']",
        f"__version__ = '{version}'",
    ]
    (folder / "torch" / "version.py").write_text("\n".join([*header, "debug = False", *lines, ""]), encoding="utf-8")
    return folder
