"""How a command ends: with its exit code, and one line instead of a traceback where something is wrong."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from collections.abc import Callable

from cac_hpc.run import logs
from cac_hpc.settings.errors import InputError, WorkError

MANY = 20_000  # objects made before Python looks which are garbage; its own 700 let it look all the while modules load


def exit_code(main: Callable[[], int]) -> int:
    """Run a job's main function; one line and no traceback where the input is wrong or the operating system refuses.

    Returns: the job's own code; 2 for wrong input, 1 for a full disk and the like.
    """
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
