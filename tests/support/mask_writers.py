"""One drawing of regions in a study, written as other programs write masks: their formats, orders of axes and spaces.

Where a voxel is, is worked out here from the DICOM files alone. Axes: Z slices from the feet up, H rows to the back, W
columns to the patient's left; X, Y, Z of the formats' arrays, of which the first is the fastest in the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import nrrd
import numpy as np
import pydicom

from cac_hpc.volumes.frame import Turn
from tests.support import dicom_mask_writers
from tests.support.turning import stored_as


@dataclass(frozen=True)
class Drawing:
    """What is to be written: regions in the patient frame, and the study in which they are."""

    part_ZHW: np.ndarray  # uint8, 0 outside, 1 is the first of the names
    names: tuple[str, ...]
    study: Path  # folder of its DICOM files, one of each slice
    turn: Turn  # how these are stored
    first_mm: np.ndarray  # (3,) to the left, back and head: the middle of voxel 0, 0, 0
    spacing_mm: np.ndarray  # (3,) between columns, rows and slices


def drawing(part_ZHW: np.ndarray, names: tuple[str, ...], study: Path, turn: Turn) -> Drawing:
    """A drawing, with the geometry of the study's files: its corner nearest to right, front and feet."""
    corners = []
    for path in study.iterdir():
        ds = pydicom.dcmread(path, stop_before_pixels=True)
        along_row, along_column = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = map(float, ds.PixelSpacing)
        far = along_row * column_mm * (ds.Columns - 1) + along_column * row_mm * (ds.Rows - 1)
        position = np.array(ds.ImagePositionPatient, float)
        corners.append(np.minimum(position, position + far))
        pixel_mm = np.abs(along_row * column_mm + along_column * row_mm)
    heights = np.sort([corner[2] for corner in corners])
    return Drawing(part_ZHW, names, study, turn, np.min(corners, 0), np.array([*pixel_mm[:2], heights[1] - heights[0]]))


def placed(at: Drawing, axes: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The regions as an array whose axes lead where their letters say, such as RAS for right, front, head.

    Returns: the array; (3, 3) the step along each axis; (3,) the middle of the first voxel; mm to left, back and head.
    """
    values, steps = at.part_ZHW.transpose(2, 1, 0), np.diag(at.spacing_mm)
    order = ["LPS".find(letter) if letter in "LPS" else "RAI".find(letter) for letter in axes]
    values, steps, first = values.transpose(order), steps[order], at.first_mm.copy()
    for axis, letter in enumerate(axes):
        if letter in "RAI":
            first += steps[axis] * (values.shape[axis] - 1)
            values, steps[axis] = np.flip(values, axis), -steps[axis]
    return np.ascontiguousarray(values), steps, first


def nifti(axes: str, ending: str = ".nii.gz", kind: type = nib.Nifti1Image) -> Callable[[Path, Drawing], Path]:
    """nibabel, with an array of those axes."""

    def write(folder: Path, at: Drawing) -> Path:
        values, steps, first = placed(at, axes)
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = steps.T, first
        affine = np.diag([-1, -1, 1, 1]) @ affine  # NIfTI counts to the right and to the front
        image = kind(values, affine)
        image.header.set_xyzt_units("mm")
        nib.save(image, folder / f"mask{ending}")
        return folder / f"mask{ending}"

    return write


def nifti_of_ct(folder: Path, at: Drawing) -> Path:
    """nibabel, a mask of floats with the header of a CT: 16 bits, slope and intercept made by nibabel to spread it."""
    values, steps, first = placed(at, "LPS")
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps.T, first
    image = nib.Nifti1Image(values.astype(float), np.diag([-1, -1, 1, 1]) @ affine)
    image.header.set_data_dtype(np.int16)
    nib.save(image, folder / "mask.nii")
    return folder / "mask.nii"


def slicer(axes: str, space: str, ending: str = ".nrrd", encoding: str = "gzip") -> Callable[[Path, Drawing], Path]:
    """pynrrd, with an array of those axes, positions counted in that space."""

    def write(folder: Path, at: Drawing) -> Path:
        values, steps, first = placed(at, axes)
        signs = {"left": 1, "right": -1}[space.split("-")[0]], {"posterior": 1, "anterior": -1}[space.split("-")[1]], 1
        header = {"space": space, "space directions": steps * signs, "space origin": first * signs,
                  "kinds": ["domain"] * 3, "encoding": encoding}  # fmt: skip
        path = folder / f"mask{ending}"
        nrrd.write(str(path), values, header, detached_header=ending == ".nhdr")
        return path

    return write


def slicer_segments(folder: Path, at: Drawing) -> Path:
    """As 3D Slicer saves a segmentation: a layer for each part, cut to what they need, with names in the header."""
    values, steps, first = placed(at, "LPS")
    low = [np.flatnonzero(values.any(tuple({0, 1, 2} - {axis}))).min() for axis in range(3)]
    high = [np.flatnonzero(values.any(tuple({0, 1, 2} - {axis}))).max() + 1 for axis in range(3)]
    values = values[tuple(map(slice, low, high))]
    header = {
        "space": "left-posterior-superior",
        "space directions": np.vstack([[np.nan] * 3, steps]),
        "space origin": first + low @ steps,
        "kinds": ["list", "domain", "domain", "domain"],
        "encoding": "gzip",
        "Segmentation_ReferenceImageExtentOffset": " ".join(map(str, low)),
    }
    for number, name in enumerate(at.names):
        header |= {f"Segment{number}_Name": name, f"Segment{number}_LabelValue": "1", f"Segment{number}_Layer": number}
    layers = np.stack([values == number for number in range(1, len(at.names) + 1)]).astype(np.uint8)
    nrrd.write(str(folder / "mask.seg.nrrd"), layers, header)
    return folder / "mask.seg.nrrd"


def numpy(frame: str) -> Callable[[Path, Drawing], Path]:
    """NumPy, an array in the order of slices, rows and columns of that frame, which it states."""

    def write(folder: Path, at: Drawing) -> Path:
        values = stored_as(at.part_ZHW, at.turn) if frame == "stored" else at.part_ZHW
        np.savez_compressed(folder / "mask.npz", mask=values, frame=np.array(frame), names=np.array(at.names))
        return folder / "mask.npz"

    return write


WRITERS: dict[str, Callable[[Path, Drawing], Path]] = {
    "nibabel RAS": nifti("RAS"),
    "nibabel LPS": nifti("LPS"),
    "nibabel from the head down, slices first": nifti("IPR", ".nii", nib.Nifti2Image),
    "nibabel with the header of a CT": nifti_of_ct,
    "pynrrd LPS": slicer("LPS", "left-posterior-superior"),
    "pynrrd RAS": slicer("RAS", "right-anterior-superior", encoding="raw"),
    "pynrrd LAS, from the head down": slicer("ALI", "left-anterior-superior", ".nhdr", "bzip2"),
    "3D Slicer": slicer_segments,
    "NumPy in the patient frame": numpy("patient"),
    "NumPy as stored": numpy("stored"),
    **dicom_mask_writers.WRITERS,
}
NAMED = {
    "3D Slicer",
    "NumPy in the patient frame",
    "NumPy as stored",
    *dicom_mask_writers.WRITERS,
}  # which hold the names of the parts
