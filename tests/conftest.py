"""What the tests share: a real SLURM for the session, and the real DICOM data beside the checkout."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cac_hpc.report import pictures
from tests.support import bags, coca, drills, sshd
from tests.support.folds import fold_run, results
from tests.support.runs import REPO, SUPPORT, job, pack, prepare, write_config, write_scans
from tests.support.slurm import Slurm, running_cluster, unavailable

WIDTH = 100  # characters, of the table of drills
DOOMED = "doomed_fold.py"


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
    monkeypatch.setattr(pictures, "before_counting", lambda *of: [])


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A SLURM of four nodes with accounting, started for this session and always stopped."""
    with running_cluster(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="session")
def cgroup_slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """As production clusters: signals reach only the first process of a step, memory limits are enforced."""
    with running_cluster(tmp_path_factory.mktemp("cgroup"), "--proctrack", "cgroup") as running:
        yield running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Sshd]:
    """A real sshd on this machine."""
    if (found := sshd.programs()) is None:
        unavailable("no sshd for this test: install openssh-server and openssh-client")
    with sshd.serve(tmp_path_factory.mktemp("sshd"), *found) as running:
        yield running


@pytest.fixture(scope="session")
def coca_collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic collection in the layout of COCA, its gated and its other exams."""
    root = tmp_path_factory.mktemp("coca")
    coca.write_gated(root / "Gated_release_final")
    coca.write_nongated(root / "deidentified_nongated")
    return root


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


def once(temporary: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one of the session's workers makes and all of them read."""
    base = temporary.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / name
    with (base / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cohort, read-only."""
    return once(tmp_path_factory, "cohort", lambda folder: write_scans(folder / "scans")) / "scans"


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, scans: Path) -> Path:
    """A run that went through all stages on this machine, read-only."""

    def make(folder: Path) -> None:
        done = job("launch_cv.py", "--config", write_config(folder / "settings.yaml", scans, folder / "run"))
        assert done.returncode == 0, done.stdout + done.stderr

    return once(tmp_path_factory, "local", make) / "run"


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory, scans: Path) -> Path:
    """The small cohort's dataset, packed and sealed, read-only."""
    folder = tmp_path_factory.mktemp("packed")
    pack(prepare(folder, scans, data={"packed_dir": str(folder / "dataset")}))
    return folder / "dataset"


@pytest.fixture(scope="session")
def bagged(tmp_path_factory: pytest.TempPathFactory, packed: Path) -> Path:
    """The small cohort's dataset with invented candidates in place of slices, read-only."""
    return bags.write_dataset(packed, tmp_path_factory.mktemp("bagged") / "dataset")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, scans: Path, packed: Path) -> dict[str, bytes]:
    """What fold 0 of support/folds.py ends in when nothing disturbs it."""
    folder = once(tmp_path_factory, "undisturbed", lambda folder: train(fold_run(folder, scans, packed, DOOMED)))
    return results(folder / "run")


@pytest.fixture(scope="session")
def undisturbed_lesions(tmp_path_factory: pytest.TempPathFactory, scans: Path, bagged: Path) -> dict[str, bytes]:
    """The same of a fold of lesions."""
    folder = tmp_path_factory.mktemp("undisturbed_lesions")
    return results(train(fold_run(folder, scans, bagged, DOOMED, train=bags.LEARN, model=bags.MODEL)))


def train(run: Path) -> Path:
    """Fold 0 of a run, to its end."""
    subprocess.run([sys.executable, SUPPORT / "supervise.py", run], env={**os.environ, "PYTHONPATH": str(REPO)},
                   capture_output=True, timeout=120, check=True)  # fmt: skip
    return run


@pytest.fixture(scope="session")
def undisturbed_run(tmp_path_factory: pytest.TempPathFactory, scans: Path, packed: Path) -> Path:
    """A run of support/folds.py whose folds nothing disturbed, with its report; read-only."""
    run = fold_run(tmp_path_factory.mktemp("undisturbed_run"), scans, packed, "paced_fold.py")
    done = job("launch_cv.py", "--resume", run)
    assert done.returncode == 0, done.stdout + done.stderr
    return run


@pytest.fixture
def run(tmp_path: Path, scans: Path, packed: Path) -> Iterator[Path]:
    """A run of support/folds.py, one second a step, of which nothing is left but its files when the test is over."""
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
