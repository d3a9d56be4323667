"""Inputs of a run in, its report out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from cac_hpc.dataset import splits
from cac_hpc.evaluation import (
    comparison,
    cut_figures,
    labels_to_check,
    lesion_choice,
    occlusion,
    readers,
    subgroup_figures,
    trials,
    unseen,
)
from cac_hpc.evaluation.inputs import Inputs
from cac_hpc.evaluation.outcome import Outcome
from cac_hpc.evaluation.pairing import Finished
from cac_hpc.labels import second_look
from cac_hpc.results.audits import ContradictedLabel
from cac_hpc.results.cohort import CategoryRange, Cohort, Split
from cac_hpc.results.comparison import Comparison
from cac_hpc.results.examples import Example, Examples, MistakenPatient, MistakenPatients, Shown
from cac_hpc.results.figures import Absent
from cac_hpc.results.levels import Statistics
from cac_hpc.results.matrices import Published
from cac_hpc.results.prediction_sets import PredictionSets
from cac_hpc.results.report import FORMAT_VERSION, MissingFold, Report, Status
from cac_hpc.results.serialization import Damaged
from cac_hpc.run.config import InputError, ReportConfig, SplitConfig
from cac_hpc.statistics import assessment, intervals, sample_size, set_figures
from cac_hpc.statistics.assessment import Tested
from cac_hpc.statistics.pooling import Units
from cac_hpc.train.predictions import Predictions

SAMPLES = 2  # studies of each category
MISTAKES = 12  # slices
PATIENTS = 15
SAMPLED = (
    f"{SAMPLES} studies of each category, drawn by the report's seed; of each the slice in the middle of those that "
    "its fold tested"
)
MISTAKEN = f"the {MISTAKES} worst: most categories off, then highest probability of the wrong one, one slice of a study"
WORST = f"at most {PATIENTS}: most categories off, then highest probability of the wrong one"


def evaluate(inputs: Inputs, status: Status, missing: list[MissingFold], title: str, banner: str | None) -> Report:
    """Compute every number of a report.

    Args:
        status: COMPLETE, PARTIAL or PROVISIONAL.
        missing: folds without a result.
        banner: what is said before all else.
    """
    outcome, studies, cfg, edges = inputs.outcome, inputs.studies, inputs.report, inputs.labels.edges
    found, num_categories = outcome.predictions, len(inputs.labels.names)
    tested = outcome.tested(studies, edges, cfg)
    views = {fold: one.views for fold, one in inputs.results.items()}
    report = Report(
        format_version=FORMAT_VERSION,
        title=title,
        folds_found=len(found),
        missing_folds=missing,
        banner=banner,
        categories=categories(inputs.labels.names, inputs.labels.edges),
        cohort=_cohort(inputs),
        split=_split(inputs),
        statistics=Statistics(cfg.patient_rule, cfg.top_k, cfg.draws, cfg.seed, intervals.CONFIDENCE),
        published=_published(inputs),
        examples=pick(outcome, assessment.units_of(tested)["patient"], studies, cfg),
        levels=assessment.levels(tested, cfg, edges),
        training=[one.facts for one in inputs.results.values()],
        settings=inputs.settings,
        digests=inputs.digests,
        status=status,
        audits=inputs.audits,
        inflation=None,
        readers=Absent(""),
        occlusion=occlusion.compare(found, views, studies, inputs.blanking, num_categories, cfg),
        lesions=lesion_choice.pick(inputs, tested),
        second_look=_second_look(outcome, studies),
        shown_before=inputs.shown_before,
        trials=trials.report(inputs.tried) if inputs.tried else None,
        answers=inputs.answers,
        prediction_sets=_prediction_sets(inputs, assessment.units_of(tested)["patient"]),
        unseen=unseen.of_run(inputs),
        drops=unseen.drops(inputs),
    )
    return _compared(inputs, report, tested)


def _split(inputs: Inputs) -> Split:
    """How patients were divided; of groups that are left out the smallest, even where nobody set it."""
    said = inputs.settings["split"]
    usual = {"smallest_group": SplitConfig.smallest_group} if said["scheme"] == "leave_one_out" else {}
    return Split(**usual | said)


def _compared(inputs: Inputs, report: Report, tested: Sequence[Tested]) -> Report:
    """The report with what is compared with other readers and runs, which takes all of it."""
    outcome, studies, cfg = inputs.outcome, inputs.studies, inputs.report
    own = Finished(inputs.name, report, studies.set_index("study").loc[sorted(outcome.studies)], outcome)
    other = readers.aligned(own, inputs.other)
    heard = readers.hear(outcome, studies, inputs.labels.edges, cfg, other)
    said = {} if isinstance(heard, Absent) else heard.said
    cuts = cut_figures.of_run(inputs, tested, said)
    return replace(
        report,
        readers=readers.compare(heard, len(inputs.labels.names), cfg),
        inflation=_inflation(inputs, own),
        cuts=cuts,
        how_many=sample_size.how_many(report.levels["patient"].pooled, cuts),
        subgroups=subgroup_figures.of_run(inputs, tested, patient_names(outcome.studies, studies)),
        labels_to_check=labels_to_check.find(heard),
    )


def _second_look(outcome: Outcome, studies: pd.DataFrame) -> list[ContradictedLabel] | None:
    """Labels that every reader contradicts: rule, untrained control and, of the studies that it tested, a lesion model.

    Args:
        studies: studies.csv.
    """
    by_model, found, counting = outcome.study_scores(), [], False
    columns = [column for column in ("score", *second_look.READERS.values()) if column in studies]
    numbers = [pd.to_numeric(studies[column]).tolist() for column in columns]
    for study, *values in zip(studies["study"].astype(str), *numbers, strict=True):
        facts = dict(zip(columns, values, strict=True))
        score = facts.get("score", math.nan)
        counted = second_look.counted_of(facts) | ({readers.MODEL: by_model[study]} if study in by_model else {})
        counting |= bool(counted)
        reported = None if math.isnan(score) else score
        if "score" in facts and second_look.is_contradicted(reported, counted.values()):
            found.append(ContradictedLabel(study, reported, counted))
    return found if counting else None


def _prediction_sets(inputs: Inputs, patients: Units) -> PredictionSets | Absent | None:
    """The sets of the patients; they promise nothing where each fold is a group, as groups need not be alike."""
    names = patient_names(inputs.outcome.studies, inputs.studies)
    found = set_figures.of_run(patients, names, inputs.report.coverage)
    held_out = inputs.groups is not None and bool(inputs.groups.tested)
    return replace(found, promised=None) if held_out and isinstance(found, PredictionSets) else found


def _inflation(inputs: Inputs, own: Finished) -> Comparison | Absent | None:
    """Of a complete run that leaks on purpose, its figures compared with those of the run that does not."""
    reference = inputs.reference if own.report.status == "COMPLETE" and own.report.unseen is None else None
    if not isinstance(reference, Finished):
        return reference
    try:
        return comparison.compare(reference, own)
    except (InputError, Damaged) as error:
        return Absent(str(error))


def categories(names: Sequence[str], edges: Sequence[float]) -> list[CategoryRange]:
    """Name and score range of each category: above one edge, up to and with the next."""
    ends = [None, *edges, None]
    return [CategoryRange(index, name, ends[index], ends[index + 1]) for index, name in enumerate(names)]


def _published(inputs: Inputs) -> Published | Absent | None:
    """The figures of the table that is shown with the results."""
    table = inputs.published
    if table is None or isinstance(table, Absent):
        return table
    figures = assessment.summary_of_matrix(table.matrix, assessment.PUBLISHED)
    return Published(title=table.title, level=table.level, note=None, **vars(figures))


def _cohort(inputs: Inputs) -> Cohort:
    studies, intake, num_categories = inputs.studies, inputs.intake, len(inputs.labels.names)
    patient, category = (dict(zip(studies["study"], studies[name], strict=True)) for name in ("patient", "category"))
    return Cohort(
        studies_found=intake["studies"]["found"],
        studies=len(studies),
        patients=int(studies["patient"].nunique()),
        slices=int(studies["slices"].astype(int).sum()),
        rejected_files=sum(intake["files"]["rejected"].values()),
        studies_per_category=np.bincount(studies["category"].astype(int), minlength=num_categories).tolist(),
        folds=[
            [list(counts) for counts in splits.count_patients(fold, patient, category, num_categories)]
            for fold in inputs.folds
        ],
        intake=intake,
        pseudonyms=inputs.pseudonyms or None,
    )


def pick(outcome: Outcome, patients: Units, studies: pd.DataFrame, cfg: ReportConfig) -> Shown:
    """Sample slices, misclassified slices and misclassified patients, with the rules that picked them.

    Args:
        patients: that were tested. studies: columns study and patient.
    """
    found = outcome.predictions if outcome.scores is None else {}  # of lesions those are shown that counted
    return Shown(
        samples=Examples(SAMPLED, _samples(found, cfg.seed)),
        misclassified=Examples(MISTAKEN, _mistakes(found)),
        patients=mistaken(patients, patient_names(outcome.studies, studies)),
    )


def _samples(found: Mapping[int, Predictions], seed: int) -> list[Example]:
    """Slices of studies drawn by seed, in the order of their categories."""
    where: dict[int, dict[str, tuple[int, int]]] = {}  # by category and study: the fold that tests it, and its index
    for fold, one in found.items():
        category = np.zeros(len(one.studies), int)
        category[one.study] = one.label
        for index, study in enumerate(map(str, one.studies)):
            where.setdefault(int(category[index]), {}).setdefault(study, (fold, index))
    examples = []
    for number in sorted(where):
        names, rng = sorted(where[number]), np.random.default_rng([seed, number])
        for at in sorted(rng.permutation(len(names))[:SAMPLES]):
            fold, index = where[number][names[at]]
            rows = np.flatnonzero(found[fold].study == index)
            rows = rows[np.argsort(found[fold].slice[rows], kind="stable")]
            examples.append(_example(found[fold], fold, int(rows[len(rows) // 2])))
    return examples


def _mistakes(found: Mapping[int, Predictions]) -> list[Example]:
    """The worst slices of all folds, one of each study."""
    candidates = sorted((-bad, fold, row) for fold, one in found.items() for bad, row in _worst_rows(one))
    best: dict[str, Example] = {}
    for _, fold, row in candidates:
        example = _example(found[fold], fold, row)
        best.setdefault(example.study, example)
    return list(best.values())[:MISTAKES]


def _worst_rows(one: Predictions) -> Iterator[tuple[float, int]]:
    """Badness and row of a fold's worst slices, one of each study."""
    predicted = one.probability.argmax(axis=1)
    bad_N = np.abs(predicted - one.label) + np.take_along_axis(one.probability, predicted[:, None], axis=1)[:, 0] / 2
    bad_N[predicted == one.label] = 0
    for _ in range(MISTAKES):
        row = int(bad_N.argmax()) if len(bad_N) else 0
        if not len(bad_N) or bad_N[row] == 0:
            return
        yield float(bad_N[row]), row
        bad_N[one.study == one.study[row]] = 0


def _example(one: Predictions, fold: int, row: int) -> Example:
    predicted = int(one.probability[row].argmax())
    return Example(
        study=str(one.studies[one.study[row]]),
        slice=int(one.slice[row]),
        fold=fold,
        true=int(one.label[row]),
        predicted=predicted,
        probability=float(one.probability[row, predicted]),
        probability_of_true=float(one.probability[row, one.label[row]]),
    )


def patient_names(tested: set[str], studies: pd.DataFrame) -> np.ndarray:
    """As numbered in what was tested."""
    return np.unique(studies.set_index("study").loc[sorted(tested)]["patient"].to_numpy(str))


def mistaken(units: Units, names: np.ndarray) -> MistakenPatients:
    """The patients that are most wrong, and how many are wrong at all."""
    each = np.arange(len(units.label))
    probability = units.probability[each, units.predicted]
    off = np.abs(units.predicted - units.label)
    wrong = np.flatnonzero(off)
    order = wrong[np.lexsort((units.fold[wrong], units.patient[wrong], -probability[wrong], -off[wrong]))]
    worst = [
        MistakenPatient(
            patient=str(names[units.patient[row]]),
            fold=int(units.fold[row]),
            score=None if np.isnan(units.score[row]) else float(units.score[row]),
            true=int(units.label[row]),
            predicted=int(units.predicted[row]),
            probability=float(probability[row]),
            probability_of_true=float(units.probability[row, units.label[row]]),
        )
        for row in order[:PATIENTS]
    ]
    return MistakenPatients(WORST, len(wrong), np.bincount(off[wrong]).tolist(), worst)
