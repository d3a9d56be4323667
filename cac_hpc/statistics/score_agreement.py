"""How far scores agree with the reported ones: Bland and Altman's limits, and ICC. Axes: N unit, P patient, B draw."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cac_hpc.results.readers import ScoreAgreement
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import agreement, intervals
from cac_hpc.statistics.intervals import figure
from cac_hpc.statistics.metrics import FEWEST
from cac_hpc.statistics.pooling import Units

FEW = f"fewer than {FEWEST} patients with both scores"
Limits = tuple[float | None, float | None, float | None]


def agree(units: Units, score_N: np.ndarray, cfg: ReportConfig) -> ScoreAgreement:
    """Agreement of a reader's scores with the reported ones; None where too few patients are known.

    Args:
        units: patients as they were tested, each counted once however often that was, with their reported scores.
        score_N: the reader's.
    Source: Bland and Altman 1986, Lancet 327:307; Shrout and Fleiss 1979, form (2,1).
    """
    known = ~np.isnan(units.score)
    both = pd.DataFrame({"reported": units.score[known], "read": score_N[known]}).groupby(units.patient[known]).mean()
    read_P, reported_P = both["read"].to_numpy(float), both["reported"].to_numpy(float)
    x_P, y_P = np.log1p(read_P), np.log1p(reported_P)
    few = len(both) < FEWEST

    def of(weight_BP: np.ndarray) -> list[np.ndarray]:
        return [weight_BP @ np.abs(x_P - y_P) / len(x_P), _icc(x_P, y_P, weight_BP)]

    size_B, icc_B = intervals.in_draws([(np.arange(len(x_P)), of)], cfg.draws, cfg.seed)
    size, icc = (np.nan, np.nan) if few else (float(np.abs(x_P - y_P).mean()), float(_icc(x_P, y_P, np.ones(len(x_P)))))
    note = FEW if few else None
    return ScoreAgreement(
        len(both),
        *_limits(read_P - reported_P),
        *_limits(x_P - y_P),
        figure(size, len(both), FEW, intervals.bootstrap(size_B, len(both))),
        figure(icc, len(both), note or "all scores are alike", intervals.bootstrap(icc_B, len(both))),
        note,
    )


def _limits(difference_P: np.ndarray) -> Limits:
    """Mean difference, and 1.96 standard deviations below and above it."""
    if len(difference_P) < FEWEST:
        return None, None, None
    bias, sd = float(difference_P.mean()), float(difference_P.std(ddof=1))
    return bias, bias - 1.96 * sd, bias + 1.96 * sd


def _icc(x_P: np.ndarray, y_P: np.ndarray, weight_BP: np.ndarray) -> np.ndarray:
    columns = np.stack([np.ones(len(x_P)), x_P, y_P, x_P**2 + y_P**2, x_P * y_P], axis=1)
    return agreement.icc_of_sums(*(weight_BP @ columns).T)
