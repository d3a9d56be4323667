"""What compressed pixels say of themselves, without decoding them: their size, and where they end."""

from __future__ import annotations

import struct
from typing import NamedTuple

from cac_hpc.run.rejections import Refused

RLE = "1.2.840.10008.1.2.5"
JPEG_LOSSLESS = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
JPEG_2000 = tuple(f"1.2.840.10008.1.2.4.{end}" for end in (90, 91, 92, 93, 201, 202, 203))

FRAME_HEADERS = {0xFFF7, *range(0xFFC0, 0xFFD0)} - {0xFFC4, 0xFFC8, 0xFFCC}  # markers of JPEG-LS and JPEG
START_OF_JPEG_2000, START_OF_TILE, END = b"\xff\x4f\xff\x51", b"\xff\x90", b"\xff\xd9"


class Coded(NamedTuple):
    """Size in pixels and bits per pixel of what a codestream decodes to."""

    rows: int
    columns: int
    precision: int


def coded(codestream: bytes, syntax: str) -> Coded | None:
    """What a codestream says of itself; None if it says nothing, as with run-length encoding.

    Raises: ValueError or struct.error if it is no such codestream, or cut short.
    Source: ISO/IEC 10918-1 B.2.2 (JPEG), 14495-1 C.2.2 (JPEG-LS), 15444-1 A.5.1 (JPEG 2000).
    """
    if syntax == RLE:
        return None
    if syntax in JPEG_2000:
        start = _start_of_jpeg_2000(codestream) + 8
        right, bottom, left, top, depth = struct.unpack_from(">4I18xB", codestream, start)
        return Coded(bottom - top, right - left, (depth & 0x7F) + 1)
    marker, position = 0xFFD8, 2
    while marker not in FRAME_HEADERS:
        marker, length = struct.unpack_from(">HH", codestream, position)
        position += 2 + length
    precision, rows, columns = struct.unpack_from(">BHH", codestream, position - length + 2)
    return Coded(rows, columns, precision)


def require_end(codestream: bytes, syntax: str) -> None:
    """Refuse compressed pixels that end elsewhere than they say; those of run lengths say nothing.

    Of what is missing decoders make pixels, or search for the end of JPEG-LS again with each byte, for seconds.

    Raises: Refused; struct.error or ValueError if they are cut short where they say it.
    """
    if syntax == RLE:
        return
    if not codestream.rstrip(b"\0").endswith(END):
        raise Refused("cannot_decode", "the end of the compressed pixels is missing")
    if syntax in JPEG_2000 and not _is_whole(codestream):
        raise Refused("cannot_decode", "compressed pixels that are longer or shorter than they say")


def _start_of_jpeg_2000(codestream: bytes) -> int:
    return codestream.index(START_OF_JPEG_2000, 0, 1024)


def _is_whole(codestream: bytes) -> bool:
    """Whether each part of a tile of JPEG 2000 begins where the one before it ends, and the last one at the end.

    Source: ISO/IEC 15444-1 A.4.2.
    """
    position = _start_of_jpeg_2000(codestream) + 2
    while codestream[position : position + 2] != START_OF_TILE:
        position += 2 + struct.unpack_from(">H", codestream, position + 2)[0]
    while codestream[position : position + 2] == START_OF_TILE:
        (length,) = struct.unpack_from(">I", codestream, position + 6)
        if length == 0:  # until the end
            return True
        position += length
    return codestream[position:].rstrip(b"\0") == END
