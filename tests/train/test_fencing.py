"""Numbered starts: the newest may write, all older ones may not, however many start at the same time."""

import json
import os
import subprocess
import sys
import threading

import pytest

from cac_hpc.run import disk, paths
from cac_hpc.run.paths import FoldPaths
from cac_hpc.train import checkpoint, fencing
from cac_hpc.train.fencing import Fenced
from tests.support.folds import alive, fold_run, results
from tests.support.runs import REPO, SUPPORT
from tests.support.waiting import wait_for


def test_a_replaced_start_writes_nothing_more(tmp_path):
    files = FoldPaths(tmp_path)
    old = fencing.take(files, {"job": "1"})
    disk.write_text(files.history, "old", old.check)
    new = fencing.take(files, {"job": "1"})
    assert (old.number, new.number) == (1, 2)
    with pytest.raises(Fenced, match="start 1 of this fold has been replaced by start 2"):
        disk.write_text(files.history, "stale", old.check)
    with pytest.raises(Fenced):
        checkpoint.save(files.checkpoint(1, 0), {}, old.check)
    assert files.history.read_text(encoding="utf-8") == "old"
    assert not list(tmp_path.rglob("*.tmp"))
    assert not list(tmp_path.rglob("epoch-*"))
    checkpoint.save(files.checkpoint(1, 0), {}, new.check)


def test_starts_at_the_same_time_get_different_numbers(tmp_path):
    numbers = []
    threads = [
        threading.Thread(target=lambda: numbers.append(fencing.take(FoldPaths(tmp_path), {}).number)) for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers) == list(range(1, 17))


def test_fruitless_starts_are_those_of_this_job_since_the_newest_checkpoint(tmp_path):
    files = FoldPaths(tmp_path)
    for job in ("1", "1", "2"):
        fencing.take(files, {"job": job})
    assert [fencing.num_fruitless(files, job) for job in ("1", "2", None)] == [0, 1, 0]
    fencing.take(files, {"job": "2"})
    assert fencing.num_fruitless(files, "2") == 2
    checkpoint.save(files.checkpoint(0, 1), {})
    assert fencing.num_fruitless(files, "2") == 0
    fencing.take(files, {"job": "2"})
    assert fencing.num_fruitless(files, "2") == 1


def start(run, pace_s):
    env = {**os.environ, "PYTHONPATH": str(REPO), "CAC_PACE_S": str(pace_s)}
    return subprocess.Popen([sys.executable, SUPPORT / "supervise.py", run], env=env)


@pytest.mark.timeout(120)
@pytest.mark.drill
def test_of_two_copies_of_a_fold_the_older_one_ends_itself_and_the_newer_one_is_right(
    tmp_path, scans, packed, undisturbed
):
    """As after a node that was thought dead: both run at the same time, with nothing but the folder between them."""
    run = fold_run(tmp_path, scans, packed, "paced_fold.py")
    files = paths.RunPaths(run).fold(0)
    with start(run, 2) as old:
        wait_for(files.checkpoints, 60, "the first checkpoint")
        with start(run, 0) as new:
            assert new.wait(60) == 0
            old.wait(60)
    assert results(run) == undisturbed
    assert json.loads(files.metrics.read_text(encoding="utf-8"))["attempt"] == 2
    assert "has been replaced by start 2" in (run / "slurm" / "folds-0.log").read_text(encoding="utf-8")
    wait_for(lambda: not alive(run), 15, "the end of all processes")
