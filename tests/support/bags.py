"""A dataset of small studies with invented candidates, of which some are coronary: for a lesion model to learn from."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from cac_hpc.calcium import baseline, candidates
from cac_hpc.calcium.candidates import Candidates
from cac_hpc.calcium.views import SIZE, WINDOW_HU, Views
from cac_hpc.dataset import integrity, shards
from cac_hpc.run import digests
from cac_hpc.run.paths import DatasetPaths

EMPTY = 2  # every so many studies have no candidates, if their score is 0
LEARN: dict[str, object] = {
    "epochs": 3, "steps": 15, "batch_size": 5, "checkpoint_minutes": 0.0, "optimizer": "adamw", "learning_rate": 0.01,
    "weight_decay": 0.001, "schedule": "one_cycle", "class_weight": "none", "evaluate": "last",
}  # fmt: skip
MODEL: dict[str, object] = {"kind": "lesions", "hidden": [8, 4]}


def make(agatston_C: list[float], share_C: list[float], up_C: list[float], num_slices: int = 6) -> Candidates:
    """Candidates of one lesion each, on one slice after the other; two voxels per candidate.

    Args:
        share_C: in the heart's region. up_C: mm above the middle of the heart.
    """
    count = len(agatston_C)
    feature_CF = np.zeros((count, len(candidates.NAMES)), np.float32)
    aside_C = 30.0 * np.sin(np.arange(count) + count)
    columns = {"region_share": share_C, "up_mm": up_C, "log_agatston": np.log1p(agatston_C), "max_hu": [200] * count,
               "left_mm": aside_C, "back_mm": aside_C[::-1]}  # fmt: skip
    for name, values in columns.items():
        feature_CF[:, candidates.NAMES.index(name)] = values
    slice_C = np.arange(count) % num_slices
    voxel_V3 = np.repeat(np.stack([slice_C, slice_C + 1, 2 * slice_C], axis=1), 2, axis=0)
    return Candidates(
        feature_CF=feature_CF,
        candidate_L=np.arange(count, dtype=np.int32),
        slice_L=slice_C.astype(np.int32),
        agatston_L=np.array(agatston_C, np.float32),
        voxel_V3=voxel_V3.astype(np.int16),
        start_C1=2 * np.arange(count + 1),
    )


def invent(rng: np.random.Generator, score: float, empty: bool = False) -> Candidates:
    """Up to nine candidates: those that lie high are coronary and have the score, wherever the region is."""
    if empty:
        return make([], [], [])
    true, false = (int(rng.integers(1, 4)) if score > 0 else 0), int(rng.integers(1, 6))
    parts = rng.dirichlet(np.ones(true)) * score if true else np.zeros(0)
    values = [*parts, *rng.uniform(1, 500, false)]
    up = [*rng.uniform(5, 30, true), *rng.uniform(-30, -5, false)]
    return make(values, rng.uniform(0, 1, true + false).tolist(), up)


def write_dataset(packed: Path, folder: Path) -> Path:
    """A copy of a sealed dataset whose shards hold invented candidates in place of slices."""
    shutil.copytree(packed, folder)
    dataset, rng = DatasetPaths(folder), np.random.default_rng(5)
    sealed = integrity.read_checked(dataset.seal)
    studies = (
        pd.read_csv(dataset.studies, dtype={"study": str, "patient": str})
        .set_index("study")
        .astype({"control_slices": object, "aorta_found": object})
    )
    for index, facts in enumerate(sealed["shards"]):
        path = dataset.shard(index)
        names = list(dict.fromkeys(shards.read_places(path)[0].study.tolist()))
        path.unlink()
        found = {name: invent(rng, studies["score"][name], name == names[0]) for name in names}
        write_shard(path, found, studies)
        for name, own in found.items():
            facts_of = baseline.control(own, int(studies["slices"][name]))
            studies.loc[name, list(facts_of)] = list(facts_of.values())
        now = {"digest": digests.of_file(path), "bytes": path.stat().st_size}
        facts |= now
        own_facts = integrity.read_checked(dataset.shard_facts(index))
        integrity.write_checked(dataset.shard_facts(index), own_facts | now)
    integrity.write_checked(dataset.seal, sealed)
    studies.to_csv(dataset.studies, lineterminator="\n")
    vouch(dataset)
    return folder


def vouch(dataset: DatasetPaths) -> None:
    """The seal takes studies.csv as it is now."""
    sealed = integrity.read_checked(dataset.seal)
    integrity.write_checked(dataset.seal, sealed | {"studies_sha256": digests.file_sha256(dataset.studies)})


def write_shard(path: Path, found: dict[str, Candidates], studies: pd.DataFrame) -> None:
    """A shard without slices and with these candidates.

    Args:
        studies: studies.csv, by study.
    """
    seen = Views(np.zeros((1, SIZE, SIZE), np.uint8), np.array([-1], np.int32), WINDOW_HU, (0, 32, 0, 32))
    with shards.create(path, 32, with_slices=False) as writer:
        for study, own in found.items():
            with writer.study(study) as keep:
                for z in range(int(studies["slices"][study])):
                    keep(np.full((4, 4), z, np.int16), float(z))
                keep.lesions(own, seen)
