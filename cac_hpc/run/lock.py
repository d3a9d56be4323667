"""Who works on a run: one launcher at a time, and the others are told which."""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cac_hpc.run import disk
from cac_hpc.run.logs import log
from cac_hpc.settings.errors import InputError

MAX_CHARACTERS = 4096  # of what a holder says of itself
OTHERS = {"host", "user"}  # that it says, beside its pid


@contextmanager
def exclusive(path: Path, inherited: bool = False) -> Iterator[None]:
    """Hold the lock file as long as the block, or this process, lasts.

    Args:
        inherited: whether children keep holding it: then what a killed launcher has left running still does.
    Raises: InputError naming who holds it, or if something else but a plain file stands there.
    """
    with disk.open_own(path, "a+") as lock:
        os.set_inheritable(lock.fileno(), inherited)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{path.parent}: another launcher{_who(holder(path))}, or what it left running, works on this run; "
                "wait for it or end it (python jobs/status.py shows what runs)"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            log.warning("%s: this file system has no locks, so nothing keeps a second launcher from this run", path)
        lock.truncate(0)
        lock.write(json.dumps({"host": platform.node(), "pid": os.getpid(), "user": user_name()}))
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def is_held(path: Path) -> bool:
    """Whether somebody who can be seen from this machine holds the lock file."""
    try:
        with disk.open_own(path, "r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, InputError):
        return False
    return False


def holder(path: Path) -> dict[str, Any] | None:
    """Host, pid and user of who wrote the lock file last and has not let go; None if nobody says."""
    with suppress(OSError, ValueError), disk.open_own(path, "r") as lock:
        found = json.loads(lock.read(MAX_CHARACTERS))
        return (
            found if isinstance(found, dict) and isinstance(found.get("pid"), int) and found.keys() >= OTHERS else None
        )
    return None


def _who(found: dict[str, Any] | None) -> str:
    return f" (process {found['pid']} of {found['user']} on {found['host']})" if found else ""


def user_name() -> str:
    """The name of who asks; the number where there is none."""
    with suppress(KeyError, OSError):  # a container without an entry for the user
        return getpass.getuser()
    return str(os.getuid())
