"""The images that a study was read from, as DICOM objects made of it refer to them: their headers, and their time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import dicom
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.frame import Turn
from cac_hpc.volumes.header import CT_IMAGE, ENHANCED_CT
from cac_hpc.volumes.study import Study

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

NO_DATE = ("19000101", "000000")
ONE_VALUE = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")  # of all source images
MAY_BE_UNKNOWN = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
                  "AccessionNumber", "ReferringPhysicianName", "SliceThickness")  # fmt: skip


@dataclass(frozen=True)
class Source:
    """Where the slices of a volume are stored.

    files: of each slice, in the order of the volume. frames: its frame in that file, from 1. turn: what brought them
    into the patient frame. spacing_mm: between slices, rows and columns in that frame.
    """

    files: Sequence[Path]
    frames: Sequence[int]
    turn: Turn
    spacing_mm: tuple[float, float, float]

    @property
    def voxel_mm3(self) -> float:
        return math.prod(self.spacing_mm)


def source_of(entries: Sequence[Entry], study: Study) -> Source:
    """The files of a study's series.

    Args:
        entries: the files that the study was read from.
    Raises: InputError if its reader does not tell which files the slices are from.
    """
    if not study.slice_files:
        raise InputError("DICOM out: found a study whose slices are of no DICOM files, wanted CT images")
    paths_of = [entries[number - 1].path for number in study.slice_files]
    return Source(paths_of, study.slice_frames, study.turn, study.spacing_mm)


def headers(source: Source) -> list[Dataset]:
    """The headers of the source images, each once, what may be unknown in a new object being there, though empty.

    Raises: InputError if they are no CT images of one series with a frame of reference.
    """
    images = [dicom.read_header(path) for path in dict.fromkeys(source.files)]
    kinds = {str(image.get("SOPClassUID")) for image in images}
    if not kinds <= {CT_IMAGE, *ENHANCED_CT}:
        raise InputError("DICOM out: found another kind of object, wanted CT images")
    if len(images) > 1 and kinds != {CT_IMAGE}:
        raise InputError(
            f"DICOM out: found an enhanced CT in {len(images)} files, wanted one file for the whole series"
        )
    for image in images:
        if kinds != {CT_IMAGE}:
            _share(image)
        for keyword in MAY_BE_UNKNOWN if kinds == {CT_IMAGE} else MAY_BE_UNKNOWN[:-1]:
            if keyword not in image:
                setattr(image, keyword, "")
    for keyword in (*ONE_VALUE, "SOPInstanceUID"):
        values = {str(image.get(keyword, "")) for image in images}
        if not all(dicom.is_uid(value) for value in values):
            raise InputError(f"DICOM out: found no valid {keyword} in an image, wanted images that can be referred to")
        if (wanted := 1 if keyword in ONE_VALUE else len(images)) != len(values):
            raise InputError(f"DICOM out: found {len(values)} values of {keyword} in {len(images)} images, "
                             f"wanted {wanted}")  # fmt: skip
    return images


def _share(image: Dataset) -> None:
    """Have all frames of an enhanced CT share their geometry, which each may hold for itself: highdicom wants it there.

    A series whose frames differ in it is refused when it is read.
    """
    shared, frames = image.SharedFunctionalGroupsSequence[0], image.PerFrameFunctionalGroupsSequence
    for group in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
        if group not in shared:
            setattr(shared, group, frames[0][group].value)


def is_enhanced(images: Sequence[Dataset]) -> bool:
    return images[0].SOPClassUID in ENHANCED_CT


def content_time(images: Sequence[Dataset]) -> tuple[str, str]:
    """Date and time of the content: the latest of the images, or `NO_DATE` where they have none."""
    for kind in ("Content", "Series", "Study"):
        known = [(str(image.get(f"{kind}Date") or ""), str(image.get(f"{kind}Time") or "")) for image in images]
        if any(date for date, _ in known):
            date, time = max(known)
            return date, time or NO_DATE[1]
    return NO_DATE
