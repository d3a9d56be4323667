"""A command that has ended does not look for garbage among all that it has loaded."""

import subprocess
import sys

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
