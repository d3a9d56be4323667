"""How many patients would settle it: intervals of more patients like these, and patients for intervals of a width.

Source: Riley et al. 2021, Stat Med 40:4230, the criteria of pmvalsampsize (Ensor), at its widths. Axes: N unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import scipy

from cac_hpc.results.cuts import Cuts
from cac_hpc.results.figures import Figure
from cac_hpc.results.matrices import Pooled
from cac_hpc.results.sample_size import ExpectedWidth, HowMany, NeededPatients
from cac_hpc.statistics import chances, intervals
from cac_hpc.statistics.intervals import BOOTSTRAP_LOGIT, WILSON

TIMES = (2, 5, 10)  # as many patients
OF_ALL = ("accuracy", "balanced_accuracy", "kappa_quadratic", "icc", "two_or_more_off")
AT_CUTS = ("auroc", "average_precision", "sensitivity", "specificity", "brier", "calibration_slope")
WIDTHS = {"observed_expected": 0.2, "calibration_slope": 0.2, "auroc": 0.1, "net_benefit": 0.2}  # of 95 % intervals
THRESHOLD = 0.2  # of the net benefit, which is divided by the prevalence
FARTHEST = 10_000_000  # patients


def how_many(pooled: Pooled, cuts: Cuts | None) -> HowMany | None:
    """Widths that the intervals of a report have, and would have with more patients; None where it has none."""
    widths = [*_widths(pooled.figures, OF_ALL, None)]
    for at in cuts.at if cuts else ():
        widths += _widths(at.figures, AT_CUTS, at.event)
    return HowMany(pooled.patients, list(TIMES), widths) if widths else None


def _widths(figures: Mapping[str, Figure], names: tuple[str, ...], event: str | None) -> Iterator[ExpectedWidth]:
    for name in names:
        one = figures[name]
        if one.value is not None and one.low is not None and one.high is not None:
            known = (one.value, (one.low, one.high), one.n, one.interval)
            yield ExpectedWidth(name, event, one.high - one.low, [width(*known, times) for times in TIMES])


def width(value: float, ends: tuple[float, float], n: int, method: str | None, times: float) -> float:
    """Of the interval of a figure of as many patients times more: its errors are smaller by the root of that.

    A proportion's is Wilson's again; one on the scale of log odds is shorter there.

    Args:
        ends: of the interval by this method, of n units.
    """
    low, high = ends
    if method == WILSON:
        low, high = intervals.wilson(value * n * times, n * times)
        return high - low
    if method == BOOTSTRAP_LOGIT:
        middle = scipy.special.logit(value)
        low, high = scipy.special.expit(middle + (scipy.special.logit(np.array(ends)) - middle) / np.sqrt(times))
        return float(high - low)
    return float((high - low) / np.sqrt(times))


def needed(event_N: np.ndarray, chance_N: np.ndarray, area: float) -> list[NeededPatients]:
    """Patients of whom intervals are as short as `WIDTHS`, if they are like these and probabilities mean what they say.

    Args:
        event_N: bool. area: AUROC.
    """
    share, treated = float(event_N.mean()), chance_N >= THRESHOLD
    sensitivity, specificity = float(treated[event_N].mean()), float((~treated)[~event_N].mean())
    found = {
        "observed_expected": of_observed_expected(share, WIDTHS["observed_expected"]),
        "calibration_slope": of_slope(chances.log_odds(chance_N), WIDTHS["calibration_slope"]),
        "auroc": of_area(area, share, WIDTHS["auroc"]),
        "net_benefit": of_net_benefit(sensitivity, specificity, share, THRESHOLD, WIDTHS["net_benefit"]),
    }
    return [NeededPatients(name, WIDTHS[name], patients) for name, patients in found.items()]


def _z() -> float:
    """Half the width of a 95 % interval in standard errors."""
    return intervals.normal((1 + intervals.CONFIDENCE) / 2)


def _whole(patients: float) -> int | None:
    """So many or more; None of a number that means never."""
    return max(1, int(np.ceil(patients))) if patients <= FARTHEST else None


def of_observed_expected(share: float, wanted: float) -> int | None:
    """Criterion 1: events over expected events, 1 if well calibrated, on a logarithmic scale."""
    error = np.arcsinh(wanted / 2) / _z()
    return _whole((1 - share) / (share * error**2))


def of_slope(log_odds_N: np.ndarray, wanted: float) -> int | None:
    """Criterion 2: calibration slope; None where probabilities are alike."""
    chance = scipy.special.expit(log_odds_N)
    weight = chance * (1 - chance)
    one, x, xx = (float((weight * log_odds_N**power).mean()) for power in range(3))
    spread = one * xx - x**2
    return _whole(one / (spread * (wanted / (2 * _z())) ** 2)) if spread > 0 else None


def of_area(area: float, share: float, wanted: float) -> int | None:
    """Criterion 3: AUROC, by Newcombe's standard error (2006, Stat Med 25:559); None of one at its bound."""
    if not 0 < area < 1:
        return None

    def excess(patients: float) -> float:
        more = (patients / 2 - 1) * ((1 - area) / (2 - area) + area / (1 + area))
        variance = area * (1 - area) * (1 + more) / (patients**2 * share * (1 - share))
        return float(2 * _z() * np.sqrt(variance) - wanted)

    return _whole(scipy.optimize.brentq(excess, 2, FARTHEST)) if excess(2) > 0 else 2


def of_net_benefit(sensitivity: float, specificity: float, share: float, threshold: float, wanted: float) -> int | None:
    """Criterion 4: net benefit over the prevalence, at a threshold of probability."""
    cost = (1 - share) / share * threshold / (1 - threshold)
    variance = sensitivity * (1 - sensitivity) / share
    variance += cost**2 * specificity * (1 - specificity) / (1 - share)
    variance += cost**2 * (1 - specificity) ** 2 / (share * (1 - share))
    return _whole(variance / (wanted / (2 * _z())) ** 2)
