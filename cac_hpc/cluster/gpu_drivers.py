"""The GPUs of this machine, and whether the installed torch can compute on them with the driver that is there."""

from __future__ import annotations

import ast
import ctypes
import importlib.util
import os
import platform
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.settings.config import Config

TIMEOUT_S = 60


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


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; empty where the driver shows none."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [str(index) for index, _ in enumerate(dict.fromkeys(re.findall(r"UUID: (\S+)\)", listed.stdout)))]


def fault() -> str | None:
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


def notes(cfg: Config) -> list[str]:
    """What the launcher says of a torch without CUDA: jobs have the same one, unless the site gives them another."""
    torch = installed()
    if cfg.train.device != "cuda" or (torch and (torch.cuda or torch.other)):
        return []
    return [f"{fault()}; this holds for the jobs, too, unless cluster.setup or slurm/env.sh give them another Python"]


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
