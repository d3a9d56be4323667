"""Differences of figures of two groups of patients that have nobody in common, from the interval of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cac_hpc.results.calibration import Calibration
from cac_hpc.results.comparison import ComparedLevel, Roles
from cac_hpc.results.figures import Category, Difference, Figure
from cac_hpc.results.levels import Level

MOVER = "mover"
METHOD = (
    "unpaired: 95 % intervals by the method of variance estimates recovery from the intervals of both figures (Zou and "
    "Donner 2008, Stat Med 27:1693; Donner and Zou 2012, Stat Methods Med Res 21:347), of two Wilson intervals "
    "Newcombe's hybrid score interval (Newcombe 1998, Stat Med 17:873, method 10)"
)
ROLES = ("internal", "external")
CALIBRATION = ("brier", "expected_calibration_error")


def difference(reference: Figure, other: Figure, roles: tuple[str, str] = ROLES) -> Difference:
    """The other figure less the reference, of independent patients.

    With estimates a (reference) and b (other), each between its limits l and u:
    low = b - a - sqrt((b - l_b)^2 + (u_a - a)^2), high = b - a + sqrt((u_b - b)^2 + (a - l_a)^2).

    Args:
        roles: what notes call the reference and the other.
    Source: Zou and Donner 2008, Stat Med 27:1693, equation 4; Donner and Zou 2012, Stat Methods Med Res 21:347.
    """
    a, b, both = reference.value, other.value, list(zip(roles, (reference, other), strict=True))
    if a is None or b is None:
        lacking = [f"{role}: {of.note}" for role, of in both if of.value is None]
        return Difference(a, b, None, None, None, None, note="; ".join(lacking))
    notes = [f"{role}: {of.note}" for role, of in both if of.note]
    note = "; ".join(notes) or None
    if reference.low is None or reference.high is None or other.low is None or other.high is None:
        return Difference(a, b, b - a, None, None, None, note or "one of the figures has no interval")
    low = b - a - np.hypot(b - other.low, reference.high - a)
    high = b - a + np.hypot(other.high - b, a - reference.low)
    return Difference(a, b, b - a, round(float(low), 6), round(float(high), 6), MOVER, note)


def compare(reference: Level, other: Level) -> ComparedLevel:
    """Every figure that both levels have, and its difference."""
    categories = zip(reference.pooled.categories, other.pooled.categories, strict=True)
    return ComparedLevel(
        unit=other.unit,
        n=Roles(reference.pooled.n, other.pooled.n),
        figures=_differences(*(of.pooled.figures | _of_calibration(of) for of in (reference, other))),
        categories=[Category(one.category, _differences(one.figures, two.figures)) for one, two in categories],
        matrices=Roles(reference.pooled, other.pooled),
    )


def _differences(reference: Mapping[str, Figure], other: Mapping[str, Figure]) -> dict[str, Difference]:
    return {name: difference(figure, other[name]) for name, figure in reference.items() if name in other}


def _of_calibration(level: Level) -> dict[str, Figure]:
    found = level.calibration
    return {name: found.figures[name] for name in CALIBRATION} if isinstance(found, Calibration) else {}
