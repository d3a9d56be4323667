"""Masks and distances on slices: each function gives the bits of a plain one that works slice by slice."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cac_hpc.calcium import chest, heart_core, planes
from cac_hpc.calcium.chest import Grid
from tests.support.drawn_masks import masks


def grid_of(mask, pixel_mm):
    return Grid(np.zeros(mask.shape), (3.0, pixel_mm), (1, 1))


def by_slice(mask):
    """Distance in pixels of each pixel to the nearest one outside of the mask on its slice; 0 where there is none."""
    found = [ndimage.distance_transform_edt(one) if not one.all() else np.zeros(one.shape) for one in mask]
    return np.array(found)


@given(masks(), st.floats(0.05, 14.0), st.floats(0.4, 3.0))
def test_dilation_and_erosion_are_those_of_scipy(mask, radius_mm, pixel_mm):
    around = chest.disc(radius_mm, grid_of(mask, pixel_mm))
    np.testing.assert_array_equal(planes.dilate(mask, around), ndimage.binary_dilation(mask, around))
    np.testing.assert_array_equal(planes.erode(mask, around), ndimage.binary_erosion(mask, around))


@given(masks())
def test_the_median_is_that_of_scipy(mask):
    wanted = ndimage.median_filter(mask.view(np.uint8), (1, 3, 3)).astype(bool)
    np.testing.assert_array_equal(planes.median(mask), wanted)


@given(masks(), st.floats(0.4, 3.0))
def test_depth_and_distance_are_those_of_scipy(mask, pixel_mm):
    wanted = by_slice(mask).astype(np.float32) * np.float32(pixel_mm)
    np.testing.assert_array_equal(chest.depth_mm(mask, grid_of(mask, pixel_mm)), wanted)


@pytest.mark.parametrize("shape", [(1, 256), (256, 2), (147, 147), (180, 180), (3, 300), (300, 3), (210, 90)])
def test_the_farthest_distance_on_a_slice_is_measured_right(shape):
    target = np.zeros((3, *shape), bool)
    target[0, 0, 0] = target[1, -1, -1] = target[2, shape[0] // 2, 0] = True
    found = np.sqrt(planes.squared_distance(target), dtype=float)
    np.testing.assert_array_equal(found, by_slice(~target))


@given(masks(), st.floats(0.1, 22.0), st.floats(0.4, 3.0))
@example(np.ones((1, 5, 5), bool), 20.0, 2.0)
def test_what_is_deep_is_what_its_depth_says(mask, limit_mm, pixel_mm):
    grid = grid_of(mask, pixel_mm)
    np.testing.assert_array_equal(chest.deep(mask, limit_mm, grid), chest.depth_mm(mask, grid) >= limit_mm)


@given(st.integers(1, 12), st.floats(0.4, 3.0))
def test_what_is_just_as_deep_as_the_limit_is_deep(pixels, pixel_mm):
    mask = np.ones((1, 31, 31), bool)
    mask[0, 15, 15] = False
    grid = grid_of(mask, pixel_mm)
    limit_mm = float(chest.depth_mm(mask, grid)[0, 15, 15 - pixels])
    assert chest.deep(mask, limit_mm, grid)[0, 15, 15 - pixels]
    above_mm = float(np.nextafter(np.float32(limit_mm), np.float32(np.inf)))
    assert not chest.deep(mask, above_mm, grid)[0, 15, 15 - pixels]


@settings(max_examples=60)
@given(masks(), st.integers(0, 15).map(lambda half: 2 * half + 1), st.integers(0, 2**32 - 1))
def test_shares_and_highest_values_are_those_of_scipys_filters(mask, side, seed):
    dice = np.random.default_rng(seed)
    pixel_P = tuple(dice.integers(0, size, 12) for size in mask.shape)
    wanted = ndimage.uniform_filter(mask.astype(np.float32), (1, side, side), mode="nearest")[pixel_P]
    found = planes.share_around(mask, side, pixel_P)
    assert found.dtype == wanted.dtype
    np.testing.assert_array_equal(found, wanted)
    values = dice.normal(size=mask.shape).astype(np.float32)
    wanted = ndimage.maximum_filter(values, (1, side, side))[pixel_P]
    np.testing.assert_array_equal(planes.highest_around(values, side, pixel_P), wanted)


@given(masks(), st.floats(0, 20.0), st.floats(0.4, 3.0))
def test_what_is_around_the_core_is_what_its_distance_says(mask, reach_mm, pixel_mm):
    grid, slices = grid_of(mask, pixel_mm), mask.any((1, 2))
    wanted = np.full(mask.shape, 1000.0, np.float32)
    wanted[slices] = by_slice(~mask[slices]).reshape(mask[slices].shape).astype(np.float32) * np.float32(pixel_mm)
    np.testing.assert_array_equal(heart_core.around_core(mask, grid, reach_mm), wanted <= reach_mm)
    pixel_P = np.nonzero(np.ones(mask.shape, bool))
    np.testing.assert_array_equal(heart_core.core_distance_mm(mask, grid, pixel_P), wanted[pixel_P])


@given(masks(), st.floats(0.5, 12.0))
def test_depths_up_to_a_limit_are_right_and_others_above_it(mask, most_mm):
    grid = grid_of(mask, 1.5)
    wanted, found = chest.depth_mm(mask, grid), chest.depth_mm(mask, grid, most_mm)
    np.testing.assert_array_equal(found[wanted <= most_mm], wanted[wanted <= most_mm])
    assert (found[wanted > most_mm] >= wanted[wanted > most_mm]).all()


@given(masks())
def test_counts_are_the_pixels_of_each_slice(mask):
    np.testing.assert_array_equal(planes.counts(mask), mask.sum((1, 2)))


@given(masks())
def test_bounds_are_the_smallest_box(mask):
    found = planes.bounds(mask)
    wanted = ndimage.find_objects(mask.view(np.uint8))
    assert found == (wanted[0] if wanted else (slice(0, 0),) * 3)


@given(masks().filter(np.any))
def test_the_middle_row_is_the_median_of_the_rows(mask):
    assert chest.middle_row(mask) == np.median(np.nonzero(mask)[1])


def test_a_share_of_the_pixels_lies_up_to_the_row_behind():
    mask = np.zeros((2, 5, 4), bool)
    mask[0, 1, :3], mask[1, 2], mask[:, 4, 0] = True, True, True  # 3, 4 and 2 pixels
    assert [chest.row_behind(mask, share) for share in (0.3, 0.5, 7 / 9, 0.9)] == [1, 2, 2, 4]


@given(masks(most=40))
def test_what_the_lungs_surround_is_their_hull_in_32_directions(mask):
    np.testing.assert_array_equal(chest.surrounded(mask), plain_hull(mask))


def plain_hull(lungs):
    """The convex hull on each slice and all above it, pixel by pixel."""
    row, column = np.arange(lungs.shape[1])[:, None], np.arange(lungs.shape[2])
    hull = np.ones(lungs.shape, bool)
    for angle in np.arange(0, 2 * np.pi, np.pi / 16):
        along = (np.cos(angle) * column + np.sin(angle) * row).astype(np.float32)
        farthest = np.where(lungs, along, -np.inf).max((1, 2)).astype(np.float32)
        hull &= along <= farthest[:, None, None] + np.float32(0.01)
    return np.logical_or.accumulate(hull[::-1])[::-1]


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([100, 3000, 32767]),
    st.sampled_from([0.3, 0.5, 0.9, 2.5]), st.sampled_from([0.3, 0.5, 0.9]),
)  # fmt: skip
def test_a_grid_pixel_is_the_mean_of_its_block(height, width, seed, most_hu, row_mm, column_mm):
    dice = np.random.default_rng(seed)
    hu_ZHW = dice.integers(-most_hu - 1, most_hu, (2, 4 * height, 4 * width), endpoint=True).astype(np.int16)
    grid = chest.shrink(hu_ZHW, (3.0, row_mm, column_mm))
    down, across = grid.factors
    for (z, y, x), hu in np.ndenumerate(grid.hu):
        block = hu_ZHW[z, y * down : (y + 1) * down, x * across : (x + 1) * across]
        assert hu == block.astype(np.int64).sum() / block.size
