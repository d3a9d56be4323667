"""Stage seal: shards checked, the dataset's tables and its intake summary written, patients divided into folds."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cac_hpc.calcium import baseline
from cac_hpc.dataset import (
    groups,
    held_out,
    integrity,
    kept_plan,
    leaks,
    sealed,
    splits,
    stratification,
    studies_table,
    study_folders,
    summary,
    summary_view,
    trial_studies,
)
from cac_hpc.run import causes, digests, disk, escaping, ledger
from cac_hpc.run.causes import NEW_RUN, PACK, RESUME
from cac_hpc.run.digests import OfFile
from cac_hpc.run.logs import log
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings import config, stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError

NAMED = 10  # studies that a message names
REJECTED_COLUMNS = ["study", "file", "reason", "detail"]


def seal(root: Path, of_file: OfFile = digests.of_file) -> None:
    """Check all shards, write the dataset's tables, dataset.json after them, and the run's folds.

    Args:
        of_file: takes the digest of a shard.
    Raises: InputError if a shard is missing or damaged, too many studies could not be read, or patients in different
    parts of a fold share a slice; OSError naming the dataset if the disk is full.
    """
    run = RunPaths(root)
    cfg = stored_settings.load(run.config)
    dataset = run.dataset(cfg.data.packed_dir)
    with ledger.stage(run.ledger, "seal", None), disk.named(dataset.root):
        if new := not _is_sealed(dataset):
            _seal_dataset(dataset, cfg, of_file)
        sealed.check(dataset)
        summary_view.show(disk.read_json(dataset.intake))
        studies = _usable(dataset, cfg)
        patient = {study["study"]: study["patient"] for study in studies}
        category, slices = ({study["study"]: int(study[name]) for study in studies} for name in ("category", "slices"))
        groups = held_out.read(run.groups) if cfg.split.group else None
        if groups and groups.fact == "scanner" and "scanner" in studies[0]:
            held_out.check_packed(groups, {study["study"]: study["scanner"] for study in studies})
        folds = stratification.make_folds(patient, category, cfg.split, slices, groups)
        if cfg.split.unit == "patient":  # the report would refuse them after all the training
            leaks.check_pixels(dataset, folds, patient, whole=new)
        of_trials = trial_studies.write(run, folds, dataset, cfg) if cfg.trials.active else []
        of_groups = digests.file_sha256(run.groups) if groups else None
        splits.write_splits(run.splits, folds, cfg.split, digests.file_sha256(dataset.studies), of_trials, of_groups)


def _usable(dataset: DatasetPaths, cfg: Config) -> list[dict[str, str]]:
    """The studies of a sealed dataset that the run's model can be given; the others are named.

    Raises: InputError if these are, with the refused ones, more than the settings allow.
    """
    every = studies_table.read(dataset.studies)
    studies = studies_table.usable(every, cfg.model)
    if not (names := sorted({study["study"] for study in every} - {study["study"] for study in studies})):
        return studies
    labelled = disk.read_json(dataset.intake)["studies"]["labelled"]
    share, allowed = (labelled - len(studies)) / labelled, cfg.pack.limits.rejected_studies
    found = (
        f"no heart is found in {len(names)} of {len(every)} studies, so model.kind {cfg.model.kind} has no candidates "
        f"of them and leaves them out: {', '.join(names[:NAMED])}" + (" ..." if len(names) > NAMED else "")
    )
    if len(studies) and share <= allowed:
        log.warning("%s", found)
        return studies
    lacking = f"{found}; {share:.0%} of the studies cannot be used, pack.limits.rejected_studies allows {allowed:.0%}"
    go_on = f"{RESUME} --pack.limits.rejected_studies {math.ceil(100 * share) / 100:g}"
    raise InputError(causes.error(f"{lacking}; check them, or go on without them", go_on if len(studies) else NEW_RUN))


def _is_sealed(dataset: DatasetPaths) -> bool:
    """Whether the seal is there and the tables are as they were sealed."""
    if not dataset.seal.exists():
        return False
    content = integrity.read_checked(dataset.seal)
    return not any(integrity.table_fault(path, content) for path in dataset.tables)


def _seal_dataset(dataset: DatasetPaths, cfg: Config, of_file: OfFile) -> None:
    planned = kept_plan.read_plan(dataset)
    with ThreadPoolExecutor(cfg.cluster.pack.cpus) as pool:  # reading them is what takes time here
        packed = list(pool.map(partial(_whole_facts, dataset, of_file), range(len(planned["shards"]))))
    labels = {
        study: {name: value for name, value in label.items() if name not in ("vessels", "groups")}
        for study, label in planned["labels"].items()
    }
    by_study, counts = groups.for_table(planned, packed, cfg)
    studies = [
        {**labels[facts["study"]], **facts, **by_study.get(facts["study"], {})}
        for shard in packed
        for facts in shard["studies"]
    ]
    rejected = [row for shard in packed for row in shard["rejected"]] + _never_opened(planned)
    intake = summary.summarise(planned, packed, rejected, cfg)
    intake |= {"subgroups": counts} if counts else {}
    disk.write_text(dataset.rejected, escaping.csv_of_rows(REJECTED_COLUMNS, rejected))
    disk.write_json(dataset.intake, intake)
    check_share(dataset, cfg)
    with disk.atomic(dataset.studies) as scratch, scratch.open("x", encoding="utf-8", newline="") as file:
        studies_table.write(file, studies, baseline.WHOLE_NUMBERS)
    integrity.write_checked(
        dataset.seal,
        {
            "digest_algorithm": digests.ALGORITHM,
            "plan_sha256": planned["sha256"],
            "settings": {"pack": config.plain(replace(cfg.pack, regions=None)), "edges": list(cfg.labels.edges)},
            "slices": sum(shard["rows"] for shard in packed),
            "studies": len(studies),
            "rejected": len(rejected),
            **{f"{path.stem}_sha256": digests.file_sha256(path) for path in dataset.tables},
            "shards": [
                {
                    "file": str(dataset.shard(index).relative_to(dataset.root)),
                    "rows": shard["rows"],
                    "digest": shard["digest"],
                    "bytes": dataset.shard(index).stat().st_size,
                }
                for index, shard in enumerate(packed)
            ],
        },
    )


def _whole_facts(dataset: DatasetPaths, of_file: OfFile, index: int) -> dict[str, Any]:
    """The facts of a shard that was checked.

    Raises: InputError naming the shard and the command that mends it.
    """
    if fault := integrity.packed_fault(dataset, index, of_file):
        raise InputError(causes.error(f"{dataset.shard(index)}: {fault}", f"{PACK} --shard {index}"))
    return integrity.read_checked(dataset.shard_facts(index))


def _never_opened(planned: dict[str, Any]) -> list[dict[str, Any]]:
    """Files that no study takes: beside the study folders, or of studies without a label."""
    counts = {name: own["stray"] for name, own in planned.get("cohorts", {}).items()} or {"": planned["stray"]}
    stray = [
        {
            "study": study_folders.beside(name),
            "file": number,
            "reason": "outside_study",
            "detail": "beside the study folders",
        }
        for name, count in counts.items()
        for number in range(1, count + 1)
    ]
    return stray + [
        {"study": study, "file": number, "reason": "no_label", "detail": "labels.source has no valid score of it"}
        for study, count in planned["unlabelled"].items()
        for number in range(1, count + 1)
    ]


def check_share(dataset: DatasetPaths, cfg: Config) -> None:
    """Not more studies of a dataset that was summarised were refused than the settings allow.

    Raises: InputError with the reasons, where the details are and what to do.
    """
    intake = disk.read_json(dataset.intake)
    for name, one in intake.get("cohorts", {}).items():
        if not one["studies"]["used"]:
            why = summary.counted(one["studies"]["refused"])
            found = f"cohort {name}: none of its {one['studies']['labelled']} studies can be used ({why})"
            raise InputError(causes.error(f"{found}; {dataset.rejected} names every file", NEW_RUN))
    studies = intake["studies"]
    labelled, used, allowed = studies["labelled"], studies["used"], cfg.pack.limits.rejected_studies
    refused = labelled - used
    if used and refused / labelled <= allowed:
        return
    found = (
        f"{refused} of {labelled} studies cannot be used ({summary.counted(studies['refused'])}), "
        f"pack.limits.rejected_studies allows {allowed:.0%}; {dataset.rejected} names every file: "
        f"{summary.advice(studies['refused'], cfg.pack)}, and start a new run"
    )
    if used:
        without = math.ceil(100 * refused / labelled) / 100
        go_on = f"{RESUME} --pack.limits.rejected_studies {without:g}"
        raise InputError(causes.error(f"{found}, or go on without them", go_on))
    check = summary.forgiven_by(studies["refused"], cfg.pack)
    raise InputError(causes.error(found, NEW_RUN + (f" --{check} warn" if check else "")))
