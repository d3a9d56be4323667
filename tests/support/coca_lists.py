"""Property lists of contours as COCA has them, on the images of a small study."""

from __future__ import annotations

import plistlib
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from tests.support.dicom_mask_writers import coca_roi
from tests.support.small_studies import target

LAD, RCA = "Left Anterior Descending Artery", "Right Coronary Artery"
SQUARE = np.array([(4, 4), (4, 8), (7, 8), (7, 4)], float)  # (row, column)


def roi(
    images: list[Dataset], slice_: int, points: np.ndarray = SQUARE, name: str = LAD, **values: Any
) -> dict[str, Any]:
    """A contour in a box of pixels, with the HU in it."""
    points = np.array(points, float)
    (top, left), (bottom, right) = np.ceil(points.min(0)).astype(int), np.floor(points.max(0)).astype(int)
    hu_HW = target(images).hu_ZHW[slice_]
    inside = hu_HW[top : bottom + 1, left : right + 1]
    return coca_roi(name, images[slice_], points, inside if inside.size else np.zeros(1)) | values


def write(tmp_path: Path, rois: dict[int, list[dict[str, Any]]]) -> Path:
    """A list of contours by the numbers of their slices."""
    listed = [{"ImageIndex": index, "NumberOfROIs": len(its), "ROIs": its} for index, its in rois.items()]
    (tmp_path / "1.xml").write_bytes(plistlib.dumps({"Images": listed}))
    return tmp_path / "1.xml"


def empty(images: list[Dataset]) -> dict[str, Any]:
    return coca_roi(LAD, images[0], np.zeros((0, 2)), np.zeros(1))
