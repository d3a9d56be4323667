"""The pixels of a CT slice as its file stores them, whatever the transfer syntax. Axes: H row, W column."""

from __future__ import annotations

import os
from typing import Any, Literal

import numpy as np

from cac_hpc.run.rejections import Refused
from cac_hpc.volumes import images
from cac_hpc.volumes.header import Header
from cac_hpc.volumes.images import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, Image

SLACK = 4096  # bytes by which compressed pixels may be more than twice as long as others


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
    if coded := dicom.coded(codestream, syntax):
        if coded[:2] != wanted:
            raise Refused("wrong_length", f"decodes to {coded[:2]}, wanted {wanted}")
        if coded.precision <= 8:
            raise Refused("bad_pixel_format", f"decodes to {coded.precision} bits")
    stored = dicom.decode(codestream, syntax, *wanted, header.bits_stored, header.signed)
    if (stored.shape, stored.dtype) != (wanted, _dtype(header)):
        raise Refused("wrong_length", f"decodes to {stored.shape} of {stored.dtype}, wanted {wanted} of 16 bits")
    return stored
