"""Masks for hypothesis: empty, sparse, in clumps, full."""

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

SHARES = (0.0, 0.003, 0.05, 0.3, 0.7, 0.95, 0.997, 1.0)


@st.composite
def masks(draw, most=24):
    """A volume (z, h, w) with no, few, many or only pixels in it, some in clumps."""
    shape = draw(st.integers(1, 4)), draw(st.integers(1, most)), draw(st.integers(1, most))
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    mask = dice.random(shape) < draw(st.sampled_from(SHARES))
    return ndimage.maximum_filter(mask, (1, 3, 3)) if draw(st.booleans()) else mask
