"""What the Agatston rule alone says of a study, for studies.csv: the baseline that a network is judged beside.

Axes: Z slices, H rows, W columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cac_hpc.calcium import agatston
from cac_hpc.calcium.agatston import Spacing
from cac_hpc.calcium.heart import Heart

COLUMNS = ("agatston_region", "agatston_score", "agatston_volume_mm3", "agatston_slices", "agatston_empty_slices",
           "heart_row", "heart_column", "heart_rows", "heart_columns")  # fmt: skip

WHOLE_NUMBERS = ("heart_row", "heart_column", "heart_rows", "heart_columns")  # in studies.csv also where some are None


def facts(hu_ZHW: np.ndarray, there: Heart | None, spacing_mm: Spacing) -> dict[str, Any]:
    """The columns of a study; all but the first are None where no heart was found.

    agatston_region: heart, or no_heart. agatston_slices: the score of each slice, in ascending z, with blanks between.
    agatston_empty_slices: share of the slices without any voxel at 130 HU in the region. heart_row, heart_column,
    heart_rows, heart_columns: first row and column of the heart's box and its size, in pixels of the scanner's slices.

    Args:
        hu_ZHW: at the scanner's own resolution. there: where the heart is, None if it was not found.
    """
    if there is None:
        return {**dict.fromkeys(COLUMNS), "agatston_region": "no_heart"}
    score = agatston.score_study(hu_ZHW, there.region_ZHW, spacing_mm)
    top, bottom, left, right = there.box
    return {
        "agatston_region": "heart",
        "agatston_score": round(score.agatston, 4),
        "agatston_volume_mm3": round(score.volume_mm3, 4),
        "agatston_slices": " ".join(f"{value:.6g}" for value in score.slices),
        "agatston_empty_slices": round(score.empty_slices, 6),
        "heart_row": top,
        "heart_column": left,
        "heart_rows": bottom - top,
        "heart_columns": right - left,
    }
