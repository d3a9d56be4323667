"""A look at the node before work starts on it: its folders, and whether the installed torch can compute on its GPUs.

A bad node would fail every task that it is given.

What every node would meet is no fault of this one: a full disk, a dataset that is not sealed, and of a dataset whose
folder is there a shard that is missing, cut short, a folder or not ours to read. It ends the job, and excludes no node.
The node's own are errors of reading (I/O error, stale handle), no GPU, a scratch folder that cannot be written, and a
folder of the data that is not there at all, outside of the run folder: here its file system may not be mounted.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import importlib.util
import os
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.dataset import sealed
from cac_hpc.run import causes, disk, stages
from cac_hpc.run.causes import RESUME
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import Stage
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError, WorkError

TIMEOUT_S = 60


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
    if wrong is None and gpus and (unfit := driver_fault()):
        raise WorkError(causes.error(unfit, RESUME))  # a node that fits is luck
    if wrong is None and stage.trains and not run.splits.exists():
        raise InputError(causes.error(f"{run.splits}: missing", RESUME))
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
    found = len(visible_gpus())
    return None if found >= wanted else f"shows {found} GPUs, {wanted} were asked for"


@dataclass(frozen=True)
class Build:
    """Builds of torch for one major version of CUDA.

    Source: NVIDIA, CUDA Compatibility, Minor Version Compatibility, table 1 (drivers); CUDA 13 compiles for Turing and
    newer; PyTorch 2.14 is the last release with builds for CUDA 12, 2.7 with builds for CUDA 11.8.
    """

    cuda: int
    driver: int  # the oldest one
    capability: float  # of the oldest GPU
    install: str  # what pip is to install


BUILDS = (  # newest first
    Build(13, 580, 7.5, "torch"),
    Build(12, 525, 5.0, "'torch<2.15' --index-url https://download.pytorch.org/whl/cu126"),
    Build(11, 450, 3.7, "'torch<2.8' --index-url https://download.pytorch.org/whl/cu118"),
)


@dataclass(frozen=True)
class Torch:
    """An installed torch. cuda: what it was built with; None for a build without. other: for GPUs of another maker."""

    version: str
    cuda: str | None
    other: bool = False


@dataclass(frozen=True)
class Gpus:
    """The driver of this machine, and the compute capability of its oldest GPU; None where it does not say."""

    driver: str
    capability: float | None


def driver_fault() -> str | None:
    """Why the installed torch cannot compute on this machine's GPUs, and the command that mends it; None if it can."""
    torch, gpus = installed(), _gpus()
    if torch is None:
        return f"torch is not installed in {sys.prefix}, and train.device is cuda; {_mend(gpus, uninstall=False)}"
    if torch.other:
        return None
    if torch.cuda is None:
        return f"torch {torch.version} is a build without CUDA, and train.device is cuda; {_mend(gpus)}"
    wanted = next((build for build in BUILDS if build.cuda == int(torch.cuda.partition(".")[0])), None)
    if gpus is None or wanted is None:
        return None
    has = f"torch {torch.version} was built with CUDA {torch.cuda}, which needs"
    if int(gpus.driver.partition(".")[0]) < wanted.driver and _libcuda() < wanted.cuda:
        return f"{has} NVIDIA driver {wanted.driver} or newer, but {platform.node()} has {gpus.driver}; {_mend(gpus)}"
    if gpus.capability and gpus.capability < wanted.capability:
        found = f"{platform.node()} has one of {gpus.capability}"
        return f"{has} GPUs of compute capability {wanted.capability} or more, but {found}; {_mend(gpus)}"
    return None


def driver_notes(cfg: Config) -> list[str]:
    """What the launcher says of a torch without CUDA: jobs have the same one, unless the site gives them another."""
    torch = installed()
    if cfg.train.device != "cuda" or (torch and (torch.cuda or torch.other)):
        return []
    return [
        f"{driver_fault()}; this holds for the jobs, too, unless cluster.setup or slurm/env.sh give them another Python"
    ]


def installed() -> Torch | None:
    """The torch of this Python, from the file in which it says how it was built: to import it would take seconds."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    said = {"__version__": "?", "cuda": "0"}  # an own build may leave no such file: nothing is known of its CUDA
    version = Path(found.origin).with_name("version.py")
    if version.is_file():
        text = version.read_text(encoding="utf-8", errors="replace")
        for name, value in re.findall(r"^(\w+)(?:: [^=\n]+)? = ('[^'\n]*'|None)$", text, re.M):
            said[name] = ast.literal_eval(value)
    return Torch(said["__version__"], said["cuda"], any(said.get(name) for name in ("hip", "rocm", "xpu")))


def _gpus() -> Gpus | None:
    """What the driver says; None where there is none."""
    drivers = re.findall(r"^(\d+)(\.[\d.]+)?\s*$", _ask("driver_version"), re.M)
    if not drivers:
        return None
    capabilities = [float(found) for found in re.findall(r"^(\d+\.\d+)\s*$", _ask("compute_cap"), re.M)]
    return Gpus("".join(drivers[0]), min(capabilities, default=None))


def _ask(field: str) -> str:
    command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout if asked.returncode == 0 else ""  # drivers before 470 know no compute_cap


def _libcuda() -> int:
    """The newest major version of CUDA that programs can use here; 0 if nothing says. It may be newer than the driver
    of the machine, where the site offers NVIDIA's forward compatibility package."""
    version = ctypes.c_int(0)
    try:
        ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value // 1000


def _mend(gpus: Gpus | None, uninstall: bool = True) -> str:
    """What to install for this driver and these GPUs; where none are known, what pip takes by itself."""
    pip = f"{shlex.quote(sys.executable)} -m pip"
    remove = f"{pip} uninstall --yes torch && " if uninstall else ""
    for build in BUILDS:
        fits = gpus is None or int(gpus.driver.partition(".")[0]) >= build.driver
        if fits and (gpus is None or gpus.capability is None or gpus.capability >= build.capability):
            return f"install the build that fits: {remove}{pip} install {build.install}"
    return "no build of torch is for it: ask the site for a newer driver, or take other nodes"
