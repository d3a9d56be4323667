"""Measure whole programs in turns, beside others and beside an earlier commit; write what was found as tables."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.benchmark import circumstances, costs, pages, turns
from cac_hpc.benchmark.judging import FEWEST, judge
from cac_hpc.benchmark.targets import MEASUREMENTS
from cac_hpc.benchmark.turns import Measurement, Site
from cac_hpc.run import logs
from cac_hpc.settings.checks import require
from cac_hpc.settings.errors import WorkError

NAMES = tuple(one.name for one in MEASUREMENTS)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """only: names of measurements, all if empty. against: a commit. out: folder of the tables."""

    only: Sequence[str] = ()
    against: str | None = None
    rounds: int = FEWEST
    tiny: bool = False
    out: str = "build/speed"
    keep: str | None = None

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "--rounds", self.rounds, "1 or more")


def add_options(parser: argparse.ArgumentParser) -> None:
    """``[--only NAME ...] [--against COMMIT] [--rounds N] [--tiny] [--out DIR] [--keep DIR]``."""
    text = f"measurements, all if left out: {', '.join(NAMES)}"
    parser.add_argument("--only", nargs="+", choices=NAMES, default=(), metavar="NAME", help=text)
    text = "measure this commit of ours, too: some targets are shares of its time"
    parser.add_argument("--against", metavar="COMMIT", help=text)
    costs.add_options(parser, Asked, {"rounds": "of every program, after one that does not count"})
    parser.add_argument("--tiny", action="store_true", help="see in a minute that everything runs; proves nothing")
    parser.add_argument("--out", metavar="DIR", default=Asked.out, help=f"for the tables (default {Asked.out})")


def measure(asked: Asked, code: Path) -> None:
    """Measure one after the other, and write each as soon as it is done: what was measured before stays.

    Args:
        code: the checkout that is measured.
    Raises: WorkError naming the measurements of which a program failed; the others are measured.
    """
    out, failed = Path(asked.out), []
    out.mkdir(parents=True, exist_ok=True)
    with costs.work_folder(asked.keep) as folder, turns.checkout(code, asked.against) as codes:
        (shared := folder / "shared").mkdir()
        for what in MEASUREMENTS:
            if asked.only and what.name not in asked.only:
                continue
            (own := folder / "measured" / what.name).mkdir(parents=True)
            try:
                _measure(what, Site(folder=own, shared=shared, codes=codes, tiny=asked.tiny), asked.rounds, out)
            except RuntimeError as error:
                logs.log.error("%s: %s", what.name, error)
                failed.append(what.name)
            if not asked.keep:
                shutil.rmtree(own)
    if failed:
        raise WorkError(f"not measured, as a program failed: {', '.join(failed)}; see above")


def _measure(what: Measurement, site: Site, rounds: int, out: Path) -> None:
    began = circumstances.now(site.codes)
    measured = turns.measure(what, site, rounds)
    judged = [judge(goal, measured.rounds, measured.sizes) for goal in what.goals]
    ended = circumstances.now(site.codes)
    pages.write(out, what, measured, judged, (began, ended), site.tiny)
    pages.write_all(out, NAMES)
    logs.say((out / f"{what.name}.md").read_text(encoding="utf-8"))
