"""A process that was started ahead of time works when it is let begin, and not before."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cac_hpc.machine import processes
from tests.support.runs import REPO
from tests.support.waiting import wait_for

TORCHRUN = """
import subprocess, sys
rank = subprocess.Popen([sys.executable, *sys.argv[1:]])
print(rank.pid, flush=True)
rank.wait()
"""
WAITING = """
import os, sys
from cac_hpc.machine import processes
processes.listen()
print("loaded", flush=True)
print(processes.may_begin(), processes.heard(), flush=True)
"""


def start(line=subprocess.PIPE, waits=True):
    env = {**os.environ, **({"CAC_HPC_WAITS": "1"} if waits else {})}
    started = subprocess.Popen([sys.executable, "-c", WAITING], env=env, stdin=line, stdout=subprocess.PIPE, text=True)
    assert started.stdout.readline() == "loaded\n"
    return started


def end(started):
    said = started.stdout.read().strip()
    assert started.wait(timeout=60) == 0
    started.stdout.close()
    return said


def test_each_byte_lets_one_process_begin():
    theirs, ours = os.pipe()
    both = [start(theirs), start(theirs)]
    assert [one.poll() for one in both] == [None, None]
    os.write(ours, b"..")
    assert [end(one) for one in both] == ["True None", "True None"]
    os.close(theirs)
    os.close(ours)


def test_a_process_whose_starter_has_ended_does_not_begin():
    waiting = start()
    waiting.stdin.close()
    assert end(waiting) == "False None"


def test_a_waiting_process_that_is_asked_to_stop_does_not_begin():
    waiting = start()
    waiting.send_signal(signal.SIGTERM)
    assert end(waiting) == "False SIGTERM"
    waiting.stdin.close()


def test_a_process_that_was_not_started_ahead_begins_whatever_its_input_is():
    assert end(start(subprocess.DEVNULL, waits=False)) == "True None"


@pytest.mark.timeout(180)
def test_a_rank_whose_torchrun_is_killed_while_it_loads_torch_ends(undisturbed_run):
    fold = [str(REPO / "jobs" / "train_fold.py"), "--run", str(undisturbed_run), "--fold", "0"]
    env = {**os.environ, "CAC_HPC_WAITS": "1", "TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "1"}
    torchrun = subprocess.Popen([sys.executable, "-c", TORCHRUN, *fold], env=env, stdin=-1, stdout=-1, text=True)
    rank = int(torchrun.stdout.readline())
    maps = Path(f"/proc/{rank}/maps")
    wait_for(lambda: "libtorch" in maps.read_text(encoding="ascii"), 60, "torch")
    torchrun.kill()
    try:
        wait_for(lambda: processes.start_time(rank) is None, 30, "the rank's end")
    finally:
        torchrun.communicate()
