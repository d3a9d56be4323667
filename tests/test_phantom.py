"""The synthetic cohort: what its files promise, and that nothing but calcium depends on the category."""

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage

from cac_hpc import agatston, cohort, phantom
from cac_hpc.config import InputError, PhantomConfig
from tests.runs import job

SMALL = PhantomConfig(out="", studies=6, slices=12, matrix=128, field_of_view_mm=160.0, seed=3)


@pytest.fixture(scope="module")
def studies() -> dict[int, cohort.Rendered]:
    """One study of each category."""
    return {category: cohort.render(category + 1, category, SMALL) for category in range(6)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    options = {"out": out, "studies": 6, "slices": 12, "matrix": 128, "field_of_view_mm": 160, "seed": 3}
    done = job("make_phantom.py", *(word for name, value in options.items() for word in (f"--{name}", value)))
    assert done.returncode == 0, done.stderr
    return out


def test_68_studies_have_the_categories_of_the_imitated_study():
    assert np.bincount(cohort.categories(68, seed=0)).tolist() == [12, 7, 11, 12, 11, 15]
    assert cohort.categories(68, seed=0) != cohort.categories(68, seed=1)


@pytest.mark.parametrize("num_studies", [12, 13, 20, 40, 136])
def test_every_category_has_two_studies_from_twelve_studies_on(num_studies):
    counts = np.bincount(cohort.categories(num_studies, seed=0), minlength=6)
    assert counts.sum() == num_studies
    assert counts.min() >= 2


def test_every_study_scores_inside_its_category(studies):
    assert [cohort.category_of(study.score) for study in studies.values()] == [0, 1, 2, 3, 4, 5]
    assert studies[0].score == 0


def test_the_score_is_the_rule_on_the_stored_voxels(studies):
    spacing_mm = phantom.slice_spacing_mm(SMALL)
    for study in studies.values():
        assert study.hu_ZHW.dtype == np.int16
        assert agatston.score_volume(study.hu_ZHW, study.mask_ZHW, 160 / 128, spacing_mm) == study.score


def test_the_same_seed_gives_the_same_bytes(studies):
    again = cohort.render(4, 3, SMALL)
    assert again.hu_ZHW.tobytes() == studies[3].hu_ZHW.tobytes()


def test_another_seed_or_study_gives_another_chest(studies):
    other_seed = PhantomConfig(out="", slices=12, matrix=128, field_of_view_mm=160.0, seed=4)
    for other in (cohort.render(1, 0, other_seed), cohort.render(2, 0, SMALL)):
        assert other.hu_ZHW.tobytes() != studies[0].hu_ZHW.tobytes()


def test_only_voxels_of_the_coronaries_depend_on_the_category(studies):
    healthy = cohort.render(6, 0, SMALL)
    changed = healthy.hu_ZHW != studies[5].hu_ZHW
    assert changed.any()
    assert not changed[~healthy.mask_ZHW].any()


def test_no_calcium_means_a_score_of_exactly_zero_in_many_patients():
    assert {cohort.render(index, 0, SMALL).score for index in range(1, 13)} == {0.0}


def test_few_slices_still_span_the_heart_and_many_lie_close():
    assert phantom.slice_spacing_mm(PhantomConfig(out="", slices=12)) * 12 == phantom.HEART_SPAN_MM
    assert phantom.slice_spacing_mm(PhantomConfig(out="", slices=64)) == phantom.MIN_SPACING_MM


@pytest.mark.parametrize(
    ("score", "text"),
    [(0.0, "0.0"), (0.001, "0.1"), (9.96, "10.0"), (10.04, "10.1"), (100.1, "100.1"), (400.0, "400.0")],
)
def test_a_printed_score_never_leaves_its_category(score, text):
    assert cohort.printed_score(score) == text
    assert cohort.category_of(float(text)) == cohort.category_of(score)


def test_voxels_too_coarse_for_low_scores_are_refused_and_leave_nothing_behind(tmp_path):
    coarse = PhantomConfig(out=str(tmp_path / "cohort"), studies=12, slices=4, matrix=32)
    with pytest.raises(InputError, match="too coarse for the scores of category"):
        cohort.write_cohort(coarse)
    assert not list(tmp_path.iterdir())


def test_labels_name_every_study_with_the_score_of_its_files(written):
    with (written / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["study"] for row in rows] == ["001", "002", "003", "004", "005", "006"]
    assert sorted(path.name for path in written.iterdir()) == ["001", "002", "003", "004", "005", "006", "labels.csv"]
    drawn = cohort.categories(6, seed=3)
    assert [cohort.category_of(float(row["score"])) for row in rows] == drawn
    rendered = cohort.render(1, drawn[0], SMALL)
    files = [pydicom.dcmread(path) for path in sorted((written / "001").iterdir())]
    read = np.stack([ds.pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept) for ds in files])
    assert (read == rendered.hu_ZHW).all()
    assert float(rows[0]["score"]) == pytest.approx(rendered.score, abs=0.1)


def test_files_are_ct_images_without_identity_or_dates(written):
    for path in sorted(written.glob("*/IM0001.dcm")):
        ds = pydicom.dcmread(path)
        assert ds.SOPClassUID == CTImageStorage
        assert ds.PatientIdentityRemoved == "YES"
        assert (ds.PatientName, ds.PatientID) == ("", "")
        assert not [element for element in ds if element.VR in ("DA", "DT", "TM") and element.value]
        assert path.parent.name not in (ds.StudyID, ds.SeriesDescription)


def test_a_folder_that_is_not_empty_is_refused_by_name(written):
    done = job("make_phantom.py", "--out", written)
    assert done.returncode == 2
    assert done.stderr == f"error: --out {written} exists and is not an empty folder: remove it or name another\n"
