"""The report: all parts together, its status, and the version of its format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from cac_hpc.results.audits import Audit, ContradictedLabel, LabelsToCheck, ShownBefore
from cac_hpc.results.cohort import CategoryRange, Cohort, Digests, Split
from cac_hpc.results.comparison import Comparison
from cac_hpc.results.cuts import Cuts
from cac_hpc.results.examples import Shown, ShownLesions
from cac_hpc.results.external import External
from cac_hpc.results.figures import Absent
from cac_hpc.results.groups import Drops, Subgroups, UnseenGroups
from cac_hpc.results.levels import Level, Statistics
from cac_hpc.results.matrices import Published
from cac_hpc.results.occlusion import Occlusion
from cac_hpc.results.prediction_sets import PredictionSets
from cac_hpc.results.readers import Readers
from cac_hpc.results.sample_size import HowMany
from cac_hpc.results.serialization import Json, Omitted
from cac_hpc.results.trials import Trials

FORMAT_VERSION = 9
Status = Literal["COMPLETE", "PARTIAL", "PROVISIONAL", "EXTERNAL"]


@dataclass(frozen=True)
class MissingFold:
    """A fold without a valid result; at_work: whether it may still come to one."""

    fold: int
    at_work: bool
    reason: str


@dataclass(frozen=True)
class Report:
    """Everything that a report says. training: metrics.json of each fold that is there. settings: by section.

    lesions: None if the model is not of lesions. split, digests: None of an external test, which external is of.
    second_look: None if nobody counted calcium. shown_before: None if they had not been shown, as far as is known.
    trials: None if nothing was tried. cuts: None if none are asked for. how_many: None
    if no figure has an interval. unseen: of split.scheme leave_one_out. drops: of such a run with split.contrast_to.
    labels_to_check: None if fewer than two readers know a category without the sheet. prediction_sets: None if nobody
    was tested. subgroups: None if none are asked for. answers: what the authors have
    answered, by the keys of `evaluation.questions`.
    """

    format_version: int
    title: str
    folds_found: int
    missing_folds: list[MissingFold]
    banner: str | None
    categories: list[CategoryRange]
    cohort: Cohort
    split: Split | None
    statistics: Statistics
    published: Published | Absent | None
    examples: Shown
    levels: dict[str, Level]
    training: list[Json]
    settings: Json
    digests: Digests | None
    status: Status
    audits: list[Audit]
    inflation: Comparison | Absent | None
    readers: Readers | Absent
    occlusion: Occlusion | Absent
    lesions: ShownLesions | Absent | None
    external: External | None = None
    second_look: Annotated[list[ContradictedLabel] | None, Omitted] = None
    shown_before: Annotated[ShownBefore | None, Omitted] = None
    trials: Annotated[Trials | None, Omitted] = None
    cuts: Annotated[Cuts | None, Omitted] = None
    how_many: Annotated[HowMany | None, Omitted] = None
    answers: Annotated[dict[str, str] | None, Omitted] = None
    subgroups: Annotated[Subgroups | None, Omitted] = None
    unseen: Annotated[UnseenGroups | None, Omitted] = None
    drops: Annotated[Drops | Absent | None, Omitted] = None
    labels_to_check: Annotated[LabelsToCheck | None, Omitted] = None
    prediction_sets: Annotated[PredictionSets | Absent | None, Omitted] = None
