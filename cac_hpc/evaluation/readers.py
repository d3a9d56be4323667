"""Readers side by side: ways to a patient's category, compared with this run's model on the same patients.

The largest category; the Agatston rule in the heart's region, by the scores in studies.csv; the untrained control,
which counts each candidate of which more than half lies in that region; another run. Of a slice rule and control say
the category of the slice's own part of the score. Axes: N slice or patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cac_hpc.evaluation import comparison, pairing
from cac_hpc.evaluation.outcome import Outcome, predicts_scores
from cac_hpc.evaluation.pairing import Finished
from cac_hpc.labels import labels
from cac_hpc.results.comparison import LeftOut
from cac_hpc.results.figures import Absent, Difference, Figure
from cac_hpc.results.readers import EmptySlices, JudgedPatients, Reader, Readers, Trust
from cac_hpc.run.logs import log
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import assessment, intervals, score_agreement
from cac_hpc.statistics.pooling import Units, patient_units, pooling_rules

NO_BASELINE = "the dataset was packed without pack.baseline, so that the rule was not applied"
NO_CONTROL = "the dataset was packed without pack.candidates, so that there is no untrained control"
NOTHING = "no fold has been tested"
NO_HEART = "in no patient that was tested was the heart found in all studies"
LARGEST, RULE, CONTROL, MODEL, RUN = "largest", "rule", "control", "model", "run"
NAMES = {LARGEST: "largest category", RULE: "Agatston rule", CONTROL: "untrained control"}
SCORED = {RULE: ("agatston_score", "agatston_slices"), CONTROL: ("agatston_control", "control_slices")}


@dataclass(frozen=True)
class Said:
    """What a reader said: its name, units by level and, if it has any, its score of each patient."""

    name: str
    units: Mapping[str, Units]
    score: np.ndarray | None = None


@dataclass(frozen=True)
class Heard:
    """What every reader said, by its key, of the studies that all of them know, and why some are not there.

    studies: columns of studies.csv. left_out: how many studies that were tested.
    """

    said: Mapping[str, Said]
    absent: list[str]
    studies: pd.DataFrame
    left_out: int


def hear(
    outcome: Outcome,
    studies: pd.DataFrame,
    edges: Sequence[float],
    cfg: ReportConfig,
    other: Finished | Absent | None = None,
) -> Heard | Absent:
    """Every reader on the patients that the rule has a score of.

    Args:
        outcome: of this run's model. studies: studies.csv. edges: of the categories, as in labels.edges.
        other: another run of the same folds, its patients named as here, or why there is none.
    """
    known = with_scores(studies, [RULE])
    both = outcome.of(set(known["study"]))
    if not both.predictions:
        missing = "agatston_score" not in studies
        return Absent(NO_BASELINE if missing else NO_HEART if outcome.predictions else NOTHING)
    known = known[known["study"].isin(both.studies)]
    said, absent = _said(both, known, edges, cfg, other)
    return Heard(said, absent, known, len(outcome.studies - both.studies))


def compare(heard: Heard | Absent, num_categories: int, cfg: ReportConfig) -> Readers | Absent:
    """Every reader's figures, in the same draws."""
    if isinstance(heard, Absent):
        return heard
    compared = comparison.compare_readers({key: one.units for key, one in heard.said.items()}, MODEL, cfg)
    found = [
        Reader(
            key=key,
            name=one.name,
            levels=compared[key].pooled,
            compared=compared[key].compared,
            scores=None if one.score is None else score_agreement.agree(one.units["patient"], one.score, cfg),
        )
        for key, one in heard.said.items()
    ]
    return Readers(
        note=None,
        left_out=LeftOut(studies=heard.left_out),
        readers=found,
        trust=trust(found),
        absent=heard.absent,
        patients=judged(heard.said, heard.studies),
        empty_slices=empty_slices(heard.studies, num_categories),
    )


def aligned(own: Finished, other: Finished | Absent | None) -> Finished | Absent | None:
    """The other run with its patients named as in this one, or why it is no reader of the same patients."""
    if not isinstance(other, Finished):
        return other
    tested = own.outcome.studies
    same = replace(
        other, outcome=other.outcome.of(tested), studies=other.studies[other.studies.index.isin(sorted(tested))]
    )
    try:
        found = pairing.align(own, same)
    except InputError as error:
        log.warning("report.compare: %s", error)
        return Absent(f"the run {other.name}, which report.compare names, is not of the same patients and labels")
    if own.divided() != found.divided():
        return Absent(f"the run {other.name}, which report.compare names, has other folds")
    return found


def with_scores(studies: pd.DataFrame, readers: Sequence[str]) -> pd.DataFrame:
    """The studies of patients that these readers have all scores of; none if packing did not look.

    Args:
        studies: studies.csv.
    """
    for column in (SCORED[key][0] for key in readers):
        if column not in studies:
            return studies.iloc[:0]
        unknown = studies.loc[pd.to_numeric(studies[column]).isna(), "patient"]
        studies = studies[~studies["patient"].isin(unknown)]
    return studies


def _said(
    outcome: Outcome, studies: pd.DataFrame, edges: Sequence[float], cfg: ReportConfig, other: Finished | Absent | None
) -> tuple[dict[str, Said], list[str]]:
    """What every reader said, this run's model last but for other runs, and why some are not there."""
    model = assessment.units_of(outcome.tested(studies, edges, cfg))
    said, absent = {LARGEST: Said(NAMES[LARGEST], {level: largest(units) for level, units in model.items()})}, []
    for key in (RULE, CONTROL):
        if len(with_scores(studies, [key])) == len(studies):
            said[key] = _by_score(key, outcome, model["slice"], studies, edges, cfg)
        else:
            absent.append(NO_CONTROL)
    own = "trained slice network" if outcome.scores is None else "trained lesion model"
    said[MODEL] = Said(own, model, outcome.patient_scores(studies, edges))
    if isinstance(other, Finished):
        theirs, table = other.outcome.of(outcome.studies), other.studies.reset_index()
        units = assessment.units_of(theirs.tested(table, edges, other.statistics))
        kind = "lesion model" if predicts_scores(other.report.settings) else "slice network"
        said[RUN] = Said(f"{kind} of run {other.name}", units, theirs.patient_scores(table, edges))
    elif other:
        absent.append(other.note)
    return said, absent


def largest(units: Units) -> Units:
    """The same units, all predicted as the category that most of them are of."""
    count_K = np.bincount(units.label, minlength=units.num_categories)
    return _predicted(units, np.full(len(units.label), int(count_K.argmax())))


def _by_score(
    key: str, outcome: Outcome, of_slices: Units, studies: pd.DataFrame, edges: Sequence[float], cfg: ReportConfig
) -> Said:
    """A reader that has scores in studies.csv.

    Args:
        of_slices: what was tested of these studies.
    """
    of_study, of_slice = SCORED[key]
    slices_of = {
        str(study): np.array(str(values).split(), float)
        for study, values in zip(studies["study"], studies[of_slice], strict=True)
    }
    score_of = dict(zip(studies["study"].astype(str), pd.to_numeric(studies[of_study]), strict=True))
    own, whole = [np.zeros(0)], [np.zeros(0)]
    for one in outcome.predictions.values():
        whole.append(np.array([score_of[study] for study in one.studies], float)[one.study])
        values = [slices_of[study] for study in one.studies]
        first = np.cumsum([0, *map(len, values)])[:-1]
        own.append(np.concatenate([np.zeros(0), *values])[first[one.study] + one.slice])
    pool = pooling_rules(cfg.top_k)[cfg.patient_rule]
    score = patient_units(replace(of_slices, score=np.concatenate(whole)), pool).score
    patients = patient_units(of_slices, pool)
    units = {
        "slice": _predicted(of_slices, labels.categories(np.concatenate(own).tolist(), edges)),
        "patient": _predicted(patients, labels.categories(score.tolist(), edges)),
    }
    return Said(NAMES[key], units, score)


def _predicted(units: Units, predicted: np.ndarray) -> Units:
    """The same units, predicted as these categories."""
    return replace(units, predicted=predicted, probability=np.eye(units.num_categories, dtype=np.float32)[predicted])


def trust(found: Sequence[Reader]) -> Trust:
    """Which reader the accuracies of patients speak for.

    1. None, if patients are too few for intervals, or no reader's gain over the largest category has an interval above
       0. 2. A reader that is better than the model (interval of the paired difference), the most accurate of these.
       3. The model, if it is better than rule and control, as far as these are above the largest category; else the
       first of these that it is not better than: it needs no training.
    """
    model = next(reader for reader in found if reader.compared is None)
    if model.levels["patient"].patients < intervals.FEWEST_PATIENTS:
        return Trust(None, "few", [])
    above = [reader for reader in found if (_gain(reader).low or 0) > 0]
    if not above:
        return Trust(None, "chance", [])
    better = [reader for reader in above if reader.compared and (_difference(reader).high or 0) < 0]
    if better or model not in above:
        best = max(better or above, key=lambda reader: reader.levels["patient"].figures["accuracy"].value or 0)
        return Trust(best.key, "model_worse", [])
    rivals = [reader for reader in found if reader.compared and not (_difference(reader).low or 0) > 0]
    simple = [reader.key for reader in rivals if reader in above and reader.key in SCORED]
    if simple:
        others = [reader.key for reader in rivals if reader in above and reader.key != simple[0]]
        return Trust(simple[0], "simpler", [MODEL, *others])
    return Trust(MODEL, "better", [reader.key for reader in rivals])


def _gain(reader: Reader) -> Figure:
    return reader.levels["patient"].figures["gain_over_majority"]


def _difference(reader: Reader) -> Difference:
    """The model's accuracy of patients less the reader's."""
    assert reader.compared
    return reader.compared.levels["patient"].figures["accuracy"]


def empty_slices(studies: pd.DataFrame, num_categories: int) -> list[EmptySlices]:
    """Of each category, how many slices of studies with a score have no voxel of 130 HU or more where the rule counts.

    What a slice does not show nobody can read from it: the share bounds what can be expected at slice level.

    Args:
        studies: those studies, columns of studies.csv; nothing of them where nobody has counted.
    """
    rows: list[EmptySlices] = []
    for category in range(num_categories if "agatston_empty_slices" in studies else 0):
        mine = studies[studies["category"].astype(int) == category]
        slices = mine["slices"].to_numpy(int)
        empty = np.rint(pd.to_numeric(mine["agatston_empty_slices"]).to_numpy(float) * slices).astype(int)
        by_patient = (
            pd.DataFrame({"patient": mine["patient"], "slices": slices, "empty": empty}).groupby("patient").sum()
        )
        interval = intervals.proportion(by_patient["empty"].to_numpy(), by_patient["slices"].to_numpy())
        total = int(slices.sum())
        share = float(empty.sum() / total) if total else None
        rows.append(EmptySlices(category, len(mine), total, int(empty.sum()), share, interval.low, interval.high))
    return rows


def judged(said: Mapping[str, Said], studies: pd.DataFrame) -> JudgedPatients:
    """What was said of each patient, as columns.

    Args:
        studies: those that were tested.
    """
    names, units = np.unique(studies["patient"].to_numpy(str)), said[MODEL].units["patient"]
    return JudgedPatients(
        patient=names[units.patient].tolist(),
        fold=units.fold.tolist(),
        score=[None if np.isnan(score) else float(score) for score in units.score],
        category=units.label.tolist(),
        scores_of={key: one.score.tolist() for key, one in said.items() if one.score is not None},
        categories_of={key: one.units["patient"].predicted.tolist() for key, one in said.items()},
    )
