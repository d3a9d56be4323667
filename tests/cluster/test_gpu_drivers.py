"""torch, the driver and the GPUs of a node fit each other, or it is said before anything is trained."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cac_hpc.cluster import gpu_drivers
from cac_hpc.run.paths import RunPaths
from tests.support.runs import REPO, job, prepare, write_config
from tests.support.standins import nvidia_smi, torch_build

CU126 = "-m pip install 'torch<2.15' --index-url https://download.pytorch.org/whl/cu126"
CU118 = "-m pip install 'torch<2.8' --index-url https://download.pytorch.org/whl/cu118"
DEV = REPO / "configs" / "cluster" / "dev.yaml"
ANY = "-m pip install torch"


def site(folder: Path, **variables: str) -> dict[str, str]:
    """The environment of a process on a machine with these stand-ins."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": f"{folder / 'lib'}{os.pathsep}{REPO}"} | variables


def fault(env: dict[str, str]) -> str:
    program = "from cac_hpc.cluster import gpu_drivers; print(gpu_drivers.fault() or '')"
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_installed_torch_is_read_as_it_reads_itself():
    assert gpu_drivers.installed() == gpu_drivers.Torch(
        str(torch.__version__), torch.version.cuda, bool(torch.version.hip)
    )


@pytest.mark.parametrize(
    ("driver", "capability", "version", "cuda"),
    [
        ("580.65.06", "7.5", "2.13.0+cu130", "13.0"),
        ("610.12", "12.0", "2.15.0+cu132", "13.2"),
        ("525.60.13", "7.0", "2.13.0+cu126", "12.6"),  # any driver of CUDA 12 runs any CUDA 12
        ("580.65.06", "6.0", "2.6.0", "12.4"),
        ("450.80.02", "", "2.7.1+cu118", "11.8"),
        ("580.65.06", "", "2.13.0", "13.0"),  # it does not say what its GPUs are
        ("535.54", "8.0", "2.99.0a0+git", "99.1"),  # nothing is known of it
    ],
)
def test_what_fits_is_not_complained_of(driver, capability, version, cuda, tmp_path):
    nvidia_smi(tmp_path / "bin", driver, capability)
    torch_build(tmp_path / "lib", version, cuda=cuda)
    assert fault(site(tmp_path)) == ""


@pytest.mark.parametrize(
    ("driver", "capability", "version", "cuda", "said", "install"),
    [
        ("535.183.01", "8.0", "2.13.0+cu130", "13.0", "driver 580 or newer, but .* has 535.183.01", CU126),
        ("579.99", "9.0", "2.15.0+cu132", "13.2", "driver 580 or newer, but .* has 579.99", CU126),
        ("470.256.02", "8.0", "2.14.1+cu126", "12.6", "driver 525 or newer, but .* has 470.256.02", CU118),
        ("470.57", "", "2.13.0", "13.0", "driver 580 or newer", CU118),
        (
            "390.157",
            "6.1",
            "2.13.0",
            "13.0",
            "driver 580 or newer",
            "ask the site for a newer driver, or take other nodes",
        ),
        ("580.65.06", "7.0", "2.13.0+cu130", "13.0", "capability 7.5 or more, but .* has one of 7.0", CU126),
        ("580.65.06", "3.5", "2.13.0+cu130", "13.0", "capability 7.5 or more", "take other nodes"),
        ("580.65.06", "8.0", "2.13.0+cpu", None, "torch 2.13.0.cpu is a build without CUDA", ANY),
        ("550.54", "8.0", "2.13.0+cpu", None, "a build without CUDA", CU126),
    ],
)
def test_what_does_not_fit_is_named_with_the_command_that_mends_it(
    driver, capability, version, cuda, said, install, tmp_path
):
    nvidia_smi(tmp_path / "bin", driver, capability)
    torch_build(tmp_path / "lib", version, cuda=cuda)
    found = fault(site(tmp_path))
    assert re.search(said, found)
    assert found.endswith(install)


def test_without_torch_it_is_to_be_installed(tmp_path):
    program = (
        "import sys; from cac_hpc.cluster import gpu_drivers\n"
        "sys.path = [path for path in sys.path if 'site-packages' not in path]; print(gpu_drivers.fault())"
    )
    env = site(tmp_path, PYTHONPATH=str(REPO))
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=60)
    assert "torch is not installed in" in done.stdout, done.stderr
    assert done.stdout.strip().endswith(f"fits: {sys.executable} {ANY}")


@pytest.mark.parametrize("said", [{"hip": "6.4.43482"}, {"xpu": "20250101"}])
def test_a_build_for_gpus_of_another_maker_is_left_alone(said, tmp_path):
    torch_build(tmp_path / "lib", "2.13.0", **said)
    assert fault(site(tmp_path)) == ""


def test_an_own_build_that_says_nothing_is_left_alone(tmp_path):
    (torch_build(tmp_path / "lib", "2.13.0") / "torch" / "version.py").unlink()
    assert fault(site(tmp_path)) == ""


def test_a_driver_that_the_sites_compatibility_package_extends_is_enough(tmp_path):
    """NVIDIA's package brings a newer libcuda.so.1 than the driver's."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc here, to make a libcuda.so.1 with")
    nvidia_smi(tmp_path / "bin", "535.183.01")
    torch_build(tmp_path / "lib", "2.13.0+cu130", cuda="13.0")
    for version, wanted in ((12020, CU126), (13000, "")):
        code = f"int cuDriverGetVersion(int *version) {{ *version = {version}; return 0; }}"
        command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", tmp_path / "libcuda.so.1"]
        subprocess.run(command, input=code, text=True, check=True)
        found = fault(site(tmp_path, LD_LIBRARY_PATH=str(tmp_path)))
        assert found.endswith(wanted) if wanted else found == ""


def test_a_node_says_it_before_training_and_is_not_called_bad(tmp_path, scans, packed):
    run = prepare(tmp_path, scans, data={"packed_dir": str(packed)})
    config = run / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("device: cpu", "device: cuda"), encoding="utf-8")
    shutil.copy(packed / "splits.json", run) if (packed / "splits.json").exists() else None
    nvidia_smi(tmp_path / "bin", "535.183.01", num_gpus=2)
    torch_build(tmp_path / "lib", "2.13.0+cu130", cuda="13.0")
    options = ("--run", run, "--stage", "folds", "--index", 0)
    done = job("supervise.py", *options, env=site(tmp_path, CUDA_VISIBLE_DEVICES="0,1"))
    assert done.returncode == 1
    assert f"has 535.183.01; install the build that fits: {sys.executable} -m pip uninstall --yes torch" in done.stderr
    assert f"{CU126}; to go on: python jobs/launch_cv.py --resume {run}" in done.stderr
    assert not RunPaths(run).excluded.exists()
    assert not (run / "folds").exists()


def test_a_machine_whose_torch_cannot_use_its_gpus_is_refused(tmp_path, scans):
    nvidia_smi(tmp_path / "bin", "580.65.06", num_gpus=2)
    torch_build(tmp_path / "lib", "2.13.0+cpu")
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", train={"device": "cuda"})
    done = job("launch_cv.py", "--config", config, env=site(tmp_path, CUDA_VISIBLE_DEVICES="0,1"))
    assert done.returncode == 2
    assert "torch 2.13.0+cpu is a build without CUDA, and train.device is cuda" in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_launcher_tells_of_a_torch_without_cuda_before_anything_is_submitted(slurm, tmp_path, scans):
    torch_build(tmp_path / "lib", "2.13.0+cpu")
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", train={"device": "cuda"})
    env = site(tmp_path, SLURM_CONF=slurm.env["SLURM_CONF"])
    done = job("launch_cv.py", "--config", config, "--cluster", DEV, "--dry_run", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    told = " ".join(done.stdout.split())
    assert "note: torch 2.13.0+cpu is a build without CUDA, and train.device is cuda; install the build" in told
    assert "unless cluster.setup or slurm/env.sh give them another Python" in told
