"""A command that has ended does not look for garbage among all that it has loaded, and works with closed streams."""

import os
import subprocess
import sys

import pytest

OPENING = """
import os
import subprocess
import sys
from cac_hpc.run.exit_codes import exit_code

def main():
    with open(os.devnull) as first:
        child = subprocess.run([sys.executable, "-c", "import os; raise SystemExit(os.open(os.devnull, os.O_RDONLY))"])
        return 10 * first.fileno() + child.returncode

raise SystemExit(exit_code(main))
"""
NO_ROOM = """
import resource
import threading
from cac_hpc.run.exit_codes import exit_code

def main():
    threading.stack_size(1 << 33)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
    threading.Thread(target=print).start()

raise SystemExit(exit_code(main))
"""
PROGRAM = """
import gc
import sys
from cac_hpc.run.exit_codes import exit_code

class Circle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("looked for")

def main():
    print("every", gc.get_threshold()[0])
    Circle()
    return 3

code = main() if sys.argv[1] == "plainly" else exit_code(main)
raise SystemExit(code)
"""


def said(how):
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines(), done.returncode


def test_garbage_is_looked_for_seldom_and_not_when_a_command_ends():
    (plainly, *looked), code = said("plainly")
    assert (looked, code) == (["looked for"], 3)
    (seldom, *looked), code = said("as a command")
    assert (looked, code) == ([], 3)
    assert int(seldom.split()[1]) > int(plainly.split()[1])


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2], []])
def test_no_file_is_opened_in_the_place_of_a_stream_that_is_closed(closed):
    def close():
        for stream in closed:
            os.close(stream)

    done = subprocess.run([sys.executable, "-c", OPENING], preexec_fn=close, timeout=60)
    assert done.returncode == 33  # here, and in what is started here


def test_that_no_thread_can_be_started_is_told_in_one_line():
    done = subprocess.run([sys.executable, "-c", NO_ROOM], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "ulimit -u" in done.stderr
