"""Work that others do for us: a process that risky work may break, several threads, forks for what is independent."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from multiprocessing.connection import Connection, Pipe
from typing import Any, TypeVar

from cac_hpc.machine import processes, worker_process

T = TypeVar("T")
Say = worker_process.Say
Work = worker_process.Work
GIB = worker_process.GIB
Piece = Callable[[], None]

START_S = 300.0  # a cold file system takes long to import everything
LOOK_S = 0.2  # how often a waiting caller looks whether it should give up


class Lost(Exception):
    """The work raised or broke its process ("crashed"), ran out of memory ("over_memory") or time ("over_time").

    detail: says what happened with nothing of the data in it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Worker:
    """One long-lived process for risky work: what breaks it, holds it up or floods its memory stays in there.

    It is started when it is first needed, or before, and again after it was lost.

    Args:
        work: what it does, a function at the top of a module. patience_s: longest silence. memory_bytes: that it may
        take beyond what it has at its start. give_up: ends the wait for it, from any thread. imports: modules that the
        work needs and the caller does without, so that its start is short: they are part of what the process has.
    """

    def __init__(
        self,
        work: Work,
        patience_s: float,
        memory_bytes: int,
        give_up: threading.Event,
        imports: Sequence[str] = (),
    ) -> None:
        self._work, self._patience_s, self._memory_bytes, self._give_up = work, patience_s, memory_bytes, give_up
        self._imports = tuple(imports)
        self._process: worker_process.Process | None = None
        self._line: Connection | None = None
        self._is_ready = False

    def run(self, task: Any, heard: Say) -> Any:
        """Do one task; ``heard`` is called with each thing the work says.

        Raises: Lost; OSError as the work raised it; CancelledError if ``give_up`` is set meanwhile. The process is
        ended then: whatever it still holds, a half-written file above all, is not to be tidied up.
        """
        try:
            line = self._ready()
            line.send(task)
            while True:
                kind, content = self._hear(line, self._patience_s)
                if kind == "done":
                    return content
                if kind != "said":
                    raise OSError(*content) if kind == "failed" else Lost(kind, content)
                heard(content)
        except (EOFError, ConnectionError):
            if self._give_up.is_set():  # the thread that has started the process may have ended before this one
                self.close()
                raise CancelledError("told to give up") from None
            raise Lost("crashed", self._cause_of_death()) from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process, wherever it is."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._line is not None:
            self._line.close()
        self._process = self._line = None

    def start(self) -> None:
        """Start the process unless it is there; it imports what it needs while the caller does something else.

        It ends with the thread that calls this, at the latest.
        """
        if self._process is None:
            self._begin(worker_process.started)

    def fork(self) -> None:
        """Start the process unless it is there, as a fork of this one, which imports what it needs: once for all.

        That takes half the processor time, but a fork would wait forever for what another thread holds: where there
        is one, this is `start`. A worker that was lost is started again by `start`.
        """
        if threading.active_count() > 1:
            self.start()
        elif self._process is None:
            for module in self._imports:
                importlib.import_module(module)
            self._begin(worker_process.Fork)

    def _begin(self, process: Callable[[Connection, Connection, tuple[Any, ...]], worker_process.Process]) -> None:
        """Start the process: of the two ends of a line and what it serves by."""
        self._line, theirs = Pipe()
        given = self._work, self._memory_bytes, os.getpid(), self._imports
        with theirs, processes.no_interrupt():
            self._process = process(self._line, theirs, given)
        self._is_ready = False

    def _ready(self) -> Connection:
        self.start()
        assert self._line is not None
        if not self._is_ready:
            self._hear(self._line, START_S)
            self._is_ready = True
        return self._line

    def _hear(self, line: Connection, patience_s: float) -> Any:
        deadline = time.monotonic() + patience_s
        while not self._give_up.is_set():
            if line.poll(min(LOOK_S, patience_s)):
                return line.recv()
            if time.monotonic() > deadline:
                raise Lost("over_time", f"no word for {patience_s:g} s")
        raise CancelledError("told to give up")

    def _cause_of_death(self) -> str:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        code = self._process.returncode or 0
        self.close()
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def nothing() -> None:
    """What a caller does meanwhile who only waits."""


def share(
    work: Callable[[], None], num_threads: int, give_up: threading.Event, meanwhile: Callable[[], object] = nothing
) -> None:
    """Run the same function in several threads, of which each takes tasks until none is left.

    Args:
        give_up: set where one of them fails, or the caller is interrupted, so that the others stop, too.
        meanwhile: what the caller does before it waits for them.
    Raises: what the first that failed has raised.
    """
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            begun = [pool.submit(work) for _ in range(num_threads)]
            meanwhile()
            for done in as_completed(begun):
                done.result()
        except BaseException:  # Ctrl-C above all
            give_up.set()
            raise


def each(pieces: Sequence[Piece]) -> None:
    """Do independent pieces of work that leave files, in as many processes as there are CPUs for this one.

    Raises: what a piece has raised.
    """
    with meanwhile(pieces, num_cpus()):
        pass


@contextlib.contextmanager
def meanwhile(pieces: Sequence[Piece], most: int) -> Iterator[None]:
    """Do independent pieces of work that leave files while the caller does something else; at the end all are done.

    They are done by forks, which have all that this process has in memory, without a copy of it. Pieces begin in their
    order, so the longest is best the first. If there is one CPU, or a fork fails or is killed, mostly for want of
    memory, all pieces are done here, at the end. If the caller fails, forks are ended.

    Args:
        most: forks at the same time.
    Raises: what a piece has raised.
    """
    forks = _forks(pieces, min(most, len(pieces)) if num_cpus() > 1 else 0)
    try:
        yield
        for fork in forks:
            fork.join()
    finally:
        _end(forks)
    if not forks or any(fork.exitcode for fork in forks):
        for piece in pieces:
            piece()


@contextlib.contextmanager
def ahead(work: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Begin work in a fork while the caller does something else; what is yielded waits for the result.

    If there is one CPU, or the fork fails or is killed, the work is done here when its result is asked for. At the end
    the fork is ended, whether it was asked or not.

    Args:
        work: returns what can be pickled.
    Raises: what the work has raised.
    """
    ours, theirs = Pipe(duplex=False)
    forks = _forks([lambda: theirs.send(work())], 1 if num_cpus() > 1 else 0)
    theirs.close()

    def result() -> T:
        with contextlib.suppress(EOFError, OSError):  # nothing was sent, or not all of it
            found: T = ours.recv()
            return found
        return work()

    try:
        yield result
    finally:
        _end(forks)
        ours.close()


def num_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def _forks(pieces: Sequence[Piece], count: int) -> list[multiprocessing.process.BaseProcess]:
    """Start them, as many as the machine admits; what each does next it reads from the same pipe."""
    context, (numbers, end) = multiprocessing.get_context("fork"), os.pipe()
    os.write(end, array("i", range(len(pieces))).tobytes())
    os.close(end)
    forks: list[multiprocessing.process.BaseProcess] = []
    with processes.no_interrupt():
        for _ in range(count):
            fork = context.Process(target=_take, args=(numbers, pieces, os.getpid()))
            with contextlib.suppress(OSError):
                fork.start()
                forks.append(fork)
    os.close(numbers)
    return forks


def _take(numbers: int, pieces: Sequence[Piece], parent: int) -> None:
    """What a fork does: pieces, until none is left, or one fails, which the caller then sees for itself."""
    processes.die_with(parent)
    while number := os.read(numbers, array("i").itemsize):
        try:
            pieces[int.from_bytes(number, sys.byteorder)]()
        except Exception:
            sys.exit(1)


def _end(forks: Sequence[multiprocessing.process.BaseProcess]) -> None:
    for fork in forks:
        fork.kill()  # one that has ended stays as it ended
        fork.join()
