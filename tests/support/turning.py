"""The same voxels as a scanner stores them of a patient who lies otherwise, or as somebody chose to look at them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pydicom

from cac_hpc.volumes.frame import Turn

TURNS = [Turn(*sides) for sides in itertools.product([False, True], repeat=3)]
POSITIONS = ("HFS", "HFP", "FFS", "FFP")
NAMES = {turn: "".join(letter for letter, on in zip("TRC", vars(turn).values(), strict=True) if on) for turn in TURNS}


def stored_as(slices: np.ndarray, turn: Turn) -> np.ndarray:
    """Slices (..., H, W) of the patient frame as they are stored where that turn brings them back."""
    rows, columns = (slice(None, None, -1 if back else 1) for back in (turn.rows_reversed, turn.columns_reversed))
    turned = slices[..., rows, columns]
    return np.ascontiguousarray(turned.swapaxes(-2, -1) if turn.transposed else turned)


def write_turned(source: Path, folder: Path, turn: Turn, position: str = "HFS") -> None:
    """Write a study of axial slices in the patient frame so that it has to be turned back.

    Every voxel keeps its place in the patient: cosines, spacing and position follow from where its pixels come to be.
    """
    folder.mkdir(parents=True)
    for path in sorted(source.iterdir()):
        ds = pydicom.dcmread(path)
        (height, width), pixels_HW = (ds.Rows, ds.Columns), ds.pixel_array
        row_HW, column_HW = (stored_as(index, turn) for index in np.mgrid[:height, :width])
        row_mm, column_mm = map(float, ds.PixelSpacing)
        place = [
            np.array([column_HW[pixel] * column_mm, row_HW[pixel] * row_mm, 0]) for pixel in ((0, 0), (0, 1), (1, 0))
        ]
        along_row, along_column = place[1] - place[0], place[2] - place[0]
        ds.ImagePositionPatient = (np.array(ds.ImagePositionPatient, float) + place[0]).round(4).tolist()
        lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
        ds.ImageOrientationPatient = [*(along_row / lengths[0]).tolist(), *(along_column / lengths[1]).tolist()]
        ds.PixelSpacing = [round(lengths[1], 6), round(lengths[0], 6)]
        stored = stored_as(pixels_HW, turn)
        ds.Rows, ds.Columns = stored.shape
        ds.PixelData, ds.PatientPosition = stored.tobytes(), position
        ds.save_as(folder / path.name)
