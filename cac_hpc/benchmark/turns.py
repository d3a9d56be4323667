"""Whole programs measured in turns, each as a process of its own: a round measures every one once, in another order."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cac_hpc.benchmark import costs, peers
from cac_hpc.benchmark.costs import Cost
from cac_hpc.benchmark.judging import Goal, Round
from cac_hpc.run import logs
from cac_hpc.settings.errors import InputError

NOW, BEFORE = "now", "before"  # this checkout, and the commit that it is compared with
SPARE_BYTES = 128 << 20  # for a program itself


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program that is measured.

    prepare: what makes the command, of an empty folder and the size of the input. source: what the program reads, of
    a size: brought into the page cache. tell: a number in what it wrote.
    """

    name: str
    prepare: Callable[[Path, int], Sequence[str]]
    code: Path
    source: Callable[[int], Path] | None = None
    tell: Callable[[Path], float] | None = None


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a measurement works. folder: of its own. shared: with what several need. codes: NOW and perhaps BEFORE,
    the checkouts that are measured.
    """

    folder: Path
    shared: Path
    codes: Mapping[str, Path]
    tiny: bool = False

    @property
    def code(self) -> Path:
        return self.codes[NOW]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Programs that are measured in turns, and what is wanted of them.

    what: they do, in words for the table. unit, sizes, tiny: of the input. programs: makes the input, and says who is
    measured; absent: peers that are not installed are left out and named.
    """

    name: str
    what: str
    programs: Callable[[Site, Sequence[int]], list[Program]]
    goals: tuple[Goal, ...]
    unit: str = ""
    sizes: tuple[int, ...] = (1,)
    tiny: tuple[int, ...] = (1,)
    needs: tuple[str, ...] = ()  # names of `peers.PROGRAMS` that it is measured beside

    def chosen(self, site: Site) -> tuple[int, ...]:
        return self.tiny if site.tiny else self.sizes


@dataclass(frozen=True)
class Measured:
    """Costs of every round; the warm-up is none of them. missing: peers that are not installed."""

    sizes: tuple[int, ...]
    rounds: list[Round] = field(default_factory=list)
    missing: tuple[str, ...] = ()


def measure(what: Measurement, site: Site, num_rounds: int) -> Measured:
    """Measure every program at every size once for a warm-up, which tiny input does without, then in as many rounds.

    Raises: RuntimeError with the end of what a program printed if it fails.
    """
    sizes = what.chosen(site)
    missing = tuple(name for name in what.needs if peers.version(name) is None)
    found = Measured(sizes, missing=missing)
    programs = what.programs(site, sizes)
    turns = [(program, size) for program in programs for size in sizes]
    first = 1 if site.tiny else 0
    with logs.progress(f"{what.name} measured", (num_rounds + 1 - first) * len(turns)) as advance:
        for number in range(first, num_rounds + 1):
            costs_of = {}
            for program, size in in_turn(turns, number):
                costs_of[program.name, size] = _once(program, size, site.folder)
                advance()
            if number:
                found.rounds.append({(program.name, size): costs_of[program.name, size] for program, size in turns})
    return found


def in_turn(turns: Sequence[tuple[Program, int]], number: int) -> list[tuple[Program, int]]:
    """The order of a round: everybody is first once, and is behind another as often as before him."""
    first = number // 2 % len(turns)
    order = [*turns[first:], *turns[:first]]
    return order[::-1] if number % 2 else order


def _once(program: Program, size: int, folder: Path) -> Cost:
    out = folder / "out" / re.sub(r"\W+", "-", program.name)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    command = program.prepare(out, size)
    if program.source is not None:
        settle(program.source(size), folder / "ballast")
    cost = costs.run(command, folder / "log", costs.environment(program.code))
    told = None if program.tell is None else program.tell(out)
    shutil.rmtree(out)
    return replace(cost, told=told)


def settle(source: Path, ballast: Path) -> None:
    """Nothing left to be written, memory at hand, the input in the page cache.

    Virtual machines give freed memory back to their host: taking it again costs several times what a program does.
    """
    num_bytes = SPARE_BYTES + 2 * sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    with ballast.open("wb") as file:
        for _ in range(num_bytes >> 20):
            file.write(bytes(1 << 20))
    ballast.unlink()
    os.sync()
    peers.read_only(source, ballast)


@contextlib.contextmanager
def checkout(code: Path, revision: str | None) -> Iterator[dict[str, Path]]:
    """This checkout and, in a folder that goes, the one of a revision.

    Raises: InputError if there is no such revision.
    """
    if revision is None:
        yield {NOW: code}
        return
    with tempfile.TemporaryDirectory(prefix="cac_hpc-before-") as folder:
        before = Path(folder) / "checkout"
        git = ["git", "-C", str(code), "worktree"]
        done = subprocess.run([*git, "add", "--detach", str(before), revision], capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"--against {revision}: {done.stderr.strip().splitlines()[-1]}; wanted a commit")
        try:
            yield {NOW: code, BEFORE: before}
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], capture_output=True, check=False)
