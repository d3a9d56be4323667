"""Every volume is brought to one patient frame: however it is stored, the same is scored, packed and masked."""

import numpy as np
import pydicom
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cac_hpc.dataset import intake, packing, scoring
from cac_hpc.dataset.packing import ShardTask
from cac_hpc.dataset.scoring import ScoreTask
from cac_hpc.run import digests
from cac_hpc.settings.pack import PackConfig
from cac_hpc.settings.score_command import RuleConfig
from cac_hpc.volumes import files, frame
from cac_hpc.volumes.frame import AS_STORED, Turn
from tests.support.chests import chest, with_lesion, write_study
from tests.support.poison import edit
from tests.support.turning import NAMES, POSITIONS, TURNS, stored_as, write_turned

turns = pytest.mark.parametrize("turn", TURNS, ids=lambda turn: NAMES[turn] or "none")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A chest with a lesion, its slices neither square nor of square pixels."""
    folder = tmp_path_factory.mktemp("chest") / "study"
    hu_ZHW = with_lesion(chest(200, num_slices=30).hu_ZHW, -60, 4, slice(14, 16))[:, :, 4:-10]
    hu_ZHW = np.ascontiguousarray(hu_ZHW[:, ::2])
    hu_ZHW[14, 26, 130] = 900  # brighter than all others
    write_study(folder, hu_ZHW)
    for path in folder.iterdir():
        edit(path, PixelSpacing=[1.6, 0.8])
    return folder


@pytest.fixture(scope="module")
def turned(study, tmp_path_factory):
    """The study as it is stored in each of the eight ways."""
    root = tmp_path_factory.mktemp("turned")
    for number, turn in enumerate(TURNS):
        write_turned(study, root / NAMES[turn] / "study", turn, POSITIONS[number % len(POSITIONS)])
    return {turn: root / NAMES[turn] / "study" for turn in TURNS}


def axis_angle(degrees):
    """Direction cosines after a turn about the body axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return c, s, 0.0, -s, c, 0.0


@turns
def test_what_is_stored_otherwise_is_brought_back_exactly(turn):
    slices = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    np.testing.assert_array_equal(turn.of(stored_as(slices, turn)), slices)
    np.testing.assert_array_equal(turn.back(slices), stored_as(slices, turn))
    assert turn.pair(stored_as(slices, turn).shape[1:]) == (3, 4)
    assert turn.is_none == (turn == AS_STORED)


def test_direction_cosines_worked_out_by_hand():
    assert frame.turn([1, 0, 0, 0, 1, 0]) == AS_STORED  # on his back, head first
    assert frame.turn([-1, 0, 0, 0, -1, 0]) == Turn(rows_reversed=True, columns_reversed=True)  # on his face
    assert frame.turn([-1, 0, 0, 0, 1, 0]) == Turn(columns_reversed=True)  # seen from his head
    assert frame.turn([0, 1, 0, 1, 0, 0]) == Turn(transposed=True)
    assert frame.turn([0, -1, 0, 1, 0, 0]) == Turn(transposed=True, rows_reversed=True)  # on his side
    assert frame.turn([0, 1, 0, -1, 0, 0]) == Turn(transposed=True, columns_reversed=True)  # on the other


@given(st.sampled_from(TURNS), st.floats(-5, 5), st.floats(-5, 5))
def test_axes_that_lean_a_little_turn_slices_as_the_axes_themselves_do(turn, degrees, tilt):
    row, column = np.array(axis_angle(degrees)).reshape(2, 3)
    column[2] = np.sin(np.radians(tilt))
    row, column = row * (-1 if turn.columns_reversed else 1), column * (-1 if turn.rows_reversed else 1)
    stored = (column, row) if turn.transposed else (row, column)
    assert frame.turn([*stored[0], *stored[1]]) == turn
    assert frame.degrees_off_axis([*stored[0], *stored[1]]) == pytest.approx(abs(degrees), abs=0.01)


@turns
def test_the_same_heart_score_and_slices_are_found_however_a_study_is_stored(turn, turned):
    whole, found = (intake.read_chest(files.list_files(turned[which]), PackConfig()) for which in (AS_STORED, turn))
    assert found.study.turn == turn
    assert found.study.facts == whole.study.facts
    assert (found.study.facts["row_spacing_mm"], found.study.facts["column_spacing_mm"]) == (1.6, 0.8)
    assert found.positions_mm == whole.positions_mm
    np.testing.assert_array_equal(found.hu_ZHW, whole.hu_ZHW)
    np.testing.assert_array_equal(found.heart.region_ZHW, whole.heart.region_ZHW)
    rows = [line for which in (AS_STORED, turn) for line in [score(turned[which], "heart").score.lesions.to_csv()]]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("crop", ["none", "heart"])
def test_shards_have_the_same_digest_however_a_study_is_stored(crop, turned, tmp_path):
    cfg = PackConfig(size=64, crop=crop)
    found = []
    for turn, folder in turned.items():
        task = ShardTask(tmp_path / f"{NAMES[turn]}.h5", [("1", folder, files.digest(files.list_files(folder)))], cfg)
        found.append(packing.write_shard(task, lambda _: None) | {"digest": digests.of_file(task.scratch)})
    assert found[0]["rows"] == 30
    assert [one["digest"] for one in found] == [found[0]["digest"]] * 8
    assert [one["studies"] for one in found] == [found[0]["studies"]] * 8


# regions


def score(folder, region, stated=None):
    return scoring.score_folder(ScoreTask(folder, str(region), stated, PackConfig(), RuleConfig()), lambda _: None)


@pytest.fixture
def mask(turned):
    """A mask of the lesion and what is around it, in the patient frame."""
    volume = intake.read_chest(files.list_files(turned[AS_STORED]), PackConfig())
    mask_ZHW = np.zeros(volume.hu_ZHW.shape, np.uint8)
    mask_ZHW[12:18, 15:40, 100:150] = 1
    return mask_ZHW


@turns
def test_a_mask_counts_in_the_frame_that_it_states(turn, turned, mask, tmp_path):
    np.savez(tmp_path / "patient.npz", mask=mask, frame=np.array("patient"))
    np.savez(tmp_path / "stored.npz", mask=stored_as(mask, turn), frame=np.array("stored"))
    found = [score(turned[turn], tmp_path / name).score.agatston for name in ("patient.npz", "stored.npz")]
    assert found[0] == found[1] == score(turned[AS_STORED], tmp_path / "patient.npz").score.agatston > 0


@turns
def test_a_mask_that_states_no_frame_is_refused(turn, turned, mask, tmp_path):
    np.save(tmp_path / "mask.npy", stored_as(mask, turn))
    found = score(turned[turn], tmp_path / "mask.npy")
    assert "mask.npy: does not say whose rows and columns it counts, wanted --region_frame patient" in found.fault
    np.savez(tmp_path / "mask.npz", stored_as(mask, turn))
    assert "or the same as frame in a .npz or .yaml file" in score(turned[turn], tmp_path / "mask.npz").fault
    assert score(turned[turn], tmp_path / "mask.npy", "stored").score.agatston > 0


@turns
def test_drawn_shapes_count_in_the_frame_that_they_state(turn, turned, mask, tmp_path):
    row, column = 26, 128
    shape = (mask.shape[1], mask.shape[2])
    stored_at = np.argwhere(stored_as(np.arange(mask[0].size).reshape(shape), turn) == row * shape[1] + column)[0]
    places = {"patient": (row, column), "stored": stored_at.tolist()}
    for stated, (y, x) in places.items():
        disc = {"slices": [12, 17], "row": int(y), "column": int(x), "diameter_mm": 24}
        (tmp_path / f"{stated}.yaml").write_text(yaml.safe_dump({"frame": stated, "discs": [disc]}))
    found = [score(turned[turn], tmp_path / f"{stated}.yaml").score.agatston for stated in places]
    assert found[0] == found[1] == score(turned[AS_STORED], tmp_path / "patient.yaml").score.agatston


def test_another_frame_than_the_two_is_refused(turned, tmp_path):
    (tmp_path / "shapes.yaml").write_text("frame: scanner\ndiscs: [{row: 1, column: 1, diameter_mm: 2}]")
    np.savez(tmp_path / "mask.npz", mask=np.zeros((2, 2, 2), np.uint8), frame=np.array("viewer"))
    for name, stated in (("shapes.yaml", "scanner"), ("mask.npz", "viewer")):
        fault = score(turned[AS_STORED], tmp_path / name).fault
        assert f"{name}: frame is '{stated}', wanted --region_frame patient" in fault


def test_a_slice_that_is_stored_otherwise_than_the_others_is_refused_not_mended(study, tmp_path):
    write_turned(study, tmp_path / "study", Turn(columns_reversed=True))
    one = sorted((tmp_path / "study").iterdir())[7]
    one.write_bytes((study / one.name).read_bytes())
    found = intake.read_chest(files.list_files(tmp_path / "study"), PackConfig()).study
    assert found.facts is None
    assert {refusal.reason for refusal in found.refusals} == {"mixed_acquisition", "too_few_slices"}


def test_pixels_of_the_first_slice_are_where_the_header_says(study, turned):
    """The frame by an independent way: the brightest pixel of a stored slice, led through its own cosines."""
    whole = intake.read_chest(files.list_files(turned[AS_STORED]), PackConfig()).hu_ZHW
    z = 14
    brightest = np.unravel_index(whole[z].argmax(), whole[z].shape)
    for folder in turned.values():
        ds = pydicom.dcmread(sorted(folder.iterdir())[z])
        stored = ds.pixel_array
        row, column = np.unravel_index(stored.argmax(), stored.shape)
        cosines, (row_mm, column_mm) = np.array(ds.ImageOrientationPatient, float), map(float, ds.PixelSpacing)
        place = np.array(ds.ImagePositionPatient, float) + cosines[:3] * column_mm * column + cosines[3:] * row_mm * row
        first = pydicom.dcmread(sorted(turned[AS_STORED].iterdir())[z])
        expected = np.add(first.ImagePositionPatient, [brightest[1] * 0.8, brightest[0] * 1.6, 0])
        assert place == pytest.approx(expected, abs=1e-3)
