"""Scoring study folders from the command line: the numbers, the tables, and what is said of bad studies."""

import re

import numpy as np
import pandas as pd
import pydicom
import pytest

from cac_hpc.dataset import scoring, study_folders
from cac_hpc.settings.score_command import ScoreConfig
from tests.support.chests import chest, with_lesion, write_study
from tests.support.poison import slices_of, without, write_chest
from tests.support.runs import job, job_here

PUBLISHED = {  # disc (row, column) and column of agatston_published.csv, densities from high to low
    "large": [(220, 180), (151, 291), (282, 299)],
    "medium": [(220, 205), (173, 280), (260, 285)],
    "small": [(220, 231)],
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two chests, one with two lesions of 4 mm; a study with a gap, one without a heart, one without a DICOM file."""
    root = tmp_path_factory.mktemp("cohort")
    solids = chest(200, num_slices=36)
    write_study(root / "none", solids.hu_ZHW)
    calcified = with_lesion(solids.hu_ZHW, -60, 4, slice(18, 20))
    write_study(root / "two", with_lesion(calcified, -12, 50, slice(10, 11), hu=250))
    write_chest(root / "no heart")
    write_chest(root / "gap")
    without(5)(root / "gap")
    (root / "letters").mkdir()
    (root / "letters" / "hello.txt").write_text("hello")
    return root


def scores(folder) -> pd.DataFrame:
    return pd.read_csv(folder / "scores.csv", keep_default_na=False, dtype={"study": str}).set_index("study")


def test_a_folder_of_studies_is_scored_and_the_bad_ones_are_named(cohort, tmp_path):
    done = job("score_calcium.py", cohort, "--out", tmp_path / "out")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    found = scores(tmp_path / "out")
    assert list(found.index) == ["gap", "letters", "no heart", "none", "two"]
    assert float(found.loc["none", "agatston"]) == 0
    assert float(found.loc["two", "agatston"]) == pytest.approx(2 * 16 * 4 + 16 * 2)
    assert found.loc["two", ["category", "lesions", "slices_with_lesions", "slices", "region"]].tolist() == [
        "Moderate", "3", "3", "36", "heart"
    ]  # fmt: skip
    assert found.loc["gap", "fault"].startswith("missing_slices: 1 gap, ")
    assert found.loc["letters", "fault"].startswith("not_dicom")
    assert found.loc["no heart", "fault"].startswith("no_heart: 0 cm3 of lung")
    for study in ("gap", "letters", "no heart"):
        assert f"{study}: {found.loc[study, 'fault']}" in done.stdout
    lesions = pd.read_csv(tmp_path / "out" / "lesions.csv")
    assert lesions["study"].tolist() == ["two"] * 3
    assert lesions["slice"].tolist() == [10, 18, 19]
    assert lesions["weight"].tolist() == [2, 4, 4]
    assert lesions["agatston"].sum() == pytest.approx(float(found.loc["two", "agatston"]))


def test_the_folder_and_the_name_of_a_mask_are_said_and_never_written(tmp_path):
    write_study(tmp_path / "chest", chest(num_slices=24).hu_ZHW)
    mask = tmp_path / "Mustermann" / "Max.nii"
    mask.parent.mkdir()
    mask.write_bytes(b"none")
    done = job("score_calcium.py", tmp_path / "chest", "--region", mask, "--out", tmp_path / "out")
    assert f"chest: {mask}: found no header of NIfTI" in done.stdout
    assert scores(tmp_path / "out").loc["chest", "fault"].startswith("its mask: found no header of NIfTI")


def test_studies_of_which_none_has_a_score_are_named(tmp_path, capsys):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    assert scoring.score_studies(ScoreConfig(folder=str(tmp_path))) == 1
    assert re.findall(r"^(one|other): no_files: the folder is empty$", capsys.readouterr().out, re.M) == [
        "one",
        "other",
    ]


def test_hidden_folders_are_left_out_and_named(tmp_path, caplog):
    for name in ("one", ".trash"):
        (tmp_path / name).mkdir()
    assert list(study_folders.below(str(tmp_path), single=False)) == ["one"]
    assert "hidden folders are left out: '.trash'" in caplog.text


def test_linked_study_folders_are_studies_and_links_that_lead_nowhere_are_named(tmp_path, caplog):
    (tmp_path / "elsewhere").mkdir()
    root = tmp_path / "studies"
    root.mkdir()
    (root / "one").symlink_to(tmp_path / "elsewhere")
    (root / "two").symlink_to(tmp_path / "gone")
    assert list(study_folders.below(str(root), single=False)) == ["one"]
    assert "links that lead nowhere are left out: 'two'" in caplog.text


def test_one_study_is_scored_by_its_folder(cohort, tmp_path):
    done = job_here("score_calcium.py", cohort / "two", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path).index.tolist() == ["two"]


def test_a_study_whose_series_lie_in_folders_is_scored_as_one_when_asked(cohort, tmp_path):
    write_chest(tmp_path / "study" / "series 1")
    write_chest(tmp_path / "study" / "series 2")
    options = ("--region", "all", "--out", tmp_path / "out")
    assert job_here("score_calcium.py", tmp_path / "study", *options).returncode == 0
    assert scores(tmp_path / "out").index.tolist() == ["series 1", "series 2"]
    assert job_here("score_calcium.py", tmp_path / "study", "--single", *options).returncode == 0
    assert scores(tmp_path / "out").index.tolist() == ["study"]


def test_a_check_that_warns_is_said_and_the_study_scored(cohort, tmp_path):
    refused = job_here("score_calcium.py", cohort / "gap", "--region", "all")
    assert "--warn missing_slices scores studies that fail this check, with a warning" in refused.stdout
    done = job_here(
        "score_calcium.py", cohort / "gap", "--region", "all", "--warn", "missing_slices", "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path).loc["gap", "warnings"] == "missing_slices"
    assert "gap: used with a warning: missing_slices" in done.stdout


def test_the_rule_and_the_region_are_options(tmp_path):
    hu = write_chest(tmp_path / "chest")
    for path in slices_of(tmp_path / "chest"):
        ds = pydicom.dcmread(path)
        stored = np.frombuffer(ds.PixelData, "<u2").reshape(hu.shape[1:]).copy()
        stored[20, 4:10], stored[28, 4:10] = 1024 + 350, 1024 + 350
        ds.PixelData = stored.tobytes()
        ds.save_as(path)
    (tmp_path / "region.yaml").write_text(
        "frame: stored\ndiscs: [{name: LAD, slices: [2, 4], row: 20, column: 6, diameter_mm: 8}]"
    )
    options = ("--region", tmp_path / "region.yaml", "--out", tmp_path, "--mass_factor", 0.001)
    done = job_here("score_calcium.py", tmp_path / "chest", *options)
    assert done.returncode == 0, done.stderr
    found = scores(tmp_path).loc["chest"]
    assert float(found["agatston"]) == pytest.approx(3 * 6 * 0.25 * 3)
    assert float(found["mass_mg"]) == pytest.approx(3 * 6 * 0.25 * 3 * 0.35)
    assert set(pd.read_csv(tmp_path / "lesions.csv")["region"]) == {"LAD"}
    assert job_here("score_calcium.py", tmp_path / "chest", *options, "--min_area_pixels", 7).returncode == 0
    assert float(scores(tmp_path).loc["chest", "agatston"]) == 0
    mask = np.zeros(hu.shape, bool)
    mask[:, 24:] = True
    (tmp_path / "masks").mkdir()
    np.savez_compressed(tmp_path / "masks" / "chest.npz", mask, frame=np.array("patient"))
    options = ("--region", tmp_path / "masks", "--out", tmp_path)
    assert job_here("score_calcium.py", tmp_path / "chest", *options).returncode == 0
    assert float(scores(tmp_path).loc["chest", "agatston"]) == pytest.approx(12 * 6 * 0.25 * 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nowhere"], "nowhere: found no folder there, wanted a study or a folder of studies"),
        (["empty"], "empty: found neither CT slices nor folders in it"),
        (
            ["chest", "--region", "lungs"],
            "--region lungs: found no such file, wanted a file, a path with {study} in it",
        ),
        (
            ["chest", "--region", "empty"],
            "--region empty: found 0 masks of study 'chest', wanted one of chest.nii, chest.nii.gz",
        ),
        (["chest", "--region", "wrong.yaml"], "wrong.yaml: found circles, wanted discs, polygons or both"),
        (["chest", "--out", "wrong.yaml"], "--out wrong.yaml: found a file, wanted a folder"),
        (["chest", "--threshold_hu", "0"], "--threshold_hu is 0, but must be 1 to 3000"),
        (["chest", "--spacing_factor", "maybe"], "'maybe', wanted true or false"),
        (["chest", "--warn", "everything"], "invalid choice: 'everything'"),
    ],
)
def test_what_cannot_be_asked_for_is_one_line_and_exit_code_2(options, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_chest(tmp_path / "chest")
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong.yaml").write_text("circles: []")
    done = job_here("score_calcium.py", *options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_thorax_phantom_scores_as_published(shared_data, tmp_path):
    published = pd.read_csv(shared_data / "qrm_phantom" / "agatston_published.csv")
    published = published.set_index("inserts").loc[["High Density", "Medium Density", "Low Density"]]
    expected = {
        f"{size} {number}": published[f"calculated_agat_{size}"].iloc[number]
        for size, places in PUBLISHED.items()
        for number in range(len(places))
    }
    discs = [
        f"- {{name: {size} {number}, slices: [20, 24], row: {row}, column: {column}, diameter_mm: 10}}"
        for size, places in PUBLISHED.items()
        for number, (row, column) in enumerate(places)
    ]
    (tmp_path / "inserts.yaml").write_text("\n".join(["frame: stored", "discs:", *discs]))
    options = ("--region", tmp_path / "inserts.yaml", "--out", tmp_path)
    done = job_here("score_calcium.py", shared_data / "qrm_phantom", *options)
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(tmp_path / "lesions.csv").groupby("region")["agatston"].sum()
    for name, score in expected.items():
        assert found[name] == pytest.approx(score, rel=0.04), name
    total = float(scores(tmp_path).loc["study_001", "agatston"])
    assert total == pytest.approx(957.8, rel=0.02)
    assert total == pytest.approx(found.sum())
    assert job_here("score_calcium.py", shared_data / "qrm_phantom", *options, "--threshold_hu", 131).returncode == 0
    above = float(scores(tmp_path).loc["study_001", "agatston"])
    assert above == pytest.approx(957.8, rel=0.001)  # the published scores are of "above 130 HU"


def test_the_masses_of_the_thorax_phantom_are_near_the_published_ones(shared_data, tmp_path):
    published = pd.read_csv(shared_data / "qrm_phantom" / "agatston_published.csv").set_index("inserts")
    discs = [f"- {{name: i{number}, slices: [20, 24], row: {row}, column: {column}, diameter_mm: 10}}"
             for number, (row, column) in enumerate(PUBLISHED["large"])]  # fmt: skip
    (tmp_path / "inserts.yaml").write_text("\n".join(["frame: stored", "discs:", *discs]))
    factor = published["mass_cal_factor"].iloc[0]
    job_here("score_calcium.py", shared_data / "qrm_phantom", "--region", tmp_path / "inserts.yaml", "--out", tmp_path,
        "--mass_factor", factor)  # fmt: skip
    found = pd.read_csv(tmp_path / "lesions.csv").groupby("region")["mass_mg"].sum()
    expected = published.loc[["High Density", "Medium Density", "Low Density"], "calculated_mass_large"]
    assert found.to_numpy() == pytest.approx(expected.to_numpy(), rel=0.04)


@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_on_synthetic_patients_the_rule_is_exact_in_true_masks_and_mostly_right_in_the_heart_it_finds(tmp_path):
    made = job("make_phantom.py", "--out", tmp_path / "cohort", "--truth", tmp_path / "truth", "--studies", 20,
               "--seed", 77, timeout_s=900)  # fmt: skip
    assert made.returncode == 0, made.stderr
    truth = pd.read_csv(tmp_path / "truth" / "studies.csv", dtype={"study": str}).set_index("study")["score"]
    categories = {}
    for region in ("heart", tmp_path / "truth"):
        done = job("score_calcium.py", tmp_path / "cohort", "--region", region, "--out", tmp_path, timeout_s=600)
        assert done.returncode == 0, done.stdout
        found = scores(tmp_path)
        categories[region] = found["category"]
    assert found["agatston"].astype(float).to_numpy() == pytest.approx(truth[found.index].to_numpy(), abs=1e-4)
    agree = categories["heart"] == categories[tmp_path / "truth"]
    print(f"\ncategories agree in {agree.sum()} of {len(agree)}; not in {', '.join(agree[~agree].index)}")
    assert agree.mean() >= 0.85
