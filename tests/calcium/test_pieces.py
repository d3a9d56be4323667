"""Connected pieces of masks: those that scipy.ndimage labels, in the same order."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cac_hpc.calcium import pieces
from tests.support.drawn_masks import masks

STRUCTURES = {
    pieces.FACES: ndimage.generate_binary_structure(3, 1),
    pieces.CORNERS: np.ones((3, 3, 3), bool),
    pieces.FACES_ON_SLICES: np.pad(ndimage.generate_binary_structure(2, 1)[None], ((1, 1), (0, 0), (0, 0))),
}
kinds = pytest.mark.parametrize("touching", STRUCTURES, ids=["faces", "corners", "on slices"])


@kinds
@settings(deadline=None)  # the first example imports what finds pieces
@given(mask=masks(most=9), seed=st.integers(0, 2**32 - 1))
@example(mask=np.zeros((2, 3, 4), bool), seed=0)
@example(mask=np.ones((2, 3, 4), bool), seed=0)
def test_pieces_are_the_labels_of_scipy(touching, mask, seed):
    labels, count = ndimage.label(mask, STRUCTURES[touching])
    found = pieces.find(mask, touching)
    assert len(found) == count
    np.testing.assert_array_equal(found.pixels, np.bincount(labels.ravel())[1:])
    values = np.random.default_rng(seed).integers(-999, 999, mask.shape)
    np.testing.assert_array_equal(found.sums(values), ndimage.sum(values, labels, range(1, count + 1)))
    np.testing.assert_array_equal(found.sums(values > 0), ndimage.sum(values > 0, labels, range(1, count + 1)))
    for number in range(count):
        np.testing.assert_array_equal(found.mask_of(np.arange(count) == number), labels == number + 1)
    some = values.ravel()[:1] > values.ravel()[np.arange(count) % values.size]
    np.testing.assert_array_equal(found.mask_of(some), np.append(False, some)[labels])


@kinds
def test_nothing_touches_around_an_edge(touching):
    mask = np.zeros((3, 4, 5), bool)
    mask[0, 1, -1] = mask[0, 2, 0] = mask[1, -1, 2] = mask[2, 0, 2] = True
    assert len(pieces.find(mask, touching)) == 4
