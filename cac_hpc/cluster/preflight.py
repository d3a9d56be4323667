"""A look at the node before work starts on it: a bad one would fail every task that it is given."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import tempfile
from pathlib import Path

from cac_hpc.cluster import drivers
from cac_hpc.run import paths
from cac_hpc.run.config import Config, InputError, WorkError
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import Stage

TIMEOUT_S = 60


def fault(run: RunPaths, cfg: Config, stage: Stage) -> str | None:
    """What is wrong with this node; None if nothing is.

    Raises: InputError, WorkError for what would be wrong on every node.
    """
    scratch = os.environ.get("TMPDIR") or tempfile.gettempdir()  # Python itself would quietly take another one
    wrong = _not_writable(run.slurm) or _not_writable(Path(scratch))
    if wrong is None and stage.ranks:
        wrong = _no_shard(run, cfg) or (_too_few_gpus(cfg) if cfg.gpus_asked else None)
    if wrong is None and stage.ranks and cfg.gpus_asked and (unfit := drivers.fault()):
        raise WorkError(f"{unfit}; then python jobs/launch_cv.py --resume RUN")  # a node that fits is luck
    return wrong


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; empty where the driver shows none."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(index) for index, _ in enumerate(dict.fromkeys(re.findall(r"UUID: (\S+)\)", listed.stdout)))]


def _not_writable(folder: Path) -> str | None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".cac-preflight-") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # no other node has more
            raise WorkError(
                f"{folder}: {error.strerror}; make room, then python jobs/launch_cv.py --resume RUN"
            ) from None
        return f"cannot write to {folder}: {error.strerror}"
    return None


def _no_shard(run: RunPaths, cfg: Config) -> str | None:
    """Whether the dataset can be seen from here; what is in its shards is checked by who reads them."""
    dataset = run.dataset(cfg.data.packed_dir)
    if dataset.plan.exists() and not dataset.seal.exists():
        raise InputError(f"{dataset.seal}: not there, wanted a sealed dataset; run the stages pack and seal first")
    try:
        for shard in paths.read_json(dataset.seal)["shards"]:
            with (dataset.root / shard["file"]).open("rb") as file:
                file.read(4096)
    except OSError as error:
        return f"cannot read {error.filename}: {error.strerror}"
    return None


def _too_few_gpus(cfg: Config) -> str | None:
    wanted, found = cfg.gpus_asked, len(visible_gpus())
    return None if found >= wanted else f"shows {found} GPUs, {wanted} were asked for"
