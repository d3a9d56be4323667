"""Where the heart is on packed slices: a fold is tested with all but it blank, and with it blank.

Of a study the heart is a box, the same on all of its slices. Axes: N slice.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from cac_hpc.train.predictions import Predictions

VIEWS = ("heart", "rim")  # what is left to be seen
NOWHERE = (0, 0, 0, 0)


def boxes(studies: pd.DataFrame, size: int) -> dict[str, tuple[int, int, int, int]]:
    """The heart's box on the packed slices of each study in which it was found.

    Args:
        studies: studies.csv. size: pixels per side of a packed slice.
    Returns: by study first row, row after the last, first column, column after the last: the pixels whose middle is in
    the heart's box; empty if no heart was looked for.
    """
    if "heart_row" not in studies:
        return {}
    found = studies[pd.to_numeric(studies["heart_row"]).notna()]
    if "crop_row" not in found:
        found = found.assign(crop_row=0, crop_column=0, crop_rows=found["rows"], crop_columns=found["columns"])
    box_N4 = np.concatenate([_pixels(found, axis, size) for axis in ("row", "column")], axis=1)
    return dict(zip(found["study"].astype(str), map(tuple, box_N4.tolist()), strict=True))


def _pixels(studies: pd.DataFrame, axis: str, size: int) -> np.ndarray:
    """First packed pixel of the box and the one after its last, (N, 2), along an axis."""
    first_N, count_N, packed_first_N, packed_N = (
        studies[f"{part}_{axis}{plural}"].to_numpy(float) for part in ("heart", "crop") for plural in ("", "s")
    )
    ends_N2 = np.stack([first_N, first_N + count_N], axis=1) - packed_first_N[:, None]
    return np.asarray(np.clip(np.ceil(ends_N2 * size / packed_N[:, None] - 0.5), 0, size), int)


def restrict(one: Predictions, studies: set[str]) -> Predictions:
    """The predictions of these studies alone."""
    kept = np.isin(one.studies, list(studies))
    rows, number = kept[one.study], np.cumsum(kept) - 1
    return replace(
        one, studies=one.studies[kept], study=number[one.study[rows]], slice=one.slice[rows], label=one.label[rows],
        probability=one.probability[rows],
    )  # fmt: skip
