"""An external test: predictions of studies that no fold has seen, held against a sheet, as a report of patients.

Patients are the units, each once. Axes: N study or patient, K category.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd

from cac_hpc.evaluation import cut_figures, evaluate, example_choice, labels_to_check, readers
from cac_hpc.evaluation.external_files import MODEL, OTHER, OUT_OF_RANGE, RULE, SET_ENDS, ExternalTest, Source
from cac_hpc.evaluation.readers import LARGEST, NAMES, Heard, Said
from cac_hpc.results.audits import Audit
from cac_hpc.results.calibration import CategoryShare, Recalibration
from cac_hpc.results.cohort import Cohort
from cac_hpc.results.examples import Examples, Shown
from cac_hpc.results.external import External, InternalTest, RangeGroup, RangeSplit
from cac_hpc.results.figures import Absent, Figure
from cac_hpc.results.levels import Level, Statistics
from cac_hpc.results.prediction_sets import PredictionSets, PromisedCoverage
from cac_hpc.results.report import FORMAT_VERSION, Report
from cac_hpc.results.serialization import Damaged, from_json
from cac_hpc.run.logs import amount
from cac_hpc.statistics import assessment, intervals, recalibration, resampling, sample_size, set_figures, unpaired
from cac_hpc.statistics.assessment import Tested
from cac_hpc.statistics.at_cuts import NO_PROBABILITIES
from cac_hpc.statistics.pooling import Units
from cac_hpc.statistics.prediction_sets import Sets

HIGHEST = "highest"  # in place of report.patient_rule
UNIT = "patient, by the study with the highest predicted category"
NO_SETS = "the predictions have no prediction sets, which are their columns set_low and set_high"
NO_SLICES = "an external test has no slices"
NO_RULE = "the predictions have no scores of the Agatston rule"
NOT_INTERNAL = "figures of a cross-validation are not known of these predictions"
REFUSED = {"no_prediction": "no_prediction", "known": "patient_of_the_training_studies"}
BY_RANGE = ("accuracy", "majority_accuracy", "gain_over_majority", "balanced_accuracy", "kappa_quadratic", "icc",
            "two_or_more_off", "over_estimated_share", "under_estimated_share")  # fmt: skip
FEW = f"fewer than {intervals.FEWEST_PATIENTS} patients"
RECALIBRATED = (
    f"in the large: one intercept raises the log odds of every higher category alike; each of {recalibration.GROUPS} "
    "groups of patients is moved by the intercept of highest likelihood in the other groups; predicted categories stay"
)


def report(test: ExternalTest, table: pd.DataFrame) -> Report:
    """Compute every number of the report of a test and the studies that are tested, as `external_inputs` makes them."""
    model, cfg, num_categories = test.sources[0], test.statistics, len(test.names)
    units, score = units_of(table, model, num_categories)
    heard = _hear(test, table)
    level = _level(test, units)
    if not model.probabilities:
        level = replace(level, calibration=Absent(NO_PROBABILITIES))
    cuts = cut_figures.of_external(test, units, score, {} if isinstance(heard, Absent) else heard.said)
    patients = np.unique(table["patient"].to_numpy(str))
    nobody = Examples("", [])
    return Report(
        format_version=FORMAT_VERSION,
        title=test.title,
        folds_found=0,
        missing_folds=[],
        banner=None,
        categories=evaluate.categories(test.names, test.edges),
        cohort=_cohort(test, table, len(patients)),
        split=None,
        statistics=Statistics(HIGHEST, 1, cfg.draws, cfg.seed, intervals.CONFIDENCE),
        published=None,
        examples=Shown(nobody, nobody, example_choice.mistaken(units, patients)),
        levels={"patient": level},
        training=[],
        settings={"labels": {"names": test.names, "edges": test.edges}},
        digests=None,
        status="EXTERNAL",
        audits=[_audit(test)],
        inflation=None,
        readers=readers.compare(heard, num_categories, cfg),
        occlusion=Absent(NO_SLICES),
        lesions=None,
        external=_external(test, table, units, level),
        cuts=cuts,
        how_many=sample_size.how_many(level.pooled, cuts),
        answers=test.answers,
        labels_to_check=labels_to_check.find(heard),
        prediction_sets=_prediction_sets(test, table, units),
    )


def _level(test: ExternalTest, units: Units) -> Level:
    """The figures of patients, who are of no fold."""
    (level,) = assessment.levels([Tested("patient", UNIT, units, scored=True)], test.statistics, test.edges).values()
    return replace(level, folds=[], over_folds={})


def units_of(table: pd.DataFrame, source: Source, num_categories: int) -> tuple[Units, np.ndarray | None]:
    """The patients, by names, and their predicted scores (N,), if there are any.

    A patient has the highest label and reported score of his studies, and the predictions of the study with the highest
    predicted category, of several that with the highest predicted score, then the first by name.

    Args:
        table: study, patient, score, category, and the columns of the source, whose categories are all known.
    """
    names, first = np.unique(table["patient"].to_numpy(str)), _deciding(table, source)
    key, predicted_N = source.key, table[f"{source.key}_category"].to_numpy(int)
    highest = table.assign(score=table["score"].fillna(np.inf)).groupby("patient")[["category", "score"]].max()
    score = highest["score"].to_numpy(float)
    probability = np.eye(num_categories)[predicted_N]
    if source.probabilities:
        probability = table[[f"{key}_p{category}" for category in range(num_categories)]].to_numpy(float)
    units = Units(
        label=highest["category"].to_numpy(int),
        predicted=predicted_N[first],
        probability=probability[first],
        patient=np.arange(len(names)),
        fold=np.zeros(len(names), int),
        score=np.where(np.isinf(score), np.nan, score),
        num_patients=len(names),
        distinct=len(names),
    )
    return units, table[f"{key}_score"].to_numpy(float)[first] if source.scores else None


def _deciding(table: pd.DataFrame, source: Source) -> np.ndarray:
    """Of each patient the row of the study that his prediction is of, in the order of the patients' names."""
    owner_N = np.unique(table["patient"].to_numpy(str), return_inverse=True)[1]
    predicted_N = table[f"{source.key}_category"].to_numpy(int)
    read_N = table[f"{source.key}_score"].to_numpy(float) if source.scores else np.zeros(len(table))
    order = np.lexsort((table["study"].to_numpy(str), -read_N, -predicted_N, owner_N))
    return np.asarray(order[np.unique(owner_N[order], return_index=True)[1]])


def _prediction_sets(test: ExternalTest, table: pd.DataFrame, units: Units) -> PredictionSets | Absent:
    """The sets that the predictions name, held against the labels.

    Args:
        units: of all patients that were tested.
    """
    model = test.sources[0]
    if not model.sets:
        return Absent(NO_SETS)
    rows = table.iloc[_deciding(table, model)]
    low, high = (rows[f"{model.key}_{end}"].to_numpy(int) for end in SET_ENDS)
    sets, names = Sets(low, high, np.zeros(len(rows), int)), np.unique(table["patient"].to_numpy(str))
    return set_figures.of_sets(units, sets, names, model.coverage, _promised(test))


def _promised(test: ExternalTest) -> PromisedCoverage | None:
    """What the patients promise who calibrated sets of that coverage; None where nobody knows."""
    try:
        known = (test.internal or {})["prediction_sets"]
        same = known["wanted"] == test.sources[0].coverage
        return from_json(known["promised"], PromisedCoverage) if same else None
    except (Damaged, LookupError, TypeError, ValueError):
        return None


def _cohort(test: ExternalTest, table: pd.DataFrame, num_patients: int) -> Cohort:
    counts = np.bincount(table["category"].to_numpy(int), minlength=len(test.names)).tolist()
    lost = Counter[str](one.why for one in test.left_out)
    intake = {
        "files": {"found": 0, "used": 0, "rejected": {}},
        "studies": {
            "found": test.studies_found,
            "without_label": lost["no_label"],
            "labelled": sum(test.labelled),
            "used": len(table),
            "refused": {text: lost[why] for why, text in REFUSED.items() if lost[why]},
            "rows_without_study": lost["no_study"],
        },
        "slices": test.slices,
        "categories": {"labelled": test.labelled, "used": counts},
        "acquisition": {},
    }
    return Cohort(test.studies_found, len(table), num_patients, test.slices, 0, counts, [], intake)


def _audit(test: ExternalTest) -> Audit:
    """Whether nobody was tested whom the model was trained on."""
    name, known = "patients of the training studies", test.known_studies
    if test.known == "unknown":
        return Audit(name, None, "nothing tells whether the program was trained on these patients")
    if test.known == "counted" and known:
        studies = f"with {amount(known, 'study')}, as was asked for"
        return Audit(name, False, f"patients that the model was trained on are counted, {studies}")
    return Audit(name, True, f"no study is counted whose pixels the model was trained on; left out for it: {known}")


def _external(test: ExternalTest, table: pd.DataFrame, units: Units, level: Level) -> External:
    return External(
        source=test.sources[0].name,
        left_out=test.left_out,
        known=test.known,
        known_studies=test.known_studies,
        out_of_range=test.out_of_range,
        internal=_internal(test, level),
        recalibration=_recalibration(test, units, level),
        by_range=_by_range(test, table),
        cohorts=test.cohorts,
        digests=test.digests,
    )


def _internal(test: ExternalTest, level: Level) -> InternalTest | Absent:
    """The figures of the cross-validation, and how those of the external test differ from them."""
    if test.internal is None:
        return Absent(NOT_INTERNAL)
    try:
        found = from_json(test.internal["level"], Level)
        compared = unpaired.compare(found, level)
        title = f"{test.internal['title']}, {test.internal['status']}"
    except (Damaged, LookupError, TypeError, ValueError):
        return Absent("the bundle's own figures are of another version of cac_hpc")
    return InternalTest(title, unpaired.METHOD, compared, found.calibration)


def _recalibration(test: ExternalTest, units: Units, level: Level) -> Recalibration | Absent:
    """Calibration of the probabilities as they are, and after one intercept was fitted."""
    if isinstance(level.calibration, Absent):
        return level.calibration
    if units.num_patients < intervals.FEWEST_PATIENTS:
        return Absent(FEW)
    cfg = test.statistics
    moved = recalibration.recalibrate(units.label, units.probability, cfg.seed)
    after = replace(units, probability=moved.probability)
    (sums,) = resampling.resample({MODEL: resampling.sums_by_patient(after)}, {}, cfg).values()
    observed = np.bincount(units.label, minlength=units.num_categories) / len(units.label)
    shares = (column.tolist() for column in (observed, units.probability.mean(axis=0), moved.probability.mean(axis=0)))
    return Recalibration(
        method=RECALIBRATED,
        intercept=intervals.figure(moved.intercept, len(units.label), "", moved.interval),
        before=level.calibration,
        after=assessment.calibration(sums),
        shares=[CategoryShare(index, *row) for index, row in enumerate(zip(*shares, strict=True))],
    )


def _by_range(test: ExternalTest, table: pd.DataFrame) -> RangeSplit | Absent:
    """The figures of the patients in the training range, and of those of whom a study lies outside of it."""
    if test.out_of_range is None:
        return Absent("nothing tells which studies lie outside of the training range")
    if not test.out_of_range:
        return Absent("all studies lie in the training range")
    beyond = table["patient"].isin(table.loc[table[OUT_OF_RANGE] > 0, "patient"])
    inside, outside = (_range_group(test, table[rows]) for rows in (~beyond, beyond))
    both = {name: (inside.figures[name], figure) for name, figure in outside.figures.items() if inside.figures}
    return RangeSplit(inside, outside, {name: unpaired.difference(*pair) for name, pair in both.items()})


def _range_group(test: ExternalTest, table: pd.DataFrame) -> RangeGroup:
    units, _ = units_of(table, test.sources[0], len(test.names))
    figures: dict[str, Figure] = {}
    if units.num_patients >= intervals.FEWEST_PATIENTS:
        found = _level(test, units).pooled.figures
        figures = {name: found[name] for name in BY_RANGE}
    return RangeGroup(len(table), units.num_patients, int((units.label == units.predicted).sum()), figures)


def _hear(test: ExternalTest, table: pd.DataFrame) -> Heard | Absent:
    """Every reader on the patients of whom all of them have all studies."""
    spoken = (table[[f"{one.key}_category" for one in test.sources]] >= 0).all(axis=1)
    silent = set(table.loc[~spoken, "patient"])
    both = table[~table["patient"].isin(silent)]
    if both.empty:
        return Absent("no patient has predictions of all readers")
    said = _said(test, both)
    return Heard(said, [] if RULE in said else [NO_RULE], both, len(table) - len(both))


def _said(test: ExternalTest, table: pd.DataFrame) -> dict[str, Said]:
    """The largest category, the rule, the model, then the other programs."""
    found = {one.key: (one, *units_of(table, one, len(test.names))) for one in test.sources}
    said = {LARGEST: Said(NAMES[LARGEST], {"patient": readers.largest(found[MODEL][1])})}
    for key in sorted(found, key=lambda key: (key.startswith(OTHER), key == MODEL)):
        source, units, score = found[key]
        said[key] = Said(NAMES.get(key, source.name), {"patient": units}, score)
    return said
