"""Decoders for pydicom that are several times as fast as those it comes with. The owner of imagecodecs.

A frame with anything unusual is left to a slower decoder: libjpeg-turbo fills what is missing with zeros.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner

NAME = "imagecodecs"  # of the plugin
JPEG_LOSSLESS, RLE = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.5"
DECODER_DEPENDENCIES = dict.fromkeys((JPEG_LOSSLESS, RLE), (NAME,))  # pydicom asks for this name

SOF3, DHT, SOS, APP0 = 0xFFC3, 0xFFC4, 0xFFDA, 0xFFE0  # markers of JPEG
END_OF_IMAGE = b"\xff\xd9"
PLAIN = 1, 0, 0  # each pixel is predicted by the one to its left, and all its bits are coded
MOST_BITS = 15  # of a difference that all decoders agree on
MISSING = 128  # bits of a code that is not there: longer than any


def is_available(syntax: str) -> bool:
    """Whether frames of a transfer syntax can be decoded here; pydicom asks before it takes a plugin."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(codestream: bytes, runner: DecodeRunner) -> bytes:
    """Decode the compressed pixels of one grey frame.

    Returns: what is stored, little endian.
    Raises: anything, if the frame is broken or unusual.
    """
    if runner.transfer_syntax == RLE:
        return _run_lengths(codestream, int(runner.frame_length()), int(runner.bits_allocated) // 8)
    return _jpeg_lossless(codestream).tobytes()


def _run_lengths(codestream: bytes, num_bytes: int, bytes_per_pixel: int) -> bytes:
    """The pixels of a frame of run lengths, of which each segment ends where its pixels do."""
    stored = imagecodecs.dicomrle_decode(codestream, f"<u{bytes_per_pixel}", out=num_bytes)
    if len(stored) != num_bytes:
        raise ValueError("run lengths of fewer pixels")
    return bytes(stored)


def _jpeg_lossless(codestream: bytes) -> np.ndarray:
    """The pixels (H, W) of a JPEG Lossless frame, which take exactly the bits that are there.

    The decoder neither says that bits were missing, nor that some were no code, nor that some were left: so the bits
    of all pixels are counted, and the ones among them.
    """
    precision, code, start = _scan(codestream)
    frame = codestream.rstrip(b"\0")
    scan = frame[start:-2].rstrip(b"\xff")  # before a marker there may be any number of these
    num_stuffed = scan.count(b"\xff\0")
    if not frame.endswith(END_OF_IMAGE) or scan.count(b"\xff") != num_stuffed:
        raise ValueError("more than one scan, restarts, or an end that is missing")
    stored_HW = imagecodecs.jpeg8_decode(codestream)
    if int(stored_HW.max()) >> precision:
        raise ValueError("a value of more bits than the frame has")
    ones = int(np.bitwise_count(np.frombuffer(scan, np.uint8)).sum(dtype=np.int64))
    found = 8 * (len(scan) - num_stuffed) + 256 * ones
    categories, following = _of_differences()
    taken = int((code[categories] + following).take(_differences(stored_HW, precision)).sum(dtype=np.int64))
    if found - taken not in range(0, 8 * 257, 257):  # the last byte is filled with ones
        raise ValueError("other bits than these pixels take")
    return stored_HW


def _scan(codestream: bytes) -> tuple[int, np.ndarray, int]:
    """Of a plain frame: its bits per pixel, length + 256 x ones of each category's code, and where its scan starts."""
    precision, component, codes, position = 0, -1, {}, 2
    while True:
        marker, length = struct.unpack_from(">HH", codestream, position)
        segment, position = codestream[position + 4 : position + 2 + length], position + 2 + length
        if marker == SOF3 and not precision and segment[0] > 8 and segment[5] == 1 and segment[8] <= 3:
            precision, component = segment[0], segment[6]
        elif marker == DHT:
            codes[segment[0]] = _huffman(segment)
        elif marker == SOS and segment == bytes([1, component, segment[2] & 0xF0, *PLAIN]):
            return precision, codes[segment[2] >> 4], position
        elif marker != APP0 or segment[:5] != b"JFIF\0" or segment[7] > 2:
            raise ValueError("a marker that is not in a plain frame")


def _huffman(segment: bytes) -> np.ndarray:
    """Length + 256 x ones of each category's code in a table of Huffman codes.

    Source: ISO/IEC 10918-1 B.2.4.2, C.
    """
    lengths = np.repeat(np.arange(1, 17), list(segment[1:17]))
    categories = np.frombuffer(segment, np.uint8, offset=17)
    sizes = 1 << 16 - lengths
    codes = np.cumsum(sizes) - sizes >> 16 - lengths
    if len(set(categories)) != len(lengths) or max(categories) > MOST_BITS:
        raise ValueError("codes that are not one for each category")
    found = np.full(17, MISSING * 257, np.uint16)
    found[categories] = lengths + np.bitwise_count(codes).astype(np.int64) * 256
    return found


@cache
def _of_differences() -> tuple[np.ndarray, np.ndarray]:
    """Of each difference, by its 16 bits: its category, and number + 256 x ones of the bits that follow its code."""
    differences = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int64)
    categories = np.frexp(np.abs(differences))[1]  # how many bits it takes
    following = (differences - (differences < 0)) & ((1 << categories) - 1)
    return categories.astype(np.uint8), categories.astype(np.uint16) + np.uint16(256) * np.bitwise_count(following)


def _differences(stored_HW: np.ndarray, precision: int) -> np.ndarray:
    """What is coded of each pixel: its difference from the one to its left, at the left border from the one above."""
    differences_HW = np.empty_like(stored_HW)
    np.subtract(stored_HW[:, 1:], stored_HW[:, :-1], out=differences_HW[:, 1:])
    np.subtract(stored_HW[1:, 0], stored_HW[:-1, 0], out=differences_HW[1:, 0])
    differences_HW[0, 0] = (int(stored_HW[0, 0]) - (1 << precision - 1)) % (1 << 16)
    return differences_HW
