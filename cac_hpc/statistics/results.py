"""What a report holds, as types: ``Report > Level > Pooled > Figure``. The owner of pydantic.

``report.json`` is these types and nothing else: names of fields are its names, their order its order; its JSON Schema
is made from them, and shipped as report.schema.json (``make docs``). A value that is undefined is None, and ``note``
says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter, ValidationError, WithJsonSchema

T = TypeVar("T")
Json = dict[str, Any]  # an object whose keys are not ours: settings, intake.json, metrics.json
FORMAT_VERSION = 9
Status = Literal["COMPLETE", "PARTIAL", "PROVISIONAL", "EXTERNAL"]


class Damaged(ValueError):
    """Something in a report.json that no report has, in words."""


def _is_none(value: object) -> bool:
    return value is None


Omitted = Field(exclude_if=_is_none)  # a key that is not there where there is nothing to say


@dataclass(frozen=True)
class Figure:
    """One number: its value, the units behind it, its 95 % interval with the method, and why one of them is missing."""

    value: float | None
    n: int
    low: float | None
    high: float | None
    interval: str | None
    note: str | None


@dataclass(frozen=True)
class Difference:
    """A figure of the reference and of the other, and the other less the reference."""

    reference: float | None
    other: float | None
    difference: float | None
    low: float | None
    high: float | None
    interval: str | None
    note: str | None


@dataclass(frozen=True)
class Category(Generic[T]):
    """Figures, or differences, of one category; in JSON they are in one object with its number."""

    category: int
    figures: dict[str, T]


def _flat(category: Category[T]) -> dict[str, Any]:
    return {"category": category.category, **category.figures}


def _nested(found: object) -> object:
    if not isinstance(found, Mapping):
        return found
    return {"category": found.get("category"), "figures": {key: found[key] for key in found if key != "category"}}


def _schema(of: type) -> WithJsonSchema:
    number = {"type": "integer"}
    return WithJsonSchema(
        {
            "type": "object",
            "properties": {"category": number},
            "required": ["category"],
            "additionalProperties": TypeAdapter(of).json_schema(),
        }
    )


_read, _write = BeforeValidator(_nested), PlainSerializer(_flat, return_type=dict)
CategoryFigures = Annotated[Category[Figure], _read, _write, _schema(Figure)]
CategoryDifferences = Annotated[Category[Difference], _read, _write, _schema(Difference)]


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix (rows true, columns predicted) and all that follows from it; lists are by category."""

    n: int
    errors: int
    over_estimated: int
    under_estimated: int
    support: list[int]
    predicted: list[int]
    majority_category: int | None
    figures: dict[str, Figure]
    categories: list[CategoryFigures]
    confusion_matrix: list[list[int]]


@dataclass(frozen=True)
class SignTest:
    """Whether more patients are over- than under-estimated."""

    over: int
    under: int
    unit: str
    p_value: float | None
    note: str | None


@dataclass(frozen=True)
class PairedTest:
    """Whether more patients are right in the other than in the reference."""

    test: str
    unit: str
    other_better: int
    reference_better: int
    equal: int
    p_value: float | None
    note: str | None


@dataclass(frozen=True)
class Pooled(Matrix):
    """The matrix of all folds together."""

    patients: int
    sign_test: SignTest


@dataclass(frozen=True)
class _OfFold:
    fold: int


@dataclass(frozen=True)
class FoldMatrix(Matrix, _OfFold):  # fields of the last base come first
    """The matrix of one fold."""

    patients: int


@dataclass(frozen=True)
class OverFolds:
    """Mean and standard deviation (n - 1) of a figure over the folds in which it is defined."""

    mean: float | None
    sd: float | None
    n: int
    note: str | None


@dataclass(frozen=True)
class Collapsed:
    """Coarser categories; groups: which of them each category is in; None, with a note, where the edges do not fit."""

    key: str
    names: list[str]
    groups: list[int] | None
    note: str | None
    pooled: Pooled | None


@dataclass(frozen=True)
class Bin:
    """Predictions whose highest probability is above one edge, up to and with the other."""

    above: float
    up_to: float
    n: int
    confidence: float | None
    accuracy: float | None
    low: float | None
    high: float | None
    interval: str | None
    note: str | None


@dataclass(frozen=True)
class Calibration:
    """Whether probabilities mean what they say."""

    brier: Figure
    brier_of_frequencies: Figure
    expected_calibration_error: Figure
    bins: int
    reliability: list[Bin]

    @property
    def figures(self) -> dict[str, Figure]:
        names = ("brier", "brier_of_frequencies", "expected_calibration_error")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class OtherRule:
    """The accuracy of patients by a way from slices to patients that was not chosen."""

    rule: str
    accuracy: Figure


@dataclass(frozen=True)
class Absent:
    """In place of results: why there are none."""

    note: str


@dataclass(frozen=True)
class Level:
    """Everything at slice level or at patient level; distinct: units, each counted once however often it was tested."""

    unit: str
    distinct: int
    counting: str
    pooled: Pooled
    folds: list[FoldMatrix]
    over_folds: dict[str, OverFolds]
    collapsed: list[Collapsed]
    calibration: Calibration | Absent
    other_rules: Annotated[list[OtherRule] | None, Omitted] = None


@dataclass(frozen=True)
class Roles(Generic[T]):
    """Of the reference, and of the other that is compared with it."""

    reference: T
    other: T


@dataclass(frozen=True)
class ComparedLevel:
    """Every figure of both at one level, and the differences; matrices: where both are of one run."""

    unit: str
    n: Roles[int]
    figures: dict[str, Difference]
    categories: list[CategoryDifferences]
    matrices: Annotated[Roles[Pooled] | None, Omitted] = None


@dataclass(frozen=True)
class Compared:
    """Two predictions of the same units, by level."""

    levels: dict[str, ComparedLevel]
    sign_test: PairedTest


@dataclass(frozen=True)
class Statistics:
    """How a report counts."""

    patient_rule: str
    top_k: int
    draws: int
    seed: int
    confidence: float


@dataclass(frozen=True)
class Digests:
    """Of what a report is made from."""

    studies_sha256: str
    plan_sha256: str
    splits_sha256: str


@dataclass(frozen=True)
class ComparedRun:
    """One of two runs that are compared."""

    run: str
    title: str
    status: str
    folds_found: int
    digests: Digests
    split_by_slice: bool


@dataclass(frozen=True)
class Comparison:
    """Two finished runs of the same patients; settings: those that differ."""

    reference: ComparedRun
    other: ComparedRun
    status: str
    patients: int
    warnings: list[str]
    notes: list[str]
    settings: list[str]
    statistics: Statistics
    levels: dict[str, ComparedLevel]
    sign_test: PairedTest


@dataclass(frozen=True)
class ScoreAgreement:
    """A reader's less the reported score, a patient counted once: mean and 95 % limits of agreement, ICC(2,1).

    log_: of log(1 + score); log_mean_absolute: mean size of that difference.
    """

    n: int
    bias: float | None
    low: float | None
    high: float | None
    log_bias: float | None
    log_low: float | None
    log_high: float | None
    log_mean_absolute: Figure
    log_icc: Figure
    note: Annotated[str | None, Omitted] = None


@dataclass(frozen=True)
class JudgedPatients:
    """What each reader, by its key, said of each test of a patient, as columns."""

    patient: list[str]
    fold: list[int]
    score: list[float | None]
    category: list[int]
    scores_of: dict[str, list[float]]
    categories_of: dict[str, list[int]]


@dataclass(frozen=True)
class Reader:
    """One way to a patient's category; compared: it (the reference) and the run's model (the other), None of itself."""

    key: str
    name: str
    levels: dict[str, Pooled]
    compared: Compared | None
    scores: ScoreAgreement | None


@dataclass(frozen=True)
class Trust:
    """Which reader the figures speak for at patient level, and by which rule; rivals: perhaps no worse."""

    reader: str | None
    reason: Literal["better", "simpler", "model_worse", "chance", "few"]
    rivals: list[str]


@dataclass(frozen=True)
class EmptySlices:
    """Of a category, the slices without any voxel of 130 HU or more where the rule counts."""

    category: int
    studies: int
    slices: int
    empty: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class LeftOut:
    """Studies, and folds, that a comparison leaves out."""

    studies: int
    folds: Annotated[list[int] | None, Omitted] = None


@dataclass(frozen=True)
class Readers:
    """Several readers of the same patients, side by side; absent: why others are not among them."""

    note: None
    left_out: LeftOut
    readers: list[Reader]
    trust: Trust
    absent: list[str]
    patients: JudgedPatients
    empty_slices: list[EmptySlices]


@dataclass(frozen=True)
class ContradictedLabel:
    """A study whose reported score its scan contradicts; counted: what each reader, by its key, makes of it."""

    study: str
    reported: float | None
    counted: dict[str, float]


@dataclass(frozen=True)
class LabelToCheck:
    """A patient whose readers agree on another category than the label's; probability: that it is any other one.

    expected_change: categories by which the label would move, each weighed by its probability.
    """

    patient: str
    score: float | None
    category: int
    read: int
    probability: float
    expected_change: float


@dataclass(frozen=True)
class LabelsToCheck:
    """Labels that readers, by their keys, contradict in agreement, the greatest expected change first.

    patients: of whom all of these readers know the category.
    """

    readers: list[str]
    patients: int
    labels: list[LabelToCheck]


@dataclass(frozen=True)
class FoldAccuracies:
    """Accuracy of a fold at both levels, by what the network was shown."""

    fold: int
    slice: dict[str, float]
    patient: dict[str, float]


@dataclass(frozen=True)
class Occlusion:
    """The network shown everything (the reference), the heart alone, and all but the heart."""

    note: None
    left_out: LeftOut
    share: float
    blank_hu: float
    views: dict[str, Compared]
    folds: list[FoldAccuracies]


@dataclass(frozen=True)
class Audit:
    """A check of the data or the results; passed: None where it could not be made."""

    name: str
    passed: bool | None
    note: str


@dataclass(frozen=True)
class MissingFold:
    """A fold without a valid result; at_work: whether it may still come to one."""

    fold: int
    at_work: bool
    reason: str


@dataclass(frozen=True)
class CategoryRange:
    """A category of the score: above one edge, up to and with the next."""

    category: int
    name: str
    score_above: float | None
    score_up_to: float | None


@dataclass(frozen=True)
class Cohort:
    """What was found and used; folds: of each, by category, patients to train, validate and test on.

    intake: as the seal stage wrote it to intake.json. pseudonyms: whether they stand for study numbers.
    """

    studies_found: int
    studies: int
    patients: int
    slices: int
    rejected_files: int
    studies_per_category: list[int]
    folds: list[list[list[int]]]
    intake: Json
    pseudonyms: Annotated[bool | None, Omitted] = None


@dataclass(frozen=True)
class Split:
    """How patients, or slices, were divided into folds."""

    scheme: str
    folds: int
    test_fraction: float
    val_fraction: float
    seed: int
    unit: str
    group: Annotated[str | None, Omitted] = None
    smallest_group: Annotated[int | None, Omitted] = None


@dataclass(frozen=True)
class _Printed:
    title: str
    level: str
    note: None


@dataclass(frozen=True)
class Published(Matrix, _Printed):  # fields of the last base come first
    """What follows from a published confusion matrix, shown next to the results."""


@dataclass(frozen=True)
class Example:
    """A slice that the report shows."""

    study: str
    slice: int
    fold: int
    true: int
    predicted: int
    probability: float
    probability_of_true: float


@dataclass(frozen=True)
class Examples:
    """Slices that were picked, and by which rule."""

    rule: str
    slices: list[Example]


@dataclass(frozen=True)
class MistakenPatient:
    """A patient whose category was predicted wrong in a fold."""

    patient: str
    fold: int
    score: float | None
    true: int
    predicted: int
    probability: float
    probability_of_true: float


@dataclass(frozen=True)
class MistakenPatients:
    """The worst of them; by_distance: how many are that many categories off."""

    rule: str
    wrong: int
    by_distance: list[int]
    worst: list[MistakenPatient]


@dataclass(frozen=True)
class Shown:
    """The slices and patients that a report shows."""

    samples: Examples
    misclassified: Examples
    patients: MistakenPatients


@dataclass(frozen=True)
class Lesion:
    """A candidate of a study that is shown: where it is, what it would add to the score, and whether it counted."""

    candidate: int
    first_slice: int
    last_slice: int
    agatston: float
    volume_mm3: float
    max_hu: float
    region_share: float
    probability: float
    counted: bool


@dataclass(frozen=True)
class ShownPatient:
    """A patient whose candidates are shown, of the study with his highest predicted score; why: he was picked for.

    lesions: what counted, and of what was rejected that which came nearest to it; rejected: how many all of these are.
    """

    patient: str
    study: str
    fold: int
    why: Literal["misclassified", "sample"]
    reported: float | None
    true: int
    score: float
    predicted: int
    probability: float
    control: float
    lesions: list[Lesion]
    rejected: int
    rejected_agatston: float


@dataclass(frozen=True)
class ShownLesions:
    """Patients whose candidates are shown, and by which rule; candidates and counted: of all tested studies."""

    note: None
    rule: str
    patients: list[ShownPatient]
    candidates: int
    counted: int


@dataclass(frozen=True)
class Layer:
    """A layer of a network; output: its shape without the batch."""

    layer: str
    detail: str
    output: list[int]
    parameters: int


@dataclass(frozen=True)
class Training:
    """What a fold says of its training in metrics.json, as far as a report shows it; None: not recorded."""

    fold: int
    parameters: int | None = None
    epochs: int | None = None
    tested_epoch: int | None = None
    ranks: int | None = None
    precision: str | None = None
    device: str | None = None
    residency: str | None = None
    train_slices: int | None = None
    val_slices: int | None = None
    test_slices: int | None = None
    layers: list[Layer] | None = None
    calibration: Json | None = None
    settings: Json | None = None


@dataclass(frozen=True)
class LeftOutStudy:
    """A study, or a row of the sheet, that an external test leaves out."""

    study: str
    why: Literal["no_prediction", "no_label", "no_study", "known"]
    detail: str


@dataclass(frozen=True)
class CategoryShare:
    """Of a category the share of the patients, and the mean of its probabilities before and after recalibration."""

    category: int
    observed: float
    before: float
    after: float


@dataclass(frozen=True)
class Recalibration:
    """Calibration as predicted, and after recalibration in the large: one intercept, fitted to other patients.

    intercept: fitted to all patients, in units of the log odds of a higher category; above 0: predicted too low.
    """

    method: str
    intercept: Figure
    before: Calibration
    after: Calibration
    shares: list[CategoryShare]


@dataclass(frozen=True)
class Distribution:
    """An attribute over studies: of numbers lowest, median and highest, of codes how many have each; n: of how many."""

    n: int
    unknown: int
    low: float | None
    median: float | None
    high: float | None
    counts: Annotated[dict[str, int] | None, Omitted] = None


@dataclass(frozen=True)
class CohortFact:
    """An attribute of the studies that a model was trained on, and of those of an external test."""

    name: str
    unit: str
    internal: Distribution | Absent
    external: Distribution | Absent


@dataclass(frozen=True)
class InternalTest:
    """The cross-validation of the model (the reference) beside the external test (the other), unpaired.

    calibration: of the cross-validation.
    """

    source: str
    method: str
    compared: ComparedLevel
    calibration: Calibration | Absent


@dataclass(frozen=True)
class RangeGroup:
    """The patients of an external test inside of the training range, or those outside: one of whose studies is.

    right: patients whose category was predicted. figures: empty below the fewest patients that have intervals.
    """

    studies: int
    patients: int
    right: int
    figures: dict[str, Figure]


@dataclass(frozen=True)
class RangeSplit:
    """An external test by whether the patients lie in the training range; differences: outside (other) less inside."""

    inside: RangeGroup
    outside: RangeGroup
    differences: dict[str, Difference]


@dataclass(frozen=True)
class External:
    """Predictions of studies that no fold has seen, held against a sheet.

    source: whose predictions these are. known: whether patients of the training studies are left out, or counted, of
    how many studies. out_of_range: studies that were tested and lie outside of the training range, None: not known.
    """

    source: str
    left_out: list[LeftOutStudy]
    known: Literal["left_out", "counted", "unknown"]
    known_studies: int
    out_of_range: int | None
    internal: InternalTest | Absent
    recalibration: Recalibration | Absent
    by_range: RangeSplit | Absent
    cohorts: list[CohortFact]
    digests: dict[str, str]


@dataclass(frozen=True)
class ShownBefore:
    """How often test figures of the patients had been shown when the run's configuration was set, and of which runs."""

    times: int
    runs: list[str]


@dataclass(frozen=True)
class TrialRow:
    """Settings that a fold has tried, and their figures of its validation patients.

    fold: None where the trials are those of all folds together (select_on test). settings: tried, by dotted name.
    epochs: at which it was looked at; figures: at each of these. of_seeds: of its last figure, by seed. seconds: of all
    its parts. ended: trained to its end, left off before it, failed, or never begun (trials.gpu_hours).
    """

    fold: int | None
    trial: int
    settings: Json
    ended: Literal["trained", "pruned", "failed", "not_begun"]
    epochs: list[int]
    figures: list[float | None]
    of_seeds: list[float | None]
    parameters: int | None
    seconds: float


@dataclass(frozen=True)
class FoldChoice:
    """Which trial a fold has chosen, and how surely; by its validation patients, of whom there are so many.

    figure: of the chosen trial, and too high, as it was chosen by it. runner_up: None if there was no other.
    over_runner_up: chosen (the other) less runner-up (the reference), in the same draws of patients. again: share of
    these draws in which the same trial is best. tied: other trials whose figure is the same. seed_sd: standard
    deviation over the seeds of one trial, None of a single seed.
    """

    fold: int | None
    patients: int
    trial: int
    settings: Json
    figure: float | None
    runner_up: int | None
    over_runner_up: Difference
    again: float
    tied: int
    seed_sd: float | None


@dataclass(frozen=True)
class ChosenSettings:
    """Settings that so many folds have chosen."""

    settings: Json
    folds: list[int]


@dataclass(frozen=True)
class SettingImportance:
    """A setting's share in how much the figures of a fold's trials differ, by fold, and the mean of these."""

    setting: str
    mean: float
    of_folds: dict[str, float]


@dataclass(frozen=True)
class Importance:
    """Of all settings that were tried; trials: on which it rests."""

    method: str
    trials: int
    settings: list[SettingImportance]


@dataclass(frozen=True)
class Trials:
    """Trials of other settings, from which each fold has chosen those that it was trained and tested with.

    number: planned in each fold. rungs: how often a trial is looked at, at most. seconds: of all trainings. chosen: how
    often which, None where each fold has drawn trials of its own, or all have chosen together.
    """

    select_by: str
    select_on: Literal["validation", "test"]
    sampler: Literal["grid", "random", "tpe"]
    number: int
    rungs: int
    seeds: int
    inner_folds: int | None
    seconds: float
    choices: list[FoldChoice]
    chosen: list[ChosenSettings] | None
    importance: Importance | Absent
    trials: list[TrialRow]


@dataclass(frozen=True)
class OperatingPoint:
    """Every patient whose probability is at least so high counts as positive."""

    at_least: float
    sensitivity: float
    specificity: float
    precision: float


@dataclass(frozen=True)
class ObservedShare:
    """A point of a calibration curve: of patients with that probability, the share with the event, by a flexible fit.

    low, high: of the 95 % band, at this probability alone.
    """

    probability: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class BrierParts:
    """The Brier score as miscalibration - discrimination + uncertainty."""

    miscalibration: float
    discrimination: float
    uncertainty: float


@dataclass(frozen=True)
class ChanceSpread:
    """Probabilities of the event in the patients of a true category: 5th, 25th, 50th, 75th and 95th percentile."""

    category: int
    n: int
    low: float
    quarter: float
    median: float
    three_quarters: float
    high: float


@dataclass(frozen=True)
class NetBenefit:
    """Of one way to decide: its net benefit at each threshold, with intervals.

    by: what it decides by: its probabilities, a cut of its own, or nothing (all, none). more: the model's net benefit
    less this one, in the same draws; None of the model itself. decisions: figures of its own cut. true_positives,
    false_positives: at each threshold, of whom it treats.
    """

    key: str
    name: str
    by: Literal["probability", "own_cut", "nothing"]
    values: list[float]
    low: list[float | None]
    high: list[float | None]
    more: list[float] | None
    more_low: list[float | None] | None
    more_high: list[float | None] | None
    decisions: dict[str, Figure]
    true_positives: list[int]
    false_positives: list[int]


@dataclass(frozen=True)
class DecisionCurves:
    """Net benefit over thresholds of probability, of ways to decide of the same patients."""

    n: int
    positives: int
    thresholds: list[float]
    ways: list[NetBenefit]
    absent: list[str]


@dataclass(frozen=True)
class NeededPatients:
    """Of how many patients the 95 % interval of a figure is so wide; None where that cannot be worked out."""

    figure: str
    width: float
    patients: int | None


@dataclass(frozen=True)
class AtCut:
    """Everything of one cut of the score; event: what is predicted, as text; exactly: units whose score is the cut.

    note: what of the labels cannot be decided, or is decided otherwise. chance_note: why there is no probability.
    """

    cut: float
    event: str
    n: int
    positives: int
    negatives: int
    exactly: int
    note: str | None
    chance_note: str | None
    figures: dict[str, Figure]
    brier_parts: BrierParts | Absent
    points: list[OperatingPoint]
    calibration: list[ObservedShare] | Absent
    spreads: list[ChanceSpread]
    decisions: DecisionCurves | Absent
    needed: list[NeededPatients]


@dataclass(frozen=True)
class Cuts:
    """Patients at cuts of the score, and figures of the order of the categories."""

    unit: str
    n: int
    at: list[AtCut]
    ordinal: dict[str, Figure]


@dataclass(frozen=True)
class ExpectedWidth:
    """How wide the interval of a figure is, and would be of more patients; event: of a cut, None of all categories."""

    figure: str
    event: str | None
    now: float
    then: list[float]


@dataclass(frozen=True)
class HowMany:
    """What more patients would settle; times: as many as there are now."""

    patients: int
    times: list[int]
    widths: list[ExpectedWidth]


@dataclass(frozen=True)
class PromisedCoverage:
    """Share of new patients whose category is named by sets that so many patients calibrated: mean and 95 % limits."""

    calibrated_by: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class SetsOfCategory:
    """Prediction sets of the tests of a true category; sizes: how many of them name one category, two, and so on."""

    category: int
    n: int
    sizes: list[int]
    figures: dict[str, Figure]


@dataclass(frozen=True)
class SetsOfFold:
    """Of a fold's tests, how many sets name the true category; calibrated_by: patients of other folds."""

    fold: int
    n: int
    named: int
    calibrated_by: int


@dataclass(frozen=True)
class SetsOfPatients:
    """The set of each test of a patient, as columns: its lowest and its highest category."""

    patient: list[str]
    fold: list[int]
    category: list[int]
    predicted: list[int]
    low: list[int]
    high: list[int]


@dataclass(frozen=True)
class PredictionSets:
    """Neighbouring categories that are to name the true one of so many patients.

    wanted: share of patients, None if nothing tells it. full: tests whose sets name every category, since patients who
    calibrate them are too few. promised: None if that is so, if folds are groups that were never seen, or nothing tells
    how many patients calibrated them. sizes: how many sets name one category, two, and so on. folds: none of an
    external test.
    """

    wanted: float | None
    n: int
    full: int
    promised: PromisedCoverage | None
    figures: dict[str, Figure]
    sizes: list[int]
    categories: list[SetsOfCategory]
    folds: list[SetsOfFold]
    tests: SetsOfPatients


@dataclass(frozen=True)
class UnseenGroup:
    """A group of patients; fold: whose model never saw it and tested it, None: it is not tested. trained: patients that
    the model learned from. figures: of its patients, none where the fold is missing.
    """

    name: str
    patients: int
    fold: int | None
    trained: int | None
    figures: dict[str, Figure]


@dataclass(frozen=True)
class UnseenGroups:
    """Patients by groups, each tested by a model that never saw it; fact: by what they form groups. smallest: patients
    of a group that is tested, at least, when the run was launched.
    """

    fact: str
    smallest: int
    groups: list[UnseenGroup]


@dataclass(frozen=True)
class GroupDrop:
    """The same patients by a model that had seen others of their group, and by one that had not; name: None of all
    groups together. differences: unseen less seen, in the same draws of patients.
    """

    name: str | None
    patients: int
    seen: dict[str, Figure]
    unseen: dict[str, Figure]
    differences: dict[str, Difference]


@dataclass(frozen=True)
class Drops:
    """What is lost where a group was never seen; run: by patient folds. trained: patients of its folds, on average."""

    run: str
    trained: float
    groups: list[GroupDrop]


@dataclass(frozen=True)
class Subgroup:
    """Patients of one group; differences: from all others of the fact, none where either side has too few patients."""

    group: str
    patients: int
    judged: bool
    figures: dict[str, Figure]
    differences: dict[str, Difference]


@dataclass(frozen=True)
class SubgroupFact:
    """Groups by one fact. several, withheld, unknown: patients of no group.

    They are those whose studies differ in the fact, those of whom it is not told as too few are like them, and those of
    whom nobody knows it.
    """

    fact: str
    groups: list[Subgroup]
    several: int
    withheld: int
    unknown: int


@dataclass(frozen=True)
class Subgroups:
    """Figures by groups of patients. comparisons: differences with an interval, and how many of them exclude 0.

    fewest: patients of a group that is judged. by_chance: how many would exclude 0 if no group differed.
    """

    unit: str
    fewest: int
    facts: list[SubgroupFact]
    comparisons: int
    excluding_0: int
    by_chance: float


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


def to_json(result: Any) -> dict[str, Any]:
    """A report, or any part of one, as plain values in the order of their fields."""
    kind: Any = type(result)
    return dict(_adapter(kind).dump_python(result))


def from_json(plain: Mapping[str, Any], kind: Callable[..., T]) -> T:
    """A report, or any part of one, from plain values.

    Raises: Damaged naming the first key that is missing, or not as a report has it.
    """
    try:
        found: T = _adapter(kind).validate_python(plain)
        return found
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise Damaged(f"is not as a report is ({where}: {first['msg']})") from None


def schema() -> dict[str, Any]:
    """The JSON Schema of report.json."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_adapter(Report).json_schema()}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
