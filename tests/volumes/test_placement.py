"""Where voxels are: the positions of stored pixels do not change when slices are turned; nearest values are exact."""

from itertools import product

import numpy as np
import pytest

from cac_hpc.volumes import placement
from cac_hpc.volumes.frame import AS_STORED, turn
from cac_hpc.volumes.placement import Placement

SIZE, SPACING_MM, NUM_SLICES = (5, 7), (0.5, 0.75), 4
LYING = {  # ImageOrientationPatient: rows, then columns, of somebody who lies on his back, his front, his side ...
    "supine": (1, 0, 0, 0, 1, 0),
    "prone": (-1, 0, 0, 0, -1, 0),
    "right side": (0, -1, 0, 1, 0, 0),
    "left side": (0, 1, 0, -1, 0, 0),
    "mirrored": (-1, 0, 0, 0, 1, 0),
    "transposed": (0, 1, 0, 1, 0, 0),
    "a little turned": (0.999848, 0.017452, 0, -0.017452, 0.999848, 0),
}


@pytest.mark.parametrize("orientation", LYING.values(), ids=LYING)
def test_each_stored_pixel_keeps_its_position(orientation):
    first_mm, last_mm = np.array((-20.0, 30.0, 100.0)), np.array((-20.0, 30.0, 107.5))
    turned = turn(orientation)
    found = placement.of_slices(first_mm, last_mm, NUM_SLICES, orientation, SIZE, SPACING_MM, turned)
    stored = np.arange(NUM_SLICES * SIZE[0] * SIZE[1]).reshape(NUM_SLICES, *SIZE)
    shown = turned.of(stored)
    assert found.shape == shown.shape
    for z, row, column in product(range(NUM_SLICES), range(SIZE[0]), range(SIZE[1])):
        by_standard = (  # DICOM PS3.3 C.7.6.2.1.1
            first_mm + (0, 0, 2.5 * z)
            + np.array(orientation[:3]) * SPACING_MM[1] * column + np.array(orientation[3:]) * SPACING_MM[0] * row
        )  # fmt: skip
        index = np.argwhere(shown == stored[z, row, column])
        np.testing.assert_allclose(found.at(index)[0], by_standard, atol=1e-9)
        np.testing.assert_allclose(found.index(by_standard[None])[0], index[0], atol=1e-9)
    if orientation == LYING["supine"]:
        assert turned == AS_STORED


STUDY = placement.of_slices((-10, -20, 50), (-10, -20, 59), 4, LYING["supine"], (6, 8), (0.5, 0.5), AS_STORED)


def turned_over(values, at, axes, order):
    """The same voxels in another order of axes, some of them reversed."""
    first, steps = np.array(at.first_mm), [np.array(step) for step in at.steps_mm]
    for axis in axes:
        first, steps[axis] = first + steps[axis] * (at.shape[axis] - 1), -steps[axis]
    values = np.flip(values, axes).transpose(order)
    return values, Placement(values.shape, tuple(first), tuple(tuple(steps[axis]) for axis in order))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("axes", [(), (0,), (1, 2), (0, 1, 2)])
def test_the_order_of_an_array_changes_nothing(axes, order):
    values = np.arange(4 * 6 * 8).reshape(4, 6, 8)
    other, at = turned_over(values, STUDY, axes, order)
    assert at.has_grid_of(STUDY)
    assert at.covers(STUDY)
    np.testing.assert_array_equal(placement.resample(other, at, STUDY), values)


def test_a_finer_grid_gives_the_nearest_and_beyond_a_grid_is_outside():
    fine = placement.of_slices(
        (-10.1, -20.1, 50), (-10.1, -20.1, 59), 4, LYING["supine"], (40, 50), (0.1, 0.1), AS_STORED
    )
    values = np.broadcast_to(np.arange(40)[:, None] * 100 + np.arange(50), (4, 40, 50)).copy()
    found = placement.resample(values, fine, STUDY)
    assert found[2].tolist() == [[(1 + 5 * row) * 100 + 1 + 5 * column for column in range(8)] for row in range(6)]
    assert fine.covers(STUDY)
    assert not fine.has_grid_of(STUDY)
    above = placement.of_slices((-10, -20, 53), (-10, -20, 62), 4, LYING["supine"], (6, 8), (0.5, 0.5), AS_STORED)
    assert above.has_grid_of(STUDY)
    assert not above.covers(STUDY)
    assert placement.resample(np.ones((4, 6, 8), int), above, STUDY, outside=7)[:, 0, 0].tolist() == [7, 1, 1, 1]


def test_what_is_no_volume_is_told_and_the_geometry_is_readable():
    assert STUDY.is_regular
    assert not Placement(
        (4, 6, 8), STUDY.first_mm, (STUDY.steps_mm[0], STUDY.steps_mm[0], STUDY.steps_mm[2])
    ).is_regular
    assert not Placement((4, 6, 8), (np.nan, 0, 0), STUDY.steps_mm).is_regular
    assert str(STUDY) == ("4 x 6 x 8 voxels of 3 x 0.5 x 0.5 mm, x -10.0 to -6.5, y -20.0 to -17.5, z 50.0 to 59.0")
