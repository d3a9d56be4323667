"""Six million slices of 100,000 patients: one run of the stage aggregate, timed. `pytest -m drill -s` prints it."""

import resource
import time

import h5py
import numpy as np
import pandas as pd
import pytest

from cac_hpc.dataset import shards, splits
from cac_hpc.run import digests, paths
from cac_hpc.run.config import SplitConfig
from cac_hpc.run.paths import RunPaths
from cac_hpc.train import predictions
from tests.support.reports import intake_of, report_of, vouch
from tests.support.runs import job, write_config

NUM_PATIENTS, NUM_SLICES, NUM_FOLDS, NUM_SHARDS, NUM_CATEGORIES = 100_000, 60, 5, 50, 6


def write_large_run(tmp_path):
    run, rng = RunPaths(tmp_path / "run"), np.random.default_rng(0)
    config = write_config(tmp_path / "settings.yaml", tmp_path, run.root, split={"folds": NUM_FOLDS})
    run.root.mkdir()
    config.rename(run.config)
    names = np.array([f"S{number:06d}" for number in range(NUM_PATIENTS)])
    edges = np.array([0, 10, 100, 400, 1000])
    score = np.where(rng.random(NUM_PATIENTS) < 0.3, 0, rng.lognormal(4.5, 2, NUM_PATIENTS)).round(1)
    category = np.searchsorted(edges, score)
    studies = pd.DataFrame(
        {"study": names, "patient": names, "score": score, "category": category, "slices": NUM_SLICES}
    )
    dataset = run.dataset(None)
    dataset.root.mkdir()
    studies.to_csv(dataset.studies, index=False)
    paths.write_json(dataset.intake, intake_of(studies))
    parts = np.split(names, NUM_SHARDS)
    kept = {"sha256": "-", "shards": [part.tolist() for part in parts], "listings": {}, "labels": {}}
    paths.write_json(dataset.plan, kept)
    sealed = [write_shard(dataset, index, part, rng) for index, part in enumerate(parts)]
    tables = {f"{path.stem}_sha256": digests.file_sha256(path) for path in (dataset.studies, dataset.intake)}
    shards.write_checked(
        dataset.seal, {**tables, "plan_sha256": "-", "slices": NUM_PATIENTS * NUM_SLICES, "shards": sealed}
    )
    cfg = SplitConfig(folds=NUM_FOLDS)
    folds = splits.make_folds(dict(zip(names, names, strict=True)), dict(zip(names, category, strict=True)), cfg)
    splits.write_splits(run.splits, folds, cfg, digests.file_sha256(dataset.studies))
    for index, fold in enumerate(folds):
        write_predictions(run, index, np.array(fold.test), category, rng)
    return run


def write_shard(dataset, index, names, rng):
    """Only what the aggregator looks at: columns, and images that take no room."""
    path, count = dataset.shard(index), len(names) * NUM_SLICES
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["format_version"] = shards.FORMAT_VERSION
        file.create_dataset("images", (count, 8, 8), "<i2", chunks=(1, 8, 8))
        file.create_dataset("study", data=np.repeat(names, NUM_SLICES).astype(object), dtype=h5py.string_dtype())
        file.create_dataset("slice", data=np.tile(np.arange(NUM_SLICES, dtype="<i4"), len(names)))
        file.create_dataset("digest", data=rng.integers(0, 256, (count, 16), dtype=np.uint8))
        for name in set(shards.DATASETS) - set(file):
            file.create_dataset(name, data=np.zeros(0))
    return {"file": str(path.relative_to(dataset.root)), "rows": count, "digest": "-"}


def write_predictions(run, index, test, category, rng):
    label = category[[int(name[1:]) for name in test]].repeat(NUM_SLICES)
    probability = rng.random((len(label), NUM_CATEGORIES), dtype=np.float32) ** 3
    probability[np.arange(len(label)), label] += 0.4
    probability /= probability.sum(axis=1, keepdims=True)
    at = np.tile(np.arange(NUM_SLICES), len(test))
    run.fold(index).attempts.mkdir(parents=True)
    run.fold(index).attempt(1).write_text("{}")
    content = predictions.to_csv(test.repeat(NUM_SLICES), at, index, label, probability)
    run.fold(index).predictions.write_bytes(content)
    vouch(run, index)


@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_six_million_slices_are_aggregated_in_a_minute_and_four_gigabytes(tmp_path):
    run = write_large_run(tmp_path)
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = job("aggregate.py", "--run", run.root, timeout_s=600)
    took_s, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"\n{took_s:.1f} s, {processor_s:.1f} s of processor time, {after.ru_maxrss / 1e6:.2f} GB")
    levels = report_of(run)["levels"]
    assert (levels["slice"]["pooled"]["n"], levels["patient"]["pooled"]["n"]) == (6_000_000, NUM_PATIENTS)
    assert levels["patient"]["pooled"]["figures"]["spearman"]["interval"] == "bootstrap"
    assert after.ru_maxrss < 4e6  # kB
    assert took_s < 60
