"""JPEG Lossless is read as other decoders read it where a frame is whole, and is refused where it is not."""

import contextlib
import random

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import JPEGLossless

from cac_hpc.run.rejections import Refused
from cac_hpc.volumes import decoders, dicom, jpeg_lossless
from tests.support import jpeg_lossless as frames
from tests.support import poison

SHAPE = 40, 33


def noisy(precision, seed=0, shape=SHAPE):
    """A disc of noise in air that is all the same."""
    y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    noise = np.random.default_rng(seed).normal(1 << precision - 1, 1 << precision - 5, shape)
    return np.where(x**2 + y**2 < 0.8, noise, 3).astype(np.uint8 if precision <= 8 else np.uint16)


def wide(seed=0, shape=SHAPE):
    """All 16 bits, with differences of 32768."""
    stored_HW = np.random.default_rng(seed).integers(0, 1 << 16, shape).astype(np.uint16)
    stored_HW[0, 0], stored_HW[3, 4:6], stored_HW[7, 0] = 0, (5, 5 + (1 << 15)), 0
    return stored_HW


def jpeg(stored_HW, precision, predictor=1):
    return imagecodecs.jpeg8_encode(stored_HW, lossless=True, bitspersample=precision, predictor=predictor)


def decode(frame, bits_stored=16, signed=False, shape=SHAPE, bits_allocated=16):
    return dicom.decode(bytes(frame), str(JPEGLossless), *shape, bits_stored, signed, bits_allocated)


@pytest.fixture
def libjpeg(monkeypatch):
    """A function that decodes as `dicom.decode` does, by pylibjpeg."""

    def by_libjpeg(*arguments, **options):
        with monkeypatch.context() as other:
            other.setattr(decoders, "SYNTAXES", ())
            other.setattr(dicom, "_plugins", lambda _: ("pylibjpeg",))
            return decode(*arguments, **options)

    return by_libjpeg


@pytest.fixture
def gdcm(tmp_path):
    """A function that decodes a frame of 16 bits as SimpleITK does."""
    sitk = pytest.importorskip("SimpleITK", reason='needs the extra converters: pip install -e ".[converters]"')

    def by_gdcm(frame):
        poison.write_chest(tmp_path, 1, SHAPE[0])
        (path,) = tmp_path.iterdir()
        ds = dicom.pydicom.dcmread(path)
        ds.Rows, ds.Columns = SHAPE
        ds.PixelRepresentation, ds.RescaleIntercept = 0, 0
        ds.file_meta.TransferSyntaxUID = JPEGLossless
        ds.PixelData = dicom.encapsulate([frame])
        ds["PixelData"].VR = "OB"
        ds.save_as(path)
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]

    return by_gdcm


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("precision", range(9, 17))
def test_every_precision_is_decoded_as_by_libjpeg(libjpeg, precision, signed):
    stored_HW = noisy(precision)
    frame = jpeg(stored_HW, precision)
    for bits_stored in {precision, 12, 16}:
        found = decode(frame, bits_stored, signed)
        other = libjpeg(frame, bits_stored, signed)
        assert found.dtype == other.dtype
        np.testing.assert_array_equal(found, other)
    assert signed or np.array_equal(found, stored_HW)


def test_a_frame_of_eight_bits_is_decoded_as_by_libjpeg(libjpeg):
    options = {"bits_stored": 8, "bits_allocated": 8}
    found = decode(jpeg(noisy(8), 8), **options)
    np.testing.assert_array_equal(found, noisy(8))
    assert found.dtype == libjpeg(jpeg(noisy(8), 8), **options).dtype


@pytest.mark.parametrize("predictor", range(1, 8))
def test_every_predictor_is_decoded_as_by_libjpeg(libjpeg, predictor):
    frame = jpeg(noisy(12), 12, predictor)
    np.testing.assert_array_equal(decode(frame), noisy(12))
    np.testing.assert_array_equal(libjpeg(frame), noisy(12))


@pytest.mark.parametrize("rows_at_once", [0, 1, 7])
@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("stored_HW", [noisy(12), wide()], ids=["12 bits", "differences of 32768"])
def test_restarts_and_all_categories_are_decoded_as_by_libjpeg_and_gdcm(
    libjpeg, gdcm, stored_HW, predictor, rows_at_once
):
    precision = int(stored_HW.max()).bit_length()
    frame = frames.encode(stored_HW, precision, predictor, rows_at_once=rows_at_once)
    for found in (decode(frame), libjpeg(frame), gdcm(frame), frames.decode(frame)):
        np.testing.assert_array_equal(found, stored_HW)


@pytest.mark.parametrize("marker", [0xFFDB, 0xFFE0, 0xFFE1, 0xFFEE, 0xFFFE])
def test_segments_that_say_nothing_of_the_pixels_are_passed_over(libjpeg, marker):
    frame = frames.encode(noisy(12), 12, extra=frames.segment(marker, bytes(65)))
    np.testing.assert_array_equal(decode(frame), noisy(12))
    np.testing.assert_array_equal(libjpeg(frame), noisy(12))


def test_of_several_tables_of_codes_the_one_that_is_named_is_used():
    frame = frames.encode(noisy(12), 12)
    at = frame.index(b"\xff\xc4")
    length = int.from_bytes(frame[at + 2 : at + 4], "big")
    table = frame[at + 4 : at + 2 + length]
    other = bytes([1, 0, 1, *bytes(14), 5])  # a code of two bits, for category 5 alone
    for content in (table + other, other + table):
        both = frame[:at] + frames.segment(0xFFC4, content) + frame[at + 2 + length :]
        np.testing.assert_array_equal(decode(both), noisy(12))


def test_rare_large_differences_have_codes_of_many_bits():
    """Each category of differences is half as frequent as the one before it, so its code has one bit more."""
    size, rng = 300, np.random.default_rng(1)
    categories = np.concatenate([np.full(size**2 >> category + 1, category) for category in range(16)])
    differences = np.zeros((size, size), np.int64)
    differences[:, 1:].flat[: len(categories)] = rng.permutation((1 << categories) - 1)
    stored = ((1 << 15) + differences.cumsum(axis=1)).astype(np.uint16)
    frame = jpeg(stored, 16)
    lengths = jpeg_lossless._of_differences(*jpeg_lossless.parse(frame).codes)[1]
    assert max(lengths[lengths < jpeg_lossless.UNKNOWN]) > 25
    np.testing.assert_array_equal(decode(frame, shape=stored.shape), stored)
    start = frame.index(b"\xff\xda") + 10
    for at in range(start + 40, len(frame) - 40, 997):
        changed = bytearray(frame)
        changed[at] ^= 4
        with contextlib.suppress(Refused, imagecodecs.Jpeg8Error):  # what is read of it is what is there
            assert not np.array_equal(decode(changed, shape=stored.shape), stored)


@pytest.mark.parametrize("end", [b"\xff\xd9\0", b"\xff\xff\xd9", b"\xff\xff\xff\xd9\0\0"])
def test_bytes_that_fill_up_a_jpeg_change_nothing(end):
    frame = jpeg(noisy(12), 12).removesuffix(b"\xff\xd9") + end
    np.testing.assert_array_equal(decode(frame), noisy(12))


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (frames.encode(noisy(12), 12, point_transform=2), "without a point transform"),  # decoders read it differently
        (frames.encode(wide(), 12), "values of more than 12 bits"),  # so they do of this
        (jpeg(noisy(12), 12)[:-2] + bytes(8) + b"\xff\xd9", "bits that are no pixels"),
        (jpeg(noisy(12), 12)[:400] + b"\xff\xd0" + jpeg(noisy(12), 12)[402:], "a marker among the pixels"),
        (jpeg(np.dstack([noisy(8)] * 3), 8), "one component"),
        (frames.encode(noisy(12), 12).replace(b"\xff\xc3", b"\xff\xc1"), "no frame of JPEG Lossless"),
    ],
    ids=["point transform", "more bits", "too long", "a restart", "colours", "other process"],
)
def test_what_cannot_be_checked_is_refused_with_a_reason(frame, found):
    with pytest.raises(Refused, match=f"cannot_decode: .*{found}"):
        decode(frame)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame[:-60] + b"\xff\xd9",  # libjpeg-turbo decodes what is missing to zeros
        lambda frame: frame[:400] + b"\xff\0" * 4 + frame[408:],  # no code begins with so many ones
    ],
    ids=["cut short", "no code"],
)
def test_a_damaged_frame_is_refused(change, predictor):
    damaged = change(jpeg(noisy(12), 12, predictor))
    with pytest.raises(Refused, match="bits that are no pixels"):
        decode(damaged)


def _swapped_or_flipped(rng, frame):
    """As many bits as before, of which some are others."""
    damaged = bytearray(frame)
    start = frame.index(b"\xff\xda") + 10
    for _ in range(rng.choice([1, 1, 3])):
        at = rng.randrange(start, len(frame) - 3)
        if rng.random() < 0.5:
            damaged[at], damaged[at + 1] = damaged[at + 1], damaged[at]
        else:
            damaged[at] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _of_libjpeg(number):
    return jpeg(noisy(12, number, (20, 17)), 12)


def _with_restarts(number):
    return frames.encode(noisy(12, number, (20, 17)), 12, 1 + number % 7, rows_at_once=(1, 3, 20)[number % 3])


def _of_all_categories(number):
    return frames.encode(wide(number, (20, 17)), 16, 1 + number % 7, rows_at_once=5 * (number % 2))


@pytest.mark.parametrize("encode", [_of_libjpeg, _with_restarts, _of_all_categories])
def test_of_damaged_frames_exactly_those_are_decoded_whose_bits_are_pixels(encode):
    rng, read, refused = random.Random(3), 0, 0
    for number in range(400):
        damaged = _swapped_or_flipped(rng, encode(number))
        wanted = frames.decode(damaged)
        try:
            found = decode(damaged, shape=(20, 17))
        except (Refused, imagecodecs.Jpeg8Error):
            found = None
        assert (found is None) == (wanted is None), number
        read, refused = read + (wanted is not None), refused + (wanted is None)
        assert wanted is None or np.array_equal(found, wanted), number
    assert read > 10
    assert refused > 50


def test_lost_repeated_and_exchanged_restart_intervals_are_refused():
    frame = frames.encode(noisy(12), 12, rows_at_once=2)
    start = frame.index(b"\xff\xda") + 10
    marks = [at for at in range(start, len(frame) - 2) if frame[at] == 0xFF and 0xD0 <= frame[at + 1] <= 0xD7]
    assert len(marks) == 19
    head, first, second = frame[: marks[0]], frame[marks[0] : marks[1]], frame[marks[1] : marks[2]]
    rest = frame[marks[2] :]
    for scan in (first + rest, first + first + second + rest, first[:2] + second[2:] + second[:2] + first[2:] + rest):
        if len(head + scan) == len(frame):  # exchanged with their contents: other pixels, and nothing says so
            np.testing.assert_array_equal(decode(head + scan), frames.decode(head + scan))
            continue
        with pytest.raises(Refused):
            decode(head + scan)
    eight = marks[8] - marks[0]
    with pytest.raises(Refused, match="bits that are no pixels"):  # the numbers of the marks are right again
        decode(frame[: marks[0]] + frame[marks[0] + eight :])
