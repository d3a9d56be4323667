"""Run lengths are read as pydicom reads them where every segment is whole; no frame is read whose end is missing."""

import random
import struct

import imagecodecs
import numpy as np
import pytest
from pydicom.pixels import get_decoder, get_encoder
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from cac_hpc.run.rejections import Refused
from cac_hpc.volumes import codestreams, dicom

SHAPE = 40, 33


def noisy(dtype=np.uint16, seed=0):
    """A disc of noise in air that is all the same."""
    y, x = np.ogrid[-1 : 1 : SHAPE[0] * 1j, -1 : 1 : SHAPE[1] * 1j]
    noise = np.random.default_rng(seed).normal(2048, 128, SHAPE)
    return np.where(x**2 + y**2 < 0.8, noise, 3).astype(np.uint16).astype(dtype)


def described(dtype):
    bits = 8 * np.dtype(dtype).itemsize
    values = {"rows": SHAPE[0], "columns": SHAPE[1], "samples_per_pixel": 1, "number_of_frames": 1}
    values |= {"bits_allocated": bits, "bits_stored": bits, "pixel_representation": 0}
    return values | {"photometric_interpretation": "MONOCHROME2"}


def rle(stored):
    return get_encoder(RLELossless).encode(stored, **described(stored.dtype), encoding_plugin="pydicom")


def decode(frame, syntax=RLELossless, bits_stored=16, signed=False, bits_allocated=16):
    return dicom.decode(frame, str(syntax), *SHAPE, bits_stored, signed, bits_allocated)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_run_lengths_are_decoded_as_by_pydicom(dtype, signed):
    stored, bits = noisy(dtype), 8 * np.dtype(dtype).itemsize
    options = described(dtype) | {"pixel_representation": int(signed), "correct_unused_bits": False}
    frames = dicom.encapsulate([rle(stored)])
    for bits_stored in (bits, bits - 4):
        options["bits_stored"] = bits_stored
        other = get_decoder(RLELossless).as_array(frames, index=0, decoding_plugin="pydicom", **options)[0]
        found = decode(rle(stored), RLELossless, bits_stored, signed, bits)
        assert found.dtype == other.dtype
        np.testing.assert_array_equal(found, other)
        assert found.flags.writeable  # HU are put into the same memory
    assert signed or np.array_equal(found, stored)


def _segment(data):
    """What a segment of run lengths decodes to; None if it ends inside of a run."""
    found, at = b"", 0
    while at < len(data):
        if at == len(data) - 1 and data[at] == 0:  # to an even length
            break
        count, at = data[at] + 1, at + 1
        if count < 129:
            some, at = data[at : at + count], at + count
        elif count > 129:
            some, at, count = data[at : at + 1] * (258 - count), at + 1, 258 - count
        else:
            continue
        if len(some) != count or at > len(data):
            return None
        found += some
    return found


def _reference(frame):
    """The pixels of a frame of two segments, byte by byte; None if one has more or fewer than there are."""
    count, high, low = struct.unpack_from("<3I", frame)
    if count != 2 or high != 64 or not high < low < len(frame):
        return None
    parts = [_segment(frame[high:low]), _segment(frame[low:])]
    if any(part is None or len(part) != SHAPE[0] * SHAPE[1] for part in parts):
        return None
    high_N, low_N = (np.frombuffer(part, np.uint8).astype(np.uint16) for part in parts)
    return (high_N << 8 | low_N).reshape(SHAPE)


def _damaged(rng, frame):
    frame = bytearray(frame)
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.randrange(len(frame))
        some = rng.randbytes(rng.randrange(5))
        frame[at : at + rng.choice([1, len(some), len(some), rng.randrange(len(frame))])] = some
    return bytes(frame)


def test_of_damaged_run_lengths_exactly_those_are_decoded_of_which_each_segment_is_whole():
    rng, read, refused = random.Random(5), 0, 0
    for number in range(1000):
        damaged = _damaged(rng, rle(noisy(seed=number % 10)))
        wanted = _reference(damaged)
        try:
            found = decode(damaged)
        except (Refused, ValueError, imagecodecs.DicomrleError):
            found = None
        assert (found is None) == (wanted is None), number
        assert wanted is None or np.array_equal(found, wanted), number
        read, refused = read + (wanted is not None), refused + (wanted is None)
    assert read > 100
    assert refused > 100


def test_run_lengths_of_more_pixels_than_there_are_are_refused():
    """pydicom takes the first of them: a frame that lost a byte is read to other pixels."""
    frame = rle(noisy())
    low = struct.unpack_from("<3I", frame)[2]
    longer = frame[:4] + struct.pack("<2I", 64, low + 2) + frame[12:low] + b"\xff\x07" + frame[low:]  # two bytes of 7
    options = described(np.uint16) | {"correct_unused_bits": False}
    with pytest.warns(UserWarning, match="non-conformant padding"):
        get_decoder(RLELossless).as_array(dicom.encapsulate([longer]), index=0, decoding_plugin="pydicom", **options)
    with pytest.raises((Refused, imagecodecs.DicomrleError)):
        decode(longer)


def _jpeg_ls(stored):
    return bytes(pytest.importorskip("jpeg_ls", reason="pyjpegls has no wheel of this Python").encode_array(stored))


def _jpeg_2000(stored):
    return get_encoder(JPEG2000Lossless).encode(stored, **described(stored.dtype), encoding_plugin="pylibjpeg")


def _jpeg(stored):
    return imagecodecs.jpeg8_encode(stored, lossless=True, bitspersample=16)


@pytest.mark.parametrize(
    ("syntax", "encode"), [(JPEGLosslessSV1, _jpeg), (JPEGLSLossless, _jpeg_ls), (JPEG2000Lossless, _jpeg_2000)]
)
@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_a_frame_without_its_end_is_refused(syntax, encode, padding):
    """Of JPEG-LS that is cut short a decoder looks for the end again with each byte, for seconds."""
    frame = encode(noisy())
    np.testing.assert_array_equal(decode(frame + padding, syntax), noisy())
    frame = frame.rstrip(b"\0")
    for end in (len(frame) - 1, len(frame) - 2, len(frame) * 9 // 10, len(frame) // 2):
        with pytest.raises(Refused, match="cannot_decode: the end of the compressed pixels is missing"):
            decode(frame[:end] + padding, syntax)
        zeros = bytes(len(frame) - end)
        with pytest.raises(Refused, match="cannot_decode: the end of the compressed pixels is missing"):
            decode(frame[:end] + zeros, syntax)


def test_jpeg_2000_of_which_bytes_are_lost_or_inserted_is_refused():
    """Its tiles say how long they are; a decoder takes no notice of a few bytes."""
    frame = _jpeg_2000(noisy()).rstrip(b"\0")
    tile = frame.index(codestreams.START_OF_TILE)
    for at in range(tile + 14, len(frame) - 2, 97):
        for changed in (frame[:at] + frame[at + 1 :], frame[:at] + b"\x55" + frame[at:]):
            with pytest.raises(Refused, match="cannot_decode: compressed pixels that are longer or shorter"):
                decode(changed, JPEG2000Lossless)
    open_end = frame[: tile + 6] + bytes(4) + frame[tile + 10 :]  # as the last tile may have it
    np.testing.assert_array_equal(decode(open_end, JPEG2000Lossless), noisy())


def test_each_part_of_a_tile_of_jpeg_2000_has_its_length():
    frame = _jpeg_2000(noisy())
    part = codestreams.START_OF_TILE + struct.pack(">HHI2B", 10, 0, 14 + 40, 0, 1) + b"\xff\x93" + bytes(range(40))
    start = frame[: frame.index(codestreams.START_OF_TILE)]
    codestreams.require_end(start + part + part + b"\xff\xd9\0", str(JPEG2000Lossless))
    for parts in (part[:-1] + part, part + part[:-1], part + b"\0" + part, part + part + b"\0"):
        with pytest.raises(Refused, match="longer or shorter"):
            codestreams.require_end(start + parts + b"\xff\xd9", str(JPEG2000Lossless))
