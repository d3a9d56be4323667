"""How a command ends: with its exit code, and one line instead of a traceback where something is wrong."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable

from cac_hpc.run import logs
from cac_hpc.settings.errors import InputError, WorkError

NO_THREAD = "can't start new thread"  # as Python says it
STANDARD_ERROR = 2  # the last of the standard streams
MANY = 20_000  # objects made before Python looks which are garbage; its own 700 let it look all the while modules load


def exit_code(main: Callable[[], int]) -> int:
    """Run a job's main function; one line and no traceback where the input is wrong or the operating system refuses.

    Returns: the job's own code; 2 for wrong input, 1 for a full disk and the like.
    """
    _open_standard_streams()
    gc.set_threshold(MANY)
    atexit.register(gc.freeze)  # nor are the modules looked through when they go: of torch's that takes half a second
    try:
        return main()
    except InputError as error:
        logs.say(f"error: {error}", sys.stderr)
        return 2
    except WorkError as error:
        logs.say(f"error: {error}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        logs.say(f"error: {where}{error.strerror or error}", sys.stderr)
        return 1
    except RuntimeError as error:
        if str(error) != NO_THREAD:
            raise
        logs.say(f"error: {error}: too many processes (ulimit -u) or too little memory", sys.stderr)
        return 1


def _open_standard_streams() -> None:
    """Open those that the caller has closed: else a shard may get their number, and what libraries print be in it."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= STANDARD_ERROR:
        os.set_inheritable(opened, True)
    os.close(opened)
