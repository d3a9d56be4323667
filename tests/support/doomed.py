"""Run a job that is killed before its N-th use of a file below a folder: doomed.py N FOLDER SCRIPT ARGUMENT ..."""

import os
import runpy
import signal
import sys

EVENTS = ("open", "os.rename", "os.remove")


def main() -> None:
    left, folder = int(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[3:]

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in EVENTS and str(arguments[0]).startswith(folder):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
