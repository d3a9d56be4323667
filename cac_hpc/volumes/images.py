"""One file in, its CT slices out by their headers; `pixels` reads what is in them.

Uncompressed little-endian files, which is nearly all, are read here element by element, in a tenth of the time of a
full parser; everything else goes through `dicom`.
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from cac_hpc.run.rejections import Refused
from cac_hpc.volumes import elements
from cac_hpc.volumes.acquisition import HAS_ITEMS, Value, subject
from cac_hpc.volumes.elements import UNDEFINED, CutShort, ElementError, Elements
from cac_hpc.volumes.header import (
    CT_IMAGE,
    ENHANCED_CT,
    MAX_PIXELS,
    Header,
    check_kind,
    kind,
    parse,
    read_number,
    read_position,
)
from cac_hpc.volumes.tags import FLOATS, IDENTITY, KEYWORDS, NUMBERS, OWN, SEQUENCES, TEXT, WANTED

MAX_HEADER = 64 << 20  # bytes
MAX_INFLATED = MAX_HEADER + 2 * MAX_PIXELS  # bytes
HEAD = 32 << 10  # bytes; most headers fit

IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
UNCOMPRESSED = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
SYNTAX = 0x00020010  # TransferSyntaxUID

ITEM, ITEMS_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"  # tags inside of compressed pixel data


class Own(NamedTuple):
    """What a slice has for itself, while all else is that of its series.

    position: of the centre of its first stored pixel, in mm. instance: its InstanceNumber, NaN if there is none.
    acquired, made: AcquisitionDateTime or AcquisitionTime, and ContentTime, "" if there is none.
    """

    position: tuple[float, ...]
    instance: float
    acquired: str
    made: str = ""


@dataclass(frozen=True, slots=True)
class Image:
    """One CT slice in a file, its pixels not read yet.

    own: what it has for itself. stamp: what tells that the file is still the same.
    pixels_at: offset of the pixel data in the file, or in what it inflates to. frame: of num_frames in the file.
    """

    path: Path
    header: Header
    own: Own
    stamp: tuple[int, ...]
    pixels_at: int
    frame: int = 0
    num_frames: int = 1


def read_images(path: Path) -> list[Image]:
    """The slices that a file holds: one, or the frames of an enhanced CT.

    Raises: Refused with the reason why there is none to be used.
    """
    try:
        with opened(path) as (file, stamp):
            images = _read_images(path, file, stamp)
            if stamp_of(file) != stamp:
                raise Refused("changed_while_read", "its size or time changed")
            return images
    except (Refused, MemoryError):
        raise
    except OSError as error:
        raise unreadable(error, "unreadable_header") from error
    except ElementError as error:
        raise Refused("unreadable_header", str(error)) from error
    except Exception as error:  # a broken file can raise anything from inside a parser
        raise Refused("unreadable_header", type(error).__name__) from error


def unreadable(error: OSError, otherwise: str) -> Refused:
    """What the operating system refused; without its number it was a parser or a decoder, whose reason is given."""
    if error.errno:
        return Refused("unreadable_file", os.strerror(error.errno))
    return Refused(otherwise, type(error).__name__)


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, tuple[int, ...]]]:
    """A regular file's descriptor, and its stamp; opening anything else neither waits nor acts."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise Refused("not_a_file", "wanted a regular file")
        yield file, stamp_of(file)
    finally:
        os.close(file)


def stamp_of(file: int) -> tuple[int, ...]:
    """What changes with the content of an open file."""
    status = os.fstat(file)
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read_images(path: Path, file: int, stamp: tuple[int, ...]) -> list[Image]:
    found, size = _found(file, stamp[2])
    own = {OWN[tag]: _text(found.values.pop(tag, b"")) for tag in OWN}
    values = _decoded(tuple(found.values.items()), found.private)
    try:
        check_kind(values)
        return _slices(path, file, stamp, found, size, own)
    except Refused as why:
        if kind(values) in (CT_IMAGE, *ENHANCED_CT):
            why.series, why.subject = str(values.get("SeriesInstanceUID", "")), subject(values)
        raise


def _slices(
    path: Path, file: int, stamp: tuple[int, ...], found: Elements, size: int, own: Mapping[str, Value]
) -> list[Image]:
    """The slices of a CT file whose elements were found."""
    known = tuple(found.values.items()), found.private
    values = _decoded(*known)
    syntax = str(values["TransferSyntaxUID"])
    if syntax not in UNCOMPRESSED:
        _check_decodable(syntax)
    if syntax == BIG_ENDIAN or kind(values) in ENHANCED_CT or values.get("MultienergyCTAcquisition") == "YES":
        found_slices = _parsed_slices(file, values)
    else:
        found_slices = [(_header(*known), _own(own))]
    offset = _checked_pixels(file, size, found.pixels, found_slices[0][0], len(found_slices))
    return [
        Image(path, header, its, stamp, offset, frame, len(found_slices))
        for frame, (header, its) in enumerate(found_slices)
    ]


def _check_decodable(syntax: str) -> None:
    from cac_hpc.volumes import dicom

    if not dicom.can_decode(syntax):
        raise Refused("unsupported_compression", "nothing here decodes its TransferSyntaxUID")


def _parsed_slices(file: int, values: Mapping[str, Value]) -> list[tuple[Header, Own]]:
    """The slices of a file that needs a full parser; values: what is known of all of them."""
    from cac_hpc.volumes import dicom

    slices = [{**values, **its} for its in dicom.read_slices(stream(file), KEYWORDS)]
    return [(parse(its), _own(its)) for its in slices]


def _own(values: Mapping[str, Value]) -> Own:
    return Own(
        read_position(str(values.get("ImagePositionPatient", ""))),
        read_number(values, "InstanceNumber"),
        str(values.get("AcquisitionDateTime") or values.get("AcquisitionTime", "")),
        str(values.get("ContentTime", "")),
    )


def _found(file: int, size: int) -> tuple[Elements, int]:
    """The wanted elements of a file of that size, and the size of what their offsets are in."""
    head = os.pread(file, HEAD, 0)
    try:
        found = _elements(head, size)
    except CutShort:
        if size <= len(head):
            raise
        found = _elements(os.pread(file, MAX_HEADER, 0), size)
    if _text(found.values[SYNTAX]) != DEFLATED:
        return found, size
    data = inflated(file, size)
    rest = elements.walk(data, 0, len(data), WANTED, explicit=True)
    return replace(rest, values=found.values | rest.values), len(data)


def _checked_pixels(file: int, size: int, pixels: tuple[int, int] | None, header: Header, num_frames: int) -> int:
    """Offset of pixel data that are as long as the header says, or whole if they are compressed."""
    if header.transfer_syntax == BIG_ENDIAN:
        return 0  # checked when they are read
    offset, length = pixels or (size, 0)
    wanted = num_frames * header.num_bytes
    if header.transfer_syntax in UNCOMPRESSED:
        if length == UNDEFINED:
            raise Refused("unsupported_compression", "compressed, but the transfer syntax is not")
        if length != wanted or offset + length > size:
            raise Refused("wrong_length", f"{min(length, size - offset)} bytes of pixels, wanted {wanted}")
    elif length != UNDEFINED or not _is_whole(file, offset):
        raise Refused("wrong_length", "compressed pixels without their end")
    return offset


def _is_whole(file: int, position: int) -> bool:
    """Whether items of compressed pixels follow each other up to their end."""
    while len(head := os.pread(file, 8, position)) == 8:
        tag, length = struct.unpack("<4sI", head)
        if tag != ITEM:
            return bool(tag == ITEMS_END)
        position += 8 + length
    return False


def _elements(data: bytes, size: int) -> Elements:
    """The wanted elements of a file, group 2 among them; of group 2 alone where the rest has to be inflated or swapped.

    Raises: Refused if this is no DICOM file; CutShort if ``data`` does not hold enough of it.
    """
    start = _start(data)
    if not start and data[:2] not in (b"\2\0", b"\x08\0"):
        raise Refused("not_dicom", "neither file meta information nor a data set of group 8")
    meta, body = elements.file_meta(data, start, WANTED)
    syntax = _text(meta.get(SYNTAX, b""))
    if syntax in (DEFLATED, BIG_ENDIAN):
        return Elements(meta, None, False)
    if syntax:
        found = elements.walk(data, body, size, WANTED, explicit=syntax != IMPLICIT)
    else:
        syntax, found = _without_syntax(data, body, size)
        meta[SYNTAX] = syntax.encode()
    return Elements(meta | found.values, found.pixels, found.private)


def _start(data: bytes) -> int:
    """Offset behind the preamble, if there is one."""
    return 132 if data[128:132] == b"DICM" else 0


def _without_syntax(data: bytes, start: int, size: int) -> tuple[str, Elements]:
    """A data set whose transfer syntax is not named: it must read in one way and in no other."""
    readings = []
    for syntax in (IMPLICIT, EXPLICIT):
        try:
            readings.append((syntax, elements.walk(data, start, size, WANTED, explicit=syntax == EXPLICIT)))
        except CutShort:
            if len(data) < size:
                raise
        except ElementError:
            continue
    if len(readings) != 1:
        raise Refused("not_dicom", f"no TransferSyntaxUID, and {len(readings)} ways to read it, wanted one")
    return readings[0]


@lru_cache(maxsize=64)
def _decoded(raw: tuple[tuple[int, bytes], ...], private: bool) -> Mapping[str, Value]:
    """Values by DICOM keyword."""
    values: dict[str, Value] = {"private": 1} if private else {}
    for tag, value in raw:
        if keyword := NUMBERS.get(tag):
            if len(value) == 2:
                values[keyword] = value[0] | value[1] << 8
        elif keyword := FLOATS.get(tag):
            if kind_of_float := {4: "<f", 8: "<d"}.get(len(value)):
                values[keyword] = repr(*struct.unpack(kind_of_float, value))
        elif keyword := SEQUENCES.get(tag):
            values[keyword] = HAS_ITEMS if value[:4] == ITEM else ""
        else:
            values[TEXT.get(tag) or IDENTITY[tag]] = _text(value)
    return values


@lru_cache(maxsize=64)
def _header(raw: tuple[tuple[int, bytes], ...], private: bool) -> Header:
    """Slices of a series say the same but for their position, so this is done once for all of them."""
    return parse(_decoded(raw, private))


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(" \0")


class Stream(io.BufferedReader):
    """An open file, of which never more is asked for than there is: Python would allocate it before it reads."""

    def __init__(self, file: int) -> None:
        super().__init__(io.FileIO(file, closefd=False))
        self._num_bytes = os.fstat(file).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to that many bytes; all that is left without a number."""
        left = max(self._num_bytes - self.tell(), 0)
        return super().read(left if size is None or size < 0 else min(size, left))


def stream(file: int, position: int = 0) -> BinaryIO:
    """The open file, for a library that wants to read it; it stays open behind it."""
    os.lseek(file, position, os.SEEK_SET)
    return cast(BinaryIO, Stream(file))


def check_inflated(file: int, size: int) -> None:
    """Refuse a deflated file before it is inflated whole by a full parser.

    Raises: Refused if it is no DICOM file, or larger than any that we read.
    """
    head = os.pread(file, HEAD, 0)
    if not _start(head):
        raise Refused("not_dicom", "no preamble of DICOM")
    meta, _ = elements.file_meta(head, _start(head), (SYNTAX,))
    if _text(meta.get(SYNTAX, b"")) == DEFLATED:
        inflated(file, size)


def inflated(file: int, size: int) -> bytes:
    """The data set of a deflated file.

    Raises: Refused if it is larger than any that we read, before it is inflated whole.
    """
    data, limit = os.pread(file, min(size, MAX_INFLATED), 0), MAX_INFLATED
    _, body = elements.file_meta(data, _start(data), ())
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(data[body:], limit + 1)
    if len(inflated) > limit:
        raise Refused("too_large", f"inflates to more than {limit} bytes")
    if not inflater.eof:
        raise CutShort("the file ends inside its deflated data set")
    return inflated
