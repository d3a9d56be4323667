"""A finished run handed over: exported, its folder gone, new patients predicted, as good as the report says."""

import json
import os
import shutil

import pandas as pd
import pytest

from cac_hpc.labels import labels
from cac_hpc.settings.labels import LabelsConfig
from tests.support.runs import REPO, job

PHANTOMS = ("--slices", 12, "--matrix", 128, "--field_of_view_mm", 160, "--easy")
EASY = ("--pack.min_slices", 8, "--report.figure_dpi", 50, "--cluster.kind", "local")


@pytest.mark.drill
@pytest.mark.timeout(1500)
def test_new_patients_are_predicted_as_well_as_the_report_says(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    for name, seed, count in (("train", 3, 18), ("new", 77, 12)):
        done = job("make_phantom.py", "--out", tmp_path / name, "--studies", count, "--seed", seed, *PHANTOMS, env=env,
                   timeout_s=1200)  # fmt: skip
        assert done.returncode == 0, done.stderr
    where = ("--data.dicom_root", tmp_path / "train", "--labels.sheet", tmp_path / "train" / "labels.csv")
    config = REPO / "configs" / "lesions.yaml"
    done = job("launch_cv.py", "--config", config, *EASY, *where, "--run", tmp_path / "run", env=env, timeout_s=1200)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "run" / "report" / "report.json").read_text(encoding="utf-8"))
    done = job("export.py", tmp_path / "run", "--out", tmp_path / "model.zip", "--licence", "none", env=env)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "run")
    for name in ("one", "elsewhere/two"):
        done = job("predict.py", tmp_path / "model.zip", tmp_path / "new", "--out", tmp_path / name, env=env,
                   timeout_s=1200)  # fmt: skip
        assert done.returncode == 0, done.stderr
    tables = [(tmp_path / name / "predictions.csv").read_bytes() for name in ("one", "elsewhere/two")]
    assert tables[0] == tables[1]
    found = pd.read_csv(tmp_path / "one" / "predictions.csv", dtype={"study": str}).set_index("study")
    sheet = pd.read_csv(tmp_path / "new" / "labels.csv", dtype={"study": str}).set_index("study")
    truth = labels.categories(sheet.loc[found.index, "score"].tolist(), LabelsConfig.edges)
    accuracy = report["levels"]["patient"]["pooled"]["figures"]["accuracy"]
    assert accuracy["low"] <= (found["category_index"] == truth).mean() <= accuracy["high"]
    assert found["known"].sum() == 0
    assert found["out_of_range"].isna().all()
