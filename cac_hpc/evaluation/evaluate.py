"""Inputs of a run in, its report out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from cac_hpc.dataset import splits
from cac_hpc.evaluation import (
    comparison,
    cut_figures,
    example_choice,
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
from cac_hpc.results.figures import Absent
from cac_hpc.results.levels import Statistics
from cac_hpc.results.matrices import Published
from cac_hpc.results.occlusion import Occlusion
from cac_hpc.results.prediction_sets import PredictionSets
from cac_hpc.results.report import FORMAT_VERSION, MissingFold, Report, Status
from cac_hpc.results.serialization import Damaged
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.split import SplitConfig
from cac_hpc.statistics import assessment, intervals, sample_size, set_figures
from cac_hpc.statistics.assessment import Tested
from cac_hpc.statistics.pooling import Units


def evaluate(
    inputs: Inputs,
    status: Status,
    missing: list[MissingFold],
    title: str,
    banner: str | None,
    begun: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Compute every number of a report.

    Args:
        missing: folds without a result.
        banner: what is said before all else.
        begun: is given the report before anything is counted, which takes the longest.
    """
    tested = inputs.tested
    patients = assessment.units_of(tested)["patient"]
    report = replace(_uncounted(inputs, tested), status=status, missing_folds=missing, title=title, banner=banner)
    begun(report)
    report = replace(
        report,
        published=_published(inputs),
        levels=assessment.levels(tested, inputs.report, inputs.labels.edges),
        occlusion=_occlusion(inputs),
        prediction_sets=_prediction_sets(inputs, patients),
        unseen=unseen.of_run(inputs),
    )
    return _compared(inputs, report, tested)


def _uncounted(inputs: Inputs, tested: Sequence[Tested]) -> Report:
    """What a report is of, how it was made, and which patients it shows."""
    cfg = inputs.report
    patients = assessment.units_of(tested)["patient"]
    return Report(
        format_version=FORMAT_VERSION,
        title="",
        folds_found=len(inputs.results),
        missing_folds=[],
        banner=None,
        categories=categories(inputs.labels.names, inputs.labels.edges),
        cohort=_cohort(inputs),
        split=_split(inputs),
        statistics=Statistics(cfg.patient_rule, cfg.top_k, cfg.draws, cfg.seed, intervals.CONFIDENCE),
        published=None,
        examples=example_choice.pick(inputs.outcome, patients, inputs.studies, cfg),
        levels={},
        training=[one.facts for one in inputs.results.values()],
        settings=inputs.settings,
        digests=inputs.digests,
        status="COMPLETE",
        audits=inputs.audits,
        inflation=None,
        readers=Absent(""),
        occlusion=Absent(""),
        lesions=lesion_choice.pick(inputs, tested),
        shown_before=inputs.shown_before,
        trials=trials.report(inputs.tried) if inputs.tried else None,
        answers=inputs.answers,
    )


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
        subgroups=subgroup_figures.of_run(inputs, tested),
        labels_to_check=labels_to_check.find(heard),
        second_look=_second_look(outcome, studies),
        drops=unseen.drops(inputs),
    )


def _occlusion(inputs: Inputs) -> Occlusion | Absent:
    views = {fold: one.views for fold, one in inputs.results.items()}
    found, num_categories = inputs.outcome.predictions, len(inputs.labels.names)
    return occlusion.compare(found, views, inputs.studies, inputs.blanking, num_categories, inputs.report)


def _second_look(outcome: Outcome, studies: pd.DataFrame) -> list[ContradictedLabel] | None:
    """Labels that every reader contradicts: rule, untrained control and, of the studies that it tested, a lesion model.

    Args:
        studies: studies.csv.
    """
    by_model, found, counting = outcome.study_scores(), [], False
    columns = [column for column in ("score", *second_look.READERS.values()) if column in studies]
    if not by_model and columns in ([], ["score"]):
        return None  # nobody counted in any
    numbers = [pd.to_numeric(studies[column]).tolist() for column in columns]
    for study, *values in zip(studies["study"].astype(str).tolist(), *numbers, strict=True):
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
    names = inputs.outcome.patient_names(inputs.studies)
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
    names = studies["study"].tolist()
    patient, category = (dict(zip(names, studies[name].tolist(), strict=True)) for name in ("patient", "category"))
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
