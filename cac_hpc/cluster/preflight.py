"""A look at the node before work starts on it: its folders, the dataset, and its GPUs.

A bad node would fail every task that it is given.

What every node would meet is no fault of this one: a full disk, a dataset that is not sealed, and of a dataset whose
folder is there a shard that is missing, cut short, a folder or not ours to read. It ends the job, and excludes no node.
The node's own are errors of reading (I/O error, stale handle), no GPU, a scratch folder that cannot be written, and a
folder of the data that is not there at all, outside of the run folder: here its file system may not be mounted.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from cac_hpc.cluster import gpu_drivers
from cac_hpc.dataset import sealed
from cac_hpc.run import causes, disk, stages
from cac_hpc.run.causes import RESUME
from cac_hpc.run.logs import amount
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import Stage
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError, WorkError


def fault(run: RunPaths, cfg: Config, stage: Stage) -> str | None:
    """What is wrong with this node; None if nothing is.

    Raises: InputError, WorkError for what would be wrong on every node.
    """
    scratch = os.environ.get("TMPDIR") or tempfile.gettempdir()  # Python itself would quietly take another one
    with contextlib.suppress(OSError):
        run.slurm.mkdir(exist_ok=True)  # it may have been purged
    wrong = _not_writable(run.slurm) or _not_writable(Path(scratch))
    if wrong is None and stage.name == "pack":
        roots = (Path(cohort.cfg.data.dicom_root) for cohort in cfg.by_cohort())
        wrong = next(filter(None, map(_absent, roots)), None)
    gpus = stages.gpus(stage, cfg)
    if wrong is None and stage.trains:
        wrong = _no_dataset(run, cfg) or (_too_few_gpus(gpus) if gpus else None)
    if wrong is None and gpus and (unfit := gpu_drivers.fault()):
        raise WorkError(causes.error(unfit, RESUME))  # a node that fits is luck
    if wrong is None and stage.trains and not run.splits.exists():
        raise InputError(causes.error(f"{run.splits}: missing", RESUME))
    return wrong


def _not_writable(folder: Path) -> str | None:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".cac-preflight-") as file:
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in disk.FULL:  # no other node has more
            raise WorkError(causes.error(f"{folder}: {error.strerror}; make room", RESUME)) from None
        return f"cannot write to {folder}: {error.strerror}"
    return None


def _no_dataset(run: RunPaths, cfg: Config) -> str | None:
    """Whether the dataset can be seen from here; what is in its shards is checked by who reads them."""
    dataset = run.dataset(cfg.data.packed_dir)
    outside = not dataset.root.is_relative_to(run.root)
    if outside and not dataset.plan.exists() and not dataset.seal.exists() and (wrong := _absent(dataset.plan)):
        return wrong
    try:
        sealed.check(dataset)
    except OSError as error:
        return f"cannot read {error.filename}: {error.strerror}"
    return None


def _absent(path: Path) -> str | None:
    try:
        path.stat()
    except OSError as error:
        return f"cannot see {path}: {error.strerror}"
    return None


def _too_few_gpus(wanted: int) -> str | None:
    found = len(gpu_drivers.visible_gpus())
    return None if found >= wanted else f"shows {amount(found, 'GPU')}, {wanted} were asked for"
