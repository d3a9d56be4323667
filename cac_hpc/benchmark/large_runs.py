"""A run of very many patients that has ended, with all that its report reads, made in minutes: nothing is trained.

The launcher plans it, of folders with two small files each. Its shards have columns for 60 slices of each study, and
images that take no room; its predictions are noise around the truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from cac_hpc.benchmark import costs, inputs
from cac_hpc.dataset import integrity, kept_plan, shards, splits, stratification
from cac_hpc.run import digests, disk, logs
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.split import SplitConfig
from cac_hpc.train import predictions

SLICES, FOLDS, SHARDS = 60, 5, 50
TRAINED: dict[str, Any] = {  # what a fold says of its training
    "attempt": 1, "epochs": 4, "tested_epoch": 3, "ranks": 2, "device": "cpu", "precision": "fp32",
    "residency": "host", "parameters": 366, "train_slices": 40, "val_slices": 10, "test_slices": 10,
    "layers": [
        {"layer": "Slice", "detail": "", "output": [1, 8, 8], "parameters": 0},
        {"layer": "Linear", "detail": "", "output": [6], "parameters": 366},
    ],
}  # fmt: skip


def write(folder: Path, patients: int, code: Path) -> Path:
    """The run's folder, made only if it is not there yet.

    Args:
        folder: for the run and the studies that it was planned of. code: the checkout that plans it, and can read it.
    """
    run = RunPaths(folder / "run")
    if run.splits.exists():
        return run.root
    names = _planned(run, folder, patients, code)
    version = _format_version(run, folder, code)
    logs.log.info("writing the results of %d patients to %s", patients, run.root)
    rng = np.random.default_rng(0)
    score = np.where(rng.random(patients) < 0.3, 0, rng.lognormal(4.5, 2, patients)).round(1)
    category = np.searchsorted(LabelsConfig.edges, score)
    studies = pd.DataFrame({"study": names, "patient": names, "score": score, "category": category, "slices": SLICES})
    dataset, kept = run.dataset(None), kept_plan.read_plan(run.dataset(None))
    studies.to_csv(dataset.studies, index=False)
    disk.write_json(dataset.intake, intake(studies))
    sealed = [_write_shard(dataset, index, part, rng, version) for index, part in enumerate(kept["shards"])]
    tables = {f"{path.stem}_sha256": digests.file_sha256(path) for path in (dataset.studies, dataset.intake)}
    facts = {"plan_sha256": kept["sha256"], "slices": patients * SLICES, "shards": sealed}
    integrity.write_checked(dataset.seal, {**tables, **facts}, version)
    cfg = SplitConfig(folds=FOLDS)
    folds = stratification.make_folds(
        dict(zip(names, names, strict=True)), dict(zip(names, category, strict=True)), cfg
    )
    splits.write_splits(run.splits, folds, cfg, digests.file_sha256(dataset.studies))
    number = {name: at for at, name in enumerate(names)}
    for index, fold in enumerate(folds):
        _write_predictions(run, index, np.array(fold.test), category[[number[name] for name in fold.test]], rng)
    return run.root


def _planned(run: RunPaths, folder: Path, patients: int, code: Path) -> list[str]:
    """Plan the run; returns the studies in order."""
    root = inputs.many_studies(folder, [patients])(patients)
    settings: dict[str, object] = {
        "pack.studies_per_shard": max(1, patients // SHARDS), "pack.min_slices": 2, "split.folds": FOLDS,
        "train.epochs": 4, "pack.size": 16, "model.filters": "[8]", "report.figure_dpi": 50,
    }  # fmt: skip
    costs.call(code, inputs.plan(code, run.root, root, settings), folder / "log")
    return [name for shard in kept_plan.read_plan(run.dataset(None))["shards"] for name in shard]


def intake(studies: pd.DataFrame) -> dict[str, object]:
    """What the seal stage says of studies that were all used."""
    counts, slices = np.bincount(studies["category"], minlength=6).tolist(), int(studies["slices"].sum())
    count = len(studies)
    of_studies = {"found": count, "without_label": 0, "labelled": count, "used": count, "refused": {}}
    return {
        "files": {"found": slices, "used": slices, "rejected": {}},
        "studies": of_studies | {"rows_without_study": 0},
        "slices": slices,
        "categories": {"labelled": counts, "used": counts},
        "acquisition": {"kernel": {"STANDARD": count}},
    }


def _format_version(run: RunPaths, folder: Path, code: Path) -> int:
    """Of what a checkout packs: it packs one shard, whose place another takes."""
    costs.call(code, inputs.job(code, "pack.py", "--run", run.root, "--shard", 0), folder / "log")
    return int(disk.read_json(run.dataset(None).shard_facts(0))["format_version"])


def _write_shard(
    dataset: DatasetPaths, index: int, names: Sequence[str], rng: np.random.Generator, version: int
) -> dict[str, Any]:
    """Only what is looked at: columns, and images that take no room."""
    path, count = dataset.shard(index), len(names) * SLICES
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["format_version"] = version
        file.create_dataset("images", (count, 8, 8), "<i2", chunks=(1, 8, 8))
        text = h5py.string_dtype()
        file.create_dataset("study", data=np.repeat(names, SLICES).astype(object), dtype=text)
        file.create_dataset("slice", data=np.tile(np.arange(SLICES, dtype="<i4"), len(names)))
        file.create_dataset("digest", data=rng.integers(0, 256, (count, 16), dtype=np.uint8))
        for name in set(shards.DATASETS) - set(file):
            file.create_dataset(name, data=np.zeros(0))
    facts = {"rows": count, "digest": "-"}
    integrity.write_checked(dataset.shard_facts(index), facts, version)
    return {"file": str(path.relative_to(dataset.root)), "bytes": path.stat().st_size, **facts}


def _write_predictions(
    run: RunPaths, index: int, test: np.ndarray, category: np.ndarray, rng: np.random.Generator
) -> None:
    """Of a fold's test studies, of these categories, and what the fold says of them."""
    label, files = category.repeat(SLICES), run.fold(index)
    probability = rng.random((len(label), len(LabelsConfig.names)), dtype=np.float32) ** 3
    probability[np.arange(len(label)), label] += 0.4
    probability /= probability.sum(axis=1, keepdims=True)
    at = np.tile(np.arange(SLICES), len(test))
    files.attempts.mkdir(parents=True)
    files.attempt(1).write_text("{}", encoding="utf-8")
    content = predictions.to_csv(test.repeat(SLICES).tolist(), at, index, label, probability)
    files.predictions.write_bytes(content)
    said = {
        "splits_sha256": digests.file_sha256(run.splits),
        "predictions_bytes": len(content),
        "predictions_sha256": digests.bytes_sha256(content),
    }
    disk.write_json(files.metrics, {"fold": index, **said, **TRAINED})
