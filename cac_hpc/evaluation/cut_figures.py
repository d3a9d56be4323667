"""Figures at the cuts of the score: whose predictions of which patients they are of. Axes: N patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cac_hpc.evaluation.external_files import ExternalTest
from cac_hpc.evaluation.inputs import Inputs
from cac_hpc.evaluation.readers import CONTROL, LARGEST, MODEL, RULE, Said
from cac_hpc.results.cuts import Cuts
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics.assessment import Tested
from cac_hpc.statistics.at_cuts import at_cuts
from cac_hpc.statistics.cuts import Judge
from cac_hpc.statistics.pooling import Units
from cac_hpc.train import ordinal

PATIENT = "patient"
WITHOUT = (RULE, CONTROL)  # readers without probabilities


def of_run(inputs: Inputs, tested: Sequence[Tested], said: Mapping[str, Said]) -> Cuts | None:
    """The figures of a run; None where no cuts are asked for.

    Args:
        tested: all that was tested. said: what readers say of the patients that all of them know; perhaps nothing.
    """
    cfg, edges = inputs.report, inputs.labels.edges
    level = next(level for level in tested if level.name == PATIENT)
    score = inputs.outcome.patient_scores(inputs.studies, edges)

    def judge(units: Units, score: np.ndarray | None) -> Judge:
        return Judge(MODEL, "model", units, score=score, chances=_by_errors(inputs, units, score))

    readers = [
        judge(one.units[PATIENT], one.score)
        if key == MODEL
        else Judge(key, one.name, one.units[PATIENT], key not in WITHOUT, one.score)
        for key, one in said.items()
        if key != LARGEST
    ]
    return _figures(judge(level.units, score), readers, edges, cfg, level.unit)


def _by_errors(inputs: Inputs, units: Units, score: np.ndarray | None) -> dict[float, np.ndarray]:
    """Of a lesion model, by the errors of each fold's scores: probabilities of being above cuts that are no edges."""
    edges = inputs.labels.edges
    between = [cut for cut in inputs.report.cuts if cut not in edges]
    errors = {fold: one.facts.get("calibration") or {} for fold, one in inputs.results.items()}
    if score is None or not between or not all({"scale", "gross"} <= set(one) for one in errors.values()):
        return {}
    scale, gross = (
        np.array([float(errors[fold][name]) for fold in units.fold.tolist()]) for name in ("scale", "gross")
    )
    return {cut: ordinal.exceeding(score, scale, edges, cut, gross) for cut in between}


def of_external(test: ExternalTest, units: Units, score: np.ndarray | None, said: Mapping[str, Said]) -> Cuts | None:
    """The figures of an external test.

    Args:
        units, score: of all patients that were tested. said: what readers say of the patients that all of them know.
    """
    by_key = {source.key: source.probabilities for source in test.sources}
    readers = [
        Judge(key, "model" if key == MODEL else one.name, one.units[PATIENT], by_key[key], one.score)
        for key, one in said.items()
        if key != LARGEST
    ]
    model = Judge(MODEL, "model", units, by_key[MODEL], score)
    return _figures(model, readers, test.edges, test.statistics, PATIENT)


def _figures(
    model: Judge, readers: Sequence[Judge], edges: Sequence[float], cfg: ReportConfig, unit: str
) -> Cuts | None:
    """Without others to compare with, the model stands beside treating all and none."""
    return at_cuts(model, readers or [model], edges, cfg, unit) if cfg.cuts else None
