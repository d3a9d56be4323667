"""How fast we predict, from files to result, beside reading the same files with pydicom and rescaling them.

Both go through a few studies and then through many, each time as a process of its own: what a study takes follows from
the difference, so nobody's start counts, and whether memory grows shows at the same time. Everybody takes turns.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cac_hpc.benchmark import costs, peers
from cac_hpc.benchmark.costs import Cost
from cac_hpc.run import logs
from cac_hpc.run.config import LabelsConfig, ModelConfig, PackConfig, require

FEW, DISTINCT, FOLDS = 4, 2, 5  # studies; those that are different, the others are the same files again
SLOWER, SCALING, GROWTH = 2.0, 1.8, 1.05  # the goals: of reading; of one worker; of the memory for few studies
YARDSTICK = "pydicom, rescaled"
OURS = {"one worker": ("--workers", "1", "--no_pictures"), "two workers": ("--workers", "2", "--no_pictures"),
        "one, pictures": ("--workers", "1")}  # fmt: skip
LEGEND = (
    f"s, cpu s: wall clock and processor time of a study, by the medians, beyond the first\n{FEW}: nobody's start "
    "counts. x: wall clock as a multiple of reading. few, all: peak MB of\nall processes. A lesion model of five "
    "folds; one thread in each process."
)
THREADS = {"OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Size of the cohort, and how often each is measured."""

    studies: int = 16
    slices: int = 60
    matrix: int = 512
    repeats: int = 3
    compressed: bool = False
    keep: str | None = None

    def __post_init__(self) -> None:
        require(self.studies >= 2 * FEW, "--studies", self.studies, f"{2 * FEW} or more")
        require(10 <= self.slices <= 256, "--slices", self.slices, "10 to 256")
        require(64 <= self.matrix <= 1024, "--matrix", self.matrix, "64 to 1024")
        require(self.repeats >= 1, "--repeats", self.repeats, "1 or more")
        require(not self.keep or not Path(self.keep).exists(), "--keep", self.keep, "a folder that is not there yet")


@dataclass
class Measured:
    """Costs of few studies and of all, one for each repeat."""

    few: list[Cost] = field(default_factory=list)
    all: list[Cost] = field(default_factory=list)

    def per_study(self, what: str, studies: int) -> float:
        """Of the medians; NaN where the work drowns in the noise."""
        of_all, of_few = (statistics.median(getattr(one, what) for one in each) for each in (self.all, self.few))
        return (of_all - of_few) / (studies - FEW) if of_all > of_few else math.nan

    def peak(self, which: str) -> int:
        return max(cost.peak_bytes for cost in (self.few if which == "few" else self.all))


def add_options(parser: argparse.ArgumentParser) -> None:
    """``[--studies N] [--slices N] [--matrix N] [--repeats N] [--compressed] [--keep DIR]``."""
    costs.add_numbers(
        parser,
        Asked,
        {
            "studies": f"in the cohort, {DISTINCT} of them different",
            "slices": "of a study",
            "matrix": "pixels per side of a slice",
            "repeats": "of every measurement",
        },
    )
    text = "files in JPEG 2000 lossless, as archives often keep them; uncompressed if left out"
    parser.add_argument("--compressed", action="store_true", help=text)
    parser.add_argument("--keep", metavar="DIR", help="work there and leave everything there")


def measure(asked: Asked, code: Path) -> None:
    """Measure everybody and print the comparison.

    Args:
        code: the checkout whose jobs are measured.
    """
    found = {name: Measured() for name in (YARDSTICK, *OURS)}
    with costs.work_folder(asked.keep) as folder:
        _write_cohort(folder, asked)
        _write_bundle(folder / "model.zip")
        with logs.progress("measured", asked.repeats * len(found)) as advance:
            for repeat in range(asked.repeats):
                for name, measured in found.items():
                    for source in ("few", "all")[:: -1 if repeat % 2 else 1]:
                        getattr(measured, source).append(_run(name, folder, source, code))
                    advance()
    _show(found, asked)


def _write_cohort(folder: Path, asked: Asked) -> None:
    """Few studies and all, of the same files."""
    from cac_hpc.phantom import cohort
    from cac_hpc.run.commands import PhantomConfig

    logs.log.info("writing %d studies of %d slices to %s", DISTINCT, asked.slices, folder)
    made = folder / "phantoms"
    cohort.write_cohort(PhantomConfig(out=str(made), studies=DISTINCT, slices=asked.slices, matrix=asked.matrix))
    studies = sorted(path for path in made.iterdir() if path.is_dir())
    for path in [path for study in studies for path in study.iterdir()] if asked.compressed else []:
        peers.compress(path)
    for source, count in (("few", FEW), ("all", asked.studies)):
        for number in range(count):
            target = folder / source / f"{number:04d}"
            shutil.copytree(studies[number % DISTINCT], target, copy_function=os.link)


def _write_bundle(path: Path) -> None:
    """A model that has learned nothing: what it takes does not depend on its weights."""
    import pandas as pd
    import torch

    from cac_hpc.calcium.candidates import NAMES
    from cac_hpc.predict import bundle, training_range
    from cac_hpc.train.lesion_model import LesionClassifier
    from cac_hpc.train.ordinal import Errors

    torch.manual_seed(0)
    model = ModelConfig(kind="lesions")
    nothing = training_range.of_studies(pd.DataFrame({"kvp": [120.0]}))
    made = bundle.Bundle(
        kind="lesions",
        version="benchmark",
        pack=PackConfig(slices=False),
        model=model,
        window_hu=(-200.0, 800.0),
        names=LabelsConfig.names,
        edges=LabelsConfig.edges,
        patient_rule="mean",
        top_k=5,
        weights=[LesionClassifier(model.hidden, model.members, NAMES).state_dict() for _ in range(FOLDS)],
        errors=[Errors(0.3, 0.01)] * FOLDS,
        internal={},
        training=nothing,
        salt="",
        known=frozenset(),
        licence="",
    )
    bundle.write(made, path)


def _run(name: str, folder: Path, source: str, code: Path) -> Cost:
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    job = str(code / "jobs" / "predict.py")
    command: Sequence[str] = [sys.executable, job, str(folder / "model.zip"), str(folder / source), "--out", str(out)]
    command = [*command, *OURS.get(name, ())]
    if name == YARDSTICK:
        command = [sys.executable, "-m", "cac_hpc.benchmark.peers", name, str(folder / source), str(out)]
    return costs.run(command, folder / "log", {**THREADS, "PYTHONPATH": str(code)})


def _show(found: dict[str, Measured], asked: Asked) -> None:
    seconds = {name: measured.per_study("seconds", asked.studies) for name, measured in found.items()}
    rows = [
        [name, f"{seconds[name]:.3f}", f"{measured.per_study('cpu_seconds', asked.studies):.3f}",
         f"{seconds[name] / seconds[YARDSTICK]:.2f}", f"{measured.peak('few') / 1e6:.0f}",
         f"{measured.peak('all') / 1e6:.0f}"]
        for name, measured in found.items()
    ]  # fmt: skip
    size = f"{asked.matrix} x {asked.matrix}"
    kind = "JPEG 2000" if asked.compressed else "uncompressed"
    title = f"{asked.studies} studies of {asked.slices} slices of {size}, {kind}, {asked.repeats} repeats"
    screen = logs.console()
    screen.print(logs.table(title, ("", "s", "cpu s", "x", "few", "all"), rows, numbers=True))
    screen.print(LEGEND)
    one, two = found["one worker"], seconds["two workers"]
    ratio = seconds["one worker"] / seconds[YARDSTICK]
    scaling, growth = seconds["one worker"] / two, one.peak("all") / one.peak("few")
    for goal, value, met in (
        (f"at most {SLOWER:g} times reading", ratio, ratio <= SLOWER),
        (f"two workers {SCALING:g} times as fast as one", scaling, scaling >= SCALING),
        (f"memory for all at most {GROWTH:g} times that for {FEW}", growth, growth <= GROWTH),
    ):
        screen.print(f"{'yes' if met else 'no':3}  {goal}: {value:.2f}")
