"""The pixels of a CT slice, whatever the transfer syntax, and their Hounsfield units (HU). Axes: H row, W column."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cac_hpc.run.rejections import Refused
from cac_hpc.volumes import codestreams, images
from cac_hpc.volumes.header import Header
from cac_hpc.volumes.images import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, Image

SLACK = 4096  # bytes by which compressed pixels may be more than twice as long as others
AIR_HU = -1024  # the lowest value a CT scanner writes; what lies below it was not measured
LOWEST_HU, HIGHEST_HU = -8192, 30710  # an extended CT scale ends there
PADDING_HU = -500  # padding is below, or beyond what a scanner can write
BRIGHT_HU, BRIGHT_SHARE = 3071, 0.02  # of a slice at most; metal is small
SMOOTH = 3.0  # a step between two pixels that is so many times the mean of others is an edge
ALL_BUT_FEW = 0.99


def read_stored(image: Image, scratch: bytearray) -> np.ndarray:
    """Read the pixels of a slice as they are stored.

    Args:
        scratch: memory of header.num_bytes, used again and again; what is returned may lie in it.
    Returns: (H, W) int16 or uint16.
    Raises: Refused if the file has changed, or the pixels are not what the header says.
    """
    try:
        with images.opened(image.path) as (file, stamp):
            if stamp != image.stamp:
                raise Refused("changed_while_read", "its size or time changed")
            stored_HW = _stored(image, file, scratch)
            if images.stamp_of(file) != image.stamp:
                raise Refused("changed_while_read", "its size or time changed")
            return stored_HW
    except OSError as error:
        raise images.unreadable(error, "cannot_decode") from error


def _stored(image: Image, file: int, scratch: bytearray) -> np.ndarray:
    """The stored values of a slice, (H, W), 16 bit."""
    header = image.header
    if header.transfer_syntax not in (IMPLICIT, EXPLICIT):
        return _unusual(image, file)
    into = memoryview(scratch)[: header.num_bytes]
    if os.preadv(file, [into], image.pixels_at + image.frame * header.num_bytes) != header.num_bytes:
        raise Refused("wrong_length", "the file ends inside its pixels")
    return np.frombuffer(into, _dtype(header)).reshape(header.rows, header.columns)


def _dtype(header: Header) -> np.dtype[Any]:
    return np.dtype("<i2" if header.signed else "<u2")


def _unusual(image: Image, file: int) -> np.ndarray:
    """The stored values of a slice that does not lie in its file as it is."""
    try:
        if image.header.transfer_syntax == DEFLATED:
            return _cut_out(image, images.inflated(file, image.stamp[2]), "<")
        if image.header.transfer_syntax == BIG_ENDIAN:
            return _cut_out(image, _swapped(image, file), ">")
        return _decompressed(image, file)
    except (Refused, MemoryError, OSError):
        raise
    except Exception as error:  # decoders raise anything on a broken file
        raise Refused("cannot_decode", type(error).__name__) from error


def _cut_out(image: Image, data: bytes, order: Literal["<", ">"]) -> np.ndarray:
    header, dtype = image.header, _dtype(image.header)
    first, count = image.pixels_at + image.frame * header.num_bytes, header.rows * header.columns
    stored = np.frombuffer(data, dtype.newbyteorder(order), count, first)
    return stored.reshape(header.rows, header.columns).astype(dtype)


def _swapped(image: Image, file: int) -> bytes:
    """The pixel data of a big-endian file."""
    from cac_hpc.volumes import dicom

    pixels, wanted = dicom.read_pixels(images.stream(file)), image.num_frames * image.header.num_bytes
    if len(pixels) != wanted:
        raise Refused("wrong_length", f"{len(pixels)} bytes of pixels, wanted {wanted}")
    return pixels


def _decompressed(image: Image, file: int) -> np.ndarray:
    """Decode the pixels of a slice if they will be of the size that the header says: else they are left alone."""
    from cac_hpc.volumes import dicom

    header = image.header
    syntax, wanted = header.transfer_syntax, (header.rows, header.columns)
    codestream = dicom.read_codestream(images.stream(file, image.pixels_at), image.frame, image.num_frames)
    if len(codestream) > 2 * header.num_bytes + SLACK:
        raise Refused("wrong_length", f"{len(codestream)} compressed bytes for {header.num_bytes}")
    if coded := codestreams.coded(codestream, syntax):
        if coded[:2] != wanted:
            raise Refused("wrong_length", f"decodes to {_size(coded[:2])}, wanted {_size(wanted)}")
        if coded.precision <= 8:
            raise Refused("bad_pixel_format", f"decodes to {coded.precision} bits")
    stored = dicom.decode(codestream, syntax, *wanted, header.bits_stored, header.signed)
    if (stored.shape, stored.dtype) != (wanted, _dtype(header)):
        found = f"{_size(stored.shape)} of {stored.dtype}"
        raise Refused("wrong_length", f"decodes to {found}, wanted {_size(wanted)} of 16 bits")
    return stored


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def pixels_to_hu(stored_HW: np.ndarray, header: Header) -> np.ndarray:
    """Convert one CT slice from stored values to Hounsfield units (HU).

    Padding, and whatever lies below the scanner's range, becomes air. Bits above BitsStored do not count.

    Args:
        stored_HW: (H, W) 16-bit integers, as decoded from Pixel Data; overwritten.
        header: of this slice: slope and intercept belong to the image, not the series.
    Returns: (H, W) int16, HU, rounded to the nearest integer, at least AIR_HU.
    Raises: Refused if BitsStored cannot be right, no scanner writes such HU, or what the header calls padding could be
    tissue.
    Source: DICOM PS3.3 C.11.1 Modality LUT, C.7.5.1.1.2 Pixel Padding Value; PS3.5 8.1.1 Pixel data encoding.
    """
    lowest, highest = int(stored_HW.min()), int(stored_HW.max())
    padding_HW = None
    if header.padding and lowest <= header.padding[1] and highest >= header.padding[0]:
        padding_HW = (stored_HW >= header.padding[0]) & (stored_HW <= header.padding[1])
        _check_padding(stored_HW[padding_HW], header)
        measured = stored_HW[~padding_HW]
        if not measured.size:
            return np.full(stored_HW.shape, AIR_HU, np.int16)
        lowest, highest = int(measured.min()), int(measured.max())
    if lowest == highest:
        raise Refused("impossible_values", f"every pixel is {lowest}: no scanner is without noise")
    low, high = _range(header)
    if lowest < low or highest > high:
        _clear_unused_bits(stored_HW, padding_HW, header)
        return pixels_to_hu(stored_HW, header)
    ends = sorted((lowest * header.slope + header.intercept, highest * header.slope + header.intercept))
    if ends[0] < LOWEST_HU or ends[1] > HIGHEST_HU:
        raise Refused("impossible_values", f"{ends[0]:.0f} to {ends[1]:.0f} HU")
    hu_HW = _rescale(stored_HW, header)
    if padding_HW is not None:
        hu_HW[padding_HW] = AIR_HU
    if ends[1] > BRIGHT_HU and (share := np.count_nonzero(hu_HW > BRIGHT_HU) / hu_HW.size) > BRIGHT_SHARE:
        raise Refused("impossible_values", f"{share:.0%} of the pixels are above {BRIGHT_HU} HU")
    if ends[0] < AIR_HU:
        hu_HW.clip(AIR_HU, np.int16(32767), out=hu_HW)  # eight times as fast as np.maximum
    return hu_HW


def _rescale(stored_HW: np.ndarray, header: Header) -> np.ndarray:
    """Rescale in place, whose bytes are int16 from then on."""
    hu_HW = stored_HW.view(np.int16)
    if header.slope == 1 and header.intercept.is_integer() and abs(header.intercept) < 32768:
        hu_HW += np.int16(header.intercept)  # what wraps around on the way fits at its end
    else:
        hu_HW[:] = np.rint(stored_HW * header.slope + header.intercept)
    return hu_HW


def _check_padding(padding: np.ndarray, header: Header) -> None:
    """What the header calls padding is nothing that tissue could be: a false word would turn it into air."""
    if not padding.size:
        return
    ends = sorted(float(end) * header.slope + header.intercept for end in (padding.min(), padding.max()))
    if ends[1] > PADDING_HU and ends[0] <= HIGHEST_HU:
        raise Refused("padding_in_tissue", f"{padding.size} pixels of padding, up to {ends[1]:.0f} HU")


def _range(header: Header) -> tuple[int, int]:
    """Lowest and highest value that BitsStored allows."""
    count = 1 << header.bits_stored
    return (-count // 2, count // 2 - 1) if header.signed else (0, count - 1)


def _clear_unused_bits(stored_HW: np.ndarray, padding_HW: np.ndarray | None, header: Header) -> None:
    """Take away what is above BitsStored, and extend the sign: an overlay or rubbish may be there. Padding stays.

    Raises: Refused if the bits seem to be part of the values, and BitsStored is wrong.
    Source: DICOM PS3.5 8.1.1: what unused bits hold is not to be relied on.
    """
    unused = 16 - header.bits_stored
    clean_HW = (stored_HW << unused) >> unused  # of signed numbers the shift to the right extends the sign
    measured_HW = np.ones(stored_HW.shape, bool) if padding_HW is None else ~padding_HW
    cleared_HW = (clean_HW != stored_HW) & measured_HW
    if not _are_rubbish(stored_HW, clean_HW, cleared_HW, measured_HW, header):
        allowed = "BitsStored {} allows {} to {}".format(header.bits_stored, *_range(header))
        raise Refused("impossible_values", f"stored values {stored_HW.min()} to {stored_HW.max()}, {allowed}")
    stored_HW[measured_HW] = clean_HW[measured_HW]


def _are_rubbish(
    stored_HW: np.ndarray, clean_HW: np.ndarray, cleared_HW: np.ndarray, measured_HW: np.ndarray, header: Header
) -> bool:
    """Whether the bits that would be cleared are no part of the values.

    With them the pixels are beyond what scanners write, and have the noise of the image, as padding has not; without
    them the image is not rougher where they end. At an overlay's rim it goes on smoothly at many places; a sign that
    was not extended anywhere ends where values cross 0.
    """
    cleared = stored_HW[cleared_HW]
    beyond = np.abs(cleared * header.slope + header.intercept) > BRIGHT_HU
    if beyond.mean() < ALL_BUT_FEW or (cleared.size > 1 and np.ptp(cleared) == 0):
        return False
    steps = _steps(clean_HW, cleared_HW, measured_HW)
    raw_steps = _steps(stored_HW, cleared_HW, measured_HW)
    if not steps[True].size:
        return True
    sign_is_missing = header.signed and int(stored_HW[measured_HW].min()) >= 0
    smooth = sign_is_missing or np.quantile(steps[True], 0.25) <= SMOOTH * steps[False].mean()
    return bool(smooth and steps[True].sum() <= raw_steps[True].sum())


def _steps(values_HW: np.ndarray, cleared_HW: np.ndarray, measured_HW: np.ndarray) -> dict[bool, np.ndarray]:
    """Differences of neighbours of which one is cleared (True), and of all others (False)."""
    across, others = np.zeros(0), np.zeros(0)
    for before, after in (np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:]):
        both = measured_HW[before] & measured_HW[after]
        step = np.abs(values_HW[after].astype(np.int64) - values_HW[before])[both]
        differ = (cleared_HW[before] != cleared_HW[after])[both]
        across, others = np.append(across, step[differ]), np.append(others, step[~differ])
    return {True: across, False: others}
