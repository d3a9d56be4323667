"""What the Agatston rule alone says of a study, for studies.csv: the baseline that a network is judged beside.

Axes: Z slices, H rows, W columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cac_hpc.calcium import agatston, candidates
from cac_hpc.calcium.agatston import Score, Spacing
from cac_hpc.calcium.candidates import NAMES, Candidates
from cac_hpc.calcium.heart import Heart
from cac_hpc.settings.score_command import RuleConfig

COLUMNS = ("agatston_region", "agatston_score", "agatston_volume_mm3", "agatston_slices", "agatston_empty_slices",
           "heart_row", "heart_column", "heart_rows", "heart_columns", "noise_hu")  # fmt: skip

CONTROL_COLUMNS = ("has_candidates", "candidates", "agatston_control", "control_slices", "aorta_found")

WHOLE_NUMBERS = ("heart_row", "heart_column", "heart_rows", "heart_columns", "candidates")  # also where some are None
DIGITS = 4  # of scores
COUNTED_SHARE = 0.5  # of a candidate in the region: the control counts those with more


def facts(
    hu_ZHW: np.ndarray,
    there: Heart | None,
    spacing_mm: Spacing,
    mask_ZHW: np.ndarray | None = None,
    rule: RuleConfig | None = None,
) -> dict[str, Any]:
    """The columns of a study; all but the first are None where no heart was found, except the scores in a mask.

    agatston_region: heart, mask, or no_heart. agatston_slices: the score of each slice, in ascending z, with blanks
    between. agatston_empty_slices: share of the slices without any voxel at 130 HU in the region. heart_row,
    heart_column, heart_rows, heart_columns: first row and column of the heart's box and its size, in pixels of the
    scanner's slices.
    noise_hu: standard deviation of what is fine in the heart's core, see `candidates.noise_hu`.

    Args:
        hu_ZHW: at the scanner's own resolution.
        there: where the heart is, None if it was not found.
        mask_ZHW: where calcium counts instead of in the heart, 0 outside.
        rule: the usual one if left out.
    """
    found = dict.fromkeys(COLUMNS) | {"agatston_region": "no_heart"}
    if mask_ZHW is not None:
        found |= _scores(agatston.score_study(hu_ZHW, mask_ZHW, spacing_mm, rule), "mask")
    elif there is not None:
        found |= _scores(agatston.score_study(hu_ZHW, there.region_ZHW, spacing_mm, rule, there.hull_ZHW), "heart")
    if there is None:
        return found
    top, bottom, left, right = there.box
    return found | {
        "heart_row": top,
        "heart_column": left,
        "heart_rows": bottom - top,
        "heart_columns": right - left,
        "noise_hu": round(candidates.noise_hu(hu_ZHW, spacing_mm, there.chest), 2),
    }


def _scores(score: Score, region: str) -> dict[str, Any]:
    return {
        "agatston_region": region,
        "agatston_score": round(score.agatston, DIGITS),
        "agatston_volume_mm3": round(score.volume_mm3, DIGITS),
        "agatston_slices": " ".join(f"{value:.6g}" for value in score.slices),
        "agatston_empty_slices": round(score.empty_slices, 6),
    }


def control(found: Candidates | None, num_slices: int, aorta_found: bool = False) -> dict[str, Any]:
    """The columns of a study that its candidates give: what a lesion model says before it has learned anything.

    has_candidates: whether a heart was found, so that there can be any; all others are None without. candidates: how
    many there are. agatston_control: the score of those of which more than half lies in the heart's region.
    control_slices: the same of each slice, in ascending z, with blanks between. aorta_found: whether the ascending
    aorta was; else places by it are those by its usual place.

    Args:
        found: None if no heart was found. num_slices: of the study.
    """
    if found is None:
        return {**dict.fromkeys(CONTROL_COLUMNS), "has_candidates": False}
    counted_C = found.feature_CF[:, NAMES.index("region_share")] > COUNTED_SHARE
    score_L = found.agatston_L.astype(float) * counted_C[found.candidate_L]
    slices = np.bincount(found.slice_L, score_L, minlength=num_slices)
    return {
        "has_candidates": True,
        "candidates": len(found),
        "agatston_control": round(float(score_L.sum()), DIGITS),
        "control_slices": " ".join(f"{value:.6g}" for value in slices),
        "aorta_found": aorta_found,
    }
