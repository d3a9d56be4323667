"""A process that takes another program's place loses no request to stop."""

import subprocess
import sys

FIRST = """
import os, signal, sys
from cac_hpc.machine import processes
processes.listen()
inner = os.execv
def asked_meanwhile(*given):
    os.kill(os.getpid(), signal.SIGTERM)
    inner(*given)
if sys.argv[2] == "meanwhile":
    os.execv = asked_meanwhile
if sys.argv[2] == "before":
    os.kill(os.getpid(), signal.SIGTERM)
processes.become([sys.executable, "-c", sys.argv[1]])
print("first heard", processes.heard())
"""
SECOND = """
from cac_hpc.machine import processes
processes.listen()
print("second heard", processes.heard())
"""


def said(when):
    done = subprocess.run([sys.executable, "-c", FIRST, SECOND, when], capture_output=True, text=True, timeout=60)
    return done.stdout.strip(), done.returncode


def test_a_request_while_the_program_changes_is_heard_by_the_new_one():
    assert said("meanwhile") == ("second heard SIGTERM", 0)
    assert said("never") == ("second heard None", 0)


def test_a_process_that_was_asked_to_stop_stays_what_it_is():
    assert said("before") == ("first heard SIGTERM", 0)
