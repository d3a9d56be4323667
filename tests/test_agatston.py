"""The Agatston rule against numbers worked by hand."""

import numpy as np
import pytest

from cac_hpc import agatston


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


def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"volume is \(1, 4, 4\), but mask is \(4, 4\)"):
        agatston.score_volume(np.zeros((1, 4, 4)), np.ones((4, 4), bool), 1.0, 3.0)
