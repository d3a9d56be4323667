"""The synthetic cohort: what its files promise, and that nothing but calcium depends on the category."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.uid import CTImageStorage

from cac_hpc.calcium import agatston
from cac_hpc.dataset import shards
from cac_hpc.labels.matching import match_labels
from cac_hpc.phantom import cohort, coronaries, formation, habitus, phantom
from cac_hpc.run import disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import phantom_command
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.phantom_command import PhantomConfig
from cac_hpc.volumes import dicom
from tests.support.runs import job, pack, prepare

EASY = PhantomConfig(out="", studies=6, slices=12, matrix=128, field_of_view_mm=160.0, seed=3, easy=True)
HARD = PhantomConfig(out="", slices=46, matrix=256, field_of_view_mm=220.0, seed=11)  # as real ones, with fewer pixels
OPTIONS = {"studies": 6, "slices": 12, "matrix": 128, "field_of_view_mm": 160, "seed": 3}


def make(out: Path, *flags: object, **options: object) -> None:
    words = [word for name, value in (OPTIONS | options).items() for word in (f"--{name}", value)]
    done = job("make_phantom.py", "--out", out, *words, *flags)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module", params=[EASY, HARD], ids=["easy", "hard"])
def studies(request: pytest.FixtureRequest) -> dict[int, phantom.Study]:
    """One study of each category."""
    return {category: cohort.render(category + 1, category, request.param) for category in range(6)}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "cohort"
    make(out, "--easy", "--truth", out.parent / "truth", "--workers", 1)
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
    for study in studies.values():
        frame = study.frame
        assert study.hu_ZHW.dtype == np.int16
        again = agatston.score_volume(study.hu_ZHW, study.mask_ZHW, frame.pixel_mm, frame.spacing_mm)
        assert again == study.score


def test_plaques_lie_in_the_mask_of_their_artery(studies):
    names = list(coronaries.ARTERIES)
    for study in studies.values():
        frame = study.frame
        for deposit in study.deposits:
            x_mm, y_mm, z_mm = deposit.points()[len(deposit.points()) // 2]
            at = (
                round((z_mm - frame.first_z_mm) / frame.spacing_mm),
                round((y_mm - frame.corner_mm) / frame.pixel_mm),
                round((x_mm - frame.corner_mm) / frame.pixel_mm),
            )
            assert study.artery_ZHW[at] > 0, (names, deposit.artery, at)


def test_the_same_seed_gives_the_same_bytes():
    one, again = (cohort.render(4, 3, EASY) for _ in range(2))
    assert one.hu_ZHW.tobytes() == again.hu_ZHW.tobytes()
    assert one.artery_ZHW.tobytes() == again.artery_ZHW.tobytes()


def test_another_seed_or_study_gives_another_chest():
    one = cohort.render(1, 0, EASY)
    other_seed = PhantomConfig(out="", slices=12, matrix=128, field_of_view_mm=160.0, seed=4, easy=True)
    for other in (cohort.render(1, 0, other_seed), cohort.render(2, 0, EASY)):
        assert other.hu_ZHW.tobytes() != one.hu_ZHW.tobytes()


@pytest.mark.parametrize("config", [EASY, HARD], ids=["easy", "hard"])
def test_only_voxels_of_the_coronaries_depend_on_the_category(config):
    healthy, severe = cohort.render(6, 0, config), cohort.render(6, 5, config)
    changed = healthy.hu_ZHW != severe.hu_ZHW
    assert changed.any()
    assert not changed[~healthy.mask_ZHW].any()


def test_no_calcium_means_a_score_of_exactly_zero_in_many_patients():
    assert {cohort.render(index, 0, EASY).score for index in range(1, 13)} == {0.0}


def test_few_slices_still_span_the_heart_and_many_lie_as_close_as_a_scanner_takes_them():
    rng = np.random.default_rng(0)
    few = phantom.draw_frame(rng, PhantomConfig(out="", slices=12))
    assert few.spacing_mm * few.num_slices == phantom.HEART_SPAN_MM
    drawn = [phantom.draw_frame(rng, PhantomConfig(out="")) for _ in range(200)]
    assert {frame.spacing_mm for frame in drawn} == {2.5, 3.0}
    assert {frame.protocol.model for frame in drawn} == {protocol.model for protocol in habitus.PROTOCOLS}
    for frame in drawn:
        assert 46 <= frame.num_slices <= 96
        assert 165 <= frame.field_of_view_mm <= 260
        assert frame.pixel_mm == round(frame.field_of_view_mm / 512, 6)


@pytest.mark.parametrize(
    ("score", "text"),
    [(0.0, "0.0"), (0.001, "0.1"), (9.96, "10.0"), (10.04, "10.1"), (100.1, "100.1"), (400.0, "400.0")],
)
def test_a_printed_score_never_leaves_its_category(score, text):
    assert cohort.printed_score(score) == text
    assert cohort.category_of(float(text)) == cohort.category_of(score)


def test_voxels_too_coarse_for_low_scores_are_refused_and_leave_nothing_behind(tmp_path):
    coarse = PhantomConfig(out=str(tmp_path / "cohort"), studies=12, slices=4, matrix=32, workers=1)
    with pytest.raises(InputError, match="too coarse for a score of"):
        cohort.write_cohort(coarse)
    assert not list(tmp_path.iterdir())


def test_labels_name_every_study_with_the_score_of_its_files(written):
    with (written / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["study"] for row in rows] == ["001", "002", "003", "004", "005", "006"]
    assert sorted(path.name for path in written.iterdir()) == ["001", "002", "003", "004", "005", "006", "labels.csv"]
    drawn = cohort.categories(6, seed=3)
    assert [cohort.category_of(float(row["score"])) for row in rows] == drawn
    rendered = cohort.render(1, drawn[0], EASY)
    assert (read_volume(written / "001")[0] == rendered.hu_ZHW).all()
    assert float(rows[0]["score"]) == pytest.approx(rendered.score, abs=0.1)


def read_volume(folder: Path) -> tuple[np.ndarray, float, float]:
    """HU in ascending z, pixel and slice spacing in mm, from the files' headers alone."""
    files = sorted((pydicom.dcmread(path) for path in folder.rglob("*.dcm")), key=lambda ds: ds.ImagePositionPatient[2])
    hu = np.stack([ds.pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept) for ds in files])
    step_mm = float(files[1].ImagePositionPatient[2]) - float(files[0].ImagePositionPatient[2])
    return hu, float(files[0].PixelSpacing[0]), step_mm


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


def test_files_and_truth_together_give_the_score_of_record(written):
    truth = written.parent / "truth"
    studies = pd.read_csv(truth / "studies.csv", dtype={"study": str}).set_index("study")
    lesions = pd.read_csv(truth / "lesions.csv", dtype={"study": str})
    for study, row in studies.iterrows():
        hu, pixel_mm, spacing_mm = read_volume(written / str(study))
        artery = np.load(truth / f"{study}.npz")["artery"]
        assert agatston.score_volume(hu, artery > 0, pixel_mm, spacing_mm) == pytest.approx(row["score"], rel=1e-12)
        assert lesions.loc[lesions["study"] == study, "score"].sum() == pytest.approx(row["score"])
    assert (truth / "plaques.csv").is_file()


def test_truth_inside_the_cohort_is_refused():
    with pytest.raises(InputError, match=r"--truth is 'scans/truth', but must be a folder outside of --out scans"):
        PhantomConfig(out="scans", truth="scans/truth")


def test_any_number_of_workers_writes_the_same_bytes(written, tmp_path):
    make(tmp_path / "cohort", "--easy", "--truth", tmp_path / "truth", "--workers", 3)
    for mine, theirs in ((written, tmp_path / "cohort"), (written.parent / "truth", tmp_path / "truth")):
        names = sorted(path.relative_to(mine) for path in mine.rglob("*") if path.is_file())
        assert names == sorted(path.relative_to(theirs) for path in theirs.rglob("*") if path.is_file())
        assert [name for name in names if (mine / name).read_bytes() != (theirs / name).read_bytes()] == []


@pytest.fixture(scope="module")
def surprised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("surprises") / "cohort"
    make(out, "--easy", "--surprises", studies=12)
    return out


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_surprises_are_planted(surprised):
    folders = sorted(path.name for path in surprised.iterdir() if path.is_dir())
    assert folders == sorted(cohort.folder_name(index, PhantomConfig(out="", surprises=True)) for index in range(1, 13))
    assert {"002 70%", "5A", "003.x", "004"} <= set(folders)
    assert (surprised / "003.x" / cohort.SERIES).is_dir()
    first = {name: pydicom.dcmread(next((surprised / name).rglob("IM0001.dcm"))) for name in folders}
    last = {name: pydicom.dcmread(next((surprised / name).rglob("IM0012.dcm"))) for name in folders}
    rising = {name: first[name].ImagePositionPatient[2] < last[name].ImagePositionPatient[2] for name in folders}
    assert set(rising.values()) == {True, False}
    assert sum("StudyInstanceUID" not in ds for ds in first.values()) == 2
    assert sum(".02." in str(ds.get("StudyInstanceUID")) for ds in first.values()) == 3


def test_a_sheet_with_surprises_is_refused_with_every_fault_and_read_when_they_are_to_be_skipped(surprised):
    folders = sorted(path.name for path in surprised.iterdir() if path.is_dir())
    sheet = str(surprised / "labels.csv")
    with pytest.raises(InputError) as caught:
        match_labels(LabelsConfig(sheet=sheet), folders, str(surprised))
    assert all(word in str(caught.value) for word in ("n/a", "no images", "no row"))
    matched = match_labels(LabelsConfig(sheet=sheet, unmatched="skip"), folders, str(surprised))
    assert 12 - 4 <= len(matched.labels) < 12


def test_a_cohort_with_surprises_is_packed_in_the_order_of_its_positions(surprised, tmp_path):
    """Odd names, ids and orders cost no study; only the sheet's faults do, and are counted."""
    checks = {"size": 128, "min_slices": 8, "checks": {"missing_slices": "warn"}, "studies_per_shard": 4}
    run = prepare(tmp_path, surprised, pack=checks, labels={"unmatched": "skip"}, split={"folds": 2})
    pack(run)
    dataset = RunPaths(run).dataset(None)
    sheet = LabelsConfig(sheet=str(surprised / "labels.csv"), unmatched="skip")
    folders = sorted(path.name for path in surprised.iterdir() if path.is_dir())
    labels = match_labels(sheet, folders, str(surprised)).labels
    studies = pd.read_csv(dataset.studies, dtype={"study": str}).set_index("study")
    assert sorted(studies.index) == sorted(labels)
    assert (studies["slices"] == 12).all()
    assert disk.read_json(dataset.intake)["studies"]["without_label"] == len(folders) - len(labels)
    assert set(pd.read_csv(dataset.rejected)["reason"]) == {"no_label"}
    for name in labels:
        files = [pydicom.dcmread(path) for path in (surprised / name).rglob("*.dcm")]
        files.sort(key=lambda ds: float(ds.ImagePositionPatient[2]))
        for number in (0, 11):
            found = [shards.read_slices(shard, [(name, number)]) for shard in (dataset.root / "shards").glob("*.h5")]
            (hu_HW,) = [one[name, number] for one in found if one]
            ds = files[number]
            assert (hu_HW == ds.pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept)).all()


def test_series_with_odd_ids_can_be_written(tmp_path):
    hu = np.zeros((2, 8, 8), np.int16)
    hu[0] = -1024
    dicom.write_series(
        tmp_path, hu, pixel_spacing_mm=0.5, slice_spacing_mm=3, first_z_mm=0, uid_entropy=["a"],
        attributes={"StudyInstanceUID": None}, intercept_hu=0, descending=True)  # fmt: skip
    ds = pydicom.dcmread(tmp_path / "IM0002.dcm")
    assert (ds.PixelRepresentation, ds.RescaleIntercept, ds.InstanceNumber) == (1, 0, 2)
    assert "StudyInstanceUID" not in ds
    assert (ds.pixel_array == -1024).all()


def test_options_of_make_phantom_are_read_as_they_are_named():
    cfg = phantom_command.parse_phantom(None, ["--out", "a", "--slices", "20", "--surprises", "--truth", "b"])
    assert cfg == PhantomConfig(out="a", slices=20, surprises=True, truth="b")
    with pytest.raises(InputError, match="--workers is 0, but must be 1 to 256"):
        phantom_command.parse_phantom(None, ["--out", "a", "--workers", "0"])


@pytest.mark.parametrize("protocol", habitus.PROTOCOLS, ids=[protocol.kernel_name for protocol in habitus.PROTOCOLS])
def test_noise_has_the_grain_of_a_medium_soft_kernel(protocol):
    """Correlation of neighbours 0.80 to 0.92, at two pixels 0.41 to 0.73, as in public gated exams."""
    for view_mm in protocol.field_of_view_mm:
        raster = formation.make_raster(np.arange(4.0), 512, view_mm / 512, 3.0, 0.0)
        drawn = np.full(raster.drawn.shape, 40, np.float32)
        rng = np.random.default_rng(0)
        hu = formation.scan(rng, drawn, raster, protocol.kernel, np.full((512, 512), 15, np.float32)) - 40
        assert hu.std() == pytest.approx(15, rel=0.05)
        for step, (low, high) in ((1, (0.80, 0.93)), (2, (0.41, 0.76))):
            assert low <= (hu[..., step:] * hu[..., :-step]).mean() / hu.var() <= high, (view_mm, step)
