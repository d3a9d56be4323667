"""What is looked at in a part of the volume alone is the same, bit for bit, as if all of it were looked at."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cac_hpc.calcium import agatston, aorta, candidates, chest
from cac_hpc.calcium.chest import Grid, Spine
from cac_hpc.settings.score_command import RuleConfig

seeds = st.integers(0, 2**32 - 1)


def tissue(dice, shape=(6, 90, 100)):
    """HU of blobs as wide as vessels: above and below fat, (z, h, w)."""
    rough = ndimage.gaussian_filter(dice.normal(size=shape), (2, 4, 4))
    return 60 * rough / rough.std()


@settings(max_examples=15)
@given(seeds, st.floats(1.4, 2.6), st.floats(-20, 110), st.floats(-20, 110))
def test_discs_beside_the_spine(seed, pixel_mm, front, middle):
    dice = np.random.default_rng(seed)
    grid, bone = Grid(tissue(dice), (3.0, pixel_mm), (4, 4)), np.zeros((6, 90, 100), bool)
    bone[:, 40:50, 60:80] = True
    spine = Spine(front + dice.uniform(-3, 3, 6), middle + dice.uniform(-3, 3, 6))
    mean = ndimage.uniform_filter1d(grid.hu, 5, axis=0, mode="nearest")
    depth = chest.depth_mm((mean > chest.FAT_HU) & ~bone, grid)
    low, high = chest.AORTA_MM
    z, y, x = np.nonzero((depth == ndimage.maximum_filter(depth, (1, 5, 5))) & (depth >= low) & (depth <= high))
    ahead, left = (y - spine.front[z]) * pixel_mm, (x - spine.middle[z]) * pixel_mm
    fits = (left > 5) & (left < 50) & (ahead > -35) & (ahead < 25)
    found = np.array(chest._discs(grid, bone, spine))
    ahead, left = (
        (found[1] - spine.front[found[0].astype(int)]) * pixel_mm,
        (found[2] - spine.middle[found[0].astype(int)]) * pixel_mm,
    )
    found = found[:, (left > 5) & (left < 50) & (ahead > -35) & (ahead < 25)]
    np.testing.assert_array_equal(found, np.array([z, y, x, depth[z, y, x]])[:, fits])


@settings(max_examples=15)
@given(seeds, st.floats(1.4, 2.6), st.integers(-30, 90), st.integers(-30, 90))
def test_discs_by_the_middle_of_the_heart(seed, pixel_mm, top, left):
    grid, bone = Grid(tissue(np.random.default_rng(seed)), (3.0, pixel_mm), (1, 1)), np.zeros((6, 90, 100), bool)
    bone[:, 40:50, 60:80] = True
    there, box = SimpleNamespace(grid=grid, bone=bone, core=np.ones(bone.shape, bool)), (top, top + 40, left, left + 30)
    mean = ndimage.uniform_filter1d(grid.hu, 3, axis=0, mode="nearest")[2:]
    depth = chest.depth_mm((mean > aorta.SOFT_HU) & ~bone[2:], grid)
    low, high = aorta.RADIUS_MM
    z, y, x = np.nonzero((depth == ndimage.maximum_filter(depth, (1, 7, 7))) & (depth >= low) & (depth <= high))
    left_D, back_D = (x + 0.5 - left - 15) * pixel_mm, (y + 0.5 - top - 20) * pixel_mm
    fits = (left_D > aorta.LEFT_MM[0]) & (left_D < aorta.LEFT_MM[1])
    fits &= (back_D > aorta.BACK_MM[0]) & (back_D < aorta.BACK_MM[1])
    wanted = np.stack([(z + 2) * 3.0, left_D, back_D, depth[z, y, x]], axis=1)[fits]
    np.testing.assert_array_equal(aorta._discs(there, box), wanted.astype(float))


@settings(max_examples=25)
@given(seeds, st.integers(1, 3), st.integers(1, 3), st.floats(0.25, 2.0))
def test_noise_in_the_core(seed, down, across, pixel_mm):
    dice = np.random.default_rng(seed)
    hu_ZHW = dice.integers(-1024, 3071, (2, 40 * down + 1, 45 * across), endpoint=True).astype(np.int16)
    core = np.zeros((2, 40, 45), bool)
    core[1, dice.integers(0, 40, 9), dice.integers(0, 45, 9)] = True
    there = SimpleNamespace(grid=Grid(core, (3.0, 2.0), (down, across)), core=core)
    hu_HW = hu_ZHW[1, : 40 * down].astype(np.float32)
    size = max(3, round(8 / pixel_mm))
    rest = hu_HW - ndimage.uniform_filter(hu_HW, size, mode="nearest")
    rest = rest[core[1].repeat(down, axis=0).repeat(across, axis=1)]
    wanted = 1.4826 * np.median(np.abs(rest - np.median(rest)))
    assert candidates.noise_hu(hu_ZHW, (3.0, pixel_mm, pixel_mm), there) == wanted


@pytest.mark.parametrize("kind", [bool, np.uint8])
@settings(max_examples=40)
@given(seed=seeds, neighbours=st.sampled_from([4, 8]), share=st.sampled_from([0.0, 0.1, 0.4, 0.8, 1.0]))
def test_lesions_are_the_labels_of_bright_voxels(kind, seed, neighbours, share):
    dice = np.random.default_rng(seed)
    hu_ZHW, region_ZHW = np.where(dice.random((3, 9, 8)) < share, 130, 129), 2 * (dice.random((3, 9, 8)) < 0.9)
    structure = np.zeros((3, 3, 3), bool)
    structure[1] = ndimage.generate_binary_structure(2, 1 if neighbours == 4 else 2)
    labels, _ = ndimage.label((hu_ZHW >= 130) & (region_ZHW != 0), structure)
    number, *place = agatston._labelled(hu_ZHW, region_ZHW.astype(kind), RuleConfig(neighbours=neighbours))
    np.testing.assert_array_equal(place, np.nonzero(labels))
    np.testing.assert_array_equal(number, labels[labels > 0] - 1)
