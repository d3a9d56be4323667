"""Options of bringing a report home, comparing runs, and asking people for the checklists."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from cac_hpc.settings.errors import InputError

ALONE = ("source", "questions")  # of `ReportOptions`: what goes with --questions


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Whose report, and what becomes of it."""

    source: str  # a run folder, [USER@]HOST:FOLDER of one elsewhere, or an archive made before
    others: tuple[str, ...] = ()  # run folders to be compared with it
    out: str | None = None
    open: bool = False
    weights: bool = False
    without_images: bool = False
    questions: bool = False


def parse_report(doc: str | None, argv: Sequence[str] | None = None) -> ReportOptions:
    """Read ``RUN | [USER@]HOST:RUN | ARCHIVE [--out DIR] [--open] [--weights] [--without_images]``,
    ``RUN RUN [RUN ...] [--out DIR]``, or ``RUN --questions``.

    Raises: InputError if an option has nothing to act on.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    parser.add_argument(
        "source",
        metavar="RUN",
        help="the run folder; [USER@]HOST:RUN, over ssh; an archive of --out; or an external test",
    )
    parser.add_argument("others", metavar="RUN", nargs="*", help="further run folders, compared with the first")
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="put the report into this folder as one archive, or the comparison; unpack an archive",
    )
    parser.add_argument("--open", action="store_true", help="open the report with the desktop's browser")
    parser.add_argument("--weights", action="store_true", help="take the folds' weights along")
    parser.add_argument(
        "--without_images", action="store_true", help="leave out the pictures that show slices or hearts"
    )
    text = "print what the checklists ask people, as a file of answers to fill in, and nothing else"
    parser.add_argument("--questions", action="store_true", help=text)
    read = vars(parser.parse_intermixed_args(argv))
    asked = ReportOptions(**read | {"others": tuple(read["others"])})
    if asked.questions and (other := [name for name, value in read.items() if value and name not in ALONE]):
        raise InputError(f"--questions: found {', '.join(other)} with it, wanted RUN --questions alone")
    for name in ("open", "weights", "without_images"):
        if getattr(asked, name) and asked.others:
            raise InputError(f"--{name}: found {1 + len(asked.others)} runs to compare, wanted one run with it")
        if name != "open" and getattr(asked, name) and asked.out is None:
            raise InputError(f"--{name}: found no --out, wanted --out DIR, the folder that the archive goes to")
    return asked
