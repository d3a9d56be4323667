"""What is written into a run folder stays in it: no link is followed that somebody else has put there."""

import os
import subprocess

import pytest

from cac_hpc.run import disk, ledger, lock
from cac_hpc.run.paths import FoldPaths, RunPaths
from cac_hpc.settings.errors import InputError
from cac_hpc.train import fencing, heartbeat
from cac_hpc.transfer import fetching
from tests.support.runs import job


@pytest.fixture
def victim(tmp_path):
    path = tmp_path / "victim"
    path.write_text("precious", encoding="utf-8")
    return path


def hold(path):
    with lock.exclusive(path):
        pass


WRITERS = {
    "the lock": ("local.lock", hold),
    "the ledger": ("ledger.jsonl", lambda path: ledger.record(path, "folds", 0, "started")),
    "excluded nodes": ("slurm/excluded_nodes.jsonl", lambda path: ledger.append(path, node="n1")),
    "the lock of a store": ("store/lock", lambda path: fetching._store(path.parent).__enter__()),
}


@pytest.mark.parametrize("case", WRITERS)
@pytest.mark.parametrize("there", ["a link to a file", "a link to nothing", "a pipe"])
def test_what_stands_in_place_of_a_file_of_ours_is_refused_in_one_line(case, there, victim, tmp_path):
    name, write = WRITERS[case]
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    if there == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(victim if there == "a link to a file" else tmp_path / "new")
    with pytest.raises(
        InputError, match=rf"{path}: found a {there.split()[1]}.*, wanted a plain file; remove it"
    ) as refused:
        write(path)
    assert "\n" not in str(refused.value)
    assert victim.read_text(encoding="utf-8") == "precious"
    assert not (tmp_path / "new").exists()
    assert not lock.is_held(path)
    assert lock.holder(path) is None


def test_folders_that_are_links_are_used(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "real")
    with lock.exclusive(RunPaths(tmp_path / "run").lock):
        assert lock.is_held(tmp_path / "real" / "local.lock")
    ledger.record(tmp_path / "run" / "ledger.jsonl", "folds", 0, "started")
    assert ledger.read(tmp_path / "real" / "ledger.jsonl")


def test_a_sign_of_life_is_not_written_through_a_link(victim, tmp_path):
    files = FoldPaths(tmp_path / "fold-0")
    files.heartbeats.mkdir(parents=True)
    (files.heartbeats / ".rank-0000.json.tmp").symlink_to(victim)
    fence = fencing.take(files, {})
    with pytest.raises(InputError, match=r"rank-0000\.json\.tmp: found a link"):
        heartbeat.Heartbeat(files, fence, 0, 1, lambda why: None).__enter__()
    assert victim.read_text(encoding="utf-8") == "precious"


def test_files_of_ours_are_made_with_the_rights_of_any_file(tmp_path):
    with disk.open_own(tmp_path / "own", "w") as file:
        file.write("é")
    (tmp_path / "other").write_text("é", encoding="utf-8")
    assert (tmp_path / "own").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert (tmp_path / "own").read_bytes() == "é".encode()


def test_a_launcher_says_so_and_ends_with_code_2(victim, prepared_run):
    (prepared_run / "local.lock").unlink(missing_ok=True)
    (prepared_run / "local.lock").symlink_to(victim)
    done: subprocess.CompletedProcess[str] = job("launch_cv.py", "--resume", prepared_run, "--wait")
    assert done.returncode == 2, done.stderr
    assert "local.lock: found a link, wanted a plain file" in done.stderr.splitlines()[-1]
    assert victim.read_text(encoding="utf-8") == "precious"
