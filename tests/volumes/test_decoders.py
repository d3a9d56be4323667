"""Fast decoders give what pydicom's own give, and leave to these whatever is damaged or unusual."""

import random

import imagecodecs
import numpy as np
import pytest
from pydicom.pixels import get_encoder
from pydicom.uid import JPEGLosslessSV1, RLELossless

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


@pytest.mark.parametrize("predictor", range(2, 8))
def test_other_predictors_are_left_to_libjpeg(decoded, predictor):
    frame = jpeg(noisy(12), 12, predictor)
    assert decoded(decoders.NAME, frame, JPEGLosslessSV1) is None
    np.testing.assert_array_equal(dicom.decode(frame, str(JPEGLosslessSV1), *SHAPE, 16, False), noisy(12))


@pytest.mark.parametrize("end", [b"\xff\xd9\0", b"\xff\xff\xd9", b"\xff\xff\xff\xd9\0\0"])
def test_bytes_that_fill_up_a_jpeg_change_nothing(decoded, end):
    frame = jpeg(noisy(12), 12).removesuffix(b"\xff\xd9") + end
    np.testing.assert_array_equal(decoded(decoders.NAME, frame, JPEGLosslessSV1), noisy(12))


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame[:-60] + b"\xff\xd9",  # libjpeg-turbo decodes what is missing to zeros
        lambda frame: frame[:-2],
        lambda frame: frame[:-2] + bytes(8) + b"\xff\xd9",
        lambda frame: frame[:400] + b"\xff\0" * 4 + frame[408:],  # no code begins with so many ones
        lambda frame: frame[:400] + b"\xff\xd0" + frame[402:],
        lambda frame: frame.replace(b"\xff\xc3\0\x0b\x0c", b"\xff\xc3\0\x0b\x0a"),  # 10 bits per pixel, not 12
    ],
    ids=["cut short", "without an end", "too long", "no code", "a restart", "fewer bits"],
)
def test_a_damaged_jpeg_is_left_to_libjpeg(decoded, change):
    damaged = change(jpeg(noisy(12), 12))
    assert damaged != jpeg(noisy(12), 12)
    assert decoded(decoders.NAME, damaged, JPEGLosslessSV1) is None


def _damage(rng, frame):
    frame = bytearray(frame)
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.randrange(2, len(frame))
        some = rng.randbytes(rng.randrange(5))
        frame[at : at + rng.choice([1, len(some), len(some), rng.randrange(len(frame))])] = some
    return bytes(frame)


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
