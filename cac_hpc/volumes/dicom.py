"""What needs a full DICOM library: unusual files, compressed pixels, and writing series. The owner of pydicom.

Axes: Z slice, H row, W column.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    generate_uid,
)

from cac_hpc.volumes import codestreams, decoders
from cac_hpc.volumes.acquisition import HAS_ITEMS

PLUGINS = ("pyjpegls", "pylibjpeg")  # the first that is there decodes, never what else may be installed

_GROUPS = {  # functional group sequence of an enhanced CT, and what to take from it
    "CTImageFrameTypeSequence": ("FrameType",),
    "CTReconstructionSequence": ("ConvolutionKernel", "ReconstructionDiameter"),
    "CTXRayDetailsSequence": ("KVP",),
    "CardiacSynchronizationSequence": (
        "NominalPercentageOfCardiacPhase",
        "NominalCardiacTriggerDelayTime",
        "ActualCardiacTriggerDelayTime",
    ),
    "ContrastBolusUsageSequence": ("ContrastBolusAgentAdministered", "ContrastBolusAgentDetected"),
    "FrameContentSequence": ("TemporalPositionIndex", "FrameAcquisitionNumber", "FrameAcquisitionDateTime"),
    "IrradiationEventIdentificationSequence": ("IrradiationEventUID",),
    "MultienergyCTCharacteristicsSequence": ("MonoenergeticEnergyEquivalent",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept", "RescaleType"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PlanePositionSequence": ("ImagePositionPatient",),
}
_OF_EACH_ITEM = "ContrastBolusUsageSequence"  # an item for each agent; of all others the first counts
_AS_IN_SINGLE_FRAMES = {
    "FrameType": "ImageType",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "FrameAcquisitionDateTime": "AcquisitionTime",
}


def can_decode(syntax: str) -> bool:
    """Whether compressed pixels of a transfer syntax can be decoded here."""
    return syntax in decoders.SYNTAXES or bool(_plugins(syntax))


def read_slices(file: BinaryIO, keywords: set[str]) -> list[dict[str, str | int]]:
    """The wanted values of each slice in a file, by keyword: 16-bit numbers as such, everything else as text.

    A frame of an enhanced CT has its own values, else those that all frames share, else those of the object.

    Raises: ValueError if there is not one functional group for each frame.
    Source: DICOM PS3.3 A.38 Enhanced CT Image IOD, C.7.6.16 Multi-frame Functional Groups Module.
    """
    with quiet():
        ds = pydicom.dcmread(file, stop_before_pixels=True)
        values = _values(ds, keywords)
        frames = ds.get("PerFrameFunctionalGroupsSequence")
        if frames is None:
            return [values | _of_groups(Dataset(), ds, ["MultienergyCTCharacteristicsSequence"])]
        if len(frames) != ds.get("NumberOfFrames"):
            raise ValueError("not one functional group for each frame")
        shared = _first(ds.get("SharedFunctionalGroupsSequence"))
        return [values | _of_groups(frame, shared, _GROUPS) for frame in frames]


def read_header(path: Path) -> Dataset:
    """All of a file but its pixels."""
    with quiet():
        return pydicom.dcmread(path, stop_before_pixels=True)


def is_uid(text: str) -> bool:
    """Whether a text can be a unique identifier."""
    return bool(UID(text).is_valid)


def read_report(path: Path) -> Dataset:
    """All of a structured report, which may lack the preamble of a file."""
    with quiet():
        ds = pydicom.dcmread(path, force=True)
        for _ in ds.iterall():  # what cannot be parsed is found here, and not where it is asked for
            pass
        return ds


def read_object(file: BinaryIO, pixels: bool = True) -> Dataset:
    """All of a file, with or without its pixels."""
    with quiet():
        return pydicom.dcmread(file, stop_before_pixels=not pixels)


def numbers(item: Dataset, keyword: str) -> np.ndarray:
    """Decimal strings of an element that was not read yet, ten times as fast as one by one; empty if there is none.

    Raises: ValueError if they are no numbers.
    """
    element = item.get_item(keyword)
    value = None if element is None else element.value
    texts = value.split(b"\\") if isinstance(value, bytes) else [] if value is None else np.atleast_1d(value)
    return np.array([float(text) for text in texts], float)


def stored_frames(ds: Dataset) -> Iterator[np.ndarray]:
    """The (H, W) stored values of each frame of 1, 8 or 16 unsigned bits, one after the other.

    Raises: ValueError if the pixels are not what the header says, and whatever a decoder raises on broken ones.
    """
    count, size, bits = int(ds.NumberOfFrames), (int(ds.Rows), int(ds.Columns)), int(ds.BitsAllocated)
    syntax, data = ds.file_meta.TransferSyntaxUID, ds.PixelData
    for frame in range(count):
        if not syntax.is_encapsulated:
            yield _native_frame(data, frame, count, size, bits, ">" if syntax == ExplicitVRBigEndian else "<")
            continue
        with quiet():
            codestream = get_frame(data, frame, number_of_frames=count)
        said = codestreams.coded(codestream, str(syntax))
        if said and said[:2] != size:
            raise ValueError("a frame of another size than the header says")
        yield decode(codestream, str(syntax), *size, int(ds.BitsStored), signed=False, bits_allocated=bits)


def _native_frame(data: bytes, frame: int, count: int, size: tuple[int, int], bits: int, order: str) -> np.ndarray:
    """A frame of pixels that are not compressed; those of one bit follow each other without a gap between frames."""
    num_pixels, dtype = size[0] * size[1], {1: "u1", 8: "u1", 16: f"{order}u2"}[bits]
    if len(data) * 8 < count * num_pixels * bits or (order == ">" and bits == 8):
        raise ValueError("pixel data that are too short, or of 8 bits in words of 16 that are turned around")
    if bits > 1:
        return np.frombuffer(data, dtype, num_pixels, frame * num_pixels * bits // 8).reshape(size)
    first, behind = frame * num_pixels, (frame + 1) * num_pixels
    some = np.unpackbits(np.frombuffer(data, dtype)[first // 8 : -(-behind // 8)], bitorder="little")
    return some[first % 8 :][:num_pixels].reshape(size)


def read_pixels(file: BinaryIO) -> bytes:
    """The pixel data of a file that is not compressed, in the file's byte order; empty if it has none."""
    with quiet():
        return bytes(pydicom.dcmread(file).get("PixelData") or b"")


def read_codestream(file: BinaryIO, frame: int, num_frames: int) -> bytes:
    """The compressed pixels of one frame, counted from 0; the file stands at the first item of its pixel data."""
    with quiet():
        return get_frame(file, frame, number_of_frames=num_frames)


def decode(
    codestream: bytes, syntax: str, rows: int, columns: int, bits_stored: int, signed: bool, bits_allocated: int = 16
) -> np.ndarray:
    """Decode the compressed pixels of one grey frame.

    Returns: (H, W) stored values.
    Raises: Refused if it is cut short or not whole; whatever a decoder raises on a broken codestream.
    """
    said = codestreams.coded(codestream, syntax)
    codestreams.require_end(codestream, syntax)
    # unused high bits are the sign, or BitsStored is wrong: then they must stay as they are, for others to see
    sign_only = said is not None and said.precision <= bits_stored
    if syntax in decoders.SYNTAXES:
        stored_HW = decoders.decode(codestream, syntax, (rows, columns), bits_allocated)
        return _signed(stored_HW, max(bits_allocated - bits_stored, 0) if sign_only else 0, signed)
    options: dict[str, Any] = {"bits_allocated": bits_allocated, "bits_stored": bits_stored}
    options |= {"rows": rows, "columns": columns, "number_of_frames": 1, "correct_unused_bits": sign_only}
    options |= {"pixel_representation": int(signed)}
    options |= {"samples_per_pixel": 1, "photometric_interpretation": "MONOCHROME2"}
    with quiet():
        decoder, (plugin,) = get_decoder(syntax), _plugins(syntax)
        return np.asarray(decoder.as_array(encapsulate([codestream]), index=0, decoding_plugin=plugin, **options)[0])


def _signed(stored_HW: np.ndarray, unused: int, signed: bool) -> np.ndarray:
    """Stored values with the sign that they are meant to have, above which that many bits are not used."""
    stored_HW = stored_HW.view(stored_HW.dtype.str.replace("u", "i")) if signed else stored_HW
    return stored_HW << unused >> unused if unused else stored_HW


def write_series(
    folder: Path,
    hu_ZHW: np.ndarray,
    *,
    pixel_spacing_mm: float,
    slice_spacing_mm: float,
    first_z_mm: float,
    uid_entropy: list[str],
    attributes: Mapping[str, object],
    intercept_hu: int = -1024,
    descending: bool = False,
) -> None:
    """Write one CT Image Storage file per slice, as scanners do: 16 bit, HU less the intercept, unsigned if that fits.

    Args:
        hu_ZHW: int16, HU, at least -1024.
        first_z_mm: z of slice 0; the stack is centred in x and y.
        uid_entropy: the UIDs follow from it alone.
        attributes: DICOM keyword to value, for what the scanner and the exam add; None takes an element away.
        descending: file names and instance numbers run from the head down, not up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    study_uid, series_uid, frame_uid = (
        generate_uid(entropy_srcs=[*uid_entropy, kind]) for kind in ("study", "series", "frame")
    )
    for index, hu_HW in enumerate(hu_ZHW):
        number = len(hu_ZHW) - index if descending else index + 1
        ds = _new_slice(hu_HW, first_z_mm + index * slice_spacing_mm, pixel_spacing_mm, intercept_hu)
        ds.SOPInstanceUID = generate_uid(entropy_srcs=[*uid_entropy, "slice", str(index)])
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study_uid, series_uid, frame_uid
        ds.SeriesNumber, ds.InstanceNumber = 2, number
        with quiet():  # odd values are written where they are asked for
            for keyword, value in attributes.items():
                if value is None:
                    delattr(ds, keyword)
                else:
                    setattr(ds, keyword, value)
            ds.save_as(folder / f"IM{number:04d}.dcm", enforce_file_format=True)


def _new_slice(hu_HW: np.ndarray, z_mm: float, pixel_spacing_mm: float, intercept_hu: int) -> Dataset:
    """An axial CT slice, centred in x and y: where it is, and its pixels."""
    corner = [-pixel_spacing_mm * (size - 1) / 2 for size in hu_HW.shape[::-1]]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.Modality = CTImageStorage, "CT"
    ds.ImagePositionPatient = [round(value, 4) for value in (*corner, z_mm)]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.SliceLocation = ds.ImagePositionPatient[2]
    ds.PixelSpacing = [round(pixel_spacing_mm, 6)] * 2
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = hu_HW.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
    ds.PixelRepresentation = int(intercept_hu > -1024)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = intercept_hu, 1, "HU"
    ds.PixelData = (hu_HW - np.int32(intercept_hu)).astype("<i2" if ds.PixelRepresentation else "<u2").tobytes()
    return ds


@cache
def _plugins(syntax: str) -> tuple[str, ...]:
    """The plugin of pydicom that decodes a transfer syntax, if there is one."""
    try:
        available = get_decoder(syntax).available_plugins
    except NotImplementedError:
        return ()
    return tuple(name for name in PLUGINS if name in available)[:1]


@contextmanager
def quiet() -> Iterator[None]:
    """Real archives are full of values that pydicom warns about and quotes; what matters is checked by the callers."""
    logger = logging.getLogger("pydicom")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom\b.*")
        logger.disabled, before = True, logger.disabled
        try:
            yield
        finally:
            logger.disabled = before


def _values(ds: Dataset, keywords: set[str]) -> dict[str, str | int]:
    values: dict[str, str | int] = {"private": 1} if any(tag.is_private for tag in ds) else {}
    for keyword in keywords:
        value = ds.get(keyword)
        if isinstance(value, pydicom.Sequence):
            values[keyword] = HAS_ITEMS if len(value) else ""
        elif isinstance(value, int) and not isinstance(value, pydicom.valuerep.IS):
            values[keyword] = value & 0xFFFF
        elif value is not None and not isinstance(value, bytes):
            values[keyword] = _text(value)
    return values


def _text(value: object) -> str:
    parts = value if isinstance(value, MultiValue) else [value]
    return "\\".join(str(part) for part in parts).strip()


def _of_groups(frame: Dataset, shared: Dataset, sequences: Iterable[str]) -> dict[str, str | int]:
    """The values of the functional groups, by the keyword that a single-frame image uses."""
    values: dict[str, str | int] = {}
    for sequence in sequences:
        items = list(frame.get(sequence) or shared.get(sequence) or [])
        for keyword in _GROUPS[sequence]:
            found = [item[keyword].value for item in items if item.get(keyword) is not None]
            if found:
                kept = found if sequence == _OF_EACH_ITEM else found[:1]
                values[_AS_IN_SINGLE_FRAMES.get(keyword, keyword)] = "\\".join(map(_text, kept))
    return values


def _first(items: list[Dataset] | None) -> Dataset:
    return items[0] if items else Dataset()
