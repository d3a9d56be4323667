"""Small cohorts, their settings, and jobs started as people start them."""

from __future__ import annotations

import io
import logging
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import yaml

from cac_hpc.cluster import launch
from cac_hpc.dataset import packing, sealing
from cac_hpc.settings import launch_command
from cac_hpc.volumes import dicom

REPO = Path(__file__).resolve().parents[2]
SUPPORT = Path(__file__).parent
SCORES = (0.0, 5.0, 50.0, 200.0, 700.0, 2000.0)  # one in each category
NUM_SLICES, SIZE = 6, 32


def write_scans(root: Path, num_studies: int = 18, scanners: Sequence[str] = ()) -> Path:
    """Studies of a few small slices with more bright squares the higher the category, and their labels.csv.

    Args:
        scanners: model of each study, of Siemens; no header names one without.
    """
    rng = np.random.default_rng(0)
    rows = ["study,score"]
    for index in range(num_studies):
        category = index % len(SCORES)
        hu_ZHW = rng.normal(40, 15, (NUM_SLICES, SIZE, SIZE))
        hu_ZHW[:, :3] = -900  # air and lung
        for z in range(NUM_SLICES):
            for y, x in rng.integers(2, SIZE - 4, (2 * category, 2)):
                hu_ZHW[z, y : y + 3, x : x + 3] = 500
        dicom.write_series(
            root / f"{index:03d}",
            hu_ZHW.astype(np.int16),
            pixel_spacing_mm=6.0,
            slice_spacing_mm=3.0,
            first_z_mm=-9.0,
            uid_entropy=["tests", str(index)],
            attributes={"KVP": 120, "SliceThickness": 3} | (_made_by(scanners[index]) if scanners else {}),
        )
        rows.append(f"{index:03d},{SCORES[category]:g}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def _made_by(model: str) -> dict[str, object]:
    return {"Manufacturer": "SIEMENS", "ManufacturerModelName": model}


def write_config(path: Path, scans: Path, run: Path, **sections: dict[str, object]) -> Path:
    """Settings of a run that takes seconds: three folds of two ranks on the CPU."""
    content: dict[str, object] = {
        "run": str(run),
        "data": {"dicom_root": str(scans)},
        "labels": {"sheet": str(scans / "labels.csv")},
        "pack": {"size": SIZE, "studies_per_shard": 9, "min_slices": NUM_SLICES},
        "split": {"folds": 3},
        "model": {"filters": [8, 16, 16], "dense": 32},
        "train": {"epochs": 4, "learning_rate": 0.002, "device": "cpu", "precision": "fp32"},
        "cluster": {"kind": "local", "ranks_per_node": 2},
        "report": {"figure_dpi": 50},  # a second less per report
    }
    for name, section in sections.items():
        content[name] = {**content.get(name, {}), **section}  # type: ignore[dict-item]
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def prepare(folder: Path, scans: Path, **sections: dict[str, object]) -> Path:
    """A run folder as the launcher leaves it before the first stage starts."""
    cfg, options = launch_command.parse_launch(
        None, ["--config", str(write_config(folder / "settings.yaml", scans, folder / "run", **sections)), "--dry_run"]
    )
    assert launch.launch(cfg, options, REPO) == 0
    return folder / "run"


def pack(run: Path) -> None:
    """The stages pack and seal."""
    packing.pack_shards(run)
    sealing.seal(run)


def job(
    script: str, *arguments: object, env: dict[str, str] | None = None, timeout_s: float = 240
) -> subprocess.CompletedProcess[str]:
    """Start jobs/SCRIPT as a person would."""
    command = [sys.executable, str(REPO / "jobs" / script), *map(str, arguments)]
    return subprocess.run(command, env=env or dict(os.environ), capture_output=True, text=True, timeout=timeout_s)


def job_here(script: str, *arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The same within this process, which saves its imports: where neither signals nor a child's output matter."""
    path, out, err, log = str(REPO / "jobs" / script), io.StringIO(), io.StringIO(), logging.getLogger("cac_hpc")
    code, level = 0, log.level
    with (
        mock.patch.object(sys, "argv", [path, *map(str, arguments)]),
        mock.patch.object(logging.getLogger(), "handlers", []),
        mock.patch.dict(os.environ, dict(os.environ) if env is None else env, clear=True),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            log.setLevel(level)
    return subprocess.CompletedProcess([script, *arguments], code, out.getvalue(), err.getvalue())


def torchrun(num_ranks: int, run: Path, fold: int) -> list[str]:
    """The command that trains a fold with that many ranks."""
    logs = f"--log-dir={run}/slurm/torchrun"
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}", logs, "--"]
    return [*ranks, str(REPO / "jobs" / "train_fold.py"), "--run", str(run), "--fold", str(fold)]
