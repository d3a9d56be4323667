"""Stages pack and seal: study folders in, verified shards and the tables of the dataset out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc import config, dicom, ledger, paths, resample, settings, shards, splits
from cac_hpc.config import Config, InputError
from cac_hpc.logs import log, track
from cac_hpc.paths import DatasetPaths, RunPaths

REJECTED_COLUMNS = ["study", "file", "reason", "detail"]


def pack(root: Path) -> None:
    """Pack every shard that is not there yet, then seal: both stages in one process."""
    run = RunPaths(root)
    cfg = settings.load(run.config)
    for index in range(len(_planned_shards(run.dataset(cfg.data.packed_dir)))):
        pack_shard(root, index)
    seal(root)


def pack_shard(root: Path, index: int) -> None:
    """Write one shard and, after it, its facts; a shard whose facts are there is left as it is.

    Raises: InputError if the plan has no such shard.
    """
    run = RunPaths(root)
    cfg = settings.load(run.config)
    dataset = run.dataset(cfg.data.packed_dir)
    planned = _planned_shards(dataset)
    if not 0 <= index < len(planned):
        raise InputError(f"--shard {index}: the plan has {len(planned)} shards, wanted 0 to {len(planned) - 1}")
    with ledger.stage(run.ledger, "pack", index):
        if dataset.shard_facts(index).exists():
            log.info("shard %d is there already", index)
            return
        facts: list[dict[str, Any]] = []
        refusals: list[dict[str, Any]] = []
        with paths.atomic(dataset.shard(index)) as scratch:
            studies = _packed_studies(planned[index], cfg, facts, refusals)
            rows = shards.write_shard(scratch, studies, cfg.pack.size, {"size": cfg.pack.size})
            digest = paths.file_sha256(scratch)
        paths.write_json(
            dataset.shard_facts(index), {"rows": rows, "sha256": digest, "studies": facts, "rejected": refusals}
        )


def seal(root: Path) -> None:
    """Check all shards, write the dataset's tables, dataset.json after them, and the run's folds.

    Raises: InputError if a shard is missing or damaged, or too few studies could be read.
    """
    run = RunPaths(root)
    cfg = settings.load(run.config)
    dataset = run.dataset(cfg.data.packed_dir)
    with ledger.stage(run.ledger, "seal", None):
        if not dataset.seal.exists():
            _seal_dataset(dataset, cfg)
        studies = pd.read_csv(dataset.studies, dtype={"study": str, "patient": str}, keep_default_na=False)
        folds = splits.make_folds(
            dict(zip(studies["study"], studies["patient"], strict=True)),
            dict(zip(studies["study"], studies["category"].astype(int), strict=True)),
            cfg.split,
        )
        splits.write_splits(run.splits, folds, cfg.split, paths.file_sha256(dataset.studies))


def _packed_studies(
    studies: list[str], cfg: Config, facts: list[dict[str, Any]], refusals: list[dict[str, Any]]
) -> Iterator[shards.StudySlices]:
    """Read study after study; what is known of each goes to ``facts``, files that are not used to ``refusals``."""
    for study in track(studies, "studies packed"):
        series, refused = dicom.read_study(Path(cfg.data.dicom_root) / study)
        refusals += [{"study": study, **asdict(refusal)} for refusal in refused]
        if series is None:
            log.warning("study %r: no usable series; rejected.csv gives the reasons", study)
            continue
        facts.append({"study": study, **_facts(series)})
        yield shards.StudySlices(study, resample.to_size(series.hu_ZHW, cfg.pack.size), series.position_mm)


def _facts(series: dicom.Series) -> dict[str, Any]:
    """Numbers about a series, none of which identifies anybody; None where unknown."""
    slices, rows, columns = series.hu_ZHW.shape
    numbers = {
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "row_spacing_mm": series.pixel_spacing_mm[0],
        "column_spacing_mm": series.pixel_spacing_mm[1],
        "slice_spacing_mm": round(series.slice_spacing_mm, 4),
        "slice_thickness_mm": series.slice_thickness_mm,
        "kvp": series.kvp,
    }
    return {name: None if np.isnan(value) else value for name, value in numbers.items()}


def _seal_dataset(dataset: DatasetPaths, cfg: Config) -> None:
    plan = paths.read_json(dataset.plan)
    shard_facts = [_verified_facts(dataset, index) for index in range(len(plan["shards"]))]
    studies = [{**plan["labels"][facts["study"]], **facts} for shard in shard_facts for facts in shard["studies"]]
    if not studies:
        raise InputError(
            f"{cfg.data.dicom_root}: no study has a usable CT series; the reasons are in "
            f"{dataset.root / 'shards'}, one .json per shard"
        )
    rejected = [row for shard in shard_facts for row in shard["rejected"]]
    _write_table(dataset.studies, pd.DataFrame(studies))
    _write_table(dataset.rejected, pd.DataFrame(rejected, columns=REJECTED_COLUMNS))
    paths.write_json(
        dataset.seal,
        {
            "format_version": shards.FORMAT_VERSION,
            "digest_algorithm": "sha256",
            "plan_sha256": plan["sha256"],
            "settings": {"pack": config.plain(cfg.pack), "edges": list(cfg.labels.edges)},
            "slices": sum(shard["rows"] for shard in shard_facts),
            "studies": len(studies),
            "rejected": len(rejected),
            "studies_sha256": paths.file_sha256(dataset.studies),
            "shards": [
                {
                    "file": str(dataset.shard(index).relative_to(dataset.root)),
                    "rows": shard["rows"],
                    "sha256": shard["sha256"],
                }
                for index, shard in enumerate(shard_facts)
            ],
        },
    )


def _verified_facts(dataset: DatasetPaths, index: int) -> dict[str, Any]:
    if not dataset.shard_facts(index).exists():
        raise InputError(f"{dataset.shard(index)}: not packed yet; run jobs/pack.py --shard {index} first")
    facts: dict[str, Any] = paths.read_json(dataset.shard_facts(index))
    if paths.file_sha256(dataset.shard(index)) != facts["sha256"]:
        raise InputError(
            f"{dataset.shard(index)}: does not match its sha256, so it is damaged; delete it and "
            f"{dataset.shard_facts(index).name}, then pack shard {index} again"
        )
    return facts


def _planned_shards(dataset: DatasetPaths) -> list[list[str]]:
    if not dataset.plan.exists():
        raise InputError(f"{dataset.plan}: not there, wanted the plan that jobs/launch_cv.py --dry_run writes")
    shards_planned: list[list[str]] = paths.read_json(dataset.plan)["shards"]
    return shards_planned


def _write_table(path: Path, table: pd.DataFrame) -> None:
    with paths.atomic(path) as scratch:
        table.to_csv(scratch, index=False, lineterminator="\n")
