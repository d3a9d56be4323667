"""Packing slices cropped to the heart, and the score of the rule that is written beside them."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from cac_hpc.calcium import agatston, heart
from cac_hpc.calcium.baseline import COLUMNS, CONTROL_COLUMNS
from cac_hpc.dataset import intake, summary
from cac_hpc.sections import cohort_parts
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import Checks, PackConfig
from cac_hpc.volumes import files, frame
from tests.support.chests import SPACING_MM, chest, with_lesion, write_study
from tests.support.poison import read, rows, write_chest
from tests.support.runs import pack, prepare

SIZE, NOISE_HU = 64, 15.0
CROP = ("crop_row", "crop_column", "crop_rows", "crop_columns")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A chest with two lesions as files, and as a volume."""
    folder = tmp_path_factory.mktemp("chest") / "study"
    hu_ZHW = with_lesion(chest(200, num_slices=36, noise_hu=NOISE_HU).hu_ZHW, -60, 4, slice(18, 20))
    write_study(folder, hu_ZHW)
    return folder, hu_ZHW


def packed(folder, **settings):
    """The packed slices (N, S, S) and the study."""
    slices = []
    cfg = PackConfig(size=SIZE, **settings)
    found = intake.read_study(files.list_files(folder), cfg, lambda hu_SS, _: slices.append(hu_SS.copy()))
    return np.stack(slices) if slices else None, found


def test_slices_are_cropped_to_a_square_around_the_heart_and_then_resampled(study):
    folder, hu_ZHW = study
    slices, found = packed(folder, crop="heart", crop_margin_mm=5)
    top, left, height, width = (found.facts[name] for name in CROP)
    box = heart.find(hu_ZHW, SPACING_MM).box
    assert height == width < hu_ZHW.shape[1]
    assert max(box[1] - box[0], box[3] - box[2]) * 0.8 + 10 == pytest.approx(height * 0.8, abs=0.8)
    assert (top <= box[0], top + height >= box[1], left <= box[2], left + width >= box[3]) == (True,) * 4
    expected = [frame.to_size(hu_HW[top : top + height, left : left + width], SIZE) for hu_HW in hu_ZHW]
    np.testing.assert_array_equal(slices, expected)
    assert (found.facts["rows"], found.facts["warnings"]) == (hu_ZHW.shape[1], "")


def test_the_margin_makes_the_square_larger(study):
    sides = [packed(study[0], crop="heart", crop_margin_mm=mm)[1].facts["crop_rows"] * 0.8 for mm in (0, 10, 200)]
    assert sides[1] - sides[0] == pytest.approx(20, abs=1.6)
    assert sides[2] == pytest.approx(200)


def test_without_a_crop_the_whole_slices_are_packed_and_no_box_is_written(study):
    folder, hu_ZHW = study
    slices, found = packed(folder)
    np.testing.assert_array_equal(slices, [frame.to_size(hu_HW, SIZE) for hu_HW in hu_ZHW])
    assert not set(CROP) & set(found.facts)
    streamed, without = packed(folder, baseline=False, candidates=False)
    np.testing.assert_array_equal(streamed, slices)
    assert without.facts == {
        name: value for name, value in found.facts.items() if name not in COLUMNS + CONTROL_COLUMNS
    }
    assert not set(COLUMNS) & set(packed(folder, baseline=False)[1].facts)
    assert not set(CONTROL_COLUMNS) & set(packed(folder, candidates=False)[1].facts)


def test_without_a_heart_a_study_is_refused_with_every_file_or_packed_whole_with_a_warning(tmp_path):
    write_chest(tmp_path / "study")
    (tmp_path / "study" / "notes.txt").write_text("hello")
    found = read(tmp_path / "study", crop="heart")
    assert found.study.facts is None
    assert set(found.reasons.values()) == {"no_heart", "not_dicom"}
    found = read(tmp_path / "study", crop="heart", checks=Checks(no_heart="warn"))
    assert (found.study.facts["warnings"], found.reasons) == ("no_heart", {"notes.txt": "not_dicom"})
    assert [found.study.facts[name] for name in CROP] == [0, 0, 32, 32]
    assert found.slices == read(tmp_path / "study").slices


def test_the_score_of_the_rule_is_written_beside_the_study(study):
    folder, hu_ZHW = study
    facts = packed(folder)[1].facts
    expected = agatston.score_study(hu_ZHW, heart.find(hu_ZHW, SPACING_MM).region_ZHW, SPACING_MM)
    assert facts["agatston_region"] == "heart"
    assert facts["agatston_score"] == pytest.approx(expected.agatston) == pytest.approx(128)
    assert facts["agatston_volume_mm3"] == pytest.approx(96)
    assert [float(value) for value in facts["agatston_slices"].split()] == pytest.approx(expected.slices)
    assert facts["agatston_empty_slices"] == pytest.approx(34 / 36)
    assert packed(folder, crop="heart")[1].facts["agatston_score"] == facts["agatston_score"]
    top, bottom, left, right = heart.find(hu_ZHW, SPACING_MM).box
    heart_box = [facts[f"heart_{name}"] for name in ("row", "column", "rows", "columns")]
    assert heart_box == [top, left, bottom - top, right - left]
    assert facts["noise_hu"] == pytest.approx(NOISE_HU, rel=0.1)


def test_where_no_heart_is_found_the_study_has_no_score_and_no_candidates(tmp_path):
    write_chest(tmp_path / "study")
    facts = read(tmp_path / "study").study.facts
    assert (facts["agatston_region"], facts["agatston_score"], facts["warnings"]) == ("no_heart", None, "")
    assert [facts[name] for name in CONTROL_COLUMNS] == [False, *[None] * 4]
    assert (facts["heart_rows"], facts["noise_hu"]) == (None, None)


@pytest.mark.parametrize("check", ["refuse", "warn"])
def test_without_slices_a_study_without_a_heart_is_refused(tmp_path, check):
    write_chest(tmp_path / "study")
    found = read(tmp_path / "study", slices=False, checks=Checks(no_heart=check))
    assert found.study.facts is None
    assert set(found.reasons.values()) == {"no_heart"}
    summed, kept = {"no_heart": 1}, PackConfig(slices=False)
    assert summary.forgiven_by(summed, kept) is None
    assert summary.forgiven_by(summed, PackConfig()) == "pack.checks.no_heart"
    assert summary.advice(summed, kept) == "fix them, or set pack.slices: true, to use them without candidates"


def test_a_cropped_cohort_is_sealed_with_boxes_and_scores(tmp_path):
    scans = tmp_path / "scans"
    plain = chest(200, num_slices=36).hu_ZHW
    write_chest(scans / "0", num_slices=36)
    for index in range(1, 6):
        write_study(scans / f"{index}", with_lesion(plain + np.int16(index), -60, 4, slice(18, 18 + index % 3)))
    (scans / "labels.csv").write_text("study,score\n" + "".join(f"{index},{index % 2 * 50}\n" for index in range(6)))
    settings = {"size": 32, "crop": "heart", "studies_per_shard": 3, "checks": {"no_heart": "warn"}}
    run = prepare(tmp_path, scans, pack=settings, split={"folds": 2})
    pack(run)
    studies = rows(run / "dataset" / "studies.csv")
    assert [row["agatston_region"] for row in studies] == ["no_heart"] + ["heart"] * 5
    assert [float(row["agatston_score"]) for row in studies[1:]] == pytest.approx([64, 128, 0, 64, 128])
    assert all(len(row["agatston_slices"].split()) == 36 for row in studies[1:])
    boxes = [tuple(row[name] for name in (*CROP, "heart_row", "warnings")) for row in studies]
    assert boxes[0] == ("0", "0", "32", "32", "", "no_heart")
    assert len(set(boxes[1:])) == 1
    assert all(map(str.isdigit, boxes[1][:5]))
    with h5py.File(run / "dataset" / "shards" / "shard-00000.h5") as shard:
        assert shard["images"].shape == (3 * 36, 32, 32)


@pytest.mark.parametrize(("wrong", "key"), [({"crop_margin_mm": -1}, "pack.crop_margin_mm")])
def test_a_margin_that_cannot_be_is_refused(wrong, key):
    with pytest.raises(InputError, match=key):
        PackConfig(**wrong)


def test_the_intake_tells_what_was_cropped_and_how_much_is_left():
    cfg = SimpleNamespace(pack=PackConfig(size=64, crop="heart", crop_margin_mm=5.0))
    whole = {"rows": 400, "columns": 500, "column_spacing_mm": 0.4, "field_of_view_mm": 200.0}
    cut = {"warnings": "", "crop_rows": 250, "crop_columns": 200, **whole}
    missed = {"warnings": "no_heart", "crop_rows": 400, "crop_columns": 500, **whole}
    found = summary._crop([cut, missed], cfg)
    assert (found["studies"], found["whole"], found["margin_mm"]) == (1, 1, 5.0)
    medians = {name: found[name]["median"] for name in ("side_mm", "share", "pixel_mm", "whole_pixel_mm")}
    assert medians == pytest.approx({"side_mm": 80, "share": 0.25, "pixel_mm": 1.25, "whole_pixel_mm": 3.125})
    assert summary._crop([missed], cfg) == {"studies": 0, "whole": 1, "margin_mm": 5.0}
    told = {"crop": found, "studies": {"refused": {"no_heart": 2}}}
    (text,) = cohort_parts.crop(told)
    assert "and 5 mm around it" in text
    assert "25% of a slice (median) are kept, and a packed pixel is 1.25 mm wide in place of 3.12" in text
    assert "No heart was found in 1 study left whole, and in 2 left out for it" in text
    told = {"crop": summary._crop([missed], cfg), "studies": {"refused": {}}}
    (text,) = cohort_parts.crop(told)
    assert "no heart was found in 1 study" in text
