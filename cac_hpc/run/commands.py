"""Settings of commands with options of their own: making a synthetic cohort, scoring calcium, exporting a run."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cac_hpc.run.config import Checks, Format, Frame, require, require_text, within

PHANTOM_HELP = {
    "out": "folder of the cohort: study folders and labels.csv",
    "studies": "how many",
    "slices": "per study; drawn like a scanner's if left out",
    "matrix": "pixels per side",
    "field_of_view_mm": "edge of a slice; drawn if left out",
    "seed": "the same seed gives the same files",
    "easy": "patients who hardly differ and calcium in most slices, so that small cohorts can be learned from",
    "surprises": "plant what real archives hold: odd folder names and ids, a label sheet with faults",
    "hard": "all of the settings that follow: what makes real exams difficult",
    "lean_patients": "3 to 11 percent fat in the heart region, as in real exams",
    "noise_groups": "0 to 26 groups of noise of 130-180 HU and 1-4 mm2 in the chest; scores count plaques alone",
    "upper_abdomen": "scans that begin below the heart, with bright contents of stomach and bowel",
    "calcified_cartilage": "calcified rib cartilages, and a piece of the sternum in narrow fields",
    "edge_calcium": "plaques near the origins and the sides, where an automatic heart region ends",
    "varied_anatomy": "hearts turned, high or low, large or small, left or right dominant, other courses of arteries",
    "anatomy_seed": "generator of shapes for varied_anatomy: cohorts of different ones have different hearts",
    "noncoronary_calcium": "calcium in aortic root and valve, mitral ring and lymph nodes, near coronary arteries, too",
    "varied_fields": "fields of view from 160 to 260 mm, and slices of 3 mm every 1.5 mm in some",
    "people": "sex and age of made-up patients in the headers; else these say that there is no patient",
    "scanners": "so many of the three scanners take turns, study after study; drawn by their shares if left out",
    "degraded": "GE, SIEMENS or TOSHIBA: a scanner whose images are sharper and three times as noisy; with scanners",
    "truth": "folder for masks, plaques and lesions, outside of the cohort's",
    "workers": "processes; one per CPU if left out",
}

RULE_HELP = {
    "threshold_hu": "HU of a lesion's pixels, at least",
    "min_area_mm2": "area of a lesion on its slice, at least",
    "min_area_pixels": "the same in pixels",
    "neighbours": "of a pixel that make one lesion with it, 8 or 4",
    "spacing_factor": "true or false: scale by slice spacing / 3 mm",
    "mass_factor": "mg per mm3 and HU of this scanner, for the mass",
}


SCANNERS = ("GE", "SIEMENS", "TOSHIBA")  # makers, in the order in which scanners take turns
KNOBS = (  # in a fixed order: each has its own stream of random numbers
    "lean_patients", "noise_groups", "upper_abdomen", "calcified_cartilage", "edge_calcium", "varied_anatomy",
    "noncoronary_calcium", "varied_fields",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PhantomConfig:
    """A synthetic cohort: where it goes, how large it is, how hard."""

    out: str
    studies: int = 68
    slices: int | None = None  # per study; None draws as many as the study's scanner takes
    matrix: int = 512  # pixels per side
    field_of_view_mm: float | None = None  # None draws one of the scanner's
    seed: int = 0
    easy: bool = False  # patients who hardly differ, calcium in most slices, nothing else that is as dense: for demos
    surprises: bool = False  # plant what real archives hold: odd names and ids, a label sheet with faults
    hard: bool = False  # each of the settings that follow
    lean_patients: bool = False  # 3 to 11 % fat in the heart region, as `heart.fat_share` measures it; else 15 to 19 %
    noise_groups: bool = False  # 0 to 26 groups of 130-180 HU and 1-4 mm2; the score of record counts plaques alone
    upper_abdomen: bool = False  # in 7 of 11 the scan begins below the heart; bright contents of stomach and bowel
    calcified_cartilage: bool = False  # rib cartilages of 130-390 HU; a piece of sternum where the field is narrow
    edge_calcium: bool = False  # plaques near the arteries' origins and at the sides: see docs/phantom.md
    varied_anatomy: bool = False  # hearts turned, high or low, large or small; arteries elsewhere; dominance
    anatomy_seed: int = 0  # number of the generator of shapes; without varied_anatomy it changes nothing
    noncoronary_calcium: bool = False  # aortic root, wall and valve, mitral ring, nodes; nearer to arteries than usual
    varied_fields: bool = False  # 160 to 260 mm; 3 mm slices every 1.5 mm in some
    people: bool = False  # sex and age in the headers, drawn by seed and number of the study; else there is no patient
    scanners: int | None = None  # so many take turns, study after study; None draws one of three by its share
    degraded: str | None = None  # maker of one of them, whose images are noisy and sharp
    truth: str | None = None  # folder for masks and lists of plaques, lesions and other objects; never inside ``out``
    workers: int | None = None  # processes; None takes one per CPU. The files do not depend on it

    def __post_init__(self) -> None:
        slices, view_mm = self.slices, self.field_of_view_mm
        within(self, "--", studies=(1, 9999), matrix=(32, 1024), seed=(0, None), anatomy_seed=(0, None))
        require(not (self.easy and self.active), "--easy", True, f"left out where --{(*self.active, '')[0]} is set")
        require(slices is None or 4 <= slices <= 256, "--slices", slices, "4 to 256")
        require(view_mm is None or 150 <= view_mm <= 400, "--field_of_view_mm", view_mm, "150 to 400")
        require(self.workers is None or 1 <= self.workers <= 256, "--workers", self.workers, "1 to 256")
        turns = SCANNERS[: self.scanners or 0]
        require(self.scanners in (None, 1, 2, 3), "--scanners", self.scanners, "1, 2 or 3")
        wanted = f"one of {', '.join(turns)}" if turns else "left out, as --scanners is"
        require(self.degraded in (None, *turns), "--degraded", self.degraded, wanted)
        wanted = "left out, or with --noise_groups or --hard: else noise alone would score"
        require(self.degraded is None or bool(self.active), "--degraded", self.degraded, wanted)
        if self.truth is not None:
            inside = Path(self.out).absolute() in (Path(self.truth).absolute(), *Path(self.truth).absolute().parents)
            wanted = f"a folder outside of --out {self.out}: truth is no part of a cohort"
            require(not inside, "--truth", self.truth, wanted)

    @property
    def active(self) -> tuple[str, ...]:
        """The settings of difficulty that are on."""
        return tuple(name for name in KNOBS if self.hard or getattr(self, name))


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


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Which run becomes a bundle, where it goes, and on what terms others may use it."""

    run: str
    out: str  # a new folder, or a new file that ends with .zip
    licence: str = ""  # an identifier of SPDX, or any text; it stands in the bundle and its model card
    onnx: bool = False  # also write each fold's network as ONNX

    def __post_init__(self) -> None:
        require_text("--licence", self.licence)


def parse_export(doc: str | None, argv: Sequence[str] | None = None) -> ExportConfig:
    """Read ``RUN --out BUNDLE [--licence TEXT] [--onnx]``.

    Raises: InputError for a text that cannot be shown.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    parser.add_argument("run", metavar="RUN", help="the run folder, of a complete run")
    text = "the bundle: a new folder, or one file if the name ends with .zip"
    parser.add_argument("--out", required=True, metavar="BUNDLE", help=text)
    text = "on what terms others may use the model: an identifier of SPDX such as CC-BY-4.0, or any text"
    parser.add_argument("--licence", default="", metavar="TEXT", help=text)
    parser.add_argument("--onnx", action="store_true", help="also write each fold's network as ONNX (extra onnx)")
    return ExportConfig(**vars(parser.parse_args(argv)))


def parse_phantom(doc: str | None, argv: Sequence[str] | None = None) -> PhantomConfig:
    """Read ``--out DIR`` and the other settings of a synthetic cohort.

    Raises: InputError, naming the option, what was found and what was wanted.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    kinds: dict[str, Callable[[str], object]] = {"int": int, "float": float, "str": str}
    for spec in dataclasses.fields(PhantomConfig):
        kind, text = str(spec.type).removesuffix(" | None"), PHANTOM_HELP[spec.name]
        if kind == "bool":
            parser.add_argument(f"--{spec.name}", action="store_true", help=text)
        elif spec.default is dataclasses.MISSING:
            parser.add_argument(f"--{spec.name}", type=kinds[kind], required=True, help=text)
        else:
            usual = "" if spec.default is None else f"; default {spec.default}"
            parser.add_argument(f"--{spec.name}", type=kinds[kind], default=spec.default, help=text + usual)
    return PhantomConfig(**vars(parser.parse_args(argv)))


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
        parser.add_argument(
            f"--{spec.name}",
            type=kind,
            default=spec.default,
            metavar="X",
            help=f"{RULE_HELP[spec.name]}; default {spec.default}",
        )
    read = vars(parser.parse_args(argv))
    chosen = RuleConfig(**{spec.name: read.pop(spec.name) for spec in rule})
    return ScoreConfig(**read | {"warn": tuple(read["warn"]), "rule": chosen})


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r}, wanted true or false")
    return text == "true"
