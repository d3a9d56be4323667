"""The elements of a little-endian DICOM data set, found without reading what lies in them.

A scanner writes some hundred elements per slice, of which some thirty matter here; stepping over the others takes a
tenth of what a full parser needs. Anything out of the ordinary is refused, never repaired.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass

PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF
MAX_DEPTH = 24  # of sequences in sequences
MOST_LAYOUTS = 6  # numbers of other lengths, as 99.5 and 100.5 in a position, make another

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_SEQUENCE, _UNKNOWN = int.from_bytes(b"SQ", "little"), int.from_bytes(b"UN", "little")
# value representations (VR), as a 16-bit number each; the long ones carry a 32-bit length
_LONG = {int.from_bytes(vr, "little") for vr in (
    b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV",
)}  # fmt: skip
_SHORT = {int.from_bytes(vr, "little") for vr in (
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
    b"ST", b"TM", b"UI", b"UL", b"US",
)}  # fmt: skip
_explicit = struct.Struct("<HHHH").unpack_from  # group, element, VR, length
_implicit = struct.Struct("<HHI").unpack_from  # group, element, length
_length = struct.Struct("<I").unpack_from


class ElementError(ValueError):
    """The bytes are no data set of that kind."""


class CutShort(ElementError):
    """The bytes end inside the data set."""


@dataclass(frozen=True)
class Elements:
    """The wanted elements of a data set.

    values: tag (group << 16 | element) to the bytes of the value; of a sequence of undefined length its first tag.
    pixels: offset and length of the pixel data, which are not read; length UNDEFINED if they are compressed.
    private: whether there are private elements.
    """

    values: dict[int, bytes]
    pixels: tuple[int, int] | None
    private: bool


@dataclass(frozen=True)
class Layout:
    """Where the elements of a data set that ends in pixel data stand; most slices of a series have the same.

    start, wanted, explicit: as for `walk`. heads: takes tags, representations and lengths out of a file; where they are
    as ``expected`` the layout is the same. values: tag, offset and end of each wanted value. sequences: offset of each
    one of undefined length, whether it is explicit, and the offset behind it. last: offset of the last element, the
    pixels. pixels, private: as in `Elements`.
    """

    start: int
    wanted: Collection[int]
    explicit: bool
    heads: struct.Struct
    expected: tuple[bytes, ...]
    values: list[tuple[int, int, int]]
    sequences: list[tuple[int, bool, int]]
    last: int
    pixels: tuple[int, int]
    private: bool

    def read(self, data: bytes, end: int) -> Elements | None:
        """What `walk` finds in a data set of this layout; None if it has another."""
        if self.last >= end or self.pixels[0] > len(data) or self.heads.unpack_from(data) != self.expected:
            return None
        for position, explicit, behind in self.sequences:
            if _behind_sequence(data, position, explicit, 1) != behind:
                return None
        return Elements({tag: data[first:last] for tag, first, last in self.values}, self.pixels, self.private)


_layouts: list[Layout] = []  # of the files that were read last, the newest first


def walk(data: bytes, start: int, end: int, wanted: Collection[int], explicit: bool) -> Elements:
    """Step over the elements of a data set up to its pixel data or its end.

    Args:
        data: the bytes of the file. start, end: of the data set in them. wanted: tags to be found.
        explicit: whether the elements name their value representation.
    Raises: ElementError if tags do not rise, a VR or a length cannot be; CutShort if ``data`` ends before the data set.
    Source: DICOM PS3.5, 7.1 and 7.5.
    """
    try:
        for layout in _layouts:
            same = layout.wanted is wanted and (layout.start, layout.explicit) == (start, explicit)
            if same and (found := layout.read(data, end)):
                return found
        return _walk(data, start, end, wanted, explicit)
    except struct.error:
        raise CutShort("the file ends inside an element") from None


def file_meta(data: bytes, start: int, wanted: Collection[int]) -> tuple[dict[int, bytes], int]:
    """The wanted elements of group 2, which is explicit in every file, and the offset behind it.

    Raises: ElementError, CutShort as `walk` does.
    """
    values: dict[int, bytes] = {}
    position = start
    try:
        while position < len(data) and data[position : position + 2] == b"\2\0":
            _, element, vr, length = _explicit(data, position)
            if vr in _LONG:
                (length,) = _length(data, position + 8)
                position += 4
            elif vr not in _SHORT:
                raise ElementError("an element of group 2 without a known VR")
            position += 8
            if (tag := 0x00020000 | element) in wanted:
                values[tag] = data[position : position + length]
            position += length
    except struct.error:
        raise CutShort("the file ends inside group 2") from None
    return values, position


def _walk(data: bytes, start: int, end: int, wanted: Collection[int], explicit: bool) -> Elements:
    values: dict[int, bytes] = {}
    places, heads, sequences = list[tuple[int, int, int]](), list[tuple[int, int]](), list[tuple[int, bool, int]]()
    position, last, vr, private = start, -1, 0, False
    while position < end:
        head = position
        tag, vr, length, position = _head(data, position) if explicit else _implicit_head(data, position)
        if tag <= last:
            raise ElementError("tags that do not rise")
        last = tag
        heads.append((head, position))
        if tag & 0x10000:  # an odd group
            private = True
        elif tag in wanted:
            behind = position + (4 if length == UNDEFINED else length)
            values[tag] = value = data[position:behind]
            places.append((tag, position, behind))
            if len(value) < length != UNDEFINED:
                raise CutShort("the file ends inside a value")
        elif tag == PIXEL_DATA:
            pixels, taken = (position, length), _taking(heads)
            known = taken, taken.unpack_from(data), places, sequences, head, pixels, private
            _layouts[:] = [Layout(start, wanted, explicit, *known), *_layouts[: MOST_LAYOUTS - 1]]
            return Elements(values, pixels, private)
        if length == UNDEFINED:
            if explicit and vr not in (_SEQUENCE, _UNKNOWN):
                raise ElementError("an element of undefined length that is no sequence")
            is_explicit = explicit and vr == _SEQUENCE
            behind = _behind_sequence(data, position, is_explicit, 1)
            sequences.append((position, is_explicit, behind))
            position = behind
        else:
            position += length
    if position != end:
        raise CutShort("the last element is longer than the file")
    return Elements(values, None, private)


def _head(data: bytes, position: int) -> tuple[int, int, int, int]:
    """Tag, VR and length of an explicit element, and the offset of its value."""
    group, element, vr, length = _explicit(data, position)
    if vr in _SHORT:
        return group << 16 | element, vr, length, position + 8
    if vr in _LONG:
        return group << 16 | element, vr, _length(data, position + 8)[0], position + 12
    raise ElementError("an element without a known VR")


def _implicit_head(data: bytes, position: int) -> tuple[int, int, int, int]:
    group, element, length = _implicit(data, position)
    return group << 16 | element, 0, length, position + 8


def _taking(heads: list[tuple[int, int]]) -> struct.Struct:
    """What takes some pieces, given as offset and end, out of a file at once."""
    ends = [0, *(behind for _, behind in heads)]
    pieces = [f"{head - end}x{behind - head}s" for (head, behind), end in zip(heads, ends, strict=False)]
    return struct.Struct("".join(pieces))


def _behind_sequence(data: bytes, position: int, explicit: bool, depth: int) -> int:
    """Offset behind a sequence of undefined length."""
    if depth > MAX_DEPTH:
        raise ElementError(f"sequences nested more than {MAX_DEPTH} deep")
    while True:
        group, element, length = _implicit(data, position)
        tag, position = group << 16 | element, position + 8
        if tag == _SEQUENCE_END:
            return position
        if tag != _ITEM:
            raise ElementError("a sequence without items")
        position = _behind_item(data, position, explicit, depth) if length == UNDEFINED else position + length


def _behind_item(data: bytes, position: int, explicit: bool, depth: int) -> int:
    """Offset behind an item of undefined length."""
    while True:
        group, element, length = _implicit(data, position)
        vr = length & 0xFFFF
        if group << 16 | element == _ITEM_END:
            return position + 8
        position += 8
        if explicit:
            length >>= 16
            if vr in _LONG:
                (length,) = _length(data, position)
                position += 4
            elif vr not in _SHORT:
                raise ElementError("an element without a known VR")
        if length == UNDEFINED:
            position = _behind_sequence(data, position, explicit and vr == _SEQUENCE, depth + 1)
        else:
            position += length
