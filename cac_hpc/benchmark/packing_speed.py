"""How fast we pack, measured side by side with others, in one run on one machine.

Every program packs the first few studies of a cohort and then all of it, each time as a process of its own. What it
does per slice follows from the difference of the two, so its start counts neither for nor against it; whether its
memory grows with the number of studies shows at the same time. Programs take turns, so that a machine's mood meets all.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cac_hpc.benchmark import costs, peers
from cac_hpc.benchmark.costs import Cost
from cac_hpc.run import logs
from cac_hpc.run.config import require

FEW = 4  # studies
PER_SHARD = 2  # studies: as many shards for each of two workers, of few studies as of all
SPARE_BYTES = 128 << 20  # for a program itself
YARDSTICKS = ("dcm2niix", "dcm2niix, each")
YARDSTICK, WITNESS = YARDSTICKS[0], "pydicom + h5py"
FASTER, SCALING, GROWTH = 4.0, 1.8, 1.05  # the goals: of the yardstick, of one worker, of the memory for few studies
TITLE = "{studies} studies of {slices} slices of {matrix} x {matrix}, warm cache, {repeats} repeats"
LEGEND = (
    f"/s: slices per second, of the studies beyond the first {FEW}: nobody's start counts.\n"
    "By the fastest run of each, as whatever else the machine does only adds; beside\n"
    f"it by the median. MB/s: of the input. x: speed as a multiple of {YARDSTICK}'s.\n"
    "ms: processor time per slice. start: seconds. few, all: peak MB of all\n"
    f"processes, for {FEW} studies and for all. cac_hpc: pixels per side that it packs to;\n"
    "two: with two workers; each: started anew for each study. One thread in each\n"
    "process. Only cac_hpc checks what it wrote, waits until it is on the disk, and\n"
    "seals it."
)
COLUMNS = ("", "/s", "median", "MB/s", "x", "ms", "start", "few", "all")  # fit a terminal of 80 columns
THREADS = {"OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}

Prepare = Callable[[Path, Path], list[str]]  # source and output folder to the command that is measured


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Size of the cohort, and what is measured on it."""

    studies: int = 16
    slices: int = 48
    matrix: int = 512
    repeats: int = 3
    against: tuple[str, ...] = tuple(peers.PROGRAMS)
    old: str | None = None
    keep: str | None = None

    def __post_init__(self) -> None:
        require(self.studies >= 2 * FEW, "--studies", self.studies, f"{2 * FEW} or more")
        require(self.slices >= 10, "--slices", self.slices, "10 or more")
        require(64 <= self.matrix <= 1024, "--matrix", self.matrix, "64 to 1024")
        require(self.repeats >= 1, "--repeats", self.repeats, "1 or more")
        there = not self.old or (Path(self.old) / "jobs" / "pack.py").is_file()
        require(there, "--old", self.old, "another checkout of cac_hpc")
        require(not self.keep or not Path(self.keep).exists(), "--keep", self.keep, "a folder that is not there yet")


@dataclass
class Contestant:
    """A program, and what is known of it.

    version: "" if it has none. size: pixels per side of a slice that it writes. code: the checkout that it runs. few,
    all: costs of few studies and of all, one for each repeat. slices, hu_sum: found in its output.
    """

    name: str
    version: str
    prepare: Prepare
    size: int
    code: Path
    few: list[Cost] = field(default_factory=list)
    all: list[Cost] = field(default_factory=list)
    slices: int = 0
    hu_sum: int = 0


@dataclass(frozen=True)
class Figures:
    """What the costs say; NaN where the work drowns in the noise.

    rate, median_rate: slices per second, by the fastest runs and by the median. cpu_seconds: per slice.
    """

    rate: float
    median_rate: float
    cpu_seconds: float
    start_seconds: float
    few_bytes: int
    all_bytes: int


def add_options(parser: argparse.ArgumentParser) -> None:
    """``[--studies N] [--slices N] [--matrix N] [--repeats N] [--against NAME ...] [--old DIR] [--keep DIR]``."""
    costs.add_numbers(
        parser,
        Asked,
        {
            "studies": "in the cohort",
            "slices": "of a study",
            "matrix": "pixels per side of a slice",
            "repeats": "of every measurement",
        },
    )
    parser.add_argument("--against", nargs="*", default=Asked.against, choices=Asked.against, metavar="NAME")
    parser.add_argument("--old", metavar="DIR", help="another checkout of cac_hpc, to be measured beside this one")
    parser.add_argument("--keep", metavar="DIR", help="work there and leave everything there")


def measure(asked: Asked, code: Path) -> None:
    """Measure everybody and print the comparison.

    Args:
        code: the checkout whose jobs are measured.
    """
    with costs.work_folder(asked.keep) as folder:
        _write_cohort(folder, asked)
        found = contestants(asked, code)
        with logs.progress("measured", asked.repeats * len(found)) as advance:
            for _ in range(asked.repeats):
                for contestant in found.values():
                    _measure(contestant, folder, asked)
                    advance()
        num_bytes = sum(path.stat().st_size for path in (folder / "all").rglob("*.dcm"))
    _show(found, asked, num_bytes / (asked.studies * asked.slices))


def contestants(asked: Asked, code: Path) -> dict[str, Contestant]:
    """Everybody who is installed, ours last."""
    named = {
        name: Contestant(name, version, partial(_peer, name), asked.matrix, code)
        for name in asked.against
        if (version := peers.version(name)) is not None
    }
    ours = [("one", asked.matrix, 1, code), ("two", asked.matrix, 2, code), ("half", asked.matrix // 2, 1, code)]
    if asked.old:
        ours.insert(0, ("old", asked.matrix, 1, Path(asked.old).absolute()))
    for name, size, workers, checkout in ours:
        title = f"cac_hpc {size}" + ", two" * (workers == 2) + ", old" * (name == "old")
        named[name] = Contestant(title, "", partial(_ours, checkout, size, workers), size, checkout)
    return named


def _write_cohort(folder: Path, asked: Asked) -> None:
    """The studies in ``all``, the first of them in ``few`` too, a sheet beside each."""
    logs.log.info("writing %d studies of %d slices to %s", asked.studies, asked.slices, folder)
    costs.write_studies(folder / "all", asked.studies, asked.slices, asked.matrix)
    for study in sorted((folder / "all").iterdir())[:FEW]:
        shutil.copytree(study, folder / "few" / study.name, copy_function=os.link)
    for source in (folder / "few", folder / "all"):
        rows = [f"{study.name},{number}" for number, study in enumerate(sorted(source.iterdir()))]
        source.with_suffix(".csv").write_text("\n".join(["study,score", *rows, ""]), encoding="utf-8")


def _measure(contestant: Contestant, folder: Path, asked: Asked) -> None:
    """Few studies and all, in turns first: whatever comes first warms the program for the other."""
    turns = [("few", contestant.few), ("all", contestant.all)]
    for source, measured in turns[:: -1 if len(contestant.all) % 2 else 1]:
        out = folder / "out" / source / re.sub(r"\W+", "-", contestant.name)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        command = contestant.prepare(folder / source, out)
        _settle(folder / source, folder / "ballast")
        measured.append(costs.run(command, folder / "log", {**THREADS, "PYTHONPATH": str(contestant.code)}))
        if source == "all" and not contestant.slices:
            pixels, contestant.hu_sum = peers.contents(out)
            contestant.slices = pixels // contestant.size**2
        if not asked.keep:
            shutil.rmtree(out)


def _settle(source: Path, ballast: Path) -> None:
    """Nothing left to be written, memory at hand, the input in the page cache.

    Virtual machines give freed memory back to their host: taking it again costs several times what a program does.
    """
    num_bytes = SPARE_BYTES + 2 * sum(path.stat().st_size for path in source.rglob("*.dcm"))
    with ballast.open("wb") as file:
        for _ in range(num_bytes >> 20):
            file.write(bytes(1 << 20))
    ballast.unlink()
    os.sync()
    peers.read_only(source, ballast)


def _peer(name: str, source: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "cac_hpc.benchmark.peers", name, str(source), str(out)]


def _ours(code: Path, size: int, workers: int, source: Path, out: Path) -> list[str]:
    """Prepare a run as its user would, and return the command that packs and seals."""
    arguments = {
        "run": out, "data.dicom_root": source, "labels.sheet": source.with_suffix(".csv"), "pack.size": size,
        "pack.studies_per_shard": PER_SHARD, "split.folds": 2, "split.val_fraction": 0.25, "train.epochs": 1,
        "train.device": "cpu", "train.precision": "fp32", "cluster.kind": "local", "cluster.pack.cpus": workers,
        "pack.baseline": "false", "pack.candidates": "false",  # nobody else scores what he packs
    }  # fmt: skip
    launch = [sys.executable, str(code / "jobs" / "launch_cv.py"), "--dry_run"]
    launch += [f"--{key}={value}" for key, value in arguments.items()]
    subprocess.run(launch, env={**os.environ, "PYTHONPATH": str(code)}, stdout=subprocess.DEVNULL, check=True)
    return [sys.executable, str(code / "jobs" / "pack.py"), "--run", str(out)]


def _figures(contestant: Contestant, asked: Asked) -> Figures:
    few, most, slices = contestant.few, contestant.all, (asked.studies - FEW) * asked.slices

    def beyond_few(what: str, best: Callable[[Iterator[float]], float]) -> float:
        found = best(getattr(cost, what) for cost in most) - best(getattr(cost, what) for cost in few)
        return found if found > 0 else math.nan

    seconds = beyond_few("seconds", min)
    return Figures(
        rate=slices / seconds,
        median_rate=slices / beyond_few("seconds", statistics.median),
        cpu_seconds=beyond_few("cpu_seconds", min) / slices,
        start_seconds=min(cost.seconds for cost in few) - seconds * FEW / (asked.studies - FEW),
        few_bytes=max(cost.peak_bytes for cost in few),
        all_bytes=max(cost.peak_bytes for cost in most),
    )


def _show(found: dict[str, Contestant], asked: Asked, slice_bytes: float) -> None:
    figures = {name: _figures(contestant, asked) for name, contestant in found.items()}
    yardstick = figures[YARDSTICK].rate if YARDSTICK in figures else math.nan
    rows = [[found[name].name, *_cells(own, slice_bytes, yardstick)] for name, own in figures.items()]
    screen = logs.console()
    screen.print(logs.table(TITLE.format(**vars(asked)), COLUMNS, rows, numbers=True))
    screen.print(LEGEND)
    if versions := {own.name.split(",")[0]: own.version for own in found.values() if own.version}:
        screen.print("versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    for name in asked.against:
        if name not in found:
            screen.print(f"{name}: not installed (pip install -e .[peers])", markup=False)
    for own in found.values():
        if own.slices and own.slices != asked.studies * asked.slices:
            screen.print(f"{own.name}: wrote {own.slices} slices of {asked.studies * asked.slices}")
    for goal, value, met in _goals(figures, found, asked):
        screen.print(f"{'yes' if met else 'no':3}  {goal}: {value}")


def _cells(own: Figures, slice_bytes: float, yardstick: float) -> list[str]:
    cells = [
        f"{own.rate:.0f}", f"{own.median_rate:.0f}", f"{own.rate * slice_bytes / 1e6:.0f}",
        f"{own.rate / yardstick:.2f}", f"{own.cpu_seconds * 1e3:.2f}", f"{own.start_seconds:.1f}",
        f"{own.few_bytes / 1e6:.0f}", f"{own.all_bytes / 1e6:.0f}",
    ]  # fmt: skip
    return [cell.replace("nan", "-") for cell in cells]


def _goals(figures: dict[str, Figures], found: dict[str, Contestant], asked: Asked) -> Iterator[tuple[str, str, bool]]:
    """What is wanted, what was found and whether that will do; NaN will not."""
    one, two, half = (figures[name] for name in ("one", "two", "half"))
    for name in filter(figures.__contains__, YARDSTICKS):
        ratio, cpu = one.rate / figures[name].rate, figures[name].cpu_seconds / one.cpu_seconds
        yield f"one worker {FASTER:g} times as fast as {name}", f"{ratio:.2f}, by CPU time {cpu:.2f}", ratio >= FASTER
    ratio = two.rate / one.rate
    yield f"two workers {SCALING:g} times as fast as one", f"{ratio:.2f}", ratio >= SCALING
    ratio, cpu = half.rate / one.rate, one.cpu_seconds / half.cpu_seconds
    yield "half the size not slower", f"{ratio:.2f}, by CPU time {cpu:.2f}", ratio >= 1
    if "old" in figures:
        ratio, cpu = one.rate / figures["old"].rate, figures["old"].cpu_seconds / one.cpu_seconds
        yield "not slower than the old one", f"{ratio:.2f}, by CPU time {cpu:.2f}", ratio >= 1
    ratio = one.all_bytes / one.few_bytes
    yield f"no more memory for {asked.studies} studies than for {FEW}", f"{ratio:.2f}", ratio <= GROWTH
    if WITNESS in found:
        sums = found["one"].hu_sum, found[WITNESS].hu_sum
        yield f"the same HU as {WITNESS}", f"sums {sums[0]} and {sums[1]}", sums[0] == sums[1]
