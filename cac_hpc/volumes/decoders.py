"""Fast decoders for pydicom, and whether a frame of JPEG Lossless is whole. The owner of imagecodecs.

A frame with anything unusual is left to a slower decoder. Both fill up what is missing, and go on behind what is no
code: so the bits of a frame are compared with those that its pixels would be written as.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import imagecodecs
import numpy as np

if TYPE_CHECKING:
    from pydicom.pixels.decoders.base import DecodeRunner


class Damaged(ValueError):
    """Compressed pixels that other decoders would read to pixels that nobody has written."""


NAME = "imagecodecs"  # of the plugin
JPEG_LOSSLESS, RLE = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"), "1.2.840.10008.1.2.5"
DECODER_DEPENDENCIES = dict.fromkeys((*JPEG_LOSSLESS, RLE), (NAME,))  # pydicom asks for this name

SOF3, DHT, SOS, APP0 = 0xFFC3, 0xFFC4, 0xFFDA, 0xFFE0  # markers of JPEG
END_OF_IMAGE = b"\xff\xd9"
MOST_BITS = 15  # of a difference that all decoders agree on
UNKNOWN = 128  # bits of a code that is not there: longer than any
AT_ONCE = 1 << 14  # pixels whose bits are compared: few enough for the cache
PREDICTORS: dict[int, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    1: lambda left, above, before: left,
    2: lambda left, above, before: above,
    3: lambda left, above, before: before,
    4: lambda left, above, before: left + above - before,
    5: lambda left, above, before: left + (above - before >> 1),
    6: lambda left, above, before: above + (left - before >> 1),
    7: lambda left, above, before: left + above >> 1,
}


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


def require_whole(codestream: bytes, syntax: str) -> None:
    """Refuse a frame that the fast decoder has left, if a slower one would read it to pixels that nobody has written.

    Raises: Damaged.
    """
    if syntax in JPEG_LOSSLESS:
        try:
            _jpeg_lossless(codestream)
        except Damaged:
            raise
        except Exception:  # unusual: the slower one sees for itself
            return


def _run_lengths(codestream: bytes, num_bytes: int, bytes_per_pixel: int) -> bytes:
    """The pixels of a frame of run lengths, of which each segment ends where its pixels do."""
    stored = imagecodecs.dicomrle_decode(codestream, f"<u{bytes_per_pixel}", out=num_bytes)
    if len(stored) != num_bytes:
        raise ValueError("run lengths of fewer pixels")
    return bytes(stored)


def _jpeg_lossless(codestream: bytes) -> np.ndarray:
    """The pixels (H, W) of a JPEG Lossless frame, whose codes are, one after the other, the bits that are there.

    Raises: Damaged if they are not; anything if the frame is unusual.
    """
    plain = _scan(codestream)
    frame = codestream.rstrip(b"\0")
    scan = frame[plain.start : -2].rstrip(b"\xff")  # before a marker there may be any number of these
    if not frame.endswith(END_OF_IMAGE) or scan.count(b"\xff") != scan.count(b"\xff\0"):
        raise ValueError("more than one scan, restarts, or an end that is missing")
    stored_HW = imagecodecs.jpeg8_decode(codestream)
    codes, lengths = _of_differences(plain.codes)
    differences_HW = _differences(stored_HW, plain.precision, plain.predictor)
    if not _is_written(scan.replace(b"\xff\0", b"\xff"), differences_HW.ravel(), codes, lengths):
        raise Damaged("bits that are no pixels of JPEG Lossless")
    if int(stored_HW.max()) >> plain.precision:
        raise ValueError("a value of more bits than the frame has")
    return stored_HW


class _Plain(NamedTuple):
    """A frame of one scan. codes: the segment that defines them. start: of the scan."""

    precision: int
    predictor: int
    codes: bytes
    start: int


def _scan(codestream: bytes) -> _Plain:
    precision, component, codes, position = 0, -1, {}, 2
    while True:
        marker, length = struct.unpack_from(">HH", codestream, position)
        segment, position = codestream[position + 4 : position + 2 + length], position + 2 + length
        if marker == SOF3 and not precision and segment[0] > 8 and segment[5] == 1 and segment[8] <= 3:
            precision, component = segment[0], segment[6]
        elif marker == DHT:
            codes[segment[0]] = segment
        elif marker == SOS and segment == bytes([1, component, segment[2] & 0xF0, segment[3], 0, 0]):
            return _Plain(precision, segment[3], codes[segment[2] >> 4], position)
        elif marker != APP0 or segment[:5] != b"JFIF\0" or segment[7] > 2:
            raise ValueError("a marker that is not in a plain frame")


def _of_differences(segment: bytes) -> tuple[np.ndarray, np.ndarray]:
    """What is written for each difference, by its 16 bits: a code and the bits that follow it, and how many these are.

    Args:
        segment: table of Huffman codes, mostly another one for each frame.
    Source: ISO/IEC 10918-1 B.2.4.2, C, H.1.2.2.
    """
    lengths = np.repeat(np.arange(1, 17), list(segment[1:17]))
    known = np.frombuffer(segment, np.uint8, offset=17)
    sizes = 1 << 16 - lengths
    if len(set(known)) != len(lengths) or max(known) > MOST_BITS:
        raise ValueError("codes that are not one for each category")
    code, length = np.zeros(MOST_BITS + 2, np.uint32), np.full(MOST_BITS + 2, UNKNOWN, np.uint8)
    code[known], length[known] = (np.cumsum(sizes) - sizes >> 16 - lengths) << known, lengths + known
    categories, following = _categories()
    return code.take(categories) | following, length.take(categories)


@cache
def _categories() -> tuple[np.ndarray, np.ndarray]:
    """Of each difference, by its 16 bits: its category, which is how many bits follow its code, and these bits."""
    differences = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int64)
    categories = np.frexp(np.abs(differences))[1]
    following = (differences - (differences < 0)) & ((1 << categories) - 1)
    return categories.astype(np.intp), following.astype(np.uint32)


def _is_written(scan: bytes, differences_N: np.ndarray, codes: np.ndarray, lengths: np.ndarray) -> bool:
    """Whether bits are the codes of these differences, one after the other.

    Args:
        codes, lengths: of each difference.
    Raises: ValueError if a byte or more is left.
    """
    end = 0
    for first in range(0, len(differences_N), AT_ONCE):
        differences_M = differences_N[first : first + AT_ONCE]
        length_M = lengths.take(differences_M)
        if (longest := int(length_M.max())) >= UNKNOWN:
            return False
        end_M = np.cumsum(length_M, dtype=np.uint32) + np.uint32(end % 8)
        start_M = end_M - length_M
        num_bits = 32 if longest <= 32 - 7 else 64  # that are looked at, as it may begin at any bit of a byte
        here = scan[end // 8 : (end + int(end_M[-1])) // 8 + 1]
        if len(here) <= int(start_M[-1]) // 8:
            return False  # they have come to an end
        bits = np.ndarray((len(here),), f">u{num_bits // 8}", here + bytes(8), strides=(1,))  # from each byte on
        found_M = bits.astype(f"u{num_bits // 8}").take(start_M >> 3) << (start_M & 7) >> (num_bits - length_M)
        if not np.array_equal(found_M, codes.take(differences_M)):
            return False
        end += int(end_M[-1]) - end % 8
    if 8 * len(scan) - end >= 8:
        raise ValueError("more bits than the pixels take")
    return 8 * len(scan) >= end


def _differences(stored_HW: np.ndarray, precision: int, predictor: int) -> np.ndarray:
    """What is coded of each pixel: its difference from what those to its left, above, and left of that predict.

    Returns: (H, W) uint16, the differences modulo 65536.
    Source: ISO/IEC 10918-1 H.1.2.1, table H.1.
    """
    differences_HW = np.empty_like(stored_HW)
    differences_HW[0, 0] = (int(stored_HW[0, 0]) - (1 << precision - 1)) % (1 << 16)
    np.subtract(stored_HW[0, 1:], stored_HW[0, :-1], out=differences_HW[0, 1:])
    np.subtract(stored_HW[1:, 0], stored_HW[:-1, 0], out=differences_HW[1:, 0])
    if predictor == 1:
        np.subtract(stored_HW[1:, 1:], stored_HW[1:, :-1], out=differences_HW[1:, 1:])
    else:
        wide = stored_HW.astype(np.int32)
        predicted = PREDICTORS[predictor](wide[1:, :-1], wide[:-1, 1:], wide[:-1, :-1])
        differences_HW[1:, 1:] = wide[1:, 1:] - predicted
    return differences_HW
