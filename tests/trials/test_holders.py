"""A part of a trial has one holder, until that has ended, died or fallen silent."""

import dataclasses
import json
import os
import subprocess
import sys
import threading

import pytest

from cac_hpc.machine import processes
from cac_hpc.run import disk
from cac_hpc.run.paths import FoldPaths
from cac_hpc.train import fencing, heartbeat
from cac_hpc.train.heartbeat import Pulse
from cac_hpc.trials import holders
from cac_hpc.trials.holders import Holders


@pytest.fixture
def files(tmp_path):
    return FoldPaths(tmp_path / "part-0")


def start(files, **facts):
    """A start of another process, this one's parent if nothing else is said."""
    pid = os.getppid()
    own = holders.Holders(1)._own | {"pid": pid, "started": processes.start_time(pid)}
    return fencing.take(files, own | facts)


def beat(files, number=1, **facts):
    pulse = Pulse(str(number), 0, "n1", 1, 1, **facts)
    disk.write_json(files.heartbeat(0), dataclasses.asdict(pulse))


def test_one_of_many_claims_a_part(files):
    found = []
    threads = [threading.Thread(target=lambda: found.append(Holders(0).claim(files))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [fence.number for fence in found if fence] == [1]


def test_what_looks_free_to_two_is_claimed_by_the_first(files):
    first = fencing.take_after(files, 0, {})
    assert (first.number, fencing.take_after(files, 0, {}), fencing.newest_number(files.attempts)) == (1, None, 1)


def test_the_part_of_a_process_that_lives_is_not_claimed_until_it_says_that_it_has_ended(files):
    start(files)
    assert Holders(0).claim(files) is None
    beat(files)
    assert Holders(0).claim(files) is None
    beat(files, end=heartbeat.DONE)
    assert Holders(0).claim(files).number == 2


def test_the_part_of_a_process_that_was_killed_is_claimed_at_once(files):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    started = processes.start_time(dead.pid)
    dead.wait()
    start(files, pid=dead.pid, started=started)
    beat(files)
    assert Holders(0).claim(files).number == 2


def test_a_process_number_that_is_used_again_holds_nothing(files):
    start(files, started=1)
    assert Holders(0).claim(files).number == 2


def test_the_end_of_a_start_before_is_not_that_of_the_newest(files):
    start(files)
    beat(files, number=0, end=heartbeat.DONE)
    assert Holders(0).claim(files) is None


@pytest.mark.parametrize("where", [{"node": "another"}, {"numbering": "pid:[1]", "pid": 2**22 + 1}])
def test_a_process_elsewhere_holds_its_part_while_its_pulse_changes(files, monkeypatch, where):
    """On another node, or in a container of the same one, where process numbers are others."""
    clock = [0.0]
    monkeypatch.setattr(holders.time, "monotonic", lambda: clock[0])
    start(files, **where)
    ours = Holders(0)
    for second in range(0, 200, 50):
        clock[0] = second
        beat(files, beat=second)
        assert ours.claim(files) is None
    clock[0] += holders.SILENT_S
    assert ours.claim(files) is None
    clock[0] += 1
    assert Holders(2).claim(files) is None  # who has only just come waits as long
    assert ours.claim(files).number == 2


def test_a_start_that_cannot_be_read_holds_its_part_for_a_while(files, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(holders.time, "monotonic", lambda: clock[0])
    files.attempts.mkdir(parents=True)
    files.attempt(1).write_text(json.dumps({})[:1])
    ours = Holders(0)
    assert ours.claim(files) is None
    clock[0] = holders.SILENT_S + 1
    assert ours.claim(files).number == 2
