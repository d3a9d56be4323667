"""Bits above BitsStored hold anything: they are masked, the sign is extended; a wrong BitsStored is refused.

PS3.5 8.1.1.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEG2000Lossless, RLELossless
from scipy import ndimage

from cac_hpc.run.rejections import Refused
from cac_hpc.volumes import pixels
from tests.support import poison, slices
from tests.support.poison import edit, read, slices_of, write_chest

SIZE = 48


def body(seed=1):
    """Air, lung, tissue and a piece of bone, (H, W) HU."""
    rng = np.random.default_rng(seed)
    hu = rng.normal(40, 12, (SIZE, SIZE))
    hu[:10] = rng.normal(-990, 8, (10, SIZE))
    hu[16:30, 6:20] = rng.normal(-830, 20, (14, 14))
    hu[36:42, 30:38] = rng.normal(700, 60, (6, 8))
    return np.rint(np.maximum(hu, -1023)).astype(np.int32)


def header(bits_stored, signed, intercept):
    bits = {"BitsStored": bits_stored, "HighBit": bits_stored - 1, "PixelRepresentation": int(signed)}
    return slices.parsed(**bits, RescaleIntercept=str(intercept), Rows=SIZE, Columns=SIZE)


def as_stored(patterns, signed):
    return (patterns & 0xFFFF).astype(np.uint16).view(np.int16 if signed else np.uint16)


@given(st.integers(12, 15), st.booleans(), st.data())
@settings(deadline=None)
def test_what_an_overlay_or_rubbish_leaves_in_unused_bits_changes_no_value(bits_stored, signed, data):
    intercept = data.draw(st.sampled_from([-1024, 0] if signed else [-1024]))
    hu = body(data.draw(st.integers(0, 99)))
    patterns = (hu - intercept) & ((1 << bits_stored) - 1)
    rubbish = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 1 << 16, hu.shape)
    period = data.draw(st.integers(1, 9))
    rubbish[(np.add.outer(np.arange(SIZE), np.arange(SIZE)) % period) > 0] = 0
    dirty = patterns | (rubbish << bits_stored & 0xFFFF)
    found = pixels.pixels_to_hu(as_stored(dirty, signed), header(bits_stored, signed, intercept))
    np.testing.assert_array_equal(found, np.maximum(hu, pixels.AIR_HU))


@given(st.integers(12, 15), st.integers(0, 99))
@settings(deadline=None)
def test_a_sign_that_was_not_extended_is(bits_stored, seed):
    hu = body(seed)
    found = pixels.pixels_to_hu(as_stored(hu & ((1 << bits_stored) - 1), True), header(bits_stored, True, 0))
    np.testing.assert_array_equal(found, np.maximum(hu, pixels.AIR_HU))


@pytest.mark.parametrize("text", [0x1000, 0x8000, 0xF000])
def test_a_few_letters_of_an_overlay_are_taken_away(text):
    hu = body()
    dirty = hu + 1024
    dirty[44:46, 4:10] |= text
    np.testing.assert_array_equal(
        pixels.pixels_to_hu(as_stored(dirty, False), header(12, False, -1024)), np.maximum(hu, pixels.AIR_HU)
    )


@given(st.integers(8, 12), st.integers(0, 99), st.booleans())
@settings(deadline=None)
def test_where_too_few_bits_are_said_the_slice_is_refused_never_wrapped(bits_stored, seed, metal):
    hu = body(seed)
    if metal:
        hu[37:40, 31:35] = np.random.default_rng(seed).integers(3080, 4000, (3, 4))  # beyond 12 bits
    stored = as_stored(hu + 1024, False)
    whole = pixels.pixels_to_hu(stored.copy(), header(16, False, -1024))
    if (hu + 1024).max() < 1 << bits_stored:
        np.testing.assert_array_equal(pixels.pixels_to_hu(stored, header(bits_stored, False, -1024)), whole)
        return
    with pytest.raises(Refused, match=f"impossible_values: stored values .* BitsStored {bits_stored} allows"):
        pixels.pixels_to_hu(stored, header(bits_stored, False, -1024))


@pytest.mark.parametrize("pattern", [63536, 65535])
def test_padding_that_the_header_does_not_name_is_no_overlay(pattern):
    dirty = body() + 1024
    dirty[:8] = pattern
    with pytest.raises(Refused, match="impossible_values"):
        pixels.pixels_to_hu(as_stored(dirty, False), header(12, False, -1024))


@given(st.floats(0, 2), st.integers(2, 9), st.integers(0, 99))
@settings(deadline=None)
def test_metal_beyond_the_bits_that_are_said_is_never_made_dark(blur, radius, seed):
    hu = body(seed).astype(float)
    y, x = np.mgrid[:SIZE, :SIZE]
    metal = ndimage.gaussian_filter((np.hypot(y - 33, x - 34) < radius).astype(float), blur)
    stored = np.rint(hu * (1 - metal) + 3600 * metal + 1024).astype(np.int32)
    if stored.max() > 4095:
        with pytest.raises(Refused, match="impossible_values"):
            pixels.pixels_to_hu(as_stored(stored, False), header(12, False, -1024))


def test_the_contour_of_a_region_in_an_overlay_is_taken_away():
    hu = body()
    dirty = hu + 1024
    rim = np.zeros(hu.shape, bool)
    rim[16:30, 6:20] = True
    rim &= ~ndimage.binary_erosion(rim)
    dirty[rim] |= 0x1000  # along the lung
    found = pixels.pixels_to_hu(as_stored(dirty, False), header(12, False, -1024))
    np.testing.assert_array_equal(found, np.maximum(hu, pixels.AIR_HU))


def test_unsigned_values_that_are_called_signed_are_not_made_negative():
    hu = body()
    hu[36:42, 30:38] = np.linspace(900, 2600, 48).reshape(6, 8)  # bone above 1023 HU, stored above 2047
    with pytest.raises(Refused, match="impossible_values"):
        pixels.pixels_to_hu(as_stored(hu + 1024, True), header(12, True, -1024))


def test_padding_beyond_the_bits_is_padding_still():
    hu, dirty = body(), body() + 1024
    dirty[:3] = 63536  # the pattern of -2000
    dirty[20:, ::7] |= 0x1000
    said = slices.parsed(BitsStored=12, HighBit=11, PixelPaddingValue=63536, Rows=SIZE, Columns=SIZE)
    expected = np.maximum(hu, pixels.AIR_HU)
    expected[:3] = pixels.AIR_HU
    np.testing.assert_array_equal(pixels.pixels_to_hu(as_stored(dirty, False), said), expected)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless, poison.BIG_ENDIAN, poison.DEFLATED])
def test_bits_are_masked_in_whichever_transfer_syntax_they_lie(syntax, tmp_path):
    write_chest(tmp_path / "clean")
    write_chest(tmp_path / "dirty")
    bits = {"BitsStored": 12, "HighBit": 11}
    poison.on(poison.ALL, PixelPaddingValue=None)(tmp_path / "clean")
    poison.on(poison.ALL, PixelPaddingValue=None)(tmp_path / "dirty")
    for path in slices_of(tmp_path / "clean"):
        edit(path, **bits)
    for path in slices_of(tmp_path / "dirty"):
        stored = np.frombuffer(poison.pydicom.dcmread(path).PixelData, "<u2").copy()
        stored[::5] |= 0x5000
        edit(path, **bits, PixelData=stored.tobytes())
    if syntax in (RLELossless, JPEG2000Lossless):
        on_all_16_bits = poison.on(poison.ALL, BitsStored=16, HighBit=15)
        poison.both(on_all_16_bits, poison.compressed(syntax), poison.on(poison.ALL, **bits))(tmp_path / "dirty")
    elif syntax:
        poison.in_syntax(syntax)(tmp_path / "dirty")
    clean, dirty = read(tmp_path / "clean"), read(tmp_path / "dirty")
    assert len(clean.slices) == 12
    assert dirty.slices == clean.slices
