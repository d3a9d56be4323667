"""Settings: frozen dataclasses, one per section; each checks what a type cannot say. ``settings`` reads them."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from cac_hpc.run import slurm_notation, yaml_documents

Precision = Literal["fp32", "bf16", "fp16", "auto"]
Frame = Literal["patient", "stored"]
StudyRule = Literal["refuse", "earliest", "latest"]
Subgroup = Literal["sex", "age_group", "site", "scanner", "kernel", "kvp", "thickness", "noise", "body_size"]
Format = Literal["auto", "dicom", "nifti", "nrrd"]  # of studies; auto: of each what its files are
# settings that change no prediction
OWN_OPTIONS = ("job-name", "array", "dependency", "clusters", "parsable", "wait")  # of sbatch, by which jobs are known
WITHOUT_EFFECT = ("train.allow_inexact_resume", "train.checkpoint_minutes", "train.occlusion", "train.residency")
CUTS = (0.0, 100.0, 400.0)
COHORT = re.compile("[A-Za-z][A-Za-z0-9_-]{0,19}")
RESERVED = ("unknown", "several", "withheld")
ADDED = {"written": False}  # of a setting that older runs lack: it is written only where it is not the default


class InputError(ValueError):
    """The user's input is wrong: one line that names where, what was found, what was wanted. Ends with exit code 2."""


class WorkError(RuntimeError):
    """The work cannot go on: one line that says where, why and what to do. Ends with exit code 1."""


def require(ok: bool, key: str, value: object, wanted: str) -> None:
    if not ok:
        raise InputError(f"{key} is {value!r}, but must be {wanted}")


def within(section: object, key: str, **limits: tuple[float, float | None]) -> None:
    """Refuse settings of a section that are not from the lowest to the highest number, if there is a highest.

    Args:
        key: the section's name, with a point behind it.
    """
    for name, (low, high) in limits.items():
        value, wanted = getattr(section, name), f"{low:.15g} or more" if high is None else f"{low:.15g} to {high:.15g}"
        require(low <= value and (high is None or value <= high), f"{key}{name}", value, wanted)


def require_cuts(key: str, cuts: tuple[float, ...]) -> None:
    """Cuts are scores in rising order."""
    rising = all(low < high for low, high in itertools.pairwise(cuts))
    require(
        rising and all(0 <= cut < 20_000 for cut in cuts), key, cuts, "scores of 0 or more, each above the one before"
    )


def require_text(key: str, *texts: str) -> None:
    """Nothing in texts that people read commands their terminal."""
    for text in texts:
        harmless = not any(unicodedata.category(sign) == "Cc" and sign not in "\t\n" for sign in text)
        require(harmless, key, text, "text without control characters")


@dataclass(frozen=True, kw_only=True)
class CohortConfig:
    """One of several cohorts; what is null here is as in the sections data and labels."""

    name: str  # in front of its study numbers, with a point between, and its site in studies.csv
    dicom_root: str  # as data.dicom_root; the others follow those of their names
    format: Format | None = field(default=None, metadata=ADDED)
    sheet: str | tuple[str, ...] | None = field(default=None, metadata=ADDED)
    study_column: str | None = field(default=None, metadata=ADDED)
    score_column: str | None = field(default=None, metadata=ADDED)
    patient_column: str | None = field(default=None, metadata=ADDED)
    unmatched: Literal["stop", "skip"] | None = field(default=None, metadata=ADDED)
    hidden_rows: Literal["leave_out", "use"] | None = field(default=None, metadata=ADDED)
    source: Literal["sheet", "sr", "masks"] | None = field(default=None, metadata=ADDED)
    masks: str | None = field(default=None, metadata=ADDED)
    without_mask: Literal["refuse", "zero"] | None = field(default=None, metadata=ADDED)
    vessel_columns: tuple[str, ...] | None = field(default=None, metadata=ADDED)
    group_columns: tuple[str, ...] | None = field(default=None, metadata=ADDED)
    id_prefix: str | None = field(default=None, metadata=ADDED)
    id_suffix: str | None = field(default=None, metadata=ADDED)

    @property
    def of_labels(self) -> dict[str, Any]:
        """Its own settings of labels, by their names there."""
        own = {spec.name: getattr(self, spec.name) for spec in dataclasses.fields(self)}
        return {name: value for name, value in own.items() if value is not None and name not in OF_DATA}


OF_DATA = ("name", "dicom_root", "format")
OWN = re.compile(  # settings that a cohort has itself, as they are called of a single one
    rf"(?:--)?\b(?:labels\.(?=(?:{'|'.join(spec.name for spec in dataclasses.fields(CohortConfig))})\b|\*)"
    r"|data\.(?=(?:dicom_root|format)\b))"
)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    # one folder per study below it, or one NIfTI or NRRD file; its name is the study number
    dicom_root: str = field(default="", metadata=ADDED)
    packed_dir: str | None = None  # where the packed dataset lives; null keeps it in the run folder
    pseudonym_key: str | None = None  # a file with a secret; study keys are then written as pseudonyms made with it
    format: Format = field(default="auto", metadata=ADDED)  # of the studies; auto: of each what its files are
    # facts by which the report has groups: docs/data.md, "Groups of patients"
    subgroups: tuple[Subgroup, ...] = field(default=(), metadata=ADDED)
    smallest_group: int = field(default=5, metadata=ADDED)  # patients whom studies.csv says to be alike, at least
    # several cohorts in one run, each with its own dicom_root and sheet: docs/data.md, "Several cohorts"
    cohorts: tuple[CohortConfig, ...] = field(default=(), metadata=ADDED)
    shared_patients: bool = field(default=False, metadata=ADDED)  # the same patient in two sheets is the same person

    def __post_init__(self) -> None:
        names = [cohort.name for cohort in self.cohorts]
        wanted = "left out: each of data.cohorts has its own" if names else "the folder that holds the study folders"
        require(bool(self.dicom_root) != bool(names), "data.dicom_root", self.dicom_root, wanted)
        wanted = "two cohorts or more; a single one is data.dicom_root and labels.sheet"
        require(len(names) != 1, "data.cohorts", names, wanted)
        require(not self.shared_patients or bool(names), "data.shared_patients", True, "false without data.cohorts")
        for index, cohort in enumerate(self.cohorts):
            key, own = f"data.cohorts[{index}]", cohort.name.casefold()
            wanted = "a letter, and up to 19 letters, digits, _ or - behind it"
            require(bool(COHORT.fullmatch(cohort.name)), f"{key}.name", cohort.name, wanted)
            wanted = "another name: it says that a fact is not known or not shown"
            require(own not in RESERVED, f"{key}.name", cohort.name, wanted)
            before = [name.casefold() for name in names[:index]]
            wanted = f"another name than data.cohorts[{before.index(own) if own in before else 0}].name"
            require(own not in before, f"{key}.name", cohort.name, wanted)
        require(len(set(self.subgroups)) == len(self.subgroups), "data.subgroups", self.subgroups, "different facts")
        wanted = "without site, as there are no data.cohorts"
        require(bool(names) or "site" not in self.subgroups, "data.subgroups", self.subgroups, wanted)
        within(self, "data.", smallest_group=(2, 1000))


@dataclass(frozen=True, kw_only=True)
class LabelsConfig:
    sheet: str | tuple[str, ...] | None = None  # .csv or .xlsx, one row per study; BOOK.xlsx#NAME is one of its sheets
    study_column: str = "study"  # study number, the name of the study's folder
    score_column: str | None = "score"  # Agatston score; null: the sum of vessel_columns
    patient_column: str | None = None  # null: every study is its own patient
    edges: tuple[float, ...] = (0.0, 10.0, 100.0, 400.0, 1000.0)  # a category ends at its edge, the edge included
    names: tuple[str, ...] = (
        "Very Low",
        "Low",
        "Low/Moderate",
        "Moderate",
        "Moderate/High",
        "High",
    )  # one more than edges
    unmatched: Literal["stop", "skip"] = "stop"  # folders without a valid row, rows without a folder: or leave them out
    hidden_rows: Literal["leave_out", "use"] = "leave_out"  # of an .xlsx sheet, hidden by hand or by a filter
    source: Literal["sheet", "sr", "masks"] = field(default="sheet", metadata=ADDED)  # sr: reports in the study folders
    masks: str | None = field(default=None, metadata=ADDED)  # of source masks: as pack.regions
    # of a study without one: it has no label, or its score is 0, where masks were drawn on calcium alone
    without_mask: Literal["refuse", "zero"] = field(default="refuse", metadata=ADDED)
    vessel_columns: tuple[str, ...] = field(default=(), metadata=ADDED)  # Agatston score of each vessel, as LM
    group_columns: tuple[str, ...] = field(default=(), metadata=ADDED)  # of text by which patients form groups
    id_prefix: str | None = field(default=None, metadata=ADDED)  # before numbers, in sheet or folders: not compared
    id_suffix: str | None = field(default=None, metadata=ADDED)  # behind them: A lets row 1A be folder 1

    def __post_init__(self) -> None:
        require(list(self.edges) == sorted(set(self.edges)), "labels.edges", self.edges, "rising numbers")
        require(all(map(math.isfinite, self.edges)), "labels.edges", self.edges, "finite numbers")
        require(len(set(self.sheets)) == len(self.sheets), "labels.sheet", self.sheet, "different sheets")
        require(len(self.edges) >= 1, "labels.edges", self.edges, "at least one number")
        columns = [self.study_column, self.score_column, self.patient_column, *self.vessel_columns]
        columns += self.group_columns
        named = [column for column in columns if column is not None]
        wanted = (
            f"different columns: {', '.join(sorted({repr(name) for name in named if named.count(name) > 1}))} twice"
        )
        require(len(set(named)) == len(named), "labels.*_column", named, wanted)
        require(len(self.vessel_columns) != 1, "labels.vessel_columns", self.vessel_columns, "two columns or more")
        require_text("labels.id_prefix and labels.id_suffix", self.id_prefix or "", self.id_suffix or "")
        wanted = f"{len(self.edges) + 1} names, one more than labels.edges"
        require(len(self.names) == len(self.edges) + 1, "labels.names", self.names, wanted)
        require_text("labels.names", *self.names)
        wanted = f"columns of other names than {', '.join(get_args(Subgroup))}, which data.subgroups has"
        taken = {column.strip().casefold() for column in self.group_columns} & {*get_args(Subgroup)}
        require(not taken, "labels.group_columns", self.group_columns, wanted)
        require_text("labels.group_columns", *self.group_columns)

    def check_source(self) -> None:
        """What the labels of a cohort are read from is there, and nothing besides.

        Raises: InputError naming the setting.
        """
        wanted = "the path of a .csv or .xlsx sheet, or a list of paths"
        require((bool(self.sheets) and all(self.sheets)) or self.source != "sheet", "labels.sheet", self.sheet, wanted)
        given, wanted = self.masks, "a folder of masks, or a path with {study} in it, as labels.source is masks"
        require(self.source != "masks" or bool(given), "labels.masks", given, wanted)
        require(self.source == "masks" or not given, "labels.masks", given, "null, as labels.source is not masks")
        of_sheet, wanted = self.source == "sheet", "null: only a sheet names patients"
        require(of_sheet or not self.patient_column, "labels.patient_column", self.patient_column, wanted)
        wanted = "left out: only a sheet has columns"
        require(of_sheet or not self.group_columns, "labels.group_columns", self.group_columns, wanted)
        scored = self.score_column is not None or bool(self.vessel_columns)
        require(scored, "labels.score_column", self.score_column, "a column, where labels.vessel_columns is empty")

    @property
    def sheets(self) -> tuple[str, ...]:
        """All sheets, each as `sheet` names it."""
        return (self.sheet,) if isinstance(self.sheet, str) else self.sheet or ()

    @property
    def origin(self) -> str:
        """Where the labels are from, for messages."""
        return ", ".join(self.sheets) if self.source == "sheet" else f"labels.source {self.source}"


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
    """What is done with a study that fails a check: it is left out, or used and marked in studies.csv."""

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


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    # holdout: repeated random division; leave_one_out: each group of patients is tested by a model that never saw it
    scheme: Literal["kfold", "holdout", "leave_one_out"] = "kfold"
    folds: int = 5  # or repetitions, in `holdout`; in `leave_one_out` set by the launch: one for each group
    test_fraction: float = 0.30  # of all patients, in `holdout`; `kfold` tests each patient once
    val_fraction: float = 0.21  # of all patients; in `leave_one_out` of those of other groups
    seed: int = 0  # of the division into folds
    # slice leaks on purpose: it measures how much a split by slice inflates the figures of a finished run
    unit: Literal["patient", "slice"] = "patient"
    contrast_to: str | None = None  # folder of that finished run; or of one by patient folds, in `leave_one_out`
    # by what patients form groups: scanner (maker and model), site (the cohort, of data.cohorts), or a column of
    # labels.group_columns; kfold and holdout give each fold its share of every group
    group: str | None = field(default=None, metadata=ADDED)
    smallest_group: int = field(default=10, metadata=ADDED)  # patients; smaller ones are not tested in `leave_one_out`

    def __post_init__(self) -> None:
        of_run = "the folder of the finished run by patient that it is contrasted with, as split.unit is slice"
        no_run = f"null, as split.unit is patient and split.scheme {self.scheme}, not leave_one_out"
        wanted = of_run if self.unit == "slice" else no_run
        held_out = self.scheme == "leave_one_out"
        fits = bool(self.contrast_to) == (self.unit == "slice") or (held_out and self.unit == "patient")
        require(fits, "split.contrast_to", self.contrast_to, wanted)
        by_patient = self.unit == "patient" or self.group is None
        require(by_patient, "split.group", self.group, "null, as split.unit is slice")
        wanted = "scanner, site, or a column of labels.group_columns, as split.scheme is leave_one_out"
        require(self.group is not None or not held_out, "split.group", self.group, wanted)
        within(self, "split.", folds=(2, None), seed=(0, None), smallest_group=(2, None))
        require(0 < self.val_fraction < 1, "split.val_fraction", self.val_fraction, "between 0 and 1")
        require(0 < self.test_fraction < 1, "split.test_fraction", self.test_fraction, "between 0 and 1")
        if held_out:  # parts are as large as the groups
            return
        test = self.test_fraction if self.scheme == "holdout" else 1 / self.folds
        left = f"less than {1 - test:.2f}, so that patients are left for training"
        require(test + self.val_fraction < 1, "split.val_fraction", self.val_fraction, left)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    kind: str = field(default="slices", metadata=ADDED)  # by its name in train/models: slices, lesions or another
    # of the study's network, kind slices, as the three below:
    filters: tuple[int, ...] = (32, 64, 128, 256, 512)  # one convolution + ReLU + 2x2 max-pooling each
    kernel: int = 3  # pixels per side of every convolution; its edges are filled with zeros, the size stays
    dense: int = 512
    dropout: float = 0.3
    hidden: tuple[int, ...] = field(default=(32, 16), metadata=ADDED)  # kind lesions: width of each hidden layer
    members: int = field(
        default=1, metadata=ADDED
    )  # kind lesions: networks with own starts; their answers are averaged

    def __post_init__(self) -> None:
        require(len(self.filters) >= 1 and min(self.filters) >= 1, "model.filters", self.filters, "positive numbers")
        require(self.kernel >= 1 and self.kernel % 2 == 1, "model.kernel", self.kernel, "an odd number, 1 or more")
        require(self.dense >= 1, "model.dense", self.dense, "1 or more")
        require(0 <= self.dropout < 1, "model.dropout", self.dropout, "at least 0 and below 1")
        require(len(self.hidden) >= 1 and min(self.hidden) >= 1, "model.hidden", self.hidden, "positive numbers")
        within(self, "model.", members=(1, 100))

    @property
    def of_candidates(self) -> bool:
        """Whether it is given candidates of calcium; a study in which no heart is found has none."""
        return self.kind == "lesions"


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """How training slices are changed at random, each epoch anew; 0 is off. Validation and test slices never are."""

    rotation_deg: float = 0.0  # turned by at most this, either way
    shift: float = 0.0  # moved by at most this share of the field of view, up or down and left or right
    scale: float = 0.0  # magnified by a factor of 1 - scale to 1 + scale
    # Every second slice is mirrored. The heart is not symmetric: a mirrored one is a situs inversus. It makes sense
    # where the side must not matter, for small crops around a lesion or studies whose orientation is not known.
    flip_left_right: bool = False
    noise_hu: float = 0.0  # standard deviation of what is added to each pixel
    offset_hu: float = 0.0  # the same number, at most this, is added to or taken from all pixels of a slice

    def __post_init__(self) -> None:
        require(0 <= self.shift < 1, "train.augment.shift", self.shift, "at least 0 and below 1")
        limits = {"rotation_deg": (0, 180), "scale": (0, 0.9), "noise_hu": (0, 1000), "offset_hu": (0, 1000)}
        within(self, "train.augment.", **limits)

    @property
    def moves(self) -> bool:
        """Whether pixels change their place."""
        return self.flip_left_right or max(self.rotation_deg, self.shift, self.scale) > 0

    @property
    def active(self) -> bool:
        """Whether anything is on."""
        return self.moves or max(self.noise_hu, self.offset_hu) > 0


@dataclass(frozen=True, kw_only=True)
class AnatomyConfig:
    """How far each study's candidates are moved at random in every training step: standard deviations; 0 is off."""

    shift_mm: float = 10.0  # along each axis of the patient
    rotation_deg: float = 10.0  # about each axis, through the middle of the heart
    scale: float = 0.1  # of the factor, around 1, by which distances from the middle of the heart grow

    def __post_init__(self) -> None:
        within(self, "train.anatomy.", shift_mm=(0, 1000), rotation_deg=(0, 180), scale=(0, 0.3))

    @property
    def active(self) -> bool:
        """Whether anything is on."""
        return max(self.shift_mm, self.rotation_deg, self.scale) > 0


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    epochs: int
    # optimizer steps of the whole training, divided evenly among the epochs, over shuffled passes that run on from one
    # epoch to the next; null: an epoch takes every training slice or study once
    steps: int | None = field(default=None, metadata=ADDED)
    batch_size: int = 32  # slices, or studies where the model predicts these; over all ranks
    optimizer: str = field(default="adam", metadata=ADDED)  # by its name in train/optimizers
    weight_decay: float = field(default=0.01, metadata=ADDED)  # of the optimizer adamw
    learning_rate: float = 1e-4
    schedule: str = field(default="plateau", metadata=ADDED)  # of the learning rate, by its name in train/optimizers
    plateau_factor: float = 0.5  # applied when validation loss has not improved ...
    plateau_patience: int = 2  # ... for this many epochs
    min_learning_rate: float = 1e-6
    class_weight: Literal["balanced", "none"] = "balanced"
    evaluate: Literal["best", "last"] = "best"  # which epoch is tested; best: lowest validation loss
    window_hu: tuple[float, float] = (-200.0, 800.0)  # mapped to 0..1, clipped outside
    device: Literal["cuda", "cpu"] = "cuda"
    precision: Precision = "bf16"  # auto: bf16 or fp16 on a GPU; what is faster on a CPU
    compile: bool = False  # by torch.compile: minutes at the start of every attempt, worth it for long trainings
    deterministic: bool = True  # the same bits every time; false lets cuDNN choose by timing
    checkpoint_minutes: float = 10.0  # between two checkpoints: the most that is lost; 0 is after every step
    allow_inexact_resume: bool = False  # go on with other ranks, threads or versions than a checkpoint was made with
    seed: int = 0
    occlusion: bool = True  # test the slices twice more: with all but the heart blank, and with the heart blank
    augment: AugmentConfig = AugmentConfig()
    anatomy: AnatomyConfig = field(default=AnatomyConfig(), metadata=ADDED)  # of a model of lesions
    residency: Literal["auto", "device", "host", "stream"] = "auto"  # where slices are kept; auto goes by their size
    shuffle_window: int | None = None  # slices shuffled together; null: all of them, or 2048 where they are streamed

    def __post_init__(self) -> None:
        within(self, "train.", epochs=(1, None), batch_size=(1, None), plateau_patience=(1, None), seed=(0, None))
        steps, wanted = self.steps, f"{self.epochs} (train.epochs) or more, or null"
        require(steps is None or steps >= self.epochs, "train.steps", steps, wanted)
        within(self, "train.", weight_decay=(0, 1))
        require(self.learning_rate > 0, "train.learning_rate", self.learning_rate, "above 0")
        require(0 < self.plateau_factor < 1, "train.plateau_factor", self.plateau_factor, "between 0 and 1")
        lowest, wanted = self.min_learning_rate, "at least 0 and at most train.learning_rate"
        require(0 <= lowest <= self.learning_rate, "train.min_learning_rate", lowest, wanted)
        minutes = self.checkpoint_minutes
        require(0 <= minutes < math.inf, "train.checkpoint_minutes", minutes, "0 or more")
        low, high = self.window_hu
        require(-32768 <= low < high <= 32767, "train.window_hu", self.window_hu, "-32768 <= low < high <= 32767")
        on_cpu = "fp32 or bf16 when train.device is cpu"
        require(self.device == "cuda" or self.precision != "fp16", "train.precision", self.precision, on_cpu)
        window = self.shuffle_window
        require(window is None or window >= 1, "train.shuffle_window", window, "1 or more, or null")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one task of a stage asks of SLURM, per node."""

    time_min: int  # time limit
    mem_gb: float  # per node
    cpus: int = 1  # of a task; those of a fold follow from its ranks


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    kind: str = "auto"  # a scheduler, by its name in cluster/schedulers; auto: SLURM if one answers, else local
    partition: str | None = None  # this and the next four as for sbatch; null: the site's default
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    exclude: str | None = None  # nodes that are never used; a run adds those that failed its check
    exclusive: bool = False  # whole nodes; pair it with folds_per_node
    nodes_per_fold: int = 1  # over which the ranks of a fold are spread
    ranks_per_node: int = 1  # torchrun processes of a fold; with train.device cuda each has one GPU
    cpus_per_rank: int = 1  # also the number of threads that a rank computes with
    # folds, or workers of trials, that one job trains side by side; small networks are faster so than with more ranks
    folds_per_node: int = 1
    gpus_per_node: int | None = None  # null: one per rank; fewer are shared by the folds of a job
    gres: str | None = None  # how this site names GPUs, as gpu:a100:2; null asks with --gpus-per-node
    array_parallelism: int = 256  # tasks of one array that run at the same time
    warning_s: int = 90  # SLURM asks a job to save so long before its time is over
    attempts: int = 5  # starts of a fold without a new checkpoint, until it is given up
    pack: Resources = Resources(time_min=120, mem_gb=8.0)
    # its cpus are folds_per_node x ranks_per_node x cpus_per_rank; workers of trials ask the same, for one rank each
    fold: Resources = Resources(time_min=480, mem_gb=32.0)
    aggregate: Resources = Resources(time_min=30, mem_gb=4.0)  # the seal asks the same
    mem_per_cpu: bool = False  # ask for memory with --mem-per-cpu, where a site refuses --mem
    mail_user: str | None = None  # gets mail when the report is there or a stage has failed
    setup: tuple[str, ...] = ()  # lines of shell at the start of every job; slurm/env.sh follows, on every node
    srun: tuple[str, ...] = ()  # further arguments of srun, as --container-image=...
    sbatch: dict[str, int | float | bool | str] = field(default_factory=dict)  # options by long names

    def __post_init__(self) -> None:
        within(self, "cluster.", nodes_per_fold=(1, None), ranks_per_node=(1, None), cpus_per_rank=(1, None))
        within(self, "cluster.", folds_per_node=(1, None), array_parallelism=(1, None), attempts=(1, None))
        for key in sorted({*OWN_OPTIONS} & {*self.sbatch}):
            require(False, f"cluster.sbatch.{key}", self.sbatch[key], "left out: the launcher sets it itself")
        for stage in ("pack", "fold", "aggregate"):
            asked: Resources = getattr(self, stage)
            within(asked, f"cluster.{stage}.", time_min=(1, None), cpus=(1, None))
            require(asked.mem_gb > 0, f"cluster.{stage}.mem_gb", asked.mem_gb, "above 0")
        gpus = self.gpus_per_node
        require(gpus is None or gpus >= self.ranks_per_node, "cluster.gpus_per_node", gpus, "ranks_per_node or more")
        require(self.gpus_asked >= self.ranks_per_node, "cluster.gres", self.gres, "a GPU for each of ranks_per_node")
        shortest = 60 * min(self.pack.time_min, self.fold.time_min, self.aggregate.time_min)
        wanted = f"1 to 65535, and less than the shortest time_min, {shortest} s"
        require(0 < self.warning_s <= min(65535, shortest - 1), "cluster.warning_s", self.warning_s, wanted)
        alone = self.folds_per_node == 1 or self.nodes_per_fold == 1
        require(alone, "cluster.folds_per_node", self.folds_per_node, "1 where cluster.nodes_per_fold is above 1")

    @property
    def ranks(self) -> int:
        """World size of one fold."""
        return self.nodes_per_fold * self.ranks_per_node

    @property
    def gpus_asked(self) -> int:
        """GPUs per node of a job that trains on GPUs."""
        counted = slurm_notation.gpus(self.gres or "")  # a site may give GPUs another name
        return (self.gpus_per_node or self.ranks_per_node * self.folds_per_node) if counted is None else counted


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    title: str = "Coronary calcium category from non-contrast cardiac CT"  # of the page and the figures
    figure_dpi: int = 300  # of PNG files
    window_hu: tuple[float, float] = (-135.0, 215.0)  # contrast of the slices that are shown: width 350, level 40
    published: str | None = None  # a published table for comparison, such as configs/published/nguyen.yaml
    compare: str | None = field(default=None, metadata=ADDED)  # a run with the same folds, a further reader
    checklist: str | None = field(default=None, metadata=ADDED)  # answers of people, for the checklists of the report
    # From slices to a patient; chosen before anything is tested, and fixed for the run.
    patient_rule: Literal["mean", "majority", "top_k"] = "mean"
    top_k: int = 5  # slices, for the rule of that name
    draws: int = 2000  # of patients, for the intervals
    seed: int = 0  # of the draws
    near_equal_ids: Literal["refuse", "warn"] = "refuse"  # studies A07 and A7 in training and test of one fold
    # scores that treatment depends on: above 0, and from each of the others on; see docs/report.md
    cuts: tuple[float, ...] = field(default=CUTS, metadata=ADDED)
    coverage: float = field(default=0.9, metadata=ADDED)  # share of patients whose category prediction sets name

    def __post_init__(self) -> None:
        require_text("report.title", self.title)
        require_cuts("report.cuts", self.cuts)
        within(self, "report.", figure_dpi=(50, 600), top_k=(1, None), draws=(200, 100_000), seed=(0, None))
        within(self, "report.", coverage=(0.5, 0.99))
        (low, high), wanted = self.window_hu, "low, high with low < high, both of -2000 to 10000"
        require(-2000 <= low < high <= 10_000, "report.window_hu", self.window_hu, wanted)


@dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """Successive halving: a trial goes on beyond an epoch only if it is among the best so far at this epoch."""

    first_epoch: int | None = None  # where it is looked at first; null: every trial is trained to its end
    factor: int = 3  # the best 1 / factor go on, to factor times as many epochs

    def __post_init__(self) -> None:
        first = self.first_epoch
        require(first is None or first >= 1, "trials.pruning.first_epoch", first, "1 or more, or null")
        within(self, "trials.pruning.", factor=(2, 100))


@dataclass(frozen=True, kw_only=True)
class TrialsConfig:
    """Trials: other settings of model and training, from which each fold chooses by its validation patients alone."""

    # values to try of settings below model and train, by dotted name: a list of values, or {uniform: [low, high]},
    # {log_uniform: [low, high]}, {choice: [...]}, with step where only whole steps are wanted
    settings: dict[str, Any] = field(default_factory=dict)
    configurations: tuple[dict[str, Any], ...] = ()  # trials that are written out, each as setting: value
    sampler: Literal["grid", "random", "tpe"] = "grid"  # how trials are drawn from `settings`; grid takes lists alone
    number: int | None = None  # of trials drawn for each fold; null: all of the grid
    gpu_hours: float | None = None  # no further trial begins when the ones before have taken so long in a fold
    select_by: str = "kappa_quadratic"  # figure of the validation patients, see docs/trials.md; highest is best
    inner_folds: int | None = None  # null: the fold's own validation part; or divisions of training and validation
    seeds: int = 1  # trainings of each trial that differ in train.seed alone; their figures are averaged
    seed: int = 0  # of the sampler and of the inner divisions
    pruning: PruningConfig = PruningConfig()
    workers: int | None = None  # processes that train trials; null: one for each fold
    # test leaks on purpose: it measures how much choosing by the test patients inflates the figures of a finished run
    select_on: Literal["validation", "test"] = "validation"
    contrast_to: str | None = None  # folder of that finished run; only where select_on is test

    def __post_init__(self) -> None:
        number, inner, hours = self.number, self.inner_folds, self.gpu_hours
        require(number is None or number >= 1, "trials.number", number, "1 or more, or null")
        require(inner is None or inner >= 2, "trials.inner_folds", inner, "2 or more, or null")
        require(hours is None or hours > 0, "trials.gpu_hours", hours, "above 0, or null")
        require(self.workers is None or self.workers >= 1, "trials.workers", self.workers, "1 or more, or null")
        within(self, "trials.", seeds=(1, 100), seed=(0, None))
        leaks = self.select_on == "test"
        of_run = "the folder of the finished run of trials that it is contrasted with, as trials.select_on is test"
        wanted = of_run if leaks else "null, as trials.select_on is validation"
        require(bool(self.contrast_to) == leaks, "trials.contrast_to", self.contrast_to, wanted)

    @property
    def active(self) -> bool:
        """Whether anything is tried."""
        return bool(self.settings or self.configurations)


@dataclass(frozen=True, kw_only=True)
class Config:
    run: str  # the run folder: everything the run is lives there
    data: DataConfig
    labels: LabelsConfig
    pack: PackConfig
    split: SplitConfig
    model: ModelConfig
    train: TrainConfig
    cluster: ClusterConfig
    report: ReportConfig
    trials: TrialsConfig = field(default=TrialsConfig(), metadata=ADDED)

    def __post_init__(self) -> None:
        require(bool(self.run), "run", self.run, "the path of the run folder")
        self._check_cohorts()
        rule, wanted = self.pack.several_studies, "refuse: with labels.source sr a report must be of the only study"
        require(rule == "refuse" or self.labels.source != "sr", "pack.several_studies", rule, wanted)
        smallest = 2 ** len(self.model.filters)
        sizes = " -> ".join(str(self.pack.size // 2**count) for count in range(len(self.model.filters) + 1))
        wanted = f"at least {smallest}: model.filters halves it {len(self.model.filters)} times ({sizes})"
        require(self.pack.size >= smallest, "pack.size", self.pack.size, wanted)
        ranks, size = self.cluster.ranks, self.train.batch_size
        wanted = f"at least {ranks}, one slice per rank (cluster.nodes_per_fold x cluster.ranks_per_node)"
        require(size >= ranks, "train.batch_size", size, wanted)
        self._check_group()
        self._check_tried()

    def _check_group(self) -> None:
        """Patients form groups by what is known of them."""
        known = ("scanner", *(["site"] if self.data.cohorts else []), *self.labels.group_columns)
        group, wanted = self.split.group, f"one of {', '.join(known)} (labels.group_columns names columns), or null"
        require(group is None or group in known, "split.group", group, wanted)

    def _check_cohorts(self) -> None:
        """Each cohort could be a run of its own, and no setting is of one of them alone."""
        if not self.data.cohorts:
            self.labels.check_source()
            return
        for name in ("sheet", "masks"):
            given, wanted = getattr(self.labels, name), f"left out: each of data.cohorts has its own {name}"
            require(given is None, f"labels.{name}", given, wanted)
        given, wanted = self.pack.regions, "a path with {cohort} in it, as studies of two cohorts may have one name"
        require(given is None or "{cohort}" in given, "pack.regions", given, wanted)
        for index, one in enumerate(self.data.cohorts):
            own, every = one.group_columns or (), self.labels.group_columns
            wanted = f"some of labels.group_columns, {', '.join(every) or 'which has none'}"
            require({*own} <= {*every}, f"data.cohorts[{index}].group_columns", own, wanted)
        num_named = sum(one.cfg.labels.patient_column is not None for one in self.by_cohort())
        wanted = "false where fewer than two of data.cohorts have a patient_column"
        require(not self.data.shared_patients or num_named > 1, "data.shared_patients", True, wanted)

    def by_cohort(self) -> list[OneCohort]:
        """The cohorts, each with the settings of a run of it alone; this run itself where it has no data.cohorts.

        Raises: InputError if these cannot be.
        """
        return [self._alone(index) for index in range(len(self.data.cohorts))] or [OneCohort("", "", self)]

    def _alone(self, index: int) -> OneCohort:
        own, regions = self.data.cohorts[index], self.pack.regions
        data = dataclasses.replace(
            self.data, dicom_root=own.dicom_root, format=own.format or self.data.format, cohorts=(),
            shared_patients=False, subgroups=tuple(name for name in self.data.subgroups if name != "site"),
        )  # fmt: skip
        pack = dataclasses.replace(self.pack, regions=regions and regions.replace("{cohort}", own.name))
        cohort = OneCohort(own.name, f"data.cohorts[{index}]", self)
        with cohort.named():
            labels = dataclasses.replace(self.labels, **own.of_labels)
            alone = dataclasses.replace(self, data=data, labels=labels, pack=pack, split=SplitConfig())
        return dataclasses.replace(cohort, cfg=alone)

    def _check_tried(self) -> None:
        """Settings of trials are there where something is tried: else they would do nothing, without a word."""
        if self.trials.active:
            return
        wanted = "left out, as nothing is tried; or set trials.settings or trials.configurations"
        for key, section in (("trials.pruning", self.trials.pruning), ("trials", self.trials)):
            for spec in dataclasses.fields(section):
                value, usual = getattr(section, spec.name), getattr(type(section)(), spec.name)
                require(value == usual, f"{key}.{spec.name}", plain(value), wanted)

    @property
    def num_workers(self) -> int:
        """Processes that train trials."""
        return (self.trials.workers or self.split.folds) if self.trials.active else 0

    @property
    def gpus_asked(self) -> int:
        """GPUs that a job of folds asks for on each node."""
        return self.cluster.gpus_asked if self.train.device == "cuda" else 0


@dataclass(frozen=True)
class OneCohort:
    """A cohort of a run. name: "" if it is the only one. place: of its settings. cfg: those of a run of it alone."""

    name: str
    place: str
    cfg: Config

    def key(self, of: str) -> str:
        """What stands for a study or a patient of it in the run. No name has a point, so no two become one."""
        return f"{self.name}.{of}" if self.name else of

    def said(self, text: str) -> str:
        """What is said of a single cohort, with the names that the settings have in this one."""
        return OWN.sub(f"{self.place}.", text) if self.name else text

    @contextmanager
    def named(self) -> Iterator[None]:
        """Errors name the settings of this cohort."""
        try:
            yield
        except InputError as error:
            raise (InputError(self.said(str(error))) if self.name else error) from error.__cause__


def to_yaml(cfg: Config) -> str:
    return yaml_documents.write(plain(cfg))


def plain(section: Any) -> Any:
    """Settings as dictionaries, lists and plain values, the same after a round trip through YAML or JSON."""
    if dataclasses.is_dataclass(section):
        return {
            spec.name: plain(value)
            for spec in dataclasses.fields(section)
            if (value := getattr(section, spec.name)) != spec.default or spec.metadata.get("written", True)
        }
    if isinstance(section, tuple | list):
        return [plain(value) for value in section]
    return section


OfLabels = TypeVar("OfLabels", LabelsConfig, CohortConfig)
ABSENT = object()  # in place of a setting that one of two does not have


def differences(one: Any, other: Any, key: str = "") -> list[str]:
    """Name every setting in which two plain settings differ, as ``key: one / other``; what one lacks is ``not set``."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = [*one, *(name for name in other if name not in one)]
        return [
            line
            for name in names
            for line in differences(one.get(name, ABSENT), other.get(name, ABSENT), f"{key}.{name}" if key else name)
        ]
    lists = isinstance(one, list) and isinstance(other, list) and len(one) == len(other)
    if lists and all(isinstance(part, dict) for part in (*one, *other)):  # sections in a list
        pairs = enumerate(zip(one, other, strict=True))
        return [line for index, (first, second) in pairs for line in differences(first, second, f"{key}[{index}]")]
    shown = ("not set" if side is ABSENT else repr(side) for side in (one, other))
    return [] if one == other else [f"{key}: {' / '.join(shown)}"]


def home(path: str) -> Path:
    """A path in which ``~`` is written out.

    Raises: InputError if there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path!r}: found no home folder for ~, wanted a path") from None


def _absolute_labels(section: OfLabels, absolute: Callable[[str], str]) -> OfLabels:
    """The settings with the paths of sheets and masks as seen from anywhere."""
    sheet, masks = section.sheet, section.masks and absolute(section.masks)
    sheet = absolute(sheet) if isinstance(sheet, str) else sheet and tuple(map(absolute, sheet))
    return dataclasses.replace(section, sheet=sheet or None, masks=masks)


def absolute_paths(cfg: Config) -> Config:
    """Paths as seen from anywhere: queued jobs start in another folder."""

    def absolute(path: str) -> str:
        return str(home(path).absolute())

    packed_dir = cfg.data.packed_dir and absolute(cfg.data.packed_dir)
    pseudonym_key = cfg.data.pseudonym_key and absolute(cfg.data.pseudonym_key)
    data = dataclasses.replace(
        cfg.data,
        dicom_root=cfg.data.dicom_root and absolute(cfg.data.dicom_root),
        packed_dir=packed_dir,
        pseudonym_key=pseudonym_key,
        cohorts=tuple(
            dataclasses.replace(_absolute_labels(cohort, absolute), dicom_root=absolute(cohort.dicom_root))
            for cohort in cfg.data.cohorts
        ),
    )
    labels = _absolute_labels(cfg.labels, absolute)
    pack = dataclasses.replace(cfg.pack, regions=cfg.pack.regions and absolute(cfg.pack.regions))
    split = dataclasses.replace(cfg.split, contrast_to=cfg.split.contrast_to and absolute(cfg.split.contrast_to))
    report = dataclasses.replace(
        cfg.report,
        published=cfg.report.published and absolute(cfg.report.published),
        compare=cfg.report.compare and absolute(cfg.report.compare),
        checklist=cfg.report.checklist and absolute(cfg.report.checklist),
    )
    trials = dataclasses.replace(cfg.trials, contrast_to=cfg.trials.contrast_to and absolute(cfg.trials.contrast_to))
    sections = {"data": data, "labels": labels, "pack": pack, "split": split, "report": report, "trials": trials}
    return dataclasses.replace(cfg, run=absolute(cfg.run), **sections)  # type: ignore[arg-type]
