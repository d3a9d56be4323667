"""Whether the bits of a frame of JPEG Lossless are those that its pixels are written as. Axes: H row, W column.

Source: ISO/IEC 10918-1, annex B (segments), C (codes), H (differences).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from cac_hpc.run.rejections import Refused

SOF3, DHT, SOS, DRI, COM = 0xFFC3, 0xFFC4, 0xFFDA, 0xFFDD, 0xFFFE  # markers
OTHERS = {0xFFDB, COM, *range(0xFFE0, 0xFFF0)}  # that say nothing of the pixels
END_OF_IMAGE = b"\xff\xd9"
RESTART = re.compile(rb"\xff+[\xd0-\xd7]")
CATEGORIES = 17  # of differences modulo 65536
UNKNOWN = 128  # bits of a code that is not there: longer than any
AT_ONCE = 1 << 15  # pixels whose bits are compared: few enough for the cache
PREDICTORS: dict[int, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    1: lambda left, above, before: left,
    2: lambda left, above, before: above,
    3: lambda left, above, before: before,
    4: lambda left, above, before: left + above - before,
    5: lambda left, above, before: left + (above - before >> 1),
    6: lambda left, above, before: above + (left - before >> 1),
    7: lambda left, above, before: left + above >> 1,
}


class Frame(NamedTuple):
    """A frame of one scan.

    codes: how long they are, and for which categories of differences. restart: pixels, after which the prediction
    begins again; 0 if it never does. scan: all bytes of the pixels.
    """

    precision: int
    predictor: int
    codes: tuple[bytes, bytes]
    restart: int
    scan: bytes


def parse(codestream: bytes) -> Frame:
    """What comes before the pixels of a frame, and their bytes.

    Raises: Refused if it is no such frame, or not one grey component without loss; ValueError if it has no end.
    """
    precision, component, restart, position = 0, -1, 0, 2
    tables: dict[int, tuple[bytes, bytes]] = {}
    while len(header := codestream[position : position + 4]) == 4:
        marker, length = struct.unpack(">HH", header)
        segment, position = codestream[position + 4 : position + 2 + length], position + 2 + length
        if marker == SOF3 and not precision and len(segment) == 9 and segment[5] == 1:
            precision, component = segment[0], segment[6]
        elif marker == DHT:
            tables |= _tables(segment)
        elif marker == DRI and len(segment) == 2:
            restart = int.from_bytes(segment, "big")
        elif marker == SOS and len(segment) == 6 and segment[:2] == bytes([1, component]) and segment[4:] == bytes(2):
            if segment[2] >> 4 not in tables or segment[3] not in PREDICTORS:
                break
            scan = codestream[position : codestream.rindex(END_OF_IMAGE)].rstrip(b"\xff")
            return Frame(precision, segment[3], tables[segment[2] >> 4], restart, scan)
        elif marker not in OTHERS:
            break
    raise Refused("cannot_decode", "no frame of JPEG Lossless of one component, in one scan, without a point transform")


def _tables(segment: bytes) -> dict[int, tuple[bytes, bytes]]:
    """The tables of codes that a segment defines, by their number: how many are of 1 to 16 bits, and what for."""
    tables = {}
    while len(segment) > 17:
        count = sum(segment[1:17])
        tables[segment[0]] = segment[1:17], segment[17 : 17 + count]
        segment = segment[17 + count :]
    return tables


def require_written(frame: Frame, stored_HW: np.ndarray) -> None:
    """Refuse pixels that are not what a frame says.

    Args:
        stored_HW: unsigned integers, as it was decoded.
    Raises: Refused.
    """
    codes, lengths = _of_differences(*frame.codes)
    rows, rest = divmod(frame.restart, stored_HW.shape[1]) if frame.restart else (len(stored_HW), 0)
    scans = RESTART.split(frame.scan) if frame.restart else [frame.scan]
    parts = [stored_HW[row : row + rows] for row in range(0, len(stored_HW), rows or 1)]
    if rest or len(scans) != len(parts) or not all(
        _is_written(_bits(scan), part_HW, frame, codes, lengths)
        for scan, part_HW in zip(scans, parts, strict=True)
    ):  # fmt: skip
        raise Refused("cannot_decode", "bits that are no pixels of JPEG Lossless")
    if int(stored_HW.max()) >> frame.precision:
        raise Refused("cannot_decode", f"values of more than {frame.precision} bits, which decoders read differently")


def _of_differences(counts: bytes, known: bytes) -> tuple[np.ndarray, np.ndarray]:
    """What is written for each difference, by its 16 bits: a code and the bits that follow it, and how many these are.

    Args:
        counts: how many codes are of 1 to 16 bits.
        known: the categories that have a code, in the order of these.
    Source: ISO/IEC 10918-1 C, table H.2.
    """
    lengths = np.repeat(np.arange(1, 17), list(counts))
    if len(set(known)) != len(lengths) or max(known) >= CATEGORIES:
        raise Refused("cannot_decode", "codes that are not one for each category")
    sizes, into = 1 << 16 - lengths, list(known)
    num_following = np.array(into) % 16  # none follow the code of category 16, which is 32768 alone
    code, length = np.zeros(CATEGORIES, np.uint32), np.full(CATEGORIES, UNKNOWN, np.uint8)
    code[into] = (np.cumsum(sizes) - sizes >> 16 - lengths) << num_following
    length[into] = lengths + num_following
    categories, following = _categories()
    return code.take(categories) | following, length.take(categories)


@cache
def _categories() -> tuple[np.ndarray, np.ndarray]:
    """Of each difference, by its 16 bits: its category, and the bits that follow the code of this."""
    differences = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int64)
    categories = np.frexp(np.abs(differences))[1]
    following = (differences - (differences < 0)) & ((1 << categories % 16) - 1)
    return categories.astype(np.intp), following.astype(np.uint32)


def _bits(scan: bytes) -> np.ndarray:
    """The bytes of a scan without the zero that follows each byte of ones.

    Raises: Refused if something else follows one.
    """
    scan_B = np.frombuffer(scan, np.uint8)
    following = np.flatnonzero(scan_B[:-1] == 0xFF) + 1
    if scan_B[following].any():
        raise Refused("cannot_decode", "a marker among the pixels")
    return np.delete(scan_B, following)


def _is_written(
    scan_B: np.ndarray, stored_HW: np.ndarray, frame: Frame, codes: np.ndarray, lengths: np.ndarray
) -> bool:
    """Whether bits are the codes of the differences of pixels, one after the other, and no byte is left.

    Args:
        codes, lengths: of each difference.
    """
    end, padded_B = 0, np.append(scan_B, np.zeros(8, np.uint8))
    rows = max(AT_ONCE // stored_HW.shape[1], 1)
    for first in range(0, len(stored_HW), rows):
        above = min(first, 1)
        differences_HW = _differences(stored_HW[first - above : first + rows], frame)[above:]
        differences_M = differences_HW.astype(np.intp).ravel()  # as numpy looks them up
        length_M = lengths.take(differences_M)
        if (longest := int(length_M.max())) >= UNKNOWN:
            return False
        byte, bit = divmod(end, 8)
        ends_M = np.empty(len(length_M) + 1, np.uint32)  # the first is where they start
        ends_M[0] = bit
        np.cumsum(length_M, out=ends_M[1:])
        ends_M[1:] += np.uint32(bit)
        end = 8 * byte + int(ends_M[-1])
        if end > 8 * len(scan_B):
            return False
        word = np.dtype("u4" if longest <= 32 - 7 else "u8")  # of bits that are looked at, from each byte on
        here = end // 8 - byte + 1, word.newbyteorder(">"), padded_B, byte, (1,)
        found_M = np.ndarray(*here).astype(word).take(ends_M[:-1] >> 3)
        found_M <<= ends_M[:-1] & 7
        found_M >>= 8 * word.itemsize - length_M
        if not np.array_equal(found_M, codes.take(differences_M)):
            return False
    return 8 * len(scan_B) - end < 8


def _differences(stored_HW: np.ndarray, frame: Frame) -> np.ndarray:
    """What is coded of each pixel: its difference from what those to its left, above, and left of that predict.

    Returns: (H, W) uint16, the differences modulo 65536.
    Source: ISO/IEC 10918-1 H.1.2.1, table H.1.
    """
    stored_HW = stored_HW.astype(np.uint16, copy=False)
    differences_HW = np.empty_like(stored_HW)
    differences_HW[0, 0] = (int(stored_HW[0, 0]) - (1 << frame.precision - 1)) % (1 << 16)
    np.subtract(stored_HW[0, 1:], stored_HW[0, :-1], out=differences_HW[0, 1:])
    np.subtract(stored_HW[1:, 0], stored_HW[:-1, 0], out=differences_HW[1:, 0])
    if frame.predictor == 1:
        np.subtract(stored_HW[1:, 1:], stored_HW[1:, :-1], out=differences_HW[1:, 1:])
    else:
        wide = stored_HW.astype(np.int32)
        predicted = PREDICTORS[frame.predictor](wide[1:, :-1], wide[:-1, 1:], wide[:-1, :-1])
        differences_HW[1:, 1:] = wide[1:, 1:] - predicted
    return differences_HW
