"""Checks of what the recipes of docs/extending.md add; run in a copy of the package in which one of them was done.

python recipes.py RECIPE FOLDER SCANS PACKED: the recipe's name, an empty folder, a small cohort and its dataset.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pydicom

import cac_hpc
from cac_hpc.cluster import schedulers
from cac_hpc.dataset import plan, sealing
from cac_hpc.report import aggregation, pictures
from cac_hpc.run import stages
from cac_hpc.run.disk import read_json
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.volumes import dicom
from tests.support.reports import make_run
from tests.support.runs import NUM_SLICES, REPO, SCORES, SIZE, job_here, pack, prepare, write_config, write_scans


def category_scheme(folder: Path, scans: Path, packed: Path) -> None:
    """Every matrix is collapsed to the new scheme, and the page and the tables have it."""
    run = _reported(folder, drawn=False)
    for level in read_json(run.report_json)["levels"].values():
        (scheme,) = (one for one in level["collapsed"] if one["key"] == "treatment")
        whole, found = (np.array(one["pooled"]["confusion_matrix"]) for one in (level, scheme))
        assert scheme["groups"] == [0, 1, 1, 2, 2, 2]
        assert found[2, 2] == whole[3:, 3:].sum() > 0
        assert found.shape == (3, 3)
        assert found.sum() == whole.sum()
    assert "0 / 1-100 / &gt;100" in (run.report / "report.html").read_text(encoding="utf-8")
    assert (run.report / "tables" / "confusion_patient_treatment.csv").is_file()


def series_check(folder: Path, scans: Path, packed: Path) -> None:
    """A study that was scanned at 80 kVp is refused with the code of the check; the others are used."""
    cohort = write_scans(folder / "scans", 12)
    attributes = {"KVP": 80, "SliceThickness": 3}
    hu_ZHW = np.random.default_rng(0).normal(40, 15, (NUM_SLICES, SIZE, SIZE)).astype(np.int16)
    dicom.write_series(
        cohort / "003", hu_ZHW, pixel_spacing_mm=6.0, slice_spacing_mm=3.0, first_z_mm=-9.0, uid_entropy=["low"],
        attributes=attributes,
    )  # fmt: skip
    split = {"folds": 2, "val_fraction": 0.2}
    run = RunPaths(prepare(folder, cohort, split=split, pack={"limits": {"rejected_studies": 0.2}}))
    pack(run.root)
    rejected = pd.read_csv(run.dataset(None).rejected, dtype=str)
    assert set(rejected["study"]) == {"003"}
    assert set(rejected["reason"]) == {"low_voltage"}
    assert set(rejected["detail"]) == {"80 kVp"}
    assert len(pd.read_csv(run.dataset(None).studies)) == 11


def network(folder: Path, scans: Path, packed: Path) -> None:
    """A fold is trained and tested with the network."""
    facts, predictions = _trained(folder, scans, packed, model={"kind": "row_means"})
    assert facts["parameters"] == (SIZE + 1) * 6
    assert len(predictions) == 6 * NUM_SLICES


def patient_level_model(folder: Path, scans: Path, packed: Path) -> None:
    """A fold is trained and tested with the model; all slices of a study have its probabilities."""
    facts, predictions = _trained(folder, scans, packed, model={"kind": "study_mean"})
    assert facts["parameters"] == 10 * 8 + (8 + 1) * 6
    probabilities = predictions.filter(regex=r"^p\d").groupby(predictions["study"])
    assert len(probabilities) == 6
    assert (probabilities.nunique() == 1).all(axis=None)


def optimiser(folder: Path, scans: Path, packed: Path) -> None:
    """A fold is trained with the optimiser, by its name."""
    from torch import optim

    with mock.patch.object(optim, "SGD", wraps=optim.SGD) as made:
        _trained(folder, scans, packed, optimizer="momentum", learning_rate=0.01)
    assert made.call_args.kwargs == {"lr": 0.01, "momentum": 0.9}


def figure(folder: Path, scans: Path, packed: Path) -> None:
    """The figure is drawn, and the section of the page ends with it."""
    run = _reported(folder)
    assert all((run.report / "figures" / f"totals.{kind}").stat().st_size > 1000 for kind in ("png", "svg"))
    page = (run.report / "report.html").read_text(encoding="utf-8")
    of_patients = page[page.index('<section id="patient"') :].partition("</section>")[0]
    assert "<figcaption>Patients of each category, and as predicted." in of_patients


def statistic(folder: Path, scans: Path, packed: Path) -> None:
    """Both figures are in report.json, on the page and in the tables."""
    run = _reported(folder, drawn=False)
    pooled = read_json(run.report_json)["levels"]["patient"]["pooled"]
    matrix = np.array(pooled["confusion_matrix"])
    others = matrix.sum() - matrix[1].sum()
    specificity = pooled["categories"][1]["specificity"]
    assert abs(specificity["value"] - (others - matrix[[0, 2, 3, 4, 5], 1].sum()) / others) < 1e-12
    assert specificity["interval"] == "wilson"
    error = (matrix * (np.arange(6) - np.arange(6)[:, None])).sum() / matrix.sum()
    assert abs(pooled["figures"]["mean_error"]["value"] - error) < 1e-12
    assert pooled["figures"]["mean_error"]["interval"] == "bootstrap"
    page = (run.report / "report.html").read_text(encoding="utf-8")
    assert "specificity" in page
    assert "mean error" in page
    assert "specificity" in (run.report / "tables" / "categories_patient.csv").read_text(encoding="utf-8")


def mask_format(folder: Path, scans: Path, packed: Path) -> None:
    """Calcium is scored in the mask of a file that ITK could have written, wherever its axes lead, and nowhere else."""
    hu_ZHW = np.random.default_rng(0).normal(40, 15, (12, SIZE, SIZE)).astype(np.int16)
    hu_ZHW[:, :3] = -900  # lung
    hu_ZHW[4, 10:12, 20:23] = hu_ZHW[7, 20:22, 5:8] = 500
    dicom.write_series(
        folder / "study", hu_ZHW, pixel_spacing_mm=6.0, slice_spacing_mm=3.0, first_z_mm=-9.0, uid_entropy=["mask"],
        attributes={"KVP": 120, "SliceThickness": 3},
    )  # fmt: skip
    x, y, _ = pydicom.dcmread(next((folder / "study").iterdir())).ImagePositionPatient
    mask_ZHW = np.zeros(hu_ZHW.shape, np.uint8)
    mask_ZHW[4, 8:14, 18:25] = 7
    head = (
        f"ObjectType = Image\nNDims = 3\nCompressedData = True\nTransformMatrix = -1 0 0 0 1 0 0 0 1\n"
        f"Offset = {x + 6 * (SIZE - 1)} {y} -9\nElementSpacing = 6 6 3\nDimSize = {SIZE} {SIZE} 12\n"
        f"ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    )
    data = zlib.compress(np.ascontiguousarray(mask_ZHW[:, :, ::-1]).tobytes())
    (folder / "mask.mha").write_bytes(head.encode() + data)
    asked = ("score_calcium.py", folder / "study", "--region", folder / "mask.mha", "--out", folder / "out")
    done = job_here(*asked)
    assert done.returncode == 0, done.stdout + done.stderr
    (lesion,) = pd.read_csv(folder / "out" / "lesions.csv").to_dict("records")
    assert (lesion["slice"], lesion["pixels"], lesion["region"]) == (4, 6, "part 7")
    for wrong, said in ((head.replace("Offset", "Origin"), "lacks"), (head.replace("= -1", "= 1"), "does not cover")):
        (folder / "mask.mha").write_bytes(wrong.encode() + data)
        done = job_here(*asked)
        assert done.returncode == 1
        assert said in done.stdout + done.stderr


def label_source(folder: Path, scans: Path, packed: Path) -> None:
    """The same scores make the same labels as from a sheet."""
    rows = [{"study": f"{index:03d}", "score": SCORES[index % len(SCORES)]} for index in range(18)]
    (folder / "scores.json").write_text(json.dumps(rows), encoding="utf-8")
    of_sheet, of_json = (
        plan.make_plan(
            stored_settings.load(write_config(folder / "settings.yaml", scans, folder / "run", labels=labels))
        )
        for labels in ({}, {"sheet": str(folder / "scores.json")})
    )
    assert of_json.labels == of_sheet.labels
    assert len(of_json.labels) == 18


def scheduler(folder: Path, scans: Path, packed: Path) -> None:
    """The launcher chooses the scheduler by its name, and the first stages are run by it."""
    serial = schedulers.SCHEDULERS["serial"]
    with mock.patch.object(serial, "try_out", wraps=serial.try_out) as asked:
        run = RunPaths(prepare(folder, scans, cluster={"kind": "serial"}))
    assert [call.args[2].name for call in asked.mock_calls] == ["pack", "seal", "folds", "aggregate"]
    cfg = stored_settings.load(run.config)
    first = [task for task in stages.plan_tasks(cfg, run, 2) if task.stage.name in ("pack", "seal")]
    assert not any(task.done for task in first)
    for _ in serial.start(run, cfg, first, {}):
        pass
    assert all(task.done for task in first)


def _reported(folder: Path, drawn: bool = True) -> RunPaths:
    """A run whose folds predicted every fourth study too high, with its report."""
    if not drawn:
        pictures.draw, pictures.before_counting = lambda *of: None, lambda *of: []
    predicted = {(f"{number:02d}", number % 6): [(number + (number % 4 == 0)) % 6] * 2 for number in range(24)}
    run = make_run(folder, predicted, report={"draws": 200})
    assert aggregation.aggregate(run.root)
    return run


def _trained(folder: Path, scans: Path, packed: Path, model: dict[str, object] | None = None, **train: object):
    """Train fold 0 for an epoch; returns what it says of itself, and its predictions."""
    from cac_hpc.train import training

    sections = {"model": model or {}, "train": {"epochs": 1, "batch_size": 4, "occlusion": False} | train}
    cluster = {"ranks_per_node": 1}
    run = RunPaths(prepare(folder, scans, data={"packed_dir": str(packed)}, cluster=cluster, **sections))
    sealing.seal(run.root)
    assert training.train_fold(run.root, 0) == 0
    return read_json(run.fold(0).metrics), pd.read_csv(run.fold(0).predictions, dtype={"study": str})


CHECKS = {check.__name__: check for check in (
    category_scheme, series_check, network, patient_level_model, optimiser, figure, statistic, mask_format,
    label_source, scheduler,
)}  # fmt: skip

if __name__ == "__main__":
    assert Path(cac_hpc.__file__).is_relative_to(REPO)
    assert Path(__file__).is_relative_to(REPO)
    CHECKS[sys.argv[1]](*map(Path, sys.argv[2:]))
