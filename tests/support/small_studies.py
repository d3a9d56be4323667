"""A small study in memory and on disk, to which masks of DICOM and contours are brought. Axes: Z, H, W as stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from cac_hpc.masks.masks import Target
from cac_hpc.volumes import dicom, placement
from cac_hpc.volumes.frame import AS_STORED

SHAPE, SPACING_MM = (8, 20, 25), (3.0, 0.5, 0.5)
EXAM = dict.fromkeys(["PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime",
                      "AccessionNumber"], "")  # fmt: skip


def write_study(folder: Path, first_z_mm: float = 0.0, step_mm: float = 3.0, num_slices: int = 8) -> list[Dataset]:
    """The images of a study of noise, from the feet up; all such studies are of one frame of reference and series."""
    hu_ZHW = np.random.default_rng(3).integers(-50, 900, (num_slices, *SHAPE[1:])).astype(np.int16)
    dicom.write_series(folder, hu_ZHW, pixel_spacing_mm=SPACING_MM[1], slice_spacing_mm=step_mm, first_z_mm=first_z_mm,
                       uid_entropy=["small"], attributes={**EXAM, "SliceThickness": step_mm})  # fmt: skip
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def target(images: list[Dataset], *chosen: str) -> Target:
    """The volume of a study."""
    first, last = images[0], images[-1]
    hu_ZHW = np.stack([ds.pixel_array.astype(np.int16) + np.int16(ds.RescaleIntercept) for ds in images])
    positions = first.ImagePositionPatient, last.ImagePositionPatient
    at = placement.of_slices(
        *positions, len(images), first.ImageOrientationPatient, SHAPE[1:], SPACING_MM[1:], AS_STORED
    )
    references = str(first.SeriesInstanceUID), str(first.FrameOfReferenceUID)
    return Target(at, SPACING_MM, hu_ZHW, AS_STORED, None, *references, chosen)
