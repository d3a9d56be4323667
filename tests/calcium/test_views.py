"""Views of the heart that are kept of a study: which slices, which square, which grey."""

import numpy as np
import pytest

from cac_hpc.calcium import candidates, heart, views
from cac_hpc.calcium.candidates import NAMES, Candidates
from tests.support.chests import SPACING_MM, chest, with_lesion

BOX = 100, 200, 100, 200


def candidates_of(*found: tuple[float, tuple[int, int], dict[int, float]]) -> Candidates:
    """Candidates of one voxel a slice: share in the region, row and column, score of each slice."""
    feature_CF = np.zeros((len(found), len(NAMES)), np.float32)
    feature_CF[:, NAMES.index("region_share")] = [share for share, _, _ in found]
    voxels = [(z, *place) for _, place, scores in found for z in scores]
    return Candidates(
        feature_CF=feature_CF,
        candidate_L=np.repeat(np.arange(len(found), dtype=np.int32), [len(scores) for _, _, scores in found]),
        slice_L=np.array([z for z, _, _ in voxels], np.int32),
        agatston_L=np.array([score for _, _, scores in found for score in scores.values()], np.float32),
        voxel_V3=np.array(voxels, np.int16).reshape(-1, 3),
        start_C1=np.cumsum([0, *(len(scores) for _, _, scores in found)]),
    )


def test_the_slices_with_the_most_calcium_that_reaches_into_the_region_come_first_then_those_near_it():
    inside = 0.1, (150, 150), {z: 10.0 * z for z in range(3, 13)}  # ten slices
    near = 0.0, (100, 199), {0: 5.0, 3: 1000.0, 20: 7.0, 30: 6.0}
    far = 0.0, (99, 150), {40: 1e6}
    assert views.chosen_slices(candidates_of(inside, near, far), BOX).tolist() == [*range(3, 13), 20, 30]
    many = 0.1, (150, 150), {z: 100.0 + z % 7 for z in range(20)}
    chosen = views.chosen_slices(candidates_of(many, near), BOX).tolist()
    assert chosen == sorted([6, 13, 5, 12, 19, 4, 11, 18, 3, 10, 17, 2])  # of equal ones the first


def test_slices_with_nothing_in_or_near_the_region_are_not_shown():
    assert views.chosen_slices(candidates_of((0.0, (99, 150), {4: 100.0})), BOX).tolist() == []
    assert views.chosen_slices(candidates_of(), BOX).tolist() == []


@pytest.fixture(scope="module")
def seen():
    """A chest with a lesion in the region, one outside of the square, and its views."""
    hu_ZHW = with_lesion(chest(360).hu_ZHW, -60, 4, slice(20, 22), hu=900)
    there = heart.find(hu_ZHW, SPACING_MM)
    return hu_ZHW, there, views.make(hu_ZHW, SPACING_MM, there, candidates.find(hu_ZHW, SPACING_MM, there))


def test_views_show_a_square_around_the_heart(seen):
    hu_ZHW, there, found = seen
    top, bottom, left, right = found.box
    assert found.box == heart.square_around(there.box, 25, SPACING_MM, hu_ZHW.shape)
    assert bottom - top == right - left
    assert (bottom - top) * 0.8 == pytest.approx(
        max(there.box[1] - there.box[0], there.box[3] - there.box[2]) * 0.8 + 50, abs=1
    )
    assert found.image_NSS.shape == (len(found.slice_N), 256, 256)
    assert (found.image_NSS.dtype, found.slice_N.dtype) == (np.uint8, np.int32)
    assert found.slice_N[0] == views.PROJECTION
    assert {20, 21} <= set(found.slice_N[1:].tolist())
    assert (np.diff(found.slice_N) > 0).all()


def test_a_view_is_grey_from_fat_to_calcium_where_the_volume_is(seen):
    hu_ZHW, _, found = seen
    top, bottom, left, right = found.box
    row, column = (round((mm / 0.8 + hu_ZHW.shape[1] / 2 - first) * 256 / (last - first)) for mm, first, last in
                   ((-60, top, bottom), (4, left, right)))  # fmt: skip
    lesion = slice(row - 1, row + 2), slice(column - 1, column + 2)
    for index, number in enumerate(found.slice_N):
        assert (found.image_NSS[index][lesion].max() == 255) == (number in (-1, 20, 21))
    low, high = found.window_hu
    grey = found.image_NSS[list(found.slice_N).index(20)].astype(float) / 255 * (high - low) + low
    shown = hu_ZHW[20, top:bottom, left:right].clip(low, high)
    assert grey.mean() == pytest.approx(shown.mean(), abs=3)
    assert (found.image_NSS[0] >= found.image_NSS[1:].max(axis=0).astype(int) - 1).all()


def test_without_candidates_there_is_the_projection_alone(seen):
    hu_ZHW, there, _ = seen
    found = views.make(hu_ZHW, SPACING_MM, there, candidates_of())
    assert found.slice_N.tolist() == [views.PROJECTION]
