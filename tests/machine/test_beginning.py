"""A process that was started ahead of time works when it is let begin, and not before."""

import os
import signal
import subprocess
import sys

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
