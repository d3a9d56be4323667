"""Volumes as NIfTI and NRRD files: the same voxels at the same places, in whatever order an array has them.

Axes: Z slices from the feet up, H rows to the back, W columns to the patient's left; A, B, C those of a file.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import nrrd
import numpy as np

SPACING_MM, FIRST_MM = (3.0, 0.7, 0.8), (-12.8, -11.2, 100.5)  # of slices, rows, columns; x, y, z of the first voxel
ORDERS = [
    (axes, back) for axes in itertools.permutations(range(3)) for back in itertools.product([False, True], repeat=3)
]  # which of Z, H, W each axis of a file is, and whether it runs backwards
NIFTI_ORDER = ((2, 1, 0), (True, True, False))  # to the patient's left is backwards in R-A-S, as nibabel calls it


@dataclass(frozen=True)
class Stored:
    """An array as a file has it, (A, B, C): its first voxel and its steps in mm to the patient's left, back, head."""

    values_ABC: np.ndarray
    first_mm: np.ndarray
    steps_mm: np.ndarray


def small(num_slices: int = 12, rows: int = 36, columns: int = 40) -> np.ndarray:
    """(Z, H, W) int16: noise of soft tissue, below air and lung."""
    hu_ZHW = np.random.default_rng(7).normal(40, 20, (num_slices, rows, columns))
    hu_ZHW[:, : rows // 3] -= 900
    return np.rint(hu_ZHW).astype(np.int16)


def stored(
    hu_ZHW: np.ndarray,
    order: tuple[Sequence[int], Sequence[bool]] = ((2, 1, 0), (False, False, False)),
    spacing_mm: Sequence[float] = SPACING_MM,
    first_mm: Sequence[float] = FIRST_MM,
    turned: np.ndarray | None = None,
) -> Stored:
    """The voxels of the patient frame in the order of a file.

    Args:
        turned: (3, 3), by which directions in the patient are multiplied: a rotation, or a shear.
    """
    steps = np.diag(spacing_mm)[:, ::-1] @ (np.eye(3) if turned is None else turned).T  # of Z, H, W in x, y, z
    first, values = np.array(first_mm, float), hu_ZHW
    for axis, back in zip(*order, strict=True):
        if back:
            first = first + steps[axis] * (hu_ZHW.shape[axis] - 1)
            steps[axis] *= -1
            values = np.flip(values, axis)
    return Stored(values.transpose(order[0]), first, steps[list(order[0])])


def nifti(path: Path, image: Stored, **fields: Any) -> Path:
    """Write an array as a NIfTI file, sform and qform both, as dcm2niix does.

    Args:
        fields: of the header, set at the end.
    """
    affine = np.eye(4)
    affine[:3] = np.column_stack([*image.steps_mm, image.first_mm]) * np.array([[-1], [-1], [1]])
    made = nibabel.Nifti1Image(np.asarray(image.values_ABC), affine)
    made.header.set_xyzt_units("mm")
    made.set_sform(affine, 1)
    made.set_qform(affine, 1)
    for name, value in fields.items():
        made.header[name] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(made, path)
    return path


def write_nrrd(path: Path, image: Stored, space: str = "left-posterior-superior", **fields: Any) -> Path:
    """Write an array as an NRRD file, or as a header and its voxels if the name ends with .nhdr."""
    signs = np.array([-1, -1, 1] if space == "right-anterior-superior" else [1, 1, 1])
    geometry = {"space directions": image.steps_mm * signs, "space origin": image.first_mm * signs}
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"space": space, "space units": ["mm"] * 3, **geometry, **fields}
    nrrd.write(
        str(path), np.asarray(image.values_ABC), {name: value for name, value in header.items() if value is not None}
    )
    return path
