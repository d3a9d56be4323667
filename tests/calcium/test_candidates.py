"""Candidates: pieces of lesions in and near the heart, and what is measured of each."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from cac_hpc.calcium import agatston, aorta, candidates, heart
from cac_hpc.calcium.candidates import NAMES
from cac_hpc.calcium.chest import Grid
from cac_hpc.calcium.heart import Heart, Surroundings
from cac_hpc.dataset import intake
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import files

SPACING_MM = (3.0, 0.5, 0.5)


def heart_of(shape, factor=1, **changed):
    """A heart whose hull and region are the whole volume."""
    z, h, w = shape[0], shape[1] // factor, shape[2] // factor
    parts = {
        "grid": Grid(np.full((z, h, w), 40, np.float32), (SPACING_MM[0], SPACING_MM[1] * factor), (factor, factor)),
        "region": np.ones((z, h, w), bool),
        "hull": np.ones((z, h, w), bool),
        "fat_depth_mm": np.zeros((z, h, w), np.float32),
        **{name: np.zeros((z, h, w), bool) for name in ("bone", "behind_atrium")},
        **{name: np.ones((z, h, w), bool) for name in ("core", "whole")},
    }
    return Heart(np.ones(shape, bool), (0, shape[1], 0, shape[2]), 40.0, Surroundings(**parts | changed))


def volume(shape, *boxes, hu=300):
    hu_ZHW = np.full(shape, 40, np.int16)
    for box in boxes:
        hu_ZHW[box] = hu
    return hu_ZHW


def feature(found, name):
    return found.feature_CF[:, NAMES.index(name)]


def test_lesions_of_neighbouring_slices_that_touch_by_a_corner_are_one_candidate():
    shape = (4, 12, 12)
    hu_ZHW = volume(shape, np.s_[1, 2:4, 2:4], np.s_[2, 4:6, 4:6], np.s_[3, 8:10, 8:10])
    found = candidates.find(hu_ZHW, SPACING_MM, heart_of(shape))
    assert len(found) == 2
    assert found.candidate_L.tolist() == [0, 0, 1]
    assert found.slice_L.tolist() == [1, 2, 3]
    assert found.agatston_L.tolist() == [3, 3, 3]  # 1 mm2 times 3 of a maximum of 300 HU, slices 3 mm apart
    assert found.agatston_C.tolist() == [6, 3]
    assert found.voxel_V3[: found.start_C1[1]].tolist() == [
        [z, y, x] for z, first in ((1, 2), (2, 4)) for y in (first, first + 1) for x in (first, first + 1)
    ]


def test_what_covers_less_than_1_mm2_of_its_slice_neither_counts_nor_joins():
    shape = (3, 12, 12)
    hu_ZHW = volume(shape, np.s_[0, 2:4, 2:4], np.s_[1, 4, 4:7], np.s_[2, 5:7, 5:7])  # 3 pixels are 0.75 mm2
    found = candidates.find(hu_ZHW, SPACING_MM, heart_of(shape))
    assert found.candidate_L.tolist() == [0, 1]
    assert len(found.voxel_V3) == 8


def test_a_piece_does_not_go_on_around_the_edge_of_the_volume():
    shape = (2, 6, 6)
    found = candidates.find(volume(shape, np.s_[0, 1:3, 4:6], np.s_[0, 2:4, 0:2]), SPACING_MM, heart_of(shape))
    assert len(found) == 2


@pytest.mark.parametrize("seed", range(5))
def test_pieces_and_scores_are_those_of_scipys_labels_and_of_the_agatston_rule(seed):
    shape = (6, 40, 44)
    rng = np.random.default_rng(seed)
    hu_ZHW = np.asarray(ndimage.gaussian_filter(rng.normal(0, 700, shape), (0.4, 1, 1)), np.int16)
    found = candidates.find(hu_ZHW, SPACING_MM, heart_of(shape))
    lesions = agatston.score_study(hu_ZHW, np.ones(shape, bool), SPACING_MM, candidates.RULE).lesions
    by_slice = np.bincount(found.slice_L, found.agatston_L, len(hu_ZHW))
    assert by_slice == pytest.approx(np.bincount(lesions["slice"], lesions["agatston"], minlength=len(hu_ZHW)))
    assert len(lesions) == len(found.candidate_L) > 20
    counted = np.zeros(shape, bool)
    counted[tuple(found.voxel_V3.T)] = True
    labels, count = ndimage.label(counted, np.ones((3, 3, 3), bool))
    assert len(found) == count
    own = np.repeat(np.arange(len(found)), np.diff(found.start_C1))
    assert len(set(zip(own.tolist(), labels[tuple(found.voxel_V3.T)].tolist(), strict=True))) == count


def test_only_the_hull_is_looked_at():
    shape = (2, 8, 8)
    hull = np.zeros((2, 4, 4), bool)
    hull[:, :2] = True
    hu_ZHW = volume(shape, np.s_[0, 0:3, 0:2], np.s_[1, 5:8, 5:8])
    found = candidates.find(hu_ZHW, SPACING_MM, heart_of(shape, factor=2, hull=hull))
    assert found.voxel_V3.tolist() == [[0, y, x] for y in range(3) for x in range(2)]


def test_none_is_no_candidate():
    shape = (3, 8, 8)
    found = candidates.find(volume(shape), SPACING_MM, heart_of(shape))
    assert len(found) == 0
    assert found.feature_CF.shape == (0, len(NAMES))
    assert found.agatston_C.shape == (0,)


def test_place_size_and_surroundings_are_in_mm_and_shares():
    shape = (5, 40, 60)
    there = heart_of(shape)
    region, fat = there.chest.region, there.chest.grid.hu
    region[3, 10:12, 20] = False
    fat[3, :, 20:] = -90
    hu_ZHW = volume(shape, np.s_[3, 10:14, 20:22], np.s_[4, 10:12, 20:22])
    hu_ZHW[3, 10, 20] = 420
    found = candidates.find(hu_ZHW, SPACING_MM, there)
    assert len(found) == 1
    assert feature(found, "region_share") == pytest.approx(10 / 12)
    assert feature(found, "log_agatston") == pytest.approx(np.log1p(2 * 4 + 1 * 3))
    assert feature(found, "log_volume") == pytest.approx(np.log1p(12 * 0.75))
    assert feature(found, "max_hu") == 420
    assert feature(found, "mean_hu") == pytest.approx(310)
    assert feature(found, "height_mm") == 6
    assert feature(found, "width_mm") == 2
    average = candidates.AVERAGE_MM / (np.sqrt(40 * 60) * 0.5 / 2)
    assert feature(found, "left_mm") == pytest.approx((21 - 30) * 0.5 * average)
    assert feature(found, "back_mm") == pytest.approx(((8 * 12 + 4 * 11) / 12 - 20) * 0.5 * average)
    assert feature(found, "up_mm") == pytest.approx((40 / 12 - 2) * 3 * average)
    assert feature(found, "above_bottom_mm") == pytest.approx(40 / 12 * 3)
    assert feature(found, "below_top_mm") == pytest.approx((4 - 40 / 12) * 3)
    assert 0.3 < feature(found, "fat_near") < 0.7


def test_the_ring_tells_a_vessel_in_fat_from_a_valve_in_blood():
    shape = (3, 80, 80)
    hu_ZHW = volume(shape, np.s_[1, 20:24, 20:24], np.s_[1, 60:64, 60:64])
    hu_ZHW[:, 8:36, 8:36][hu_ZHW[:, 8:36, 8:36] < 100] = -90
    found = candidates.find(hu_ZHW, SPACING_MM, heart_of(shape))
    assert feature(found, "ring_fat").tolist() == [1, 0]
    assert feature(found, "ring_hu").tolist() == [-90, 40]
    assert feature(found, "ring_open").tolist() == [0, 1]


def test_the_longest_run_of_directions_without_fat_goes_on_across_the_first():
    """Gaps in the fat: 5 of the 16 directions to the right, the first in their middle, and 3 to the left."""
    shape = (3, 48, 48)
    y, x = np.mgrid[:48, :48] - 21.5
    degrees = np.degrees(np.arctan2(y, x))
    hu_ZHW = volume(shape)
    hu_ZHW[:, (abs(degrees) > 52) & (abs(degrees) < 150)] = -90
    hu_ZHW[1, 20:24, 20:24] = 300
    found = candidates.find(hu_ZHW, SPACING_MM, heart_of(shape))
    assert feature(found, "ring_fat").tolist() == [0.5]
    assert feature(found, "ring_open").tolist() == [5 / 16]


@pytest.mark.parametrize("sd", [11.0, 22.0])
def test_noise_is_the_standard_deviation_of_white_noise(sd):
    shape = (3, 128, 128)
    rng, hu_ZHW = np.random.default_rng(1), volume(shape, np.s_[:, :8, :8], hu=900)
    hu_ZHW = hu_ZHW + np.rint(rng.normal(0, sd, shape)).astype(np.int16)
    assert candidates.noise_hu(hu_ZHW, SPACING_MM, heart_of(shape).chest) == pytest.approx(sd, rel=0.05)


def test_the_inserts_of_the_thorax_phantom_are_candidates_with_the_published_score(shared_data):
    folder = shared_data / "qrm_phantom"
    volume = intake.read_chest(files.list_files(folder / "study_001"), PackConfig())
    found = candidates.find(volume.hu_ZHW, volume.study.spacing_mm, volume.heart)
    published = pd.read_csv(folder / "agatston_published.csv").filter(like="calculated_agat").to_numpy()
    first = found.start_C1[:-1]
    place_C3 = np.add.reduceat(found.voxel_V3.astype(float), first) / np.diff(found.start_C1)[:, None]
    counted = []
    for row, column in ((220, 180), (151, 291), (282, 299), (220, 205), (173, 280), (260, 285), (220, 231)):
        apart = np.hypot(place_C3[:, 1] - row, place_C3[:, 2] - column) * volume.study.spacing_mm[1]
        here = np.flatnonzero((apart < 5) & (np.abs(place_C3[:, 0] - 22) < 3))
        counted += here[found.agatston_C[here] == found.agatston_C[here].max()].tolist()
    assert len(set(counted)) == (published > 0).sum() == 7
    assert (feature(found, "region_share")[counted] > 0.5).all()
    assert found.agatston_C[counted].sum() == pytest.approx(published.sum(), rel=0.02)


def test_evidence_of_fat_rises_without_a_step():
    shares = np.linspace(0, 0.12, 200)
    evidence = np.array([heart.fat_evidence(share) for share in shares])
    assert evidence[shares < 0.02].max() == 0
    assert evidence[shares > 0.06].min() == 1
    assert 0 <= np.diff(evidence).min() <= np.diff(evidence).max() < 0.03


def test_places_by_the_aorta_are_in_mm_and_limited():
    shape = (20, 120, 120)
    there = heart_of(shape, core=np.ones(shape, bool))
    grid = there.chest.grid.hu
    row, column = np.arange(120)[:, None], np.arange(120)
    grid[:] = -90
    grid[:, np.hypot(row - 59.5, column - 79.5) <= 28] = 40  # 10 mm left of the middle, 14 mm in radius
    hu_ZHW = volume(shape, np.s_[15, 58:62, 108:112], np.s_[0, 4:6, 4:6])
    found = candidates.find(hu_ZHW, SPACING_MM, there)
    far, near = found.feature_CF
    lowest = aorta.find(there.chest, there.box).ends_mm[0]
    assert near[NAMES.index("aorta_left_mm")] == pytest.approx(15, abs=1.5)
    assert near[NAMES.index("aorta_back_mm")] == pytest.approx(0, abs=1.5)
    assert near[NAMES.index("aorta_gap_mm")] == pytest.approx(1, abs=1.5)
    assert near[NAMES.index("aorta_up_mm")] == pytest.approx(min(45 - lowest, 40))
    assert far[NAMES.index("aorta_left_mm")] == pytest.approx(-37, abs=1.5)
    assert far[NAMES.index("aorta_gap_mm")] == pytest.approx(np.hypot(37.5, 27.5) - 14, abs=2)
    assert far[NAMES.index("aorta_up_mm")] == max(-lowest, -50)


def test_the_score_of_others_is_of_those_whose_middles_are_within_12_mm():
    shape = (3, 60, 120)
    places = [np.s_[1, 10:14, start : start + 4] for start in (10, 30, 50, 90)]  # the first three 10 mm apart
    hu_ZHW = volume(shape, *places)
    hu_ZHW[1, 20:24, 30:34] = 150
    found = candidates.find(hu_ZHW, SPACING_MM, heart_of(shape))
    assert found.agatston_C.tolist() == [12, 12, 12, 12, 4]
    assert np.expm1(feature(found, "others_agatston")) == pytest.approx([16, 28, 16, 0, 36], rel=1e-6)
