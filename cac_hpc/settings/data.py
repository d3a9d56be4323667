"""Section data: where the studies are, of one cohort or several."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from cac_hpc.settings.checks import ADDED, require, within

Subgroup = Literal["sex", "age_group", "site", "scanner", "kernel", "kvp", "thickness", "noise", "body_size"]
Format = Literal["auto", "dicom", "nifti", "nrrd"]  # of studies; auto: of each what its files are
COHORT = re.compile("[A-Za-z][A-Za-z0-9_-]{0,19}")
RESERVED = ("unknown", "several", "withheld")


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
    """Where the studies are, and where they are packed to."""

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
