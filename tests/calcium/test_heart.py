"""Where the heart is found, and where it is not."""

import time

import numpy as np
import pytest

from cac_hpc.calcium import agatston, heart
from cac_hpc.dataset import intake
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import files
from tests.support.abdomens import KINDS
from tests.support.chests import AORTA_MM, SPACING_MM, chest, with_lesion

MIDDLE = slice(20, 24)


@pytest.fixture(scope="module", params=[360, 240, 164], ids="field of view {} mm".format)
def found(request):
    """A chest whose walls are cut off the more the narrower the field of view is, and the heart in it."""
    solids = chest(request.param)
    return solids, heart.find(solids.hu_ZHW, SPACING_MM)


def test_the_region_holds_the_fat_on_the_heart_and_no_bone(found):
    solids, there = found
    fat = solids.fat.copy()
    fat[:, solids.hu_ZHW.shape[1] // 2 - 15 :, : solids.hu_ZHW.shape[2] // 2 + 5] = False  # behind the right atrium
    assert (there.region_ZHW & fat).sum() > 0.95 * fat.sum()
    assert not (there.region_ZHW & solids.spine).any()
    assert not (there.region_ZHW & solids.ribs).any()


def test_the_descending_aorta_is_left_out(found):
    solids, there = found
    assert (there.region_ZHW & solids.aorta).sum() < 0.02 * solids.aorta.sum()


@pytest.mark.parametrize("place", [(-60.0, 4.0), (-12.0, 54.0), (-40.0, -36.0), (36.0, 14.0), (-46.0, 38.0)])
def test_what_calcifies_on_the_hearts_surface_counts(found, place):
    solids, _ = found
    hu_ZHW = with_lesion(solids.hu_ZHW, *place, MIDDLE)
    there = heart.find(hu_ZHW, SPACING_MM)
    score = agatston.score_study(hu_ZHW, there.region_ZHW, SPACING_MM)
    assert score.agatston == pytest.approx(4 * 4 * 16, rel=0.1)


def test_what_calcifies_in_the_aortas_wall_does_not_count(found):
    solids, _ = found
    hu_ZHW = with_lesion(solids.hu_ZHW, AORTA_MM[0] - 11, AORTA_MM[1], slice(5, 40))
    there = heart.find(hu_ZHW, SPACING_MM)
    assert agatston.score_study(hu_ZHW, there.region_ZHW, SPACING_MM).agatston == 0


def test_what_calcifies_deep_inside_as_valves_do_does_not_count(found):
    solids, _ = found
    hu_ZHW = with_lesion(solids.hu_ZHW, -12, 4, MIDDLE)
    there = heart.find(hu_ZHW, SPACING_MM)
    assert agatston.score_study(hu_ZHW, there.region_ZHW, SPACING_MM).agatston == 0


@pytest.mark.parametrize("lower", [False, True])
def test_behind_the_right_atrium_only_the_lower_part_counts(found, lower):
    solids, _ = found
    place = (4, -28, slice(9, 11)) if lower else (16, -36, slice(27, 29))
    hu_ZHW = with_lesion(solids.hu_ZHW, *place)
    there = heart.find(hu_ZHW, SPACING_MM)
    assert (agatston.score_study(hu_ZHW, there.region_ZHW, SPACING_MM).agatston > 0) == lower


def test_calcified_cartilage_in_front_of_the_heart_does_not_count(found):
    solids, _ = found
    hu_ZHW = with_lesion(solids.hu_ZHW, -82, 30, MIDDLE, hu=300)
    there = heart.find(hu_ZHW, SPACING_MM)
    assert agatston.score_study(hu_ZHW, there.region_ZHW, SPACING_MM).agatston == 0


def test_what_is_left_out_grows_step_by_step_as_more_fat_is_seen(found):
    _, there = found
    around, sizes = there.chest, []
    degrees = heart.upper_degrees(around.whole, there.box, around.grid)
    for share in np.arange(0.018, 0.065, 0.002):
        evidence = heart.fat_evidence(float(share))
        other = heart.not_coronary(around.grid, around.whole, around.fat_depth_mm, evidence)
        sizes.append(int((around.whole & (other | heart.behind_right_atrium(degrees, evidence))).sum()))
    steps = np.diff(sizes)
    assert sizes[0] == 0
    assert sizes[-1] == (around.whole & ~around.region).sum()
    assert 0 <= steps.min() <= steps.max() < 0.25 * sizes[-1]


def test_bone_alone_scores_nothing(found):
    solids, there = found
    assert agatston.score_study(solids.hu_ZHW, there.region_ZHW, SPACING_MM).agatston == 0
    everywhere = np.ones_like(there.region_ZHW)
    assert agatston.score_study(solids.hu_ZHW, everywhere, SPACING_MM).agatston > 10_000


def test_the_box_holds_the_heart_closely(found):
    solids, there = found
    rows, columns = (np.flatnonzero(solids.heart.any(axes)) for axes in ((0, 2), (0, 1)))
    box = np.array(there.box) * SPACING_MM[1]
    heart_mm = np.array([rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]) * SPACING_MM[1]
    assert (box[[0, 2]] <= heart_mm[[0, 2]] + 3).all()
    assert (box[[1, 3]] >= heart_mm[[1, 3]] - 3).all()
    assert np.abs(box - heart_mm).max() < 25


def test_the_square_is_around_the_box_as_far_as_the_field_of_view_goes():
    spacing_mm, shape = (3.0, 0.5, 0.5), (9, 100, 120)
    assert heart.square_around((40, 60, 50, 60), 5, spacing_mm, shape) == (30, 70, 35, 75)
    assert heart.square_around((0, 20, 110, 120), 5, spacing_mm, shape) == (0, 40, 80, 120)
    assert heart.square_around((10, 90, 20, 60), 50, spacing_mm, shape) == (0, 100, 0, 100)
    assert heart.square_around((40, 60, 50, 60), 5, (3.0, 1.0, 0.5), shape) == (35, 65, 25, 85)


def test_a_heart_that_is_moved_is_found_where_it_is():
    solids = chest(300)
    there = heart.find(solids.hu_ZHW, SPACING_MM)
    shifted = np.full_like(solids.hu_ZHW, -1000)
    shifted[:, 20:, 12:] = solids.hu_ZHW[:, :-20, :-12]
    moved = heart.find(shifted, SPACING_MM)
    expected = there.region_ZHW[:, :-20, :-12]
    assert (moved.region_ZHW[:, 20:, 12:] ^ expected).sum() < 0.02 * expected.sum()


def test_more_pixels_do_not_change_the_place():
    solids = chest(240)
    there = heart.find(solids.hu_ZHW, SPACING_MM)
    finer = heart.find(solids.hu_ZHW.repeat(2, axis=1).repeat(2, axis=2), (3.0, 0.4, 0.4))
    assert (finer.region_ZHW[:, ::2, ::2] ^ there.region_ZHW).sum() < 0.08 * there.region_ZHW.sum()


@pytest.mark.parametrize(
    ("hu_ZHW", "said"),
    [
        (chest(heart=False).hu_ZHW, r"\d cm3 of soft tissue between the lungs are 20 mm from its rim, wanted 12"),
        (np.full((20, 64, 64), 40, np.int16), "0 cm3 of lung, wanted 250"),
        (np.full((20, 64, 64), -1000, np.int16), "0 cm3 of lung"),
        (np.full((20, 64, 64), -850, np.int16), "0 cm3 of lung"),
        (np.full((1, 3, 2), 40, np.int16), "0 cm3 of lung"),
    ],
)
def test_without_a_heart_nothing_is_made_up(hu_ZHW, said):
    with pytest.raises(Refused, match=f"no_heart: {said}"):
        heart.find(hu_ZHW, SPACING_MM)


@pytest.mark.parametrize("kind", KINDS)
def test_other_parts_of_the_body_have_no_heart(kind):
    with pytest.raises(Refused, match="no_heart"):
        heart.find(KINDS[kind](), SPACING_MM)


@pytest.mark.parametrize("seen", [slice(22, 44), slice(0, 22)], ids=["upper", "lower"])
def test_half_a_heart_is_found(seen):
    solids = chest(240)
    there = heart.find(solids.hu_ZHW[seen], SPACING_MM)
    assert there.region_ZHW[solids.fat[seen]].mean() > 0.5


def over_abdomen(view_mm=300.0, num_below=20):
    """A chest whose heart lies on liver, without fat between them; below its slice 8 is liver with a ring of fat."""
    solids = chest(view_mm)
    hu_ZHW = solids.hu_ZHW.copy()
    half = np.arange(hu_ZHW.shape[1]) - hu_ZHW.shape[1] / 2
    inside = np.hypot((half[:, None] * 0.8 - 10) / 88, (half * 0.8 + 10) / 125) <= 1
    hu_ZHW[:8, inside & ~solids.spine[0]] = 55
    hu_ZHW[:8, np.abs(np.hypot(half[:, None] * 0.8 + 12, half * 0.8 - 4) - 42) < 2] = -95
    hu_ZHW[8:16][solids.fat[8:16]] = 45
    return np.concatenate([hu_ZHW[:1].repeat(num_below, axis=0), hu_ZHW])


def test_the_region_ends_6_mm_below_the_lowest_slice_with_lung_on_both_sides():
    hu_ZHW = over_abdomen()
    there = heart.find(hu_ZHW, SPACING_MM)
    assert np.flatnonzero(there.region_ZHW.any((1, 2)))[0] == 20 + 8 - 6 / 3


@pytest.mark.parametrize("more_hu", [60, 100, 308, 458])
@pytest.mark.parametrize("filled", ["all", "right", "left"])
def test_a_heart_full_of_contrast_agent_is_found_and_its_blood_is_measured(more_hu, filled):
    solids = chest(240)
    blood = solids.heart & ~solids.fat
    middle = round(4 / SPACING_MM[2] + blood.shape[2] / 2)  # of the heart
    sides = {"all": slice(None), "right": slice(None, middle), "left": slice(middle, None)}
    blood_hu = solids.hu_ZHW.copy()
    blood_hu[:, :, sides[filled]][blood[:, :, sides[filled]]] += more_hu
    there = heart.find(blood_hu, SPACING_MM)
    assert there.has_contrast
    assert there.blood_hu == pytest.approx(42 + more_hu, abs=12)
    without = heart.find(solids.hu_ZHW, SPACING_MM)
    assert np.abs(np.subtract(there.box, without.box)).max() * SPACING_MM[1] < 25


@pytest.mark.parametrize("more_hu", [-15, 0, 15, 40])
def test_blood_without_contrast_agent_or_with_a_rest_of_it_is_no_contrast(found, more_hu):
    solids, there = found
    assert there.blood_hu == pytest.approx(42, abs=6)
    hu_ZHW = solids.hu_ZHW.copy()
    hu_ZHW[solids.heart & ~solids.fat] += more_hu
    there = heart.find(hu_ZHW, SPACING_MM)
    assert there.blood_hu == pytest.approx(42 + more_hu, abs=6)
    assert not there.has_contrast


def test_large_valve_calcium_is_not_taken_for_contrast_agent():
    solids = chest(240)
    hu_ZHW = with_lesion(with_lesion(solids.hu_ZHW, -12, 4, MIDDLE, hu=1200), -4, 10, MIDDLE, hu=1200)
    assert not heart.find(hu_ZHW, SPACING_MM).has_contrast


@pytest.mark.parametrize("axis", [1, 2], ids=["rows", "columns"])
def test_pixels_need_not_be_square(axis):
    solids = chest(240)
    there = heart.find(solids.hu_ZHW, SPACING_MM)
    spacing_mm = [3.0, 0.8, 0.8]
    spacing_mm[axis] = 0.4
    other = heart.find(solids.hu_ZHW.repeat(2, axis=axis), tuple(spacing_mm))
    every = [slice(None)] * 3
    every[axis] = slice(None, None, 2)
    assert (other.region_ZHW[tuple(every)] ^ there.region_ZHW).sum() < 0.01 * there.region_ZHW.sum()
    factors = [2 if axis == 1 else 1] * 2 + [2 if axis == 2 else 1] * 2
    assert other.box == pytest.approx(np.multiply(there.box, factors), abs=8)


@pytest.mark.parametrize("seed", range(20))
def test_noise_of_any_size_has_no_heart(seed):
    rng = np.random.default_rng(seed)
    hu_ZHW = rng.integers(-1024, 1500, rng.integers(1, 40, 3)).astype(np.int16)
    with pytest.raises(Refused, match="no_heart"):
        heart.find(hu_ZHW, SPACING_MM)


def read_phantom(shared_data):
    """The thorax phantom as a volume, its spacing and the region that is found in it."""
    volume = intake.read_chest(files.list_files(shared_data / "qrm_phantom" / "study_001"), PackConfig())
    spacing_mm = volume.study.spacing_mm
    return volume.hu_ZHW, spacing_mm, heart.find(volume.hu_ZHW, spacing_mm).region_ZHW


def test_in_the_thorax_phantom_the_inserts_are_kept_and_the_spine_is_dropped(shared_data):
    hu_ZHW, spacing_mm, region_ZHW = read_phantom(shared_data)
    row, column = np.arange(512)[:, None], np.arange(512)
    for y, x in ((220, 180), (151, 291), (282, 299), (220, 205), (173, 280), (260, 285), (220, 231)):
        disc = np.hypot(row - y, column - x) * spacing_mm[1] <= 3  # the largest inserts have a radius of 2.5 mm
        assert region_ZHW[20:25, disc].all()
    bone = hu_ZHW[12:34, 330:] > 200
    assert bone.any((1, 2)).all()
    assert not region_ZHW[12:34, 330:].any()


@pytest.mark.drill
def test_finding_and_scoring_takes_less_than_2_s_for_60_slices_of_512_x_512(shared_data):
    hu_ZHW, spacing_mm, _ = read_phantom(shared_data)
    whole = np.concatenate([hu_ZHW[12:34]] * 3)[:60]
    start = time.process_time()
    there = heart.find(whole, spacing_mm)
    agatston.score_study(whole, there.region_ZHW, spacing_mm)
    seconds = time.process_time() - start
    print(f"\n60 slices of 512 x 512: {seconds:.2f} s of processor time")
    assert seconds < 2
