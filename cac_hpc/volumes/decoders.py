"""JPEG Lossless and run lengths, decoded by imagecodecs. The owner of imagecodecs.

What is missing of a frame libjpeg-turbo fills up, and where bits are no code it goes on: so a frame of JPEG Lossless is
read only if its bits are those that its pixels are written as (`jpeg_lossless`).
"""

from __future__ import annotations

import imagecodecs
import numpy as np

from cac_hpc.run.rejections import Refused
from cac_hpc.volumes import jpeg_lossless
from cac_hpc.volumes.codestreams import JPEG_LOSSLESS, RLE

SYNTAXES = (*JPEG_LOSSLESS, RLE)


def decode(codestream: bytes, syntax: str, shape: tuple[int, int], bits_allocated: int) -> np.ndarray:
    """Decode the compressed pixels of one grey frame.

    Args:
        syntax: one of SYNTAXES.
        shape: rows and columns.
        bits_allocated: 8 or 16.
    Returns: (H, W) unsigned integers of that many bits, as they are stored.
    Raises: Refused if the frame is not whole; whatever imagecodecs raises.
    """
    dtype = np.dtype(f"<u{bits_allocated // 8}")
    stored_HW = _run_lengths(codestream, shape, dtype) if syntax == RLE else _jpeg_lossless(codestream)
    if stored_HW.shape != shape or stored_HW.itemsize > dtype.itemsize:
        raise Refused("cannot_decode", f"decodes to {stored_HW.shape} of {stored_HW.dtype}, wanted {shape} of {dtype}")
    return stored_HW.astype(dtype, copy=False)


def _run_lengths(codestream: bytes, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """The pixels of a frame of run lengths, of which each segment ends where its pixels do."""
    num_bytes = shape[0] * shape[1] * dtype.itemsize
    stored = imagecodecs.dicomrle_decode(codestream, dtype, out=bytearray(num_bytes))
    if len(stored) != num_bytes:
        raise Refused("cannot_decode", f"run lengths of {len(stored)} bytes, wanted {num_bytes}")
    return np.frombuffer(stored, dtype).reshape(shape)


def _jpeg_lossless(codestream: bytes) -> np.ndarray:
    frame = jpeg_lossless.parse(codestream)
    stored_HW = np.asarray(imagecodecs.jpeg8_decode(codestream))
    jpeg_lossless.require_written(frame, stored_HW)
    return stored_HW
