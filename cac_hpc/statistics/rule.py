"""The Agatston rule as a predictor of what the network was tested on, from the scores that packing left in studies.csv.

Of a patient it predicts the category of the score; of a slice, which the network sees alone, too, the category of the
slice's own share of the score. Axes: N slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.dataset import labels
from cac_hpc.run.config import ReportConfig
from cac_hpc.statistics import intervals, tested
from cac_hpc.statistics.metrics import FEWEST
from cac_hpc.statistics.tested import Tested
from cac_hpc.train.predictions import Predictions


def judged(studies: pd.DataFrame) -> pd.DataFrame:
    """The studies of patients that the rule has all scores of; none if packing did not look.

    Args:
        studies: studies.csv.
    """
    if "agatston_score" not in studies:
        return studies.iloc[:0]
    unknown = studies.loc[pd.to_numeric(studies["agatston_score"]).isna(), "patient"]
    return studies[~studies["patient"].isin(unknown)]


def predict(
    found: Mapping[int, Predictions],
    of_slices: Tested,
    studies: pd.DataFrame,
    cfg: ReportConfig,
    edges: Sequence[float],
) -> dict[str, Tested]:
    """What the rule says of the same units, by level; its score in place of the reported one.

    Args:
        found: predictions of judged studies alone, by fold. of_slices: what was tested in them. studies: the judged.
        edges: of the categories, as in labels.edges.
    """
    slices_of = {
        str(study): np.array(str(scores).split(), float)
        for study, scores in zip(studies["study"], studies["agatston_slices"], strict=True)
    }
    score_of = dict(zip(studies["study"].astype(str), pd.to_numeric(studies["agatston_score"]), strict=True))
    own, whole = [np.zeros(0)], [np.zeros(0)]
    for one in found.values():
        whole.append(np.array([score_of[study] for study in one.studies], float)[one.study])
        of_study = [slices_of[study] for study in one.studies]
        first = np.cumsum([0, *map(len, of_study)])[:-1]
        own.append(np.concatenate([np.zeros(0), *of_study])[first[one.study] + one.slice])
    of_patients = tested.patients(replace(of_slices, score=np.concatenate(whole)), tested.rules(cfg)[cfg.patient_rule])
    return {
        "slice": _predicted(replace(of_slices, score=np.concatenate(own)), edges),
        "patient": _predicted(of_patients, edges),
    }


def _predicted(units: Tested, edges: Sequence[float]) -> Tested:
    """The same units, predicted as the category of their score."""
    predicted = labels.categories(units.score.tolist(), edges)
    return replace(units, predicted=predicted, probability=np.eye(units.num_categories, dtype=np.float32)[predicted])


def empty_slices(studies: pd.DataFrame, num_categories: int) -> list[dict[str, Any]]:
    """Of each category, how many slices of judged studies have no voxel of 130 HU or more where the heart is.

    What a slice does not show nobody can read from it: the share bounds what can be expected at slice level.

    Args:
        studies: the judged ones, columns of studies.csv.
    """
    rows = []
    for category in range(num_categories):
        mine = studies[studies["category"].astype(int) == category]
        slices = mine["slices"].to_numpy(int)
        empty = np.rint(pd.to_numeric(mine["agatston_empty_slices"]).to_numpy(float) * slices).astype(int)
        by_patient = (
            pd.DataFrame({"patient": mine["patient"], "slices": slices, "empty": empty}).groupby("patient").sum()
        )
        interval = intervals.proportion(by_patient["empty"].to_numpy(), by_patient["slices"].to_numpy())
        total = int(slices.sum())
        rows.append(
            {"category": category, "studies": len(mine), "slices": total, "empty": int(empty.sum()),
             "share": float(empty.sum() / total) if total else None, "low": interval.low, "high": interval.high}
        )  # fmt: skip
    return rows


def agreement_of_scores(units: Tested, rule_N: np.ndarray) -> dict[str, Any]:
    """Rule's less reported score: mean and 95 % limits of agreement; None where too few patients are known.

    Args:
        units: patients as they were tested, each counted once however often that was. rule_N: the rule's scores.
    Source: Bland and Altman 1986, Lancet 327:307.
    """
    known = ~np.isnan(units.score)
    each = pd.Series((rule_N - units.score)[known]).groupby(units.patient[known]).mean()
    difference = each.to_numpy(float)
    if len(difference) < FEWEST:
        note = f"fewer than {FEWEST} patients with both scores"
        return {"n": len(difference), "bias": None, "low": None, "high": None, "note": note}
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    return {"n": len(difference), "bias": bias, "low": bias - 1.96 * sd, "high": bias + 1.96 * sd}
