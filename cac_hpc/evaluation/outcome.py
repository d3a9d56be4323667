"""What a model said of the studies that its folds tested, and the levels of evaluation that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cac_hpc.results.serialization import Json
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import assessment
from cac_hpc.statistics.assessment import Tested
from cac_hpc.statistics.pooling import scored_patients, slice_units
from cac_hpc.train.lesion_results import Scores
from cac_hpc.train.predictions import Predictions, restrict


@dataclass(frozen=True)
class Outcome:
    """By fold, what was said of each slice, and of each study if the model predicts scores; else None."""

    predictions: Mapping[int, Predictions]
    scores: Mapping[int, Scores] | None = None

    @property
    def studies(self) -> set[str]:
        return {study for one in self.predictions.values() for study in one.studies.tolist()}

    def patient_names(self, studies: pd.DataFrame) -> np.ndarray:
        """The patients that were tested, as numbered at the patient level.

        Args:
            studies: columns study and patient.
        """
        return np.unique(studies.loc[studies["study"].isin(self.studies), "patient"].to_numpy(str))

    def of(self, studies: set[str]) -> Outcome:
        """What was said of these studies, by the folds that tested any."""
        kept = {fold: restrict(one, studies) for fold, one in self.predictions.items()}
        kept = {fold: one for fold, one in kept.items() if len(one.study)}
        if self.scores is None:
            return Outcome(kept)
        return Outcome(kept, {fold: _restrict(self.scores[fold], studies) for fold in kept})

    def tested(self, studies: pd.DataFrame, edges: Sequence[float], cfg: ReportConfig) -> list[Tested]:
        """The levels of evaluation.

        Args:
            studies: columns study, patient and, where it is known, score.
            edges: of the categories, as in labels.edges.
        """
        of_slices = slice_units(self.predictions, studies, len(edges) + 1)
        if self.scores is None:
            return assessment.pooled(of_slices, cfg)
        return assessment.scored(of_slices, scored_patients(self.scores, studies, edges)[0])

    def patient_scores(self, studies: pd.DataFrame, edges: Sequence[float]) -> np.ndarray | None:
        """The predicted score of each patient, (N,) in the order of the patient level; None if there is none."""
        return None if self.scores is None else scored_patients(self.scores, studies, edges)[1]

    def study_scores(self) -> dict[str, float]:
        """The predicted score of each study, the mean of the folds that tested it; none of a model without scores."""
        found: dict[str, list[float]] = {}
        for one in (self.scores or {}).values():
            for study, score in zip(one.study.tolist(), one.score.tolist(), strict=True):
                found.setdefault(str(study), []).append(float(score))
        return {study: float(np.mean(scores)) for study, scores in found.items()}


def _restrict(one: Scores, studies: set[str]) -> Scores:
    """The scores of these studies alone."""
    kept = np.isin(one.study, list(studies))
    return Scores(*(value[kept] for value in (one.study, one.label, one.score, one.control, one.probability)))


def predicts_scores(settings: Json) -> bool:
    """Whether the model of a run predicts scores of studies, by the settings that its report shows."""
    return bool(settings.get("model", {}).get("kind", "slices") == "lesions")
