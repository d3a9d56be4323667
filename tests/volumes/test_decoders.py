"""Fast decoders give what pydicom's own give, and leave to these whatever is damaged or unusual."""

import contextlib
import random
import struct

import imagecodecs
import numpy as np
import pytest
from pydicom.pixels import get_encoder
from pydicom.uid import JPEGLossless, JPEGLosslessSV1, RLELossless

from cac_hpc.volumes import decoders, dicom

SLOWER = {JPEGLosslessSV1: "pylibjpeg", RLELossless: "pydicom"}
SHAPE = 40, 33


@pytest.fixture
def decoded(monkeypatch):
    """A function that decodes with one plugin; None where it refuses."""

    def decode(plugin, codestream, syntax, bits_stored=16, signed=False, bits_allocated=16):
        dicom._plugins(str(syntax))  # adds ours to pydicom's
        with monkeypatch.context() as only:
            only.setattr(dicom, "_plugins", lambda _: (plugin,))
            try:
                return dicom.decode(codestream, str(syntax), *SHAPE, bits_stored, signed, bits_allocated)
            except Exception:
                return None

    return decode


def noisy(precision, seed=0):
    """A disc of noise in air that is all the same."""
    y, x = np.ogrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    noise = np.random.default_rng(seed).normal(1 << precision - 1, 1 << precision - 5, SHAPE)
    return np.where(x**2 + y**2 < 0.8, noise, 3).astype(np.uint16)


def jpeg(stored, precision, predictor=1):
    return imagecodecs.jpeg8_encode(stored, lossless=True, bitspersample=precision, predictor=predictor)


def rle(stored):
    bits = 8 * stored.itemsize
    described = {"rows": SHAPE[0], "columns": SHAPE[1], "samples_per_pixel": 1, "number_of_frames": 1}
    described |= {"bits_allocated": bits, "bits_stored": bits, "pixel_representation": 0}
    described |= {"photometric_interpretation": "MONOCHROME2", "encoding_plugin": "pydicom"}
    return get_encoder(RLELossless).encode(stored, **described)


def agree(one, other):
    return one is not None and other is not None and one.dtype == other.dtype and np.array_equal(one, other)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("precision", range(9, 17))
def test_jpeg_lossless_is_decoded_as_by_libjpeg(decoded, precision, signed):
    stored = noisy(precision)
    frame = jpeg(stored, precision)
    for bits_stored in {precision, 12, 16}:
        fast = decoded(decoders.NAME, frame, JPEGLosslessSV1, bits_stored, signed)
        assert agree(fast, decoded("pylibjpeg", frame, JPEGLosslessSV1, bits_stored, signed))
    assert signed or np.array_equal(fast, stored)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_run_lengths_are_decoded_as_by_pydicom(decoded, dtype, signed):
    stored = noisy(16).astype(dtype)
    for bits_stored in {8 * stored.itemsize, 8 * stored.itemsize - 4}:
        said = rle(stored), RLELossless, bits_stored, signed, 8 * stored.itemsize
        fast = decoded(decoders.NAME, *said)
        assert agree(fast, decoded("pydicom", *said))
    assert signed or np.array_equal(fast, stored)


@pytest.mark.parametrize(("syntax", "frame"), [(JPEGLosslessSV1, jpeg(noisy(12), 12)), (RLELossless, rle(noisy(12)))])
def test_the_fast_decoder_is_asked_first_and_the_slower_one_for_the_rest(syntax, frame, monkeypatch):
    assert dicom._plugins(str(syntax)) == (decoders.NAME, SLOWER[syntax])
    np.testing.assert_array_equal(dicom.decode(frame, str(syntax), *SHAPE, 16, False), noisy(12))
    decoder = dicom.get_decoder(syntax)
    monkeypatch.setitem(decoder._available, decoders.NAME, lambda *_: 1 / 0)
    np.testing.assert_array_equal(dicom.decode(frame, str(syntax), *SHAPE, 16, False), noisy(12))


@pytest.mark.parametrize("predictor", range(1, 8))
def test_every_predictor_is_decoded_as_by_libjpeg(decoded, predictor):
    frame = jpeg(noisy(12), 12, predictor)
    np.testing.assert_array_equal(decoded(decoders.NAME, frame, JPEGLossless), noisy(12))
    np.testing.assert_array_equal(decoded("pylibjpeg", frame, JPEGLossless), noisy(12))


def test_rare_large_differences_have_codes_of_many_bits():
    """Each category of differences is half as frequent as the one before it, so its code has one bit more."""
    size, rng = 300, np.random.default_rng(1)
    categories = np.concatenate([np.full(size**2 >> category + 1, category) for category in range(16)])
    differences = np.zeros((size, size), np.int64)
    differences[:, 1:].flat[: len(categories)] = rng.permutation((1 << categories) - 1)
    stored = ((1 << 15) + differences.cumsum(axis=1)).astype(np.uint16)
    frame = jpeg(stored, 16)
    codes = decoders._scan(frame).codes
    lengths = decoders._of_differences(codes)[1]
    assert max(lengths[lengths < decoders.UNKNOWN]) > 25
    np.testing.assert_array_equal(decoders._jpeg_lossless(frame), stored)
    start = decoders._scan(frame).start
    for at in range(start + 40, len(frame) - 40, 997):
        changed = bytearray(frame)
        changed[at] ^= 4
        with contextlib.suppress(ValueError):  # what is read of it is what is there
            assert not np.array_equal(decoders._jpeg_lossless(bytes(changed)), stored)


@pytest.mark.parametrize("end", [b"\xff\xd9\0", b"\xff\xff\xd9", b"\xff\xff\xff\xd9\0\0"])
def test_bytes_that_fill_up_a_jpeg_change_nothing(decoded, end):
    frame = jpeg(noisy(12), 12).removesuffix(b"\xff\xd9") + end
    np.testing.assert_array_equal(decoded(decoders.NAME, frame, JPEGLosslessSV1), noisy(12))


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame[:-2],
        lambda frame: frame[:-2] + bytes(8) + b"\xff\xd9",
        lambda frame: frame[:400] + b"\xff\xd0" + frame[402:],
        lambda frame: frame.replace(b"\xff\xc3\0\x0b\x0c", b"\xff\xc3\0\x0b\x0a"),  # 10 bits per pixel, not 12
    ],
    ids=["without an end", "too long", "a restart", "fewer bits"],
)
def test_an_unusual_jpeg_is_left_to_libjpeg(decoded, change):
    unusual = change(jpeg(noisy(12), 12))
    assert unusual != jpeg(noisy(12), 12)
    assert decoded(decoders.NAME, unusual, JPEGLosslessSV1) is None
    decoders.require_whole(unusual, str(JPEGLosslessSV1))


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame[:-60] + b"\xff\xd9",  # libjpeg-turbo decodes what is missing to zeros
        lambda frame: frame[:400] + b"\xff\0" * 4 + frame[408:],  # no code begins with so many ones
    ],
    ids=["cut short", "no code"],
)
def test_a_damaged_jpeg_is_refused(change, predictor):
    damaged = change(jpeg(noisy(12), 12, predictor))
    with pytest.raises(decoders.Damaged):
        dicom.decode(damaged, str(JPEGLosslessSV1), *SHAPE, 16, False)


def _damage(rng, frame):
    frame = bytearray(frame)
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.randrange(2, len(frame))
        some = rng.randbytes(rng.randrange(5))
        frame[at : at + rng.choice([1, len(some), len(some), rng.randrange(len(frame))])] = some
    return bytes(frame)


def _reference(frame):
    """The pixels of a frame whose only scan is all that follows its codes, bit by bit; None if a bit is no code."""
    at, codes = 2, {}
    while True:
        marker, length = struct.unpack_from(">HH", frame, at)
        segment, at = frame[at + 4 : at + 2 + length], at + 2 + length
        if marker == decoders.DHT:
            counts, categories, code = segment[1:17], iter(segment[17:]), 0
            for size, count in enumerate(counts, start=1):
                codes |= {f"{code + more:0{size}b}": next(categories) for more in range(count)}
                code = (code + count) * 2
        elif marker == decoders.SOS:
            break
    bits = "".join(f"{byte:08b}" for byte in frame[at:-2].replace(b"\xff\0", b"\xff"))
    at, stored = 0, np.zeros(SHAPE, np.uint16)
    for y, x in np.ndindex(SHAPE):
        end = next((end for end in range(at + 1, at + 17) if bits[at:end] in codes), None)
        if end is None:
            return None
        size = codes[bits[at:end]]
        at = end + size
        if at > len(bits):
            return None
        value = int(bits[end:at] or "0", 2)
        difference = value if size == 0 or value >> (size - 1) else value - (1 << size) + 1
        before = stored[y, x - 1] if x else stored[y - 1, 0] if y else 1 << 11
        stored[y, x] = (int(before) + difference) % (1 << 16)
    return stored if len(bits) - at < 8 and stored.max() < 1 << 12 else None


def test_of_damaged_scans_exactly_those_are_decoded_whose_bits_are_pixels():
    rng, read, refused = random.Random(3), 0, 0
    for number in range(400):
        frame = bytearray(jpeg(noisy(12, number), 12))
        start = frame.index(b"\xff\xda") + 10
        for _ in range(rng.choice([1, 1, 3])):  # swapped bytes, a changed bit: as many bits as before
            at = rng.randrange(start, len(frame) - 3)
            if rng.random() < 0.5:
                frame[at], frame[at + 1] = frame[at + 1], frame[at]
            else:
                frame[at] ^= 1 << rng.randrange(8)
        if b"\xff" in frame[start:-2].replace(b"\xff\0", b""):
            continue
        wanted = _reference(bytes(frame))
        try:
            found = decoders._jpeg_lossless(bytes(frame))
        except ValueError:
            found = None
        assert (found is None) == (wanted is None)
        read, refused = read + (wanted is not None), refused + (wanted is None)
        assert wanted is None or np.array_equal(found, wanted)
    assert read > 10
    assert refused > 100


@pytest.mark.parametrize(("syntax", "encode"), [(JPEGLosslessSV1, lambda x: jpeg(x, 12)), (RLELossless, rle)])
def test_of_damaged_frames_the_fast_decoder_makes_what_the_slower_one_does_or_nothing(decoded, syntax, encode):
    rng, read = random.Random(5), 0
    for number in range(600):
        damaged = _damage(rng, encode(noisy(12, number)))
        fast = decoded(decoders.NAME, damaged, syntax)
        if fast is not None:
            read += 1
            assert agree(fast, decoded(SLOWER[syntax], damaged, syntax))
    assert read > 10
