"""Options of scoring calcium, and the Agatston rule where its implementations differ."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from cac_hpc.settings.checks import require, within
from cac_hpc.settings.data import Format
from cac_hpc.settings.pack import Checks, Frame

RULE_HELP = {
    "threshold_hu": "HU of a lesion's pixels, at least",
    "min_area_mm2": "area of a lesion on its slice, at least",
    "min_area_pixels": "the same in pixels",
    "neighbours": "of a pixel that make one lesion with it, 8 or 4",
    "spacing_factor": "true or false: scale by slice spacing / 3 mm",
    "mass_factor": "mg per mm3 and HU of this scanner, for the mass; no mass if left out",
}


@dataclass(frozen=True, kw_only=True)
class RuleConfig:
    """The Agatston rule where its implementations differ; `agatston` gives the sources."""

    threshold_hu: int = 130  # of a lesion's pixels, at least; 131 is "above 130"
    min_area_mm2: float = 1.0  # of a lesion on its slice, at least
    min_area_pixels: int = 1  # the same in pixels; a lesion has both
    neighbours: Literal[4, 8] = 8  # of a pixel, with which it makes one lesion: 4 share an edge, 8 a corner, too
    spacing_factor: bool = True  # multiply by the spacing of the slices / 3 mm
    mass_factor: float | None = None  # mg per mm3 and HU, from a calibration of the scanner; null: no mass

    def __post_init__(self) -> None:
        within(self, "--", threshold_hu=(1, 3000), min_area_mm2=(0, 1000), min_area_pixels=(1, 1000))
        require(self.neighbours in (4, 8), "--neighbours", self.neighbours, "4 or 8")
        factor = self.mass_factor
        require(factor is None or 0 < factor < 1, "--mass_factor", factor, "above 0 and below 1 mg per mm3 and HU")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Which studies are scored, where in them, and by which rule."""

    folder: str  # one study, or a folder of them
    single: bool = False  # the folder is one study, even if no CT slice lies in it directly
    region: str = "heart"  # heart, all, or a mask: a file, a path with {study} in it, a folder; and :PART,... behind it
    region_frame: Frame | None = None  # whose rows and columns a file counts that does not say so itself
    format: Format = "auto"  # of the studies
    warn: tuple[str, ...] = ()  # checks of the series that only warn, as in pack.checks
    out: str | None = None  # scores.csv and lesions.csv go there
    pictures: bool = False  # of what counted and what did not, into a folder of out
    model: str | None = None  # a bundle or a run of lesions, the mean over its folds, or model.pt of one fold
    rule: RuleConfig = RuleConfig()

    def __post_init__(self) -> None:
        require(self.out is not None or not self.pictures, "--out", self.out, "a folder, where --pictures go")
        if self.of_candidates:
            require(self.region != "all", "--region", self.region, "heart, or masks to compare candidates with")
            for spec in dataclasses.fields(RuleConfig):
                value, wanted = getattr(self.rule, spec.name), f"{spec.default}, by which candidates are found"
                require(value == spec.default or spec.name == "mass_factor", f"--{spec.name}", value, wanted)

    @property
    def of_candidates(self) -> bool:
        """Whether candidates are looked for: what a model decides on, and pictures show."""
        return self.pictures or self.model is not None


def parse_score(doc: str | None, argv: Sequence[str] | None = None) -> ScoreConfig:
    """Read ``FOLDER [--region REGION] [--out DIR] [--single] [--warn CODE ...]`` and the fields of the rule.

    Raises: InputError for a value that cannot be.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    text = "a study, DICOM files in a folder or a NIfTI or NRRD file, or a folder of studies"
    parser.add_argument("folder", metavar="FOLDER", help=text)
    parser.add_argument("--single", action="store_true", help="FOLDER is one study, also if it has only folders in it")
    text = "of the studies; auto (default): of each what its files are"
    parser.add_argument("--format", choices=get_args(Format), default="auto", help=text)
    text = (
        "heart (found in the volume, the default), all, or a mask: a file, a path with {study} in it or a folder with "
        "a file for each study; :PART,... behind it chooses parts by number or name"
    )
    parser.add_argument("--region", default="heart", metavar="REGION", help=text)
    text = "rows and columns of a mask without geometry that does not say so: patient, or stored as in the DICOM files"
    parser.add_argument("--region_frame", choices=get_args(Frame), help=text)
    parser.add_argument("--out", metavar="DIR", help="write scores.csv and lesions.csv into this folder")
    parser.add_argument("--pictures", action="store_true", help="draw what counted and what did not, into --out")
    text = "also score by a lesion model: a bundle or RUN, the mean over its folds, or RUN/folds/fold-K/model.pt"
    parser.add_argument("--model", metavar="MODEL", help=text)
    checks = [spec.name for spec in dataclasses.fields(Checks)]
    text = "use studies that fail this check, with a warning; several can be named"
    parser.add_argument("--warn", nargs="+", default=[], metavar="CODE", choices=checks, help=text)
    kinds: dict[str, Callable[[str], object]] = {"int": int, "float": float, "Literal[4, 8]": int, "bool": _truth}
    rule = dataclasses.fields(RuleConfig)
    for spec in rule:
        kind = kinds[str(spec.type).removesuffix(" | None")]
        usual = "" if spec.default is None else f"; default {str(spec.default).lower()}"
        parser.add_argument(
            f"--{spec.name}",
            type=kind,
            default=spec.default,
            metavar="X",
            help=f"{RULE_HELP[spec.name]}{usual}",
        )
    read = vars(parser.parse_args(argv))
    chosen = RuleConfig(**{spec.name: read.pop(spec.name) for spec in rule})
    return ScoreConfig(**read | {"warn": tuple(read["warn"]), "rule": chosen})


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r}, wanted true or false")
    return text == "true"
