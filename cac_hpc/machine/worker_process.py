"""The process of a worker: a program of its own, or a fork of its caller; and what it does until the caller is gone."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import resource
import subprocess
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from cac_hpc.machine import processes

Say = Callable[[Any], None]
Work = Callable[[Any, Say], Any]  # takes a task and what tells the caller how far it is; returns the result

GIB = 1 << 30
# of a program: multiprocessing would start a further one to clean up behind it, and import the caller's script
BEGINNING = """import sys
sys.path[:] = filter(None, sys.path)  # what lies in the caller's folder may be called as a module is
from multiprocessing.connection import Connection
line = Connection(int(sys.argv[1]))
sys.path[:] = line.recv()
serve, *given = line.recv()
serve(line, *given)"""


class Process(Protocol):
    """What is asked of a process, as of `subprocess.Popen`."""

    @property
    def returncode(self) -> int | Any: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> Any: ...


def started(ours: Connection, theirs: Connection, given: tuple[Any, ...]) -> Process:
    """A program of its own that serves.

    Args:
        ours, theirs: the ends of the line between the caller and the process. given: for `serve`, besides its end.
    """
    command = [sys.executable, "-c", BEGINNING, str(theirs.fileno())]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
    with contextlib.suppress(ConnectionError):  # if it has ended already, whoever waits for it is told
        ours.send(sys.path)
        ours.send((serve, *given))
    return process


class Fork:
    """A fork of this process that serves; arguments as `started` has them."""

    def __init__(self, ours: Connection, theirs: Connection, given: tuple[Any, ...]) -> None:
        def work() -> None:
            ours.close()
            serve(theirs, *given)

        self._process = multiprocessing.get_context("fork").Process(target=work)
        self._process.start()

    @property
    def returncode(self) -> int | None:
        """Its exit code, for a signal the negative number; None as long as it is there."""
        return self._process.exitcode

    def kill(self) -> None:
        """End it, wherever it is."""
        self._process.kill()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for its end, at most so many seconds."""
        self._process.join(timeout)


def serve(line: Connection, work: Work, memory_bytes: int, parent: int, imports: tuple[str, ...]) -> None:
    """What the process does until its caller is gone."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold patient data
    processes.die_with(parent)
    for module in imports:
        importlib.import_module(module)
    most = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = _memory_in_use() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))
    line.send(("started", None))
    while True:
        try:
            task = line.recv()
        except (EOFError, ConnectionError):
            return
        _do(task, line, work, memory_bytes)


def _do(task: Any, line: Connection, work: Work, memory_bytes: int) -> None:
    """Do a task; an error is told before it is let go, for what it holds may break the process then."""
    try:
        line.send(("done", work(task, lambda content: line.send(("said", content)))))
    except MemoryError:
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (most, most))  # room for the answer
        line.send(("over_memory", f"more than {memory_bytes / GIB:g} GB"))
    except OSError as error:
        line.send(("failed", (error.errno, error.strerror or str(error))))
    except Exception as error:
        line.send(("crashed", _where(error)))


def _where(error: Exception) -> str:
    """Kind of an error and the line of code; its text may name a patient."""
    line = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(line.filename).name}:{line.lineno}"


def _memory_in_use() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    return int(pages) * resource.getpagesize()
