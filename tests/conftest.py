"""What the tests share: a real SLURM for the session, and the real DICOM data beside the checkout."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from cac_hpc.report import pictures
from tests import drills, sshd
from tests.folds import fold_run, results
from tests.runs import job, pack, prepare, write_config, write_scans

REPO = Path(__file__).resolve().parents[1]
CLUSTER = REPO / "slurm" / "dev" / "cluster.py"
WIDTH = 100  # characters, of the table of drills


signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where a shell has put us into the background


@pytest.hookimpl(tryfirst=True)  # before markers are asked for
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real SLURM."""
    for item in items:
        if {"slurm", "cgroup_slurm", "tracked", "warning_slurm"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("slurm")


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes half of a report's time; test_pages.py and test_launch.py look at pictures."""
    monkeypatch.setattr(pictures, "draw", lambda *of: None)


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


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A SLURM of four nodes with accounting, started for this session and always stopped."""
    folder = tmp_path_factory.mktemp("slurm")
    try:
        yield start_cluster(folder)
    finally:
        cluster("stop", "--dir", str(folder))


def start_cluster(folder: Path, *options: str) -> Slurm:
    """Start a cluster; without its packages or root the test is skipped, or fails under CI=true.

    CAC_TEST_SLURM=none skips it anywhere: for runs that are about something else (`make versions`).
    """
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


@pytest.fixture(scope="session")
def cgroup_slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """As production clusters: signals reach only the first process of a step, memory limits are enforced."""
    folder = tmp_path_factory.mktemp("cgroup")
    try:
        yield start_cluster(folder, "--proctrack", "cgroup")
    finally:
        cluster("stop", "--dir", str(folder))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Sshd]:
    """A real sshd on this machine."""
    if (found := sshd.programs()) is None:
        unavailable("no sshd for this test: install openssh-server and openssh-client")
    with sshd.serve(tmp_path_factory.mktemp("sshd"), *found) as running:
        yield running


@pytest.fixture(params=["linuxproc", "cgroup"])
def tracked(request: pytest.FixtureRequest) -> Slurm:
    """A SLURM with either process tracker."""
    found: Slurm = request.getfixturevalue("slurm" if request.param == "linuxproc" else "cgroup_slurm")
    return found


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real DICOM data: $CAC_TEST_DATA, or shared/data beside the checkout. Read-only: copy what a test changes."""
    folder = Path(os.environ.get("CAC_TEST_DATA") or REPO.parent / "shared" / "data")
    if not folder.is_dir():
        unavailable(f"no test data in {folder}: point CAC_TEST_DATA at the folder that holds qrm_phantom and odd_ct")
    return folder


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cohort, read-only."""
    return write_scans(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, scans: Path) -> Path:
    """A run that went through all stages on this machine, read-only."""
    folder = tmp_path_factory.mktemp("local")
    done = job("launch_cv.py", "--config", write_config(folder / "settings.yaml", scans, folder / "run"))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "run"


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory, scans: Path) -> Path:
    """The small cohort's dataset, packed and sealed, read-only."""
    folder = tmp_path_factory.mktemp("packed")
    pack(prepare(folder, scans, data={"packed_dir": str(folder / "dataset")}))
    return folder / "dataset"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, scans: Path, packed: Path) -> dict[str, bytes]:
    """What fold 0 of tests/folds.py ends in when nothing disturbs it."""
    run = fold_run(tmp_path_factory.mktemp("undisturbed"), scans, packed, "doomed_fold.py")
    subprocess.run([sys.executable, REPO / "tests" / "supervise.py", run], env={**os.environ, "PYTHONPATH": str(REPO)},
                   capture_output=True, timeout=120, check=True)  # fmt: skip
    return results(run)


@pytest.fixture(scope="session")
def undisturbed_run(tmp_path_factory: pytest.TempPathFactory, scans: Path, packed: Path) -> Path:
    """A run of tests/folds.py whose folds nothing disturbed, with its report; read-only."""
    run = fold_run(tmp_path_factory.mktemp("undisturbed_run"), scans, packed, "paced_fold.py")
    done = job("launch_cv.py", "--resume", run)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


@pytest.fixture
def run(tmp_path: Path, scans: Path, packed: Path) -> Iterator[Path]:
    """A run of tests/folds.py, one second a step, of which nothing is left but its files when the test is over."""
    made = fold_run(tmp_path, scans, packed, "paced_fold.py")
    drills.pace(made, 1)
    yield made
    drills.nothing_is_left(made)


@pytest.fixture
def prepared_run(tmp_path: Path, scans: Path) -> Path:
    """A run folder with everything that the stages need, nothing run yet."""
    return prepare(tmp_path, scans)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """End with one table of the drills that were run."""
    drilled: dict[str, list[pytest.TestReport]] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport) and "drill" in report.keywords:
                drilled.setdefault(report.nodeid, []).append(report)
    if not drilled:
        return
    terminalreporter.section("drills", fullwidth=WIDTH)
    for nodeid, reports in sorted(drilled.items()):
        name = nodeid.partition("::test_")[2].replace("_", " ")
        outcomes = {each.outcome for each in reports}  # of its setup, itself and what comes after
        verdict = next(verdict for verdict in ("failed", "skipped", "passed") if verdict in outcomes)
        seconds = sum(each.duration for each in reports)
        terminalreporter.write_line(f"{name[: WIDTH - 17]:<{WIDTH - 17}} {verdict:<7} {seconds:6.0f} s")
