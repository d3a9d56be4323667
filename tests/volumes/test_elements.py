"""Stepping over elements: what we accept is what pydicom reads, and bad bytes give nothing but our own errors."""

import contextlib
import io
import random
import struct

import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import data_element_generator
from pydicom.sequence import Sequence

from cac_hpc.volumes import elements, images, tags
from cac_hpc.volumes.elements import UNDEFINED, CutShort, ElementError
from tests.support import poison
from tests.support.poison import EXPLICIT, IMPLICIT

PIXELS = elements.PIXEL_DATA


def assert_agreement(data: bytes) -> None:
    """Refuse the data set of a file, or find in it what pydicom finds.

    Raises: ElementError.
    """
    meta, body = elements.file_meta(data, 132, tags.WANTED)
    implicit = meta[images.SYNTAX].rstrip(b"\0 ").decode("latin-1") == IMPLICIT
    ours = elements.walk(data, body, len(data), tags.WANTED, explicit=not implicit)
    file = io.BytesIO(data)
    file.seek(body)
    with poison.quiet():
        theirs = {element.tag: element for element in data_element_generator(file, implicit, True)}
    values = {tag: element.value or b"" for tag, element in theirs.items() if tag in tags.WANTED}
    sequences = {tag: ours.values.pop(tag)[:4] for tag in tags.SEQUENCES if tag in ours.values}
    assert sequences == {tag: images.ITEM if values.pop(tag) else b"" for tag in sequences}
    assert ours.values == values
    assert (ours.pixels and ours.pixels[0]) == (theirs[PIXELS].value_tell if PIXELS in theirs else None)


def test_real_headers_are_read_as_pydicom_reads_them(shared_data):
    agreed = 0
    for path in sorted(shared_data.rglob("*")):
        data = path.read_bytes() if path.is_file() else b""
        if data[128:132] != b"DICM":
            continue
        syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID", "")
        if syntax in ("", poison.DEFLATED, poison.BIG_ENDIAN):
            continue
        meta, _ = elements.file_meta(data, 132, tags.WANTED)
        assert meta[images.SYNTAX].decode().strip("\0 ") == syntax
        with contextlib.suppress(CutShort):
            assert_agreement(data)
            agreed += 1
    assert agreed > 165


# a data set made by pydicom from whatever the standard allows

texts = st.text(st.characters(codec="ascii", exclude_categories=("C",), exclude_characters="\\"), max_size=12)
plain = {
    0x00080008: ("CS", st.sampled_from(["", "AXIAL", "LOCALIZER"])), 0x0008103E: ("LO", texts),
    0x00180050: ("DS", st.sampled_from(["", "3", "2.5", "1e1"])), 0x00181210: ("SH", texts),
    0x00200032: ("DS", st.just(["-1.5", "2", "3.25"])), 0x00209241: ("FL", st.just(75.0)),
    0x00280010: ("US", st.integers(0, 65535)), 0x00280120: ("US", st.integers(0, 65535)),
    0x00281053: ("DS", st.sampled_from(["", "1", "1.0"])), 0x00104000: ("LT", texts),
    0x00086001: ("UN", st.binary(max_size=40)), 0x00189306: ("FD", st.floats(allow_nan=False)),
    0x00289001: ("UL", st.integers(0, 2**32 - 1)), 0x00091002: ("OB", st.binary(max_size=40)),
    0x00400280: ("UT", texts),
}  # fmt: skip
sequences = (0x00081140, 0x00082112, 0x00189346, 0x00400275)


@st.composite
def data_sets(draw, depth=0):
    ds = Dataset()
    for tag in draw(st.lists(st.sampled_from(sorted(plain)), unique=True, max_size=8)):
        vr, values = plain[tag]
        ds.add_new(tag, vr, draw(values))
    for tag in draw(st.lists(st.sampled_from(sequences), unique=True, max_size=2 if depth < 3 else 0)):
        items = draw(st.lists(data_sets(depth + 1), max_size=3))
        for item in items:
            item.is_undefined_length_sequence_item = draw(st.booleans())
        ds.add_new(tag, "SQ", Sequence(items))
        ds[tag].is_undefined_length = draw(st.booleans())
    return ds


def written(ds: Dataset, syntax: str) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID, ds.file_meta.MediaStorageSOPClassUID = syntax, "1.2.840.10008.5.1.4.1.1.2"
    ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    target = io.BytesIO()
    with poison.quiet():
        pydicom.dcmwrite(target, ds, implicit_vr=syntax == IMPLICIT, little_endian=True, enforce_file_format=True)
    return target.getvalue()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data_sets(), st.sampled_from([IMPLICIT, EXPLICIT]), st.booleans())
def test_what_pydicom_writes_is_read_as_pydicom_reads_it(ds, syntax, with_pixels):
    if with_pixels:
        ds.add_new(PIXELS, "OW", bytes(8))
    assert_agreement(written(ds, syntax))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_what_is_accepted_of_damaged_bytes_is_what_pydicom_reads(tmp_path, syntax):
    poison.write_chest(tmp_path, 1)
    poison.in_syntax(syntax)(tmp_path)
    data, rng, accepted = (tmp_path / "IM0001.dcm").read_bytes(), random.Random(0), 0
    end = data.index(poison.PIXEL_DATA[:4])
    for _ in range(1500):
        broken = bytearray(data)
        for _ in range(rng.choice([1, 1, 2])):
            broken[rng.randrange(132, end)] = rng.choice([rng.randrange(256), 0, 255])
        with contextlib.suppress(ElementError, KeyError):  # KeyError: group 2 names no transfer syntax
            assert_agreement(bytes(broken))
            accepted += 1
    assert accepted > 300


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=400), st.booleans(), st.integers(0, 400))
def test_any_bytes_give_elements_or_our_own_error(data, explicit, more):
    for read in (
        lambda: elements.walk(data, 0, len(data), tags.WANTED, explicit=explicit),
        lambda: elements.walk(data, 0, len(data) + more, tags.WANTED, explicit=explicit),
        lambda: elements.file_meta(data, 0, tags.WANTED),
    ):
        with contextlib.suppress(ElementError):
            read()


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def test_the_end_of_the_bytes_is_told_from_bytes_that_are_no_data_set():
    data = element(8, 8, b"CS", b"ORIGINAL") + element(0x28, 0x10, b"US", b"\0\2")
    assert elements.walk(data, 0, len(data), {0x00280010}, True).values == {0x00280010: b"\0\2"}
    with pytest.raises(CutShort):
        elements.walk(data[:-1], 0, len(data) - 1, {0x00280010}, True)
    with pytest.raises(CutShort):  # there would be more in the file
        elements.walk(data[:20], 0, len(data), {0x00280010}, True)
    with pytest.raises(ElementError, match="do not rise"):
        elements.walk(data + data, 0, 2 * len(data), {0x00280010}, True)
    with pytest.raises(ElementError, match="known VR"):
        elements.walk(data.replace(b"CS", b"C\xff"), 0, len(data), {0x00280010}, True)


@pytest.mark.parametrize(("depth", "fine"), [(1, True), (24, True), (25, False), (5000, False)])
def test_sequences_are_followed_24_deep(depth, fine):
    data = poison.nested(depth)
    if fine:
        assert elements.walk(data, 0, len(data), (), True).pixels is None
    else:
        with pytest.raises(ElementError, match="24 deep"):
            elements.walk(data, 0, len(data), (), True)


def test_the_pixels_are_found_and_not_read():
    data = element(8, 8, b"CS", b"ORIGINAL") + poison.PIXEL_DATA + struct.pack("<I", 1 << 20)
    assert elements.walk(data, 0, 1 << 21, (), True).pixels == (len(data), 1 << 20)
    data = data[:-4] + struct.pack("<I", UNDEFINED)
    assert elements.walk(data, 0, 1 << 21, (), True).pixels == (len(data), UNDEFINED)


@given(data=st.data())
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_layout_that_is_known_changes_nothing_in_what_is_found(data, chest_bytes):
    """Known from the whole file; the damaged one must read as if nothing were known."""
    damaged = bytearray(chest_bytes)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(132, chest_bytes.index(poison.PIXEL_DATA) + 12))
        damaged[at] = data.draw(st.integers(0, 255))
    damaged = damaged[: data.draw(st.sampled_from([len(damaged), len(damaged) - 1, 700, 1500]))]

    def found(known):
        elements._layouts.clear()
        _, start = elements.file_meta(chest_bytes, 132, tags.WANTED)
        if known:
            elements.walk(chest_bytes, start, len(chest_bytes), tags.WANTED, True)
        try:
            return elements.walk(bytes(damaged), start, len(damaged), tags.WANTED, True)
        except ElementError as error:
            return type(error), str(error)

    assert found(known=True) == found(known=False)


@pytest.fixture
def chest_bytes(tmp_path):
    """A slice with sequences of defined and of undefined length."""
    poison.write_chest(tmp_path, 1)
    path = tmp_path / "IM0001.dcm"
    ds = pydicom.dcmread(path)
    ds.ReferencedImageSequence.is_undefined_length = True
    ds.save_as(path)
    return path.read_bytes()
