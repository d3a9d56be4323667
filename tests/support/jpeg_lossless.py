"""JPEG Lossless frames with all that the standard allows and few encoders write, and their pixels, bit by bit."""

from __future__ import annotations

import re
import struct

import numpy as np

CODES = {category: "1" * max(category - 2, 0) + ("00", "01", "10")[min(category, 2)] for category in range(17)}


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">HH", marker, len(content) + 2) + content


def encode(
    stored_HW: np.ndarray,
    precision: int,
    predictor: int = 1,
    *,
    rows_at_once: int = 0,
    point_transform: int = 0,
    extra: bytes = b"",
) -> bytes:
    """A frame of one component, in which each category of differences has a code.

    Args:
        rows_at_once: after which there is a restart; 0 if there is none.
        point_transform: lowest bits that are left out.
        extra: segments behind the header of the frame.
    Source: ISO/IEC 10918-1 B.2, H.1.2.
    """
    rows, columns = stored_HW.shape
    counts = [sum(len(code) == length for code in CODES.values()) for length in range(1, 17)]
    frame = b"\xff\xd8" + segment(0xFFC3, struct.pack(">BHHB3B", precision, rows, columns, 1, 1, 0x11, 0))
    frame += segment(0xFFC4, bytes([0, *counts, *CODES])) + extra
    if rows_at_once:
        frame += segment(0xFFDD, struct.pack(">H", rows_at_once * columns))
    frame += segment(0xFFDA, bytes([1, 1, 0, predictor, 0, point_transform]))
    values_HW, middle = stored_HW.astype(int) >> point_transform, 1 << precision - point_transform - 1
    for number, row in enumerate(range(0, rows, rows_at_once or rows)):
        frame += bytes([0xFF, 0xD0 + (number - 1) % 8]) if number else b""
        frame += _scan(values_HW[row : row + (rows_at_once or rows)], predictor, middle)
    return frame + b"\xff\xd9"


def _scan(values_HW: np.ndarray, predictor: int, middle: int) -> bytes:
    bits = ""
    for at in np.ndindex(values_HW.shape):
        bits += _written((int(values_HW[at]) - _predicted(values_HW, *at, predictor, middle)) % (1 << 16))
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")


def _predicted(values_HW: np.ndarray, y: int, x: int, predictor: int, middle: int) -> int:
    if not x or not y:
        return int(values_HW[y, x - 1]) if x else int(values_HW[y - 1, x]) if y else middle
    left, above, before = (int(values_HW[at]) for at in ((y, x - 1), (y - 1, x), (y - 1, x - 1)))
    plane = left + above - before, left + (above - before >> 1), above + (left - before >> 1), left + above >> 1
    return (left, above, before, *plane)[predictor - 1]


def _written(difference: int) -> str:
    """The code of a difference modulo 65536, and the bits behind it; 32768 has none."""
    if difference == 1 << 15:
        return CODES[16]
    signed = difference - (difference >> 15 << 16)
    category = abs(signed).bit_length()
    return CODES[category] + (f"{(signed - (signed < 0)) % (1 << category):0{category}b}" if category else "")


def decode(frame: bytes) -> np.ndarray | None:
    """The pixels of a frame with one table of codes, bit by bit; None if a bit is none of theirs."""
    at, codes, rows_at_once = 2, {}, 0
    precision, rows, columns, predictor = 0, 0, 0, 0
    while not predictor:
        marker, length = struct.unpack_from(">HH", frame, at)
        content, at = frame[at + 4 : at + 2 + length], at + 2 + length
        if marker == 0xFFC3:
            precision, rows, columns = struct.unpack_from(">BHH", content)
        elif marker == 0xFFC4:
            codes = _codes(content)
        elif marker == 0xFFDD:
            rows_at_once = int.from_bytes(content, "big") // columns
        elif marker == 0xFFDA:
            predictor = content[3]
    scans = re.split(rb"\xff[\xd0-\xd7]", frame[at:-2]) if rows_at_once else [frame[at:-2]]
    parts = [min(rows_at_once or rows, rows - row) for row in range(0, rows, rows_at_once or rows)]
    if len(scans) != len(parts) or any(b"\xff" in scan.replace(b"\xff\0", b"") for scan in scans):
        return None
    found = [_unscan(scan, (num, columns), codes, predictor, precision) for scan, num in zip(scans, parts, strict=True)]
    return None if any(part is None for part in found) else np.concatenate(found)


def _codes(content: bytes) -> dict[str, int]:
    codes, categories, code = {}, iter(content[17:]), 0
    for size, count in enumerate(content[1:17], start=1):
        codes |= {f"{code + more:0{size}b}": next(categories) for more in range(count)}
        code = (code + count) * 2
    return codes


def _unscan(scan: bytes, shape: tuple[int, int], codes: dict[str, int], predictor: int, precision: int) -> np.ndarray:
    bits = "".join(f"{byte:08b}" for byte in scan.replace(b"\xff\0", b"\xff"))
    at, stored_HW = 0, np.zeros(shape, np.uint16)
    for y, x in np.ndindex(shape):
        end = next((end for end in range(at + 1, at + 17) if bits[at:end] in codes), None)
        if end is None:
            return None
        category = codes[bits[at:end]]
        at = end + category % 16
        if at > len(bits):
            return None
        value = int(bits[end:at] or "0", 2)
        low = category < 16 and category and not value >> (category - 1)
        difference = 1 << 15 if category == 16 else value - (1 << category) + 1 if low else value
        stored_HW[y, x] = (_predicted(stored_HW, y, x, predictor, 1 << precision - 1) + difference) % (1 << 16)
    return stored_HW if len(bits) - at < 8 and int(stored_HW.max()) < 1 << precision else None
