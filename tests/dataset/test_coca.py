"""The synthetic collection in COCA's layout, from an unknown folder to the report, with no file edited by hand."""

import json
import os
import shutil

import pytest

from cac_hpc.dataset import plan
from cac_hpc.settings import launch_command, stored_settings
from cac_hpc.train import training
from tests.support.runs import REPO, job, job_here, pack

QUICK = ("--split.folds", "2", "--train.steps", "60", "--report.figure_dpi", "50")
DECIDED = {"gated": ("--labels.without_mask", "zero"), "nongated": ("--pack.spacing_factor", "false")}
FOLDERS = {"gated": "Gated_release_final", "nongated": "deidentified_nongated"}
TOTALS = {"gated": [0, 7.0312, 45.7031, 214.4531, 812.1094, 1810.5469], "nongated": [0, 0, 14, 80.8, 414.8, 1167.2]}


def scores(planned):
    return sorted({label.score for label in planned.labels.values()})


@pytest.mark.parametrize("part", FOLDERS)
def test_from_an_unknown_folder_to_the_report_without_a_file_edited_by_hand(
    tmp_path, coca_collection, part, no_pictures, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    looked = job_here("inspect_studies.py", coca_collection / FOLDERS[part], "--out", "study.yaml")
    assert looked.returncode == 0, looked.stderr
    asked = ("--config", "study.yaml", "--run", "run", *QUICK, *DECIDED[part])
    dry = job_here("launch_cv.py", *asked, "--dry_run")
    assert dry.returncode == 0, dry.stderr
    run = tmp_path / "run"
    pack(run)
    for fold in range(2):
        assert training.train_fold(run, fold) == 0
    made = job_here("aggregate.py", "--run", run)
    assert made.returncode == 0, made.stderr
    report = json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))
    assert str(coca_collection) not in json.dumps(report)
    assert report["levels"]["patient"]["pooled"]["n"] == 12
    assert scores(plan.make_plan(stored_settings.load(run / "config.yaml"))) == sorted(set(TOTALS[part]))


@pytest.mark.parametrize("part", FOLDERS)
def test_the_config_of_the_collection_fits_a_few_of_its_exams(tmp_path, coca_collection, part, monkeypatch):
    """As many as one may have at hand: six gated ones, five others, and all rows of the sheet."""
    root = shutil.copytree(coca_collection, tmp_path / "coca")
    studies = root / "Gated_release_final" / "patient" if part == "gated" else root / "deidentified_nongated"
    for number in range(6 if part == "gated" else 5 + 1, 13):
        shutil.rmtree(studies / str(number), ignore_errors=True)
    monkeypatch.setenv("COCA", str(root))
    config = str(REPO / "configs" / f"coca_{part}.yaml")
    cfg, _ = launch_command.parse_launch(None, ["--config", config, "--run", str(tmp_path / "run")])
    planned = plan.make_plan(cfg)
    assert len(planned.labels) == (6 if part == "gated" else 5)
    assert scores(planned) == sorted(set(TOTALS[part]))
    assert all(fold.val and len(fold.train) >= 3 for fold in planned.folds)


@pytest.mark.drill
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", FOLDERS)
def test_one_command_makes_the_report_of_the_collection(tmp_path, coca_collection, part):
    environment = {**os.environ, "COCA": str(coca_collection)}
    config = REPO / "configs" / f"coca_{part}.yaml"
    done = job("launch_cv.py", "--config", config, "--run", tmp_path / "run", "--wait", env=environment, timeout_s=800)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report" / "report.html").is_file()
