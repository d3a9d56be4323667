"""What is read of a slice's header: the few attributes that matter here, by tag and as numbers that were checked."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cac_hpc.run.rejections import Refused
from cac_hpc.volumes import acquisition, person, scanner, tags
from cac_hpc.volumes.acquisition import Subject, Value
from cac_hpc.volumes.person import Person
from cac_hpc.volumes.scanner import UNKNOWN

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
REPORT = "1.2.840.10008.5.1.4.1.1.88."  # Structured Report Storage, all kinds
ENHANCED_CT = (f"{CT_IMAGE}.1", f"{CT_IMAGE}.2")  # Enhanced CT Image Storage, and Legacy Converted
JPEG_2000 = "1.2.840.10008.1.2.4.91"  # with or without loss
LOSSY = {JPEG_2000, *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 93, 203))}
MAX_PIXELS = 4096 * 4096  # of a slice
MIN_SPACING_MM, MAX_SPACING_MM = 0.01, 20  # of pixels
MAX_MM = 100_000  # of a position, from the origin

OTHER_UNITS = {  # of RescaleType, and what they are
    "HU_MOD": "modified Hounsfield units, where a material is suppressed",
    "ED": "electron density",
    "EDW": "electron density relative to water",
    "Z_EFF": "effective atomic number",
    "MGML": "mg/ml of a material",
    "PCT": "percent of a material",
    "OD": "optical density",
}
MATERIAL_IMAGE = re.compile(  # in ImageType, as Supplement 188 defines it, or as vendors name it in SeriesDescription
    r"(?<![A-Z0-9])(?:MAT_(?:SPECIFIC|REMOVED|FRACTIONAL|MODIFIED|SUPPRESSED|VALUE_BASED)|EFF_ATOMIC_NUM|"
    r"ELECTRON[ _]DENSITY|VNCA?|VUE|VIRTUAL[ _-](?:NON|NATIVE|UNENHANCED)|Z[ _-]?EFF(?:ECTIVE)?|EFFECTIVE[ _]Z|RHO/Z|"
    r"CA(?:LCIUM)?[ _-]?SUPP(?:RESS\w*)?(?![ _]*(?:ION)?[ _]*OFF)|PURECALCIUM|IODINE[ _-](?:MAP|NO|DENSITY)|LUNG PBV|"
    r"URIC ACID|(?:WATER|IODINE|CALCIUM|HAP|FAT) ?\((?:WATER|IODINE|CALCIUM|HAP|FAT)\))(?![A-Z0-9])"
)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a slice's header says, its position apart: the same object for all slices that say the same.

    Lengths in mm, times in ms; NaN or "" where the header says nothing. orientation: direction cosines of a row, then
    of a column. spacing: between rows, then between columns. padding: stored values (lowest, highest) that are no
    measurement. energy_kev: of a monoenergetic image. contrast_agent: the attribute that says that one was given.
    temporal_position: which of several passes over the patient. scanner: maker and model. person: sex, age group.
    acquisition, event, frame_of_reference: its number, and the UIDs of the irradiation and of the origin of positions.
    subject: whose image it is, and identity: all that may identify the patient; neither is ever written.
    private: whether there are private elements.
    """

    transfer_syntax: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    subject: Subject
    identity: frozenset[str]
    private: bool
    lossy: bool = False
    series: str = ""
    series_number: float = math.nan
    description: str = ""
    thickness_mm: float = math.nan
    kvp: float = math.nan
    energy_kev: float = math.nan
    contrast_agent: str = ""
    field_of_view_mm: float = math.nan
    kernel: str = ""
    scanner: str = UNKNOWN
    person: Person = field(default_factory=Person)
    acquisition: float = math.nan
    event: str = ""
    frame_of_reference: str = ""
    images_in_acquisition: float = math.nan
    trigger_ms: float = math.nan
    phase_percent: float = math.nan
    trigger_delay_ms: float = math.nan
    temporal_position: float = math.nan
    gating: str = ""

    @property
    def num_bytes(self) -> int:
        """Of the slice's pixels, decoded."""
        return self.rows * self.columns * self.bits_allocated // 8


def check_kind(values: Mapping[str, Value]) -> None:
    """The object is an image of a CT series.

    Raises: Refused otherwise.
    """
    if kind(values) not in (CT_IMAGE, *ENHANCED_CT):
        found = "a structured report: labels.source sr reads scores; " if REPORT in str(kind(values)) else ""
        raise Refused("not_ct_image", f"{found}wanted CT Image Storage or Enhanced CT Image Storage")
    image_type = str(values.get("ImageType", "")).upper()
    if "LOCALIZER" in image_type:
        raise Refused("localizer", "ImageType says LOCALIZER")
    if str(values.get("BurnedInAnnotation", "")).upper() == "YES":
        raise Refused("burned_in", "BurnedInAnnotation is YES")


def parse(values: Mapping[str, Value]) -> Header:
    """Check what is known of one slice, by DICOM keyword.

    Raises: Refused with the first thing that is missing or cannot be.
    """
    check_kind(values)
    _check_pixel_format(values)
    slope, intercept = (_number(values, key, "no_rescale") for key in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise Refused("no_rescale", "RescaleSlope is 0")
    _check_units(values)
    spacing = _numbers(str(values.get("PixelSpacing", "")), "PixelSpacing", 2)
    check_spacing(spacing)
    percent, delay_ms = acquisition.phase(values)
    return Header(
        transfer_syntax=str(values.get("TransferSyntaxUID", "")),
        rows=int(values["Rows"]),
        columns=int(values["Columns"]),
        bits_allocated=int(values["BitsAllocated"]),
        bits_stored=int(values["BitsStored"]),
        signed=values["PixelRepresentation"] == 1,
        slope=slope,
        intercept=intercept,
        padding=_padding(values),
        orientation=_orientation(values),
        spacing=spacing,
        phase_percent=percent,
        trigger_delay_ms=delay_ms,
        lossy=_is_lossy(values),
        **_series(values),
        subject=acquisition.subject(values),
        identity=frozenset(str(values[key]) for key in tags.IDENTITY.values() if values.get(key)),
        private=bool(values.get("private")),
    )


def _series(values: Mapping[str, Value]) -> dict[str, Any]:
    """Which series a slice is of, and how that was made; "" or NaN where the header does not say."""
    return {
        "image_type": tuple(part.strip() for part in str(values.get("ImageType", "")).upper().split("\\")),
        "series": str(values.get("SeriesInstanceUID", "")),
        "series_number": read_number(values, "SeriesNumber"),
        "description": str(values.get("SeriesDescription", "")),
        "thickness_mm": read_number(values, "SliceThickness"),
        "kvp": read_number(values, "KVP"),
        "energy_kev": acquisition.energy_kev(values),
        "contrast_agent": acquisition.contrast_agent(values),
        "field_of_view_mm": read_number(values, "ReconstructionDiameter"),
        "kernel": str(values.get("ConvolutionKernel", "")),
        "scanner": scanner.scanner_of(values),
        "person": person.person_of(values),
        "acquisition": read_number(values, "AcquisitionNumber"),
        "event": str(values.get("IrradiationEventUID", "")),
        "frame_of_reference": str(values.get("FrameOfReferenceUID", "")),
        "images_in_acquisition": read_number(values, "ImagesInAcquisition"),
        "trigger_ms": read_number(values, "TriggerTime"),
        "temporal_position": _first_known(values, "TemporalPositionIndex", "TemporalPositionIdentifier"),
        "gating": acquisition.gating(values),
    }


def kind(values: Mapping[str, Value]) -> Value | None:
    """SOP class of the object."""
    return values.get("SOPClassUID") or values.get("MediaStorageSOPClassUID")


def read_position(text: str) -> tuple[float, ...]:
    """ImagePositionPatient in mm.

    Raises: Refused if it is missing or no such thing.
    """
    position = _numbers(text, "ImagePositionPatient", 3)
    check_position(position)
    return position


def check_position(position: Sequence[float]) -> None:
    """A slice is not too far away.

    Raises: Refused otherwise.
    """
    if max(map(abs, position)) > MAX_MM:
        raise Refused("no_geometry", f"ImagePositionPatient is more than {MAX_MM} mm away")


def check_spacing(spacing: Sequence[float]) -> None:
    """Pixels are of a size that CT has.

    Raises: Refused otherwise.
    """
    if min(spacing) < MIN_SPACING_MM or max(spacing) > MAX_SPACING_MM:
        raise Refused("no_geometry", f"PixelSpacing is not {MIN_SPACING_MM} to {MAX_SPACING_MM} mm")


def check_size(rows: int, columns: int) -> None:
    """A slice has no more pixels than any CT.

    Raises: Refused otherwise.
    """
    if rows * columns > MAX_PIXELS:
        raise Refused("too_large", f"{rows} x {columns} pixels, wanted {MAX_PIXELS} at most")


def _check_units(values: Mapping[str, Value]) -> None:
    """The pixels are Hounsfield units, of nothing but what the X-rays met.

    Source: DICOM PS3.3 C.11.1.1.2 Modality LUT and Rescale Type; Supplement 188 for the values of ImageType.
    """
    rescale_type = str(values.get("RescaleType", "")).upper()
    if what := OTHER_UNITS.get(rescale_type):
        raise Refused("not_hu", f"RescaleType {rescale_type}: {what}")
    if rescale_type not in ("HU", ""):
        raise Refused("no_rescale", "RescaleType is not HU")
    for key in ("ImageType", "SeriesDescription"):
        if MATERIAL_IMAGE.search(str(values.get(key, "")).upper()):
            raise Refused("not_hu", f"{key} names an image of a material, computed of several energies")
    if not rescale_type and values.get("MultienergyCTAcquisition") == "YES":
        raise Refused("not_hu", "MultienergyCTAcquisition is YES, and RescaleType does not say what the pixels are")


def _is_lossy(values: Mapping[str, Value]) -> bool:
    flag, syntax = values.get("LossyImageCompression"), values.get("TransferSyntaxUID")
    return flag == "01" or (syntax in LOSSY and not (syntax == JPEG_2000 and flag == "00"))


def _check_pixel_format(values: Mapping[str, Value]) -> None:
    if values.get("SamplesPerPixel") != 1 or values.get("PhotometricInterpretation") != "MONOCHROME2":
        raise Refused("bad_pixel_format", "wanted SamplesPerPixel 1 and PhotometricInterpretation MONOCHROME2")
    rows, columns = values.get("Rows"), values.get("Columns")
    if not (isinstance(rows, int) and isinstance(columns, int) and rows and columns):
        raise Refused("no_geometry", "Rows or Columns is missing")
    check_size(rows, columns)
    allocated, stored, high = (values.get(key) for key in ("BitsAllocated", "BitsStored", "HighBit"))
    if allocated != 16 or not isinstance(stored, int) or not 8 <= stored <= 16 or high != stored - 1:
        raise Refused(
            "bad_pixel_format",
            f"BitsAllocated {allocated}, BitsStored {stored}, HighBit {high}, wanted 16, 8 to 16, BitsStored - 1",
        )
    if kind(values) == CT_IMAGE and read_number(values, "NumberOfFrames") > 1:
        raise Refused("bad_pixel_format", "several frames in an object of one")
    if values.get("PixelRepresentation") not in (0, 1):
        raise Refused("bad_pixel_format", "PixelRepresentation is neither 0 nor 1")


def _number(values: Mapping[str, Value], key: str, reason: str) -> float:
    number = read_number(values, key)
    if not math.isfinite(number):
        raise Refused(reason, f"{key} is missing or no number")
    return number


def read_number(values: Mapping[str, Value], key: str) -> float:
    """A number that is good to know but not needed; NaN where there is none."""
    text = str(values.get(key, ""))
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    return number if math.isfinite(number) else math.nan


def _first_known(values: Mapping[str, Value], *keys: str) -> float:
    return next((number for key in keys if not math.isnan(number := read_number(values, key))), math.nan)


def _numbers(text: str, key: str, count: int) -> tuple[float, ...]:
    parts = text.split("\\")
    if len(parts) == count and all(_NUMBER.fullmatch(part.strip()) for part in parts):
        numbers = tuple(map(float, parts))
        if all(map(math.isfinite, numbers)):
            return numbers
    raise Refused("no_geometry", f"{key} is missing or not {count} numbers")


def _orientation(values: Mapping[str, Value]) -> tuple[float, ...]:
    cosines = _numbers(str(values.get("ImageOrientationPatient", "")), "ImageOrientationPatient", 6)
    row, column = cosines[:3], cosines[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    dot = sum(one * other for one, other in zip(row, column, strict=True))
    if not all(abs(length - 1) < 1e-3 for length in lengths) or abs(dot) > 1e-3:
        raise Refused("no_geometry", "ImageOrientationPatient is not two perpendicular unit vectors")
    return cosines


def _padding(values: Mapping[str, Value]) -> tuple[int, int] | None:
    """Stored patterns of the padding, in whichever of the two forms, signed or not, the header gives it."""
    ends = [values.get(key) for key in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    numbers = [end & 0xFFFF for end in ends if isinstance(end, int)]
    if values.get("PixelPaddingValue") is None or not numbers:
        return None
    if values["PixelRepresentation"] == 1:
        numbers = [number - 0x10000 if number >= 0x8000 else number for number in numbers]
    return min(numbers), max(numbers)
