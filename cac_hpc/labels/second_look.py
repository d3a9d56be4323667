"""Labels for a second look: those that the scan contradicts grossly, whoever counts. Nothing is changed or left out.

Either no calcium is reported, but every reader counts more than 100, which is where moderate calcium begins: noise and
calcium beside the arteries seldom come to that with all of them. Or more than 400 is reported, which is severe calcium,
and no reader counts anything. In both cases the row, the scan or the number is likely that of another study.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

COUNTED = 100.0  # where none is reported
REPORTED = 400.0  # where none is counted
READERS = {"rule": "agatston_score", "control": "agatston_control"}  # columns of studies.csv, by the reader's key


def is_contradicted(reported: float | None, counted: Collection[float]) -> bool:
    """Whether a label is for a second look.

    Args:
        reported: the label's score, None above the last edge.
        counted: the score by each reader.
    """
    if not counted:
        return False
    if reported == 0:
        return min(counted) > COUNTED
    return (reported is None or reported > REPORTED) and max(counted) == 0


def counted_of(study: Mapping[str, object]) -> dict[str, float]:
    """What the readers that need no training counted in a study, as far as packing looked.

    Args:
        study: its facts, a row of studies.csv.
    """
    values = {key: study.get(column) for key, column in READERS.items()}
    numbers = {key: float(value) for key, value in values.items() if isinstance(value, int | float)}
    return {key: value for key, value in numbers.items() if not math.isnan(value)}
