"""The development cluster is a real SLURM: it runs jobs, keeps to itself, and leaves nothing behind."""

from __future__ import annotations

import importlib.util
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.runs import REPO
from tests.support.slurm import CLUSTER, Slurm, cluster, running_cluster
from tests.support.waiting import wait_for

V1 = "4:memory:/a\n1:cpu:/\n0::/\n"  # /proc/self/cgroup, with version 2 beside
V2 = "0::/user.slice/session-1.scope\n"


@pytest.fixture
def module(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """One of the script's modules, as the script itself imports it."""
    monkeypatch.syspath_prepend(CLUSTER.parent)
    spec = importlib.util.find_spec(request.param)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


debian, cgroups = (pytest.mark.parametrize("module", [name], indirect=True) for name in ("debian", "cgroups"))


def job_state(slurm: Slurm, job: str) -> str:
    """The state that accounting knows of a job, of all its array tasks if they agree."""
    states = slurm.run("sacct", "-n", "-P", "-X", "-j", job, "--format=State").split()
    return states[0] if len(set(states)) == 1 else " ".join(states)


def wait_until_completed(slurm: Slurm, job: str) -> None:
    wait_for(lambda: job_state(slurm, job) == "COMPLETED", 40, f"job {job} COMPLETED in sacct")


def ports_of(slurm: Slurm) -> list[int]:
    return [int(port) for port in re.findall(r"Port=(\d+)", (slurm.folder / "slurm.conf").read_text())]


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def processes_mentioning(folder: Path) -> list[str]:
    """The command lines of all processes that name the folder in their arguments or environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"{folder}/".encode() in command + environment:
            found.append(command.replace(b"\0", b" ").decode())
    return found


@pytest.mark.timeout(120)
def test_a_job_runs_and_accounting_shows_it_completed(slurm: Slurm) -> None:
    job = slurm.sbatch("echo hello from $SLURM_JOB_ID", "--output=%j.out")
    wait_until_completed(slurm, job)
    assert (slurm.folder / f"{job}.out").read_text() == f"hello from {job}\n"


@pytest.mark.timeout(120)
def test_an_array_spreads_over_all_nodes(slurm: Slurm) -> None:
    job = slurm.sbatch("echo $SLURMD_NODENAME", "--array=0-3", "--exclusive")
    wait_until_completed(slurm, job)
    assert {(slurm.folder / f"{job}_{k}.out").read_text().strip() for k in range(4)} == {"n1", "n2", "n3", "n4"}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("request_gpus", ["--gres=gpu:2", "--gpus-per-node=2"])
def test_gpus_are_granted_per_node(slurm: Slurm, request_gpus: str) -> None:
    job = slurm.sbatch(
        "srun --ntasks-per-node=1 printenv SLURM_GPUS_ON_NODE", "--nodes=2", request_gpus, "--output=%j.out"
    )
    wait_until_completed(slurm, job)
    assert (slurm.folder / f"{job}.out").read_text().split() == ["2", "2"]
    assert "gres/gpu=4" in slurm.run("sacct", "-n", "-P", "-X", "-j", job, "--format=AllocTRES")


@pytest.mark.drill
@pytest.mark.timeout(120)
def test_an_urgent_job_preempts_and_the_preempted_one_is_requeued(slurm: Slurm) -> None:
    # In the batch script itself: a step is told at once, and a job whose steps end within GraceTime is not requeued
    victim = slurm.sbatch("sleep 300", "--nodes=4", "--exclusive", "--requeue")
    wait_for(lambda: slurm.run("squeue", "-h", "-j", victim, "-o", "%T") == "RUNNING", 20, "the first job running")
    urgent = slurm.sbatch("true", "--nodes=4", "--exclusive", "--partition=urgent")
    wait_until_completed(slurm, urgent)
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", victim)
    slurm.run("scancel", victim)


@pytest.mark.timeout(120)
def test_a_second_start_in_the_same_folder_is_refused_in_one_line(slurm: Slurm) -> None:
    done = cluster("start", "--dir", str(slurm.folder))
    assert done.returncode == 2
    assert (
        done.stderr == f"cluster.py: a cluster already runs in {slurm.folder}: stop it first, or give another --dir\n"
    )
    assert slurm.run("squeue", "--noheader", "--states=RUNNING") == ""


def test_a_setting_that_is_none_is_refused_in_one_line(slurm: Slurm, tmp_path: Path) -> None:
    done = cluster("start", "--dir", str(tmp_path / "new"), "--set", "NodeName=n9")
    assert done.returncode == 2
    assert done.stderr == "cluster.py: --set is NodeName=n9, but must be KEY=VALUE, not of nodes or partitions\n"
    assert not (tmp_path / "new").exists()


@pytest.mark.timeout(60)
def test_a_folder_with_other_files_is_refused_and_kept(slurm: Slurm, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    assert cluster("start", "--dir", str(tmp_path)).returncode == 2
    assert cluster("stop", "--dir", str(tmp_path)).returncode == 0
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.timeout(180)
@pytest.mark.drill
def test_a_cluster_beside_another_leaves_nothing_behind(slurm: Slurm, tmp_path: Path) -> None:
    folder = tmp_path / "second"
    settings = ("--accounting", "off", "--set", "KillWait=7", "--set", "MaxArraySize=9")
    with running_cluster(folder, *settings) as second:
        ports = ports_of(second)
        assert not set(ports) & set(ports_of(slurm))
        assert all(is_open(port) for port in ports)
        shown = second.run("scontrol", "show", "config")
        assert re.findall(r"^(?:KillWait|MaxArraySize) +=.*", shown, re.M) == [
            "KillWait                = 7 sec",
            "MaxArraySize            = 9",
        ]
        with pytest.raises(AssertionError, match="accounting storage is disabled"):
            second.run("sacct")
        job = second.sbatch("trap '' TERM; setsid sleep 300 & sleep 300")  # outlives scancel, as torchrun's ranks do
        wait_for(lambda: second.run("squeue", "-h", "-j", job, "-o", "%T") == "RUNNING", 20, "the job running")
        assert slurm.run("squeue", "--noheader", "--states=RUNNING") == ""
    assert not folder.exists()
    assert processes_mentioning(folder) == []
    assert not any(is_open(port) for port in ports)
    assert cluster("stop", "--dir", str(folder)).returncode == 0


@pytest.mark.slurm
@pytest.mark.drill
@pytest.mark.timeout(180)
def test_a_cluster_ends_with_tests_that_are_killed(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    tests = f"""from pathlib import Path
from tests.support.slurm import running_cluster
with running_cluster(Path({str(folder)!r}), "--accounting", "off") as slurm:
    print(slurm.sbatch("sleep 300"), flush=True)
    input()"""
    with subprocess.Popen(
        [sys.executable, "-c", tests], cwd=REPO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline().strip().isdecimal()
        killed.kill()
    wait_for(lambda: not folder.exists(), 60, "the cluster stopped")
    assert processes_mentioning(folder) == []


@pytest.mark.slurm
@pytest.mark.drill
@pytest.mark.timeout(180)
def test_cgroups_enforce_memory_and_are_unmounted(tmp_path: Path) -> None:
    folder = tmp_path / "cgroup"
    with running_cluster(folder, "--proctrack", "cgroup") as slurm:
        job = slurm.sbatch("python3 -c 'bytearray(400_000_000)'", "--mem=100M")
        wait_for(lambda: job_state(slurm, job) == "OUT_OF_MEMORY", 40, "the job OUT_OF_MEMORY")
    assert str(folder) not in Path("/proc/mounts").read_text()
    assert not folder.exists()


@cgroups
@pytest.mark.parametrize(
    ("groups", "controllers", "wanted"),
    [
        (V2, "cpuset cpu io memory pids\n", 2),
        (V2, "cpu pids\n", None),  # a container without a memory controller
        (V1, "hugetlb\n", 1),
        (V1, "memory\n", 1),  # SLURM: "Hybrid mode is not supported"
        ("1:name=systemd:/\n0::/\n", "memory\n", None),  # the same
        ("0::/\n", "", None),
    ],
)
def test_control_groups_are_those_that_slurm_can_use(
    module: ModuleType, groups: str, controllers: str, wanted: int | None
) -> None:
    assert module.version(groups, controllers) == wanted


@debian
def test_only_the_folders_of_a_system_are_a_release_s_own(module: ModuleType, tmp_path: Path) -> None:
    assert all(module.is_seen_inside(path) for path in (CLUSTER, tmp_path, Path("/home/me/cac_hpc")))
    assert not any(module.is_seen_inside(Path(path)) for path in ("/", "/usr/src/cac_hpc", "/var/tmp/x", "/etc"))


@debian
def test_a_root_sees_nothing_of_the_caller_s_programs(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PATH": "/mine/bin",
        "LD_LIBRARY_PATH": "/mine/lib",
        "VIRTUAL_ENV": "/mine",
        "KEPT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    inside = module.environment("trixie")
    assert (inside["PATH"], inside["KEPT"], inside[module.VARIABLE]) == (module.SYSTEM_PATH, "1", "trixie")
    assert not {"LD_LIBRARY_PATH", "VIRTUAL_ENV"} & set(inside)
    monkeypatch.setenv(module.VARIABLE, "trixie")
    assert module.is_here("trixie")
    assert not module.is_here("bookworm")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("start", "--release", "woody"), "invalid choice: 'woody'"),
        (("run", "--", "true"), "wanted: run --release NAME -- COMMAND"),
        (("run", "--release", "sid"), "wanted: run --release NAME -- COMMAND"),
        (("start", "--", "true"), "wanted: run --release NAME -- COMMAND"),
        (("remove",), "remove --release NAME"),
    ],
)
def test_a_release_that_is_none_and_a_command_that_is_missing_are_refused(
    arguments: tuple[str, ...], said: str
) -> None:
    done = cluster(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.drill
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("release", "series"), [("trixie", (24, 11)), ("sid", (26, 5))])
def test_a_cluster_of_another_release_runs_its_own_slurm_and_leaves_no_mount(
    release: str, series: tuple[int, int], tmp_path: Path
) -> None:
    root = Path("/var/cache/cac_hpc") / release
    if not root.is_dir():
        pytest.skip(f"no root of Debian {release}: python3 slurm/dev/cluster.py install --release {release}")
    folder = tmp_path / release
    run = ("run", "--release", release, "--", "env", f"SLURM_CONF={folder}/slurm.conf")
    try:
        started = cluster("start", "--release", release, "--dir", str(folder), "--proctrack", "cgroup")
        assert started.returncode == 0, started.stderr
        assert f"run --release {release} -- bash" in started.stdout
        told = cluster(*run, "srun", "--nodes=2", f"--chdir={tmp_path}", "sh", "-c", "sinfo --version; pwd")
        assert told.returncode == 0, told.stderr
        found = re.findall(r"slurm-wlm (\d+)\.(\d+)", told.stdout)
        assert [(int(year), int(month)) >= series for year, month in found] == [True, True]
        assert told.stdout.count(f"{tmp_path}\n") == 2  # the folders of this machine are seen there
        wait_for(lambda: "COMPLETED" in cluster(*run, "sacct", "-nX").stdout, 40, "the job in accounting")
        assert "slurmctld" in cluster("status", "--dir", str(folder)).stdout
        refused = cluster("remove", "--release", release)
        assert refused.returncode == 2
        assert f"run in {root}: end them first" in refused.stderr
        assert not mounts_of(root, folder)
    finally:
        stopped = cluster("stop", "--dir", str(folder))
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert not folder.exists()
    assert not mounts_of(root, folder)
    assert processes_mentioning(folder) == []
    assert not list(Path("/sys/fs/cgroup").glob(f"*/cac*{tmp_path.name}*"))


def mounts_of(*folders: Path) -> list[str]:
    """What is mounted in these folders, as this process sees it."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in mounts if any(f" {folder}/" in line for folder in folders)]
