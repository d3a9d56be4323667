"""Options of making a synthetic cohort."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.settings.checks import require, within

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
        within(self, "--", studies=(1, 9999), matrix=(32, 1024), seed=(0, None), anatomy_seed=(0, None))
        within(self, "--", slices=(4, 256), field_of_view_mm=(150, 400), workers=(1, 256))
        require(not (self.easy and self.active), "--easy", True, f"left out where --{(*self.active, '')[0]} is set")
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
