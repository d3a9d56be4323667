"""JPEG-LS is decoded by CharLS (pyjpegls) where that can be installed, and as libjpeg (pylibjpeg) decodes it."""

import numpy as np
import pytest
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless

from cac_hpc.volumes import dicom

jpeg_ls = pytest.importorskip("jpeg_ls", reason="pyjpegls has no wheel of this Python")
SHAPE = 64, 33


@pytest.fixture
def libjpeg(monkeypatch):
    """A function that decodes as `dicom.decode` does, with pylibjpeg."""

    def decode(*arguments, **options):
        with monkeypatch.context() as other:
            other.setattr(dicom, "PLUGINS", ("pylibjpeg",))
            dicom._plugins.cache_clear()
            found = dicom.decode(*arguments, **options)
        dicom._plugins.cache_clear()
        return found

    yield decode
    dicom._plugins.cache_clear()


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLSNearLossless])
@pytest.mark.parametrize("precision", [8, 10, 12, 16])
def test_both_decoders_give_the_same_values(libjpeg, syntax, precision):
    noise = np.random.default_rng(precision).integers(0, 9, SHAPE)
    ramp = (np.add.outer(np.arange(SHAPE[0]), np.arange(SHAPE[1])) * 3 + noise) % (1 << precision)
    stored = ramp.astype(np.uint8 if precision <= 8 else np.uint16)
    frame = bytes(jpeg_ls.encode_array(stored, lossy_error=3 * (syntax == JPEGLSNearLossless)))
    for bits_stored in (precision, 16):
        for signed in (False, True):
            asked = frame, str(syntax), *SHAPE, bits_stored, signed
            found = dicom.decode(*asked)
            assert found.dtype == libjpeg(*asked).dtype
            np.testing.assert_array_equal(found, libjpeg(*asked))
            if syntax == JPEGLSLossless and not signed:
                np.testing.assert_array_equal(found, stored)


def test_the_faster_one_is_taken():
    assert dicom._plugins(str(JPEGLSLossless)) == ("pyjpegls",)
