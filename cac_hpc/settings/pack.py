"""Section pack: which series of a study is read, how it is checked, and what is packed of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from cac_hpc.settings.checks import ADDED, require, within
from cac_hpc.settings.errors import InputError

Frame = Literal["patient", "stored"]
StudyRule = Literal["refuse", "earliest", "latest"]


@dataclass(frozen=True, kw_only=True)
class SeriesRule:
    """Which series of a study is taken, of the axial ones: docs/data.md, "Which series is selected"."""

    thickness_mm: tuple[float, float] = (2.0, 5.0)  # SliceThickness, else the distance of the slices; usual is 2.5 or 3
    # a regular expression that SeriesDescription, or the name of a NIfTI or NRRD file, must contain, any case
    description: str | None = None
    prefer_original: bool = True  # before derived images, whatever their number
    max_lean_degrees: float = 5.0  # of the slices' normal, their rows and columns from the patient's axes

    def __post_init__(self) -> None:
        low, high = self.thickness_mm
        wanted = "low, high with 0 <= low <= high <= 1000"
        require(0 <= low <= high <= 1000, "pack.series.thickness_mm", self.thickness_mm, wanted)
        within(self, "pack.series.", max_lean_degrees=(0, 45))
        try:
            re.compile(self.description or "")
        except re.error as error:
            raise InputError(f"pack.series.description is {self.description!r}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Checks:
    """What is done with a study that fails a check: it is left out, or used and marked in studies.csv.

    What each check finds: docs/data.md, "Rejected files".
    """

    conflicting_duplicates: Literal["refuse", "warn"] = "refuse"
    missing_slices: Literal["refuse", "warn"] = "refuse"
    uneven_spacing: Literal["refuse", "warn"] = "refuse"
    gantry_tilt: Literal["refuse", "warn"] = "refuse"
    mixed_thickness: Literal["refuse", "warn"] = "refuse"
    mixed_rescale: Literal["refuse", "warn"] = "refuse"
    mixed_acquisition: Literal["refuse", "warn"] = "refuse"
    repeated_pixels: Literal["refuse", "warn"] = "refuse"
    incomplete_acquisition: Literal["refuse", "warn"] = "warn"  # ImagesInAcquisition may count what was not exported
    contrast_agent: Literal["refuse", "warn"] = "refuse"  # with a warning a series of it is taken if there is no other
    implausible_hu: Literal["refuse", "warn"] = "refuse"
    lossy_compression: Literal["refuse", "warn"] = "refuse"
    no_heart: Literal["refuse", "warn"] = "refuse"  # asked with pack.crop: heart; with a warning slices stay whole


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What reading may cost before it is given up."""

    minutes: float = 10.0  # per study
    memory_gb: float = 4.0  # per study
    rejected_studies: float = 0.1  # share of the studies; beyond it the dataset is not sealed

    def __post_init__(self) -> None:
        require(0 < self.minutes <= 1e6, "pack.limits.minutes", self.minutes, "above 0, at most 1000000")
        within(self, "pack.limits.", memory_gb=(0.5, 1e6), rejected_studies=(0, 1))


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """How studies are read, checked and packed."""

    size: int = 512  # pixels per side of a packed slice
    studies_per_shard: int = 8  # of one array task
    min_slices: int = 10  # of a study; fewer are refused
    max_slices: int = 512  # of a study; more are refused
    spacing_tolerance_mm: float = 0.05  # departure of a step between slices from the usual one
    crop: Literal["none", "heart"] = "none"  # heart: slices are cut to a square around it before they are resampled
    crop_margin_mm: float = 10.0  # of the square, around the heart's box
    baseline: bool = True  # score every study by the Agatston rule in its heart, for studies.csv
    # whether the rule's scores, and those of candidates, are multiplied by the spacing of the slices / 3 mm
    spacing_factor: bool = field(default=True, metadata=ADDED)
    regions: str | None = field(
        default=None, metadata=ADDED
    )  # score in masks instead: a folder with one for each study, or a path with {study} in it; :PART,... behind it
    slices: bool = field(default=True, metadata=ADDED)  # pack the slices, from which a network of slices learns
    candidates: bool = field(default=True, metadata=ADDED)  # pack the calcium in and near the heart, piece by piece
    several_studies: StudyRule = "refuse"  # of one patient in one folder: refuse, or take one by its StudyDate
    series: SeriesRule = SeriesRule()
    checks: Checks = Checks()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        within(self, "pack.", size=(8, 1024), studies_per_shard=(1, None), min_slices=(1, None))
        require(self.max_slices >= self.min_slices, "pack.max_slices", self.max_slices, "pack.min_slices or more")
        within(self, "pack.", crop_margin_mm=(0, 200), spacing_tolerance_mm=(0, 100))
        require(self.slices or self.candidates, "pack.candidates", self.candidates, "true, as pack.slices is false")
        wanted = "true, as pack.regions says in which masks studies are scored"
        require(self.baseline or self.regions is None, "pack.baseline", self.baseline, wanted)
        require(self.slices or self.crop == "none", "pack.crop", self.crop, "none, as pack.slices is false")
