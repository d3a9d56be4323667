"""Area averaging against means worked by hand."""

import numpy as np

from cac_hpc.volumes.frame import to_size


def test_two_by_two_blocks_become_their_means():
    hu = np.array([[0, 2, 10, 10], [4, 6, 10, 10], [-8, -8, 1, 2], [-8, -8, 3, 4]], dtype=np.int16)
    assert to_size(hu, 2).tolist() == [[3, 10], [-8, 3]]  # 2.5 rounds up


def test_a_pixel_on_the_border_of_two_is_shared_by_its_area():
    # three columns into two: weights 2/3 and 1/3
    hu = np.tile(np.array([0, 90, 300], dtype=np.int16), (3, 1))
    assert to_size(hu, 2).tolist() == [[30, 230], [30, 230]]


def test_the_mean_of_a_slice_is_kept_whatever_the_size():
    hu = np.random.default_rng(0).integers(-1000, 1000, (37, 37)).astype(np.int16)
    for size in (8, 19, 64):
        assert abs(to_size(hu, size).mean() - hu.mean()) < 0.6, size


def test_a_slice_of_the_right_size_stays_as_it_is():
    hu = np.arange(64, dtype=np.int16).reshape(8, 8)
    np.testing.assert_array_equal(to_size(hu, 8), hu)
