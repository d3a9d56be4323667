"""Study folders scored by a trained lesion model, and drawn, from the command line."""

import shutil

import numpy as np
import pandas as pd
import pytest

from cac_hpc.calcium import candidates
from cac_hpc.predict import ensemble
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.score_command import parse_score
from cac_hpc.train import checkpoint
from cac_hpc.train.lesion_model import LesionClassifier
from tests.support.chests import chest, with_lesion, write_study
from tests.support.runs import job_here, prepare


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """A chest without calcium, and one with a lesion of 4 x 4 mm on two slices; a folder without a study."""
    root = tmp_path_factory.mktemp("studies")
    solids = chest(200, num_slices=36)
    write_study(root / "none", solids.hu_ZHW)
    write_study(root / "one", with_lesion(solids.hu_ZHW, -60, 4, slice(18, 20)))
    (root / "letters").mkdir()
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model that has learned nothing, so that it counts as the control does."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save(path)
    return path


def save(path, **facts):
    untrained = LesionClassifier((4,), 2, candidates.NAMES)
    content = {"features": list(candidates.NAMES), "candidates": candidates.VERSION, "calibration_scale": 0.3}
    content |= {"calibration_gross": 0.1, "edges": [0, 10, 100, 400, 1000], "names": list(LabelsConfig.names)}
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(path, {"weights": untrained.state_dict(), **content, **facts})


def test_a_model_scores_studies_and_pictures_show_what_counted(studies, model, tmp_path):
    done = job_here("score_calcium.py", studies, "--out", tmp_path, "--pictures", "--model", model)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr  # letters is no study
    found = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False, dtype=str).set_index("study")
    assert float(found.loc["one", "model_agatston"]) == float(found.loc["one", "agatston"]) == 2 * 16 * 4
    assert float(found.loc["none", "model_agatston"]) == 0
    assert found.loc["one", "model_category"] == "Moderate"
    assert 0.5 < float(found.loc["one", "model_probability"]) < 1
    table = pd.read_csv(tmp_path / "candidates.csv", dtype={"study": str})
    counted = table[table["counted"] == 1]
    assert counted[["study", "first_slice", "last_slice"]].to_numpy().tolist() == [["one", 18, 19]]
    assert (tmp_path / "pictures" / "none.png").is_file()
    drawn = [path.read_text() for path in sorted((tmp_path / "pictures").glob("one-*.svg"))]
    assert "projection of all slices: counted 128" in drawn[0]
    assert any("slice 18: counted 64" in text for text in drawn)
    assert "one 128 Moderate 128 Moderate" in " ".join(done.stdout.split())


def test_categories_are_those_of_the_model_and_names_no_formulas(studies, tmp_path):
    shutil.copytree(studies / "one", tmp_path / "=1+1")
    save(tmp_path / "model.pt", edges=[50], names=["little", "+much"])
    done = job_here("score_calcium.py", tmp_path / "=1+1", "--out", tmp_path / "out", "--model", tmp_path / "model.pt")
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(tmp_path / "out" / "scores.csv").loc[0]
    assert found[["study", "category", "model_category"]].tolist() == ["'=1+1", "'+much", "'+much"]
    for table in ("lesions.csv", "candidates.csv"):
        assert set(pd.read_csv(tmp_path / "out" / table)["study"]) == {"'=1+1"}


def test_without_a_model_the_control_is_drawn(studies, tmp_path):
    done = job_here("score_calcium.py", studies / "one", "--out", tmp_path, "--pictures")
    assert done.returncode == 0, done.stderr
    assert "model_agatston" not in pd.read_csv(tmp_path / "scores.csv")
    assert "counted 128" in (tmp_path / "pictures" / "one-0-projection.svg").read_text()


def test_candidates_are_compared_with_masks(studies, model, tmp_path):
    solids = chest(200, num_slices=36)
    both = with_lesion(with_lesion(solids.hu_ZHW, -60, 4, slice(18, 20)), -12, 50, slice(10, 11))
    write_study(tmp_path / "studies" / "one", both)
    mask_ZHW = np.zeros(both.shape, np.uint8)
    mask_ZHW[8:12], mask_ZHW[30:32] = both[8:12] >= 400, both[30:32] >= 400  # one lesion, and ribs
    mask_ZHW[10, :, : both.shape[2] // 2] = 0
    np.savez(tmp_path / "one.npz", mask_ZHW, frame=np.array("patient"))
    options = ("--region", tmp_path, "--out", tmp_path, "--pictures", "--model", model)
    done = job_here("score_calcium.py", tmp_path / "studies", *options)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "candidates.csv")
    in_mask, counted = table["mask_share"] > 0.5, table["counted"] == 1
    assert table[in_mask][["first_slice", "last_slice"]].to_numpy().tolist() == [[10, 10]]
    assert set(table[counted]["first_slice"]) == {10, 18}
    said = " ".join(done.stdout.split())
    assert (
        "candidates in masks 1, counted 2, both 1, precision 0.50 (0.09 to 0.91), recall 1.00 (0.21 to 1.00);" in said
    )
    bright = int(((both >= 130) & (mask_ZHW > 0)).sum())
    assert f"{bright - 25} of {bright} voxels of masks at the threshold are in no candidate" in said


def test_what_cannot_be_a_model_is_refused(model, tmp_path):
    for path in (tmp_path, tmp_path / "modle.pt"):
        with pytest.raises(InputError, match=r"found no model, wanted a bundle, RUN/folds/fold-K/model.pt or a run"):
            ensemble.read_lesions(path)
    save(tmp_path / "other.pt", features=["region_share"])
    with pytest.raises(InputError, match=f"wanted one of candidates' version {candidates.VERSION}"):
        ensemble.read_lesions(tmp_path / "other.pt")
    (tmp_path / "model.pt").write_bytes(model.read_bytes())
    with pytest.raises(InputError, match="does not match its sha256"):
        ensemble.read_lesions(tmp_path / "model.pt")


def test_a_run_is_used_with_all_of_its_folds_or_not_at_all(tmp_path, scans):
    run = prepare(tmp_path, scans, split={"folds": 11, "val_fraction": 0.05})
    for fold in range(11):
        save(run / f"folds/fold-{fold}/model.pt", edges=[50.0], names=["none", "some"], calibration_scale=0.1 * fold)
    found = ensemble.read_lesions(run)
    assert [round(one.scale, 9) for one in found.errors] == [round(0.1 * fold, 9) for fold in range(11)]
    assert found.mean_errors.scale == pytest.approx(0.5)
    one = ensemble.read_lesions(run / "folds/fold-1/model.pt")
    assert (one.edges, one.names, len(one.models)) == ((50.0,), ("none", "some"), 1)
    save(run / "folds/fold-2/model.pt", edges=[50.0], names=["little", "much"])
    with pytest.raises(InputError, match="found folds of different labels"):
        ensemble.read_lesions(run)
    for fold in (2, 10):
        (run / f"folds/fold-{fold}/model.pt").unlink()
    with pytest.raises(InputError, match=r"found no model.pt of fold-2, fold-10, wanted all 11 folds of the run"):
        ensemble.read_lesions(run)


def test_a_model_that_lacks_a_part_is_refused(tmp_path):
    for name in ("weights", "edges", "calibration_scale"):
        save(tmp_path / "model.pt", **{name: None})
        with pytest.raises(InputError, match="lacks what a lesion model has"):
            ensemble.read_lesions(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pictures"], "--out is not set"),
        (["--pictures", "--out", "o", "--region", "all"], "--region is 'all'"),
        (["--model", "m.pt", "--threshold_hu", "131"], "--threshold_hu is 131, but must be 130, by which candidates"),
        (["--pictures", "--out", "o", "--neighbours", "4"], "--neighbours is 4, but must be 8, by which candidates"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        parse_score(None, ["studies", *options])
