"""One study folder in, one series of ordered HU slices out; every other file is refused with a reason.

Also writes series, for synthetic cohorts. The owner of pydicom. Axes: Z slice, H row, W column.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AIR_HU = -1024
AXIAL_COSINE = np.cos(np.radians(5.0))  # the slice normal may lean this far from the body axis


class DicomError(ValueError):
    """A file cannot be used; ``reason`` is its code in rejected.csv."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Refusal:
    """A file that is not used: its path below the study folder, a reason code and what was found."""

    file: str
    reason: str
    detail: str


@dataclass(frozen=True)
class Series:
    """The slices of one study in ascending z.

    hu_ZHW: int16, HU. position_mm: (Z,) float64, along the slice normal. Spacings in mm; NaN where the header says
    nothing and nothing can be measured. kvp in kV.
    """

    hu_ZHW: np.ndarray
    position_mm: np.ndarray
    pixel_spacing_mm: tuple[float, float]
    slice_spacing_mm: float
    slice_thickness_mm: float
    kvp: float


def read_study(folder: Path) -> tuple[Series | None, list[Refusal]]:
    """Read the largest axial CT series below a study folder.

    Returns: the series, None if there is none that can be used, and a refusal for every file that is not in it.
    """
    refusals, usable = [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            usable.append((path, _read_header(path)))
        except DicomError as error:
            refusals.append(Refusal(_shown(path, folder), error.reason, error.detail))
    chosen, others = _choose_series(usable)
    refusals += [
        Refusal(_shown(path, folder), "other_series", f"the chosen series has {len(chosen)} slices")
        for path, _ in others
    ]
    if not chosen:
        return None, refusals
    paths = [path for path, _ in chosen]
    try:
        with _quiet_pydicom():
            return _read_series(chosen), refusals
    except DicomError as error:
        detail = f"the study is refused as a whole: {error}"
        return None, refusals + [Refusal(_shown(path, folder), "study_refused", detail) for path in paths]


def pixels_to_hu(stored: np.ndarray, slope: float, intercept: float, padding: int | None = None) -> np.ndarray:
    """Convert one CT slice from stored values to Hounsfield units (HU).

    Slope and intercept belong to the image, not the series: pass each slice its own.

    Args:
        stored: (H, W) integers, as decoded from Pixel Data.
        slope, intercept: Rescale Slope (0028,1053) and Rescale Intercept (0028,1052).
        padding: Pixel Padding Value (0028,0120); becomes air.
    Returns: (H, W) int16, HU, rounded to the nearest integer.
    Raises: DicomError if slope is 0, a factor is not finite or a value does not fit int16.
    Source: DICOM PS3.3 C.11.1, Modality LUT Module.
    """
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise DicomError("bad_rescale", f"RescaleSlope {slope}, RescaleIntercept {intercept}")
    hu = np.rint(stored.astype(np.float64) * slope + intercept)
    if padding is not None:
        hu[stored == padding] = AIR_HU
    if hu.min() < -32768 or hu.max() > 32767:
        raise DicomError("hu_out_of_range", f"{hu.min():.0f} to {hu.max():.0f} HU")
    return hu.astype(np.int16)


def write_series(
    folder: Path,
    hu_ZHW: np.ndarray,
    *,
    pixel_spacing_mm: float,
    slice_spacing_mm: float,
    first_z_mm: float,
    uid_entropy: list[str],
    attributes: Mapping[str, object],
) -> None:
    """Write one CT Image Storage file per slice, ascending in z, as scanners do: unsigned 16 bit, HU + 1024.

    Args:
        hu_ZHW: int16, HU, at least -1024.
        first_z_mm: z of slice 0; the stack is centred in x and y.
        uid_entropy: the UIDs follow from it alone.
        attributes: DICOM keyword to value, for what the scanner and the exam add.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study_uid, series_uid, frame_uid = (
        generate_uid(entropy_srcs=[*uid_entropy, kind]) for kind in ("study", "series", "frame")
    )
    for index, hu_HW in enumerate(hu_ZHW):
        corner = [-pixel_spacing_mm * (size - 1) / 2 for size in hu_HW.shape[::-1]]
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = generate_uid(entropy_srcs=[*uid_entropy, "slice", str(index)])
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study_uid, series_uid, frame_uid
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "CT", 2, index + 1
        ds.ImagePositionPatient = [round(value, 4) for value in (*corner, first_z_mm + index * slice_spacing_mm)]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.SliceLocation = ds.ImagePositionPatient[2]
        ds.PixelSpacing = [round(pixel_spacing_mm, 6)] * 2
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows, ds.Columns = hu_HW.shape
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = AIR_HU, 1, "HU"
        for keyword, value in attributes.items():
            setattr(ds, keyword, value)
        ds.PixelData = (hu_HW.astype(np.int32) - AIR_HU).astype("<u2").tobytes()
        ds.save_as(folder / f"IM{index + 1:04d}.dcm", enforce_file_format=True)


@contextmanager
def _quiet_pydicom() -> Iterator[None]:
    """Real archives are full of values that pydicom warns about; what matters is checked here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom\b.*")
        yield


def _read_header(path: Path) -> Dataset:
    """The header of a file that can be a slice of an axial CT series.

    Raises: DicomError with the reason why it cannot.
    """
    try:
        with _quiet_pydicom():
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            return _checked_header(ds)
    except InvalidDicomError:
        raise DicomError("not_dicom", "no DICOM file meta information") from None
    except DicomError:
        raise
    except Exception as error:  # a broken file can raise anything from inside the parser
        raise DicomError("unreadable_header", type(error).__name__) from error


def _checked_header(ds: Dataset) -> Dataset:
    if ds.get("SOPClassUID") != CTImageStorage:
        name = getattr(ds.get("SOPClassUID"), "name", "no SOPClassUID")
        raise DicomError("not_ct_image", f"{name}, wanted CT Image Storage")
    if "LOCALIZER" in (ds.get("ImageType") or []):
        raise DicomError("localizer", "ImageType says LOCALIZER")
    if ds.get("SamplesPerPixel") != 1:
        raise DicomError("not_grayscale", f"SamplesPerPixel is {ds.get('SamplesPerPixel')}, wanted 1")
    if not (ds.get("Rows") and ds.get("Columns")):
        raise DicomError("no_geometry", "Rows or Columns is missing")
    for keyword, length in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2)):
        value = ds.get(keyword)
        if not value or len(value) != length or not np.isfinite(np.array(value, dtype=float)).all():
            raise DicomError("no_geometry", f"{keyword} is missing or not {length} numbers")
    for keyword in ("RescaleSlope", "RescaleIntercept"):
        if ds.get(keyword) is None:
            raise DicomError("no_rescale", f"{keyword} is missing")
    lean = abs(_normal(ds)[2])
    if not lean >= AXIAL_COSINE:
        raise DicomError("not_axial", f"the slice normal leans {np.degrees(np.arccos(lean)):.1f} degrees off the axis")
    return ds


def _choose_series(usable: list[tuple[Path, Dataset]]) -> tuple[list[tuple[Path, Dataset]], list[tuple[Path, Dataset]]]:
    """The group of one series, size, orientation and spacing that has most slices, and the files of all others."""
    groups = defaultdict(list)
    for path, ds in usable:
        orientation = tuple(round(float(value), 3) for value in ds.ImageOrientationPatient)
        spacing = tuple(round(float(value), 4) for value in ds.PixelSpacing)
        series = str(ds.get("SeriesInstanceUID") or path.parent)
        groups[(series, ds.Rows, ds.Columns, orientation, spacing)].append((path, ds))
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    members = [files for _, files in ordered]
    return (members[0] if members else []), [file for files in members[1:] for file in files]


def _read_series(files: list[tuple[Path, Dataset]]) -> Series:
    """Decode the slices in ascending position along the slice normal.

    Raises: DicomError if a slice cannot be decoded or two lie at one position.
    """
    normal = _normal(files[0][1])
    position = np.array([np.dot(np.array(ds.ImagePositionPatient, dtype=float), normal) for _, ds in files])
    order = np.argsort(position, kind="stable")
    position_mm = position[order]
    steps = np.diff(position_mm)
    if len(steps) and steps.min() < 0.01:
        raise DicomError("duplicate_position", f"two slices at {position_mm[int(steps.argmin())]:.2f} mm")
    first = files[int(order[0])][1]
    return Series(
        hu_ZHW=np.stack([_decode(files[int(index)][0]) for index in order]),
        position_mm=position_mm,
        pixel_spacing_mm=(float(first.PixelSpacing[0]), float(first.PixelSpacing[1])),
        slice_spacing_mm=float(np.median(steps)) if len(steps) else float("nan"),
        slice_thickness_mm=_number(first, "SliceThickness"),
        kvp=_number(first, "KVP"),
    )


def _decode(path: Path) -> np.ndarray:
    try:
        with _quiet_pydicom():
            ds = pydicom.dcmread(path)
            stored = ds.pixel_array
            padding: Any = ds.get("PixelPaddingValue")
            return pixels_to_hu(stored, float(ds.RescaleSlope), float(ds.RescaleIntercept), padding)
    except DicomError:
        raise
    except Exception as error:  # decoders and the parser raise anything on a broken file
        raise DicomError("cannot_decode", f"a slice's pixels: {type(error).__name__}") from error


def _normal(ds: Dataset) -> np.ndarray:
    """Unit normal of the slice, pointing to ascending z."""
    row, column = np.array(ds.ImageOrientationPatient, dtype=float).reshape(2, 3)
    normal = np.cross(row, column)
    length = np.linalg.norm(normal)
    if not abs(length - 1) < 0.01:
        raise DicomError("no_geometry", "ImageOrientationPatient is not two perpendicular unit vectors")
    return np.asarray(normal / length * (1 if normal[2] >= 0 else -1))


def _number(ds: Dataset, keyword: str) -> float:
    """A number that is good to know but not needed; NaN where the header has none."""
    try:
        return float(ds[keyword].value)
    except (KeyError, TypeError, ValueError):
        return float("nan")


def _shown(path: Path, folder: Path) -> str:
    """A file's path below its study folder, bytes that are not UTF-8 written out."""
    return os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
