"""Options of looking at a folder that nobody knows."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from cac_hpc.settings.checks import within

HELP = {
    "folder": "the studies, or a folder above them",
    "labels": "sheets of scores, .csv or .xlsx; left out: those beside the studies",
    "masks": "a folder of masks or contours; left out: those beside the studies, and in them",
    "out": "write the starting settings into this new file",
    "json": "print what was found as JSON",
    "seconds": "stop looking at further studies after this time; default {default:g}",
    "studies": "look at so many studies at most; default {default}",
}


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """What is looked at, for how long, and where the starting settings go."""

    folder: str
    labels: tuple[str, ...] = ()
    masks: str | None = None
    out: str | None = None
    json: bool = False
    seconds: float = 40.0  # a further study is begun before
    studies: int = 24

    def __post_init__(self) -> None:
        within(self, "--", seconds=(0, 86400), studies=(1, None))


def parse_inspect(doc: str | None, argv: Sequence[str] | None = None) -> InspectConfig:
    """Read ``STUDIES [--labels FILE ...] [--masks FOLDER] [--out FILE] [--json] [--seconds S] [--studies N]``.

    Raises: InputError for a value that cannot be.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    parser.add_argument("folder", metavar="STUDIES", help=HELP["folder"])
    parser.add_argument("--labels", metavar="FILE", nargs="+", default=[], help=HELP["labels"])
    parser.add_argument("--masks", metavar="FOLDER", help=HELP["masks"])
    parser.add_argument("--out", metavar="FILE", help=HELP["out"])
    parser.add_argument("--json", action="store_true", help=HELP["json"])
    for name, kind in (("seconds", float), ("studies", int)):
        default = getattr(InspectConfig, name)
        text = HELP[name].format(default=default)
        parser.add_argument(f"--{name}", type=kind, default=default, metavar=name[0].upper(), help=text)
    read = vars(parser.parse_args(argv))
    return InspectConfig(**read | {"labels": tuple(read["labels"])})
