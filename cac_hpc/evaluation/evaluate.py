"""Inputs of a run in, its report out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cac_hpc.dataset import splits
from cac_hpc.evaluation import baseline, comparison, examples, occlusion
from cac_hpc.evaluation.inputs import Inputs
from cac_hpc.evaluation.pairing import Finished
from cac_hpc.run.config import InputError
from cac_hpc.statistics import assessment, intervals, results
from cac_hpc.statistics.units import slice_units


def evaluate(
    inputs: Inputs, status: str, missing: list[results.MissingFold], title: str, banner: str | None
) -> results.Report:
    """Compute every number of a report.

    Args:
        status: COMPLETE, PARTIAL or PROVISIONAL.
        missing: folds without a result.
        banner: what is said before all else.
    """
    found, studies, cfg, edges = inputs.predictions, inputs.studies, inputs.report, inputs.labels.edges
    num_categories = len(inputs.labels.names)
    of_slices = slice_units(found, studies, num_categories)
    views = {fold: one.views for fold, one in inputs.results.items()}
    report = results.Report(
        format_version=results.FORMAT_VERSION,
        title=title,
        folds_found=len(found),
        missing_folds=missing,
        banner=banner,
        categories=_categories(inputs),
        cohort=_cohort(inputs),
        split=results.Split(**inputs.settings["split"]),
        statistics=results.Statistics(cfg.patient_rule, cfg.top_k, cfg.draws, cfg.seed, intervals.CONFIDENCE),
        published=_published(inputs),
        examples=examples.pick(found, of_slices, studies, cfg),
        levels=assessment.levels(of_slices, cfg, edges),
        training=[one.facts for one in inputs.results.values()],
        settings=inputs.settings,
        digests=inputs.digests,
        status=status,
        audits=inputs.audits,
        inflation=None,
        rule=baseline.compare(found, studies, edges, cfg),
        occlusion=occlusion.compare(found, views, studies, inputs.blanking, num_categories, cfg),
    )
    return replace(report, inflation=_inflation(inputs, report))


def _inflation(inputs: Inputs, report: results.Report) -> results.Comparison | results.Absent | None:
    """Of a complete run that divides slices, its figures compared with those of the run that divides patients."""
    reference = inputs.reference if report.status == "COMPLETE" else None
    if not isinstance(reference, Finished):
        return reference
    own = Finished(inputs.name, report, inputs.studies.set_index("study"), inputs.predictions)
    try:
        return comparison.compare(reference, own)
    except (InputError, results.Damaged) as error:
        return results.Absent(str(error))


def _categories(inputs: Inputs) -> list[results.CategoryRange]:
    """Name and score range of each category: above one edge, up to and with the next."""
    edges = [None, *inputs.labels.edges, None]
    return [
        results.CategoryRange(index, name, edges[index], edges[index + 1])
        for index, name in enumerate(inputs.labels.names)
    ]


def _published(inputs: Inputs) -> results.Published | results.Absent | None:
    """The figures of the table that is shown with the results."""
    table = inputs.published
    if table is None or isinstance(table, results.Absent):
        return table
    figures = assessment.summary_of_matrix(table.matrix, assessment.PUBLISHED)
    return results.Published(title=table.title, level=table.level, note=None, **vars(figures))


def _cohort(inputs: Inputs) -> results.Cohort:
    studies, intake, num_categories = inputs.studies, inputs.intake, len(inputs.labels.names)
    patient, category = (dict(zip(studies["study"], studies[name], strict=True)) for name in ("patient", "category"))
    return results.Cohort(
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
    )
