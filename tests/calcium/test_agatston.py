"""The Agatston rule against numbers worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cac_hpc.calcium import agatston
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.score_command import RuleConfig


def score(pixels: dict[tuple[int, int, int], int], pixel_mm: float = 1.0, spacing_mm: float = 3.0, **options: float):
    """Score a volume of 3 slices of 8 x 8 at 40 HU with some pixels (z, y, x) set; the mask is everywhere."""
    hu_ZHW = np.full((3, 8, 8), 40, np.int16)
    for at, hu in pixels.items():
        hu_ZHW[at] = hu
    return agatston.score_volume(hu_ZHW, np.ones_like(hu_ZHW, bool), pixel_mm, spacing_mm, **options)


def test_a_lesion_counts_its_area_times_the_weight_of_its_maximum():
    lesion = {(1, y, x): 140 for y in (2, 3) for x in (2, 3, 4)}
    assert score(lesion | {(1, 2, 2): 250}, pixel_mm=0.5) == pytest.approx(6 * 0.25 * 2)


@pytest.mark.parametrize(
    ("maximum_hu", "weight"),
    [(129, 0), (130, 1), (199, 1), (200, 2), (299, 2), (300, 3), (399, 3), (400, 4), (1500, 4)],
)
def test_the_weight_steps_at_130_200_300_and_400(maximum_hu, weight):
    assert score({(0, 4, 4): maximum_hu}) == weight


def test_the_score_grows_with_the_spacing_relative_to_3_mm():
    assert score({(0, 4, 4): 150}, spacing_mm=2.5) == pytest.approx(2.5 / 3)
    assert score({(0, 4, 4): 150}, spacing_mm=6.0) == pytest.approx(2)


def test_pixels_that_touch_at_a_corner_are_one_lesion():
    assert score({(0, 2, 2): 450, (0, 3, 3): 150}) == 2 * 4
    assert score({(0, 2, 2): 450, (0, 2, 4): 150}) == 4 + 1


def test_slices_are_scored_apart():
    assert score({(0, 2, 2): 450, (1, 2, 2): 150}) == 4 + 1


def test_a_lesion_below_the_least_area_does_not_count():
    three = {(0, 2, x): 150 for x in (2, 3, 4)}
    assert score(three, pixel_mm=0.5) == 0
    assert score(three | {(0, 2, 5): 150}, pixel_mm=0.5) == 1
    assert score(three, pixel_mm=0.5, min_area_mm2=0.75) == 0.75


def test_only_what_lies_in_the_mask_counts():
    hu_ZHW = np.full((1, 4, 4), 40, np.int16)
    hu_ZHW[0, 1] = 150, 150, 450, 450
    mask_ZHW = np.zeros_like(hu_ZHW, bool)
    assert agatston.score_volume(hu_ZHW, mask_ZHW, 1.0, 3.0) == 0
    mask_ZHW[0, 1, :2] = True
    assert agatston.score_volume(hu_ZHW, mask_ZHW, 1.0, 3.0) == 2


@pytest.mark.parametrize(("inside", "expected"), [(0, 0), (1, 0), (2, 0), (3, 4 * 4), (4, 4 * 4)])
def test_a_lesion_counts_whole_if_more_than_half_of_its_pixels_lie_in_a_region_that_chooses(inside, expected):
    hu_ZHW = np.full((2, 5, 8), 40, np.int16)
    hu_ZHW[0, 2, 2:6] = 150, 150, 150, 450
    hu_ZHW[1, 2, 2:6] = 150  # another lesion, outside
    region_ZHW = np.zeros_like(hu_ZHW, bool)
    region_ZHW[0, :, : 2 + inside] = True
    everywhere = np.ones_like(region_ZHW)
    found = agatston.score_study(hu_ZHW, region_ZHW, (3.0, 1.0, 1.0), within_ZHW=everywhere)
    assert found.agatston == found.slices[0] == expected
    assert found.lesions["region"].tolist() == [1] * (expected > 0)
    assert agatston.score_study(hu_ZHW, region_ZHW, (3.0, 1.0, 1.0)).agatston == inside * (4 if inside == 4 else 1)


def test_a_lesion_is_cut_where_lesions_are_not_looked_for():
    hu_ZHW = np.full((1, 5, 8), 150, np.int16)
    region_ZHW, within_ZHW = (np.zeros_like(hu_ZHW, bool) for _ in range(2))
    region_ZHW[:, 1:3, 1:5], within_ZHW[:, :3] = True, True
    assert agatston.score_study(hu_ZHW, region_ZHW, (3.0, 1.0, 1.0), within_ZHW=within_ZHW).agatston == 0
    within_ZHW[:, 0] = False
    assert agatston.score_study(hu_ZHW, region_ZHW, (3.0, 1.0, 1.0), within_ZHW=within_ZHW).agatston == 0
    within_ZHW[:, :, 6:] = False
    assert agatston.score_study(hu_ZHW, region_ZHW, (3.0, 1.0, 1.0), within_ZHW=within_ZHW).agatston == 12


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"volume is \(1, 4, 4\), but region is \(4, 4\)"):
        agatston.score_volume(np.zeros((1, 4, 4)), np.ones((4, 4), bool), 1.0, 3.0)


def study(pixels: dict[tuple[int, int, int], int], spacing_mm=(3.0, 1.0, 1.0), **rule):
    """Score a volume of 3 slices of 8 x 8 at 40 HU with some pixels set; the region is everywhere."""
    hu_ZHW = np.full((3, 8, 8), 40, np.int16)
    for at, hu in pixels.items():
        hu_ZHW[at] = hu
    return agatston.score_study(hu_ZHW, np.ones_like(hu_ZHW, bool), spacing_mm, RuleConfig(**rule))


def test_every_lesion_is_told_with_all_that_it_counts():
    found = study({(1, 2, 2): 310, (1, 2, 3): 150, (1, 3, 4): 140, (2, 5, 5): 130}, (2.5, 0.5, 2), mass_factor=0.001)
    assert found.lesions.to_dict("records") == [
        {"slice": 1, "row": 2, "column": 2, "region": 1, "pixels": 3, "area_mm2": 3.0, "max_hu": 310, "mean_hu": 200.0,
         "weight": 3, "agatston": pytest.approx(7.5), "volume_mm3": 7.5, "mass_mg": pytest.approx(1.5)},
        {"slice": 2, "row": 5, "column": 5, "region": 1, "pixels": 1, "area_mm2": 1.0, "max_hu": 130, "mean_hu": 130.0,
         "weight": 1, "agatston": pytest.approx(2.5 / 3), "volume_mm3": 2.5, "mass_mg": pytest.approx(0.325)},
    ]  # fmt: skip
    assert found.agatston == pytest.approx(7.5 + 2.5 / 3)
    assert found.volume_mm3 == 10
    assert found.mass_mg == pytest.approx(1.825)
    assert found.slices == pytest.approx([0, 7.5, 2.5 / 3])
    assert found.empty_slices == pytest.approx(1 / 3)


def test_without_a_calibration_there_is_no_mass():
    found = study({(0, 4, 4): 150})
    assert found.mass_mg is None
    assert found.lesions["mass_mg"].isna().all()


def test_a_volume_without_calcium_scores_0_and_has_no_lesion():
    found = study({(0, 4, 4): 129})
    assert (found.agatston, found.volume_mm3, len(found.lesions), found.empty_slices) == (0, 0, 0, 1)
    assert found.slices.tolist() == [0, 0, 0]


def test_a_slice_with_a_voxel_too_small_for_a_lesion_is_not_empty():
    found = study({(0, 4, 4): 150}, (3, 0.5, 0.5))
    assert (found.agatston, found.empty_slices) == (0, pytest.approx(2 / 3))


def test_above_130_is_another_rule_than_from_130_on():
    both = {(0, 2, 2): 130, (0, 5, 5): 131}
    assert study(both).agatston == 2
    assert study(both, threshold_hu=131).agatston == 1


def test_the_factor_for_the_spacing_can_be_switched_off():
    assert study({(0, 4, 4): 150}, (1.5, 1, 1)).agatston == 0.5
    off = study({(0, 4, 4): 150}, (1.5, 1, 1), spacing_factor=False)
    assert (off.agatston, off.volume_mm3) == (1, 1.5)


def test_with_4_neighbours_a_corner_parts_two_lesions():
    corner = {(0, 2, 2): 450, (0, 3, 3): 150}
    assert study(corner).agatston == 2 * 4
    assert study(corner, neighbours=4).agatston == 4 + 1
    edge = {(0, 2, 2): 450, (0, 2, 3): 150}
    assert study(edge, neighbours=4).agatston == 2 * 4


def test_the_least_area_can_be_told_in_pixels():
    sizes = {(0, 1, 1): 150} | {(0, 4, x): 150 for x in (1, 2)} | {(2, 6, x): 150 for x in (1, 2, 3)}
    for least, expected in {1: 6, 2: 5, 3: 3, 4: 0}.items():
        assert study(sizes, min_area_pixels=least).agatston == expected
    assert study(sizes, (3, 0.5, 0.5), min_area_mm2=0, min_area_pixels=3).agatston == pytest.approx(0.75)


def test_an_area_of_exactly_the_least_counts():
    tenth = {(0, y, x): 150 for y in range(8) for x in range(8)} | {(1, y, x): 150 for y in range(6) for x in range(6)}
    assert study(tenth, (3, 0.1, 0.1), min_area_mm2=0.36).agatston == pytest.approx(1.0)
    assert study(tenth, (3, 0.1, 0.1), min_area_mm2=0.37).agatston == pytest.approx(0.64)


def test_a_lesion_that_straddles_the_region_counts_with_what_is_inside():
    hu_ZHW = np.full((1, 8, 8), 40, np.int16)
    hu_ZHW[0, 3, 1:7] = 150, 150, 150, 150, 250, 450
    region_ZHW = np.zeros_like(hu_ZHW)
    region_ZHW[0, :, :3], region_ZHW[0, :, 3:5] = 1, 2
    found = agatston.score_study(hu_ZHW, region_ZHW, (3, 1, 1))
    assert (found.agatston, len(found.lesions)) == (4, 1)  # its maximum is outside, too
    region_ZHW[0, :, 5] = 2
    found = agatston.score_study(hu_ZHW, region_ZHW, (3, 1, 1))
    assert (found.agatston, found.lesions["region"].tolist()) == (5 * 2, [2])  # where the brightest pixel is


def speckled(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A volume of lesions of all sizes and weights, with a wide empty border, and a region that cuts some of them."""
    rng = np.random.default_rng(seed)
    hu_ZHW = np.full((4, 40, 36), 40, np.int16)
    hu_ZHW[1:3, 10:30, 10:26] = ndimage.gaussian_filter(rng.normal(100, 700, (2, 20, 16)), (0, 1, 1))
    region_ZHW = np.zeros(hu_ZHW.shape, bool)
    region_ZHW[:, 11:29, 12:26] = True
    return hu_ZHW, region_ZHW


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(-9, 9), st.integers(-9, 9), st.booleans(), st.booleans())
def test_where_and_how_the_patient_lies_does_not_matter(seed, down, right, mirrored, upside_down):
    hu_ZHW, region_ZHW = speckled(seed)
    expected = agatston.score_study(hu_ZHW, region_ZHW, (2.5, 0.7, 0.7), RuleConfig(mass_factor=0.001))
    moved = [np.roll(volume, (down, right), (1, 2)) for volume in (hu_ZHW, region_ZHW)]
    moved = [volume[:, :, ::-1] if mirrored else volume for volume in moved]
    moved = [volume[::-1] if upside_down else volume for volume in moved]
    found = agatston.score_study(*moved, (2.5, 0.7, 0.7), RuleConfig(mass_factor=0.001))
    assert found.agatston == pytest.approx(expected.agatston)
    assert found.mass_mg == pytest.approx(expected.mass_mg)
    order = slice(None, None, -1 if upside_down else 1)
    assert found.slices[order] == pytest.approx(expected.slices)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.floats(0.2, 1.0))
def test_the_score_is_that_of_a_pixel_by_pixel_search(seed, pixel_mm):
    hu_ZHW, region_ZHW = speckled(seed)
    total = 0.0
    for hu_HW, inside_HW in zip(hu_ZHW, region_ZHW, strict=True):
        waiting = {(int(y), int(x)) for y, x in zip(*np.nonzero((hu_HW >= 130) & inside_HW), strict=True)}
        while waiting:
            lesion, growing = [], [waiting.pop()]
            while growing:
                y, x = growing.pop()
                lesion.append(int(hu_HW[y, x]))
                around = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & waiting
                waiting -= around
                growing += around
            area = len(lesion) * pixel_mm**2
            total += area * min(4, max(lesion) // 100 if max(lesion) >= 200 else 1) * (area >= 1 - 1e-9)
    assert agatston.score_study(hu_ZHW, region_ZHW, (3, pixel_mm, pixel_mm)).agatston == pytest.approx(total)


@pytest.mark.parametrize(
    "wrong",
    [{"threshold_hu": 0}, {"min_area_mm2": -1}, {"min_area_pixels": 0}, {"neighbours": 6}, {"mass_factor": 1.5}],
)
def test_a_rule_that_cannot_be_is_refused(wrong):
    with pytest.raises(InputError, match=f"--{next(iter(wrong))} is .* but must be"):
        RuleConfig(**wrong)
