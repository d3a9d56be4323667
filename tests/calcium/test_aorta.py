"""The ascending aorta: found where it was drawn, and a usual place where there is none."""

import numpy as np
import pytest

from cac_hpc.calcium import aorta
from cac_hpc.calcium.chest import Grid
from cac_hpc.calcium.heart import Surroundings

SLICE_MM, PIXEL_MM, SIZE = 3.0, 2.0, 80
BOX = (0, 4 * SIZE, 0, 4 * SIZE)  # in pixels of the scanner, four of which are one of the grid


def chest_with(*tubes, num_slices=30):
    """Fat with tubes of blood: left, back, tilt to the left and back per mm upwards, radius, all in mm, first slice
    and, if one ends, the slice after its last."""
    hu = np.full((num_slices, SIZE, SIZE), -90, np.float32)
    row, column = np.arange(SIZE)[:, None], np.arange(SIZE)
    for left, back, left_tilt, back_tilt, radius, first, *last in tubes:
        for z in range(first, *last or [num_slices]):
            x_mm = (column + 0.5 - SIZE / 2) * PIXEL_MM - left - left_tilt * z * SLICE_MM
            y_mm = (row + 0.5 - SIZE / 2) * PIXEL_MM - back - back_tilt * z * SLICE_MM
            hu[z][np.hypot(x_mm, y_mm) <= radius] = 40
    nothing, core = np.zeros(hu.shape, bool), np.zeros(hu.shape, bool)
    core[:20] = True
    far = np.zeros(hu.shape, np.float32)
    return Surroundings(Grid(hu, (SLICE_MM, PIXEL_MM), (4, 4)), core, core, far, nothing, core, core, nothing)


@pytest.mark.parametrize(("left", "back", "tilt"), [(-14, -12, (0, 0)), (-4, -22, (-0.2, 0.1)), (-20, 4, (0.2, 0))])
def test_a_tube_of_blood_in_fat_is_found_with_its_tilt_and_radius(left, back, tilt):
    found = aorta.find(chest_with((left, back, *tilt, 16, 0), (30, 20, 0, 0, 16, 0)), BOX)
    assert found.found
    assert found.radius_mm == pytest.approx(16, abs=2)
    for height_mm in (40.0, 60.0, 80.0):
        axis = np.array([left + tilt[0] * height_mm]), np.array([back + tilt[1] * height_mm])
        away = found.from_axis(*axis, np.array([height_mm]))
        assert np.hypot(*away)[0] < 2.5


def test_the_axis_goes_on_15_mm_beyond_its_ends_and_is_upright_from_there():
    found = aorta.find(chest_with((-14, -12, -0.2, 0, 16, 0)), BOX)
    low_mm = found.ends_mm[0]
    left, _ = found.from_axis(np.zeros(3), np.zeros(3), np.array([low_mm, low_mm - 15, low_mm - 40]))
    assert left[1] - left[0] == pytest.approx(15 * found.tilt[0])
    assert left[2] == left[1]


def test_the_longer_of_two_tubes_is_taken_and_the_one_nearer_to_the_usual_place():
    longer = aorta.find(chest_with((-30, -12, 0, 0, 14, 10), (4, -14, 0, 0, 14, 24)), BOX)
    assert longer.middle_mm[0] == pytest.approx(-30, abs=2)
    usual = aorta.find(chest_with((-14, -12, 0, 0, 13, 0), (11, -30, 0, 0, 13, 0)), BOX)
    assert usual.middle_mm[0] == pytest.approx(-14, abs=2)


def test_the_pulmonary_trunk_in_front_which_leans_back_is_not_taken():
    """It is longer and nearer to the usual place."""
    trunk, own = (-8, -50, 0, 0.5, 14, 0), (-38, 4, 0, 0, 15, 17)
    assert aorta.find(chest_with(trunk), BOX).tilt[1] > 0.3  # it is a vessel, where it is the only one
    found = aorta.find(chest_with(trunk, own), BOX)
    assert (found.middle_mm[0], found.tilt[1]) == (pytest.approx(-38, abs=2), pytest.approx(0, abs=0.05))


def test_an_atrium_that_bulges_lower_down_is_not_taken():
    atrium, own = (-38, -10, 0, 0, 20, 0, 21), (-6, -20, 0, 0, 14, 19)
    assert aorta.find(chest_with(atrium), BOX).middle_mm[0] == pytest.approx(-38, abs=2)
    assert aorta.find(chest_with(atrium, own), BOX).middle_mm[0] == pytest.approx(-6, abs=2)


def test_thousands_of_discs_take_no_more_than_moments():
    """As noise makes them. Of all pairs of these the distances would take 15 GB."""
    rng = np.random.default_rng(0)
    disc_D4 = np.stack([rng.integers(20, 60, 30000) * 2.5, *rng.uniform(-400, 400, (2, 30000)), np.full(30000, 15)], 1)
    assert 0 < aorta._same(disc_D4, 2.5, 80.0).sum() < 30000


@pytest.mark.parametrize(
    "tubes", [(), ((-14, -12, 0, 0, 6, 0),), ((-14, -12, 0, 0, 30, 0),), ((-14, -12, 0, 0, 15, 29),)]
)
def test_without_one_it_stands_where_it_usually_does(tubes):
    found = aorta.find(chest_with(*tubes), BOX)
    assert not found.found
    assert (found.middle_mm, found.radius_mm) == (aorta.USUAL_MM, aorta.USUAL_RADIUS_MM)
    assert found.ends_mm == (57.0, 57.0)  # the highest slice of the core
