"""Folds one after the other on this machine: the next is ready when the one before has ended."""

import signal
import sys
import threading

import pytest

from cac_hpc.cluster import local
from cac_hpc.run import stages
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from tests.support.runs import prepare

FOLD = """
import os, signal, sys, time
from pathlib import Path
from cac_hpc.machine import processes
folder, fold, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def tell(what):
    with (folder / "told").open("a") as file:
        file.write(f"{what} {fold}\\n")
def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
processes.listen()
tell("loaded")
(folder / f"pid-{fold}").write_text(str(os.getpid()))
if not processes.may_begin():
    raise SystemExit(75)
tell("began")
following = folder / f"pid-{fold + 1}"
if fold < 2:
    wait_until(lambda: following.exists() and following.read_text())
    if how == "kill":
        pid = int(following.read_text())
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: processes.start_time(pid) is None)
tell("ended")
"""


@pytest.fixture
def run(tmp_path, scans, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(local, "_room", lambda cfg, stage: [None])
    yield RunPaths(prepare(tmp_path, scans, train={"epochs": 1}))
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def fold_order(tmp_path, run, monkeypatch):
    """Runs the folds of a run with a stand-in for training, each as ``how`` says; returns what they told, in order."""
    cfg = stored_settings.load(run.config)

    def order(how):
        monkeypatch.setattr(
            stages, "command", lambda task, *_: [sys.executable, "-c", FOLD, str(tmp_path), str(task.index), how]
        )
        list(local.start(run, cfg, stages.tasks_of(cfg, run, "folds"), {}))
        return (tmp_path / "told").read_text(encoding="ascii").splitlines()

    return order


def test_the_next_fold_has_loaded_when_the_one_before_ends_and_begins_only_then(fold_order):
    told = fold_order("leave")
    assert len(told) == 9
    for fold in (0, 1):
        assert told.index(f"loaded {fold + 1}") < told.index(f"ended {fold}") < told.index(f"began {fold + 1}")


def test_a_fold_that_was_killed_while_it_waited_is_started_again(fold_order):
    told = fold_order("kill")
    assert [line for line in told if "began" in line] == ["began 0", "began 1", "began 2"]
    assert told.count("loaded 1") == told.count("loaded 2") == 2
    assert told[-1] == "ended 2"


@pytest.mark.timeout(60)
def test_a_task_that_is_started_while_all_are_stopped_is_stopped_too(run, monkeypatch):
    cfg, stopped = stored_settings.load(run.config), threading.Event()
    start_task, stop_all = local._start_task, local._stop_all

    def start_late(*given):
        stopped.wait()
        return start_task(*given)

    def stop_and_tell(children):
        stop_all(children)
        stopped.set()

    monkeypatch.setattr(stages, "command", lambda *_: [sys.executable, "-c", "import signal; signal.pause()"])
    monkeypatch.setattr(local, "_start_task", start_late)
    monkeypatch.setattr(local, "_stop_all", stop_and_tell)
    steps = local.start(run, cfg, stages.tasks_of(cfg, run, "aggregate"), {})
    next(steps)
    steps.close()
