"""What a run will do, settled before anything is submitted: which studies, with which labels, in which shards."""

from __future__ import annotations

import csv
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cac_hpc.calcium import candidates
from cac_hpc.dataset import held_out, regions, shards, splits
from cac_hpc.dataset.held_out import Groups
from cac_hpc.dataset.splits import Fold
from cac_hpc.labels import label_rows, sheets
from cac_hpc.labels.label_rows import Row
from cac_hpc.labels.labels import Label
from cac_hpc.labels.matching import Matched, match_labels, near_equal
from cac_hpc.run import digests, paths, stages
from cac_hpc.run.config import Config, DataConfig, InputError, plain
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.volumes import files

KEPT = ("sha256", "shards", "listings", "unlabelled", "rows_without_study", "stray", "near_equal")  # with the dataset


@dataclass(frozen=True)
class DatasetPlan:
    """The studies of every shard and the digest of all that the packed dataset depends on.

    folds: as they come out if every labelled study can be read; of slices, from the sealed dataset. Studies go by their
    keys: their names, or pseudonyms. near_equal: groups of nearly equal study numbers of different
    patients, which pseudonyms hide. listings: digest of each study's files. unlabelled: number of files
    of each study that is left out. stray: of files beside the study folders. groups: where split.group asks for them.
    """

    folds: list[Fold]
    groups: Groups | None
    shards: list[list[str]]
    labels: dict[str, Label]
    listings: dict[str, str]
    unlabelled: dict[str, int]
    rows_without_study: int
    stray: int
    near_equal: int
    sha256: str
    num_files: int
    num_bytes: int
    warnings: list[str]


def _scores_of_masks(cfg: Config, studies: Mapping[str, Path]) -> list[Row]:
    from cac_hpc.dataset import mask_labels  # it takes half a second, which other sources of labels do not need

    return mask_labels.read_rows(cfg, studies)


def make_plan(cfg: Config) -> DatasetPlan:
    """List the studies, join them with the sheet and try the folds; writes nothing.

    Raises: InputError naming file, study or setting, for whatever can be seen to be wrong before reading an image.
    """
    folders, by_masks = study_folders(cfg.data), cfg.labels.source == "masks"
    named = {files.study_name(folder): folder for folder in folders.values()}
    rows = _scores_of_masks(cfg, named) if by_masks else None
    matched = match_labels(cfg.labels, list(named), cfg.data.dicom_root, given=rows)
    alike = _near_equal(matched, cfg)
    entries = {study: files.list_files(folder, cfg.data.format) for study, folder in folders.items()}
    labels = _by_key(matched, folders, cfg)
    studies, step = list(labels), cfg.pack.studies_per_shard
    groups = held_out.settle(labels, entries, cfg.split, RunPaths(Path(cfg.run)).groups)
    folds = _folds(labels, cfg, groups)
    listings = {study: regions.listing(entries[study], folders[study], cfg.pack) for study in studies}
    pack = plain(replace(cfg.pack, regions=None))  # the masks themselves are in the listings
    del pack["limits"]["rejected_studies"]  # only the seal asks for it; the other limits choose studies
    content = {
        "format_version": shards.FORMAT_VERSION,
        "candidates_version": candidates.VERSION if cfg.pack.candidates else None,
        "pack": pack,
        "labels": {key: value for key, value in plain(cfg.labels).items() if key not in ("sheet", "masks")},
        "sheet": label_rows.content(cfg.labels) if cfg.labels.source == "sheet" else _written(labels),
        "files": listings,
        **({"format": cfg.data.format} if cfg.data.format != "auto" else {}),  # as it was before there was one
        **_grouping(cfg),
    }
    found = [entry for study in entries.values() for entry in study]
    said = _warnings(matched, alike) if cfg.data.pseudonym_key is None else _counts(matched, alike)
    return DatasetPlan(
        folds=folds,
        groups=groups,
        shards=[studies[first : first + step] for first in range(0, len(studies), step)],
        labels=labels,
        listings=listings,
        unlabelled={study: len(entries[study]) for study in folders if study not in labels},
        rows_without_study=len(matched.rows_without_study),
        stray=_num_stray(cfg),
        near_equal=len(alike),
        sha256=digests.content_sha256(content),
        num_files=len(found),
        num_bytes=sum(entry.size for entry in found),
        warnings=[*said, *regions.without_mask([folders[study] for study in studies], cfg.pack)],
    )


def _grouping(cfg: Config) -> dict[str, Any]:
    """What decides on groups in a dataset; nothing where there are none, as it was before."""
    if not cfg.data.subgroups and not cfg.labels.group_columns:
        return {}
    return {"subgroups": sorted(cfg.data.subgroups), "smallest_group": cfg.data.smallest_group}


def check_dataset(dataset: DatasetPaths, plan: DatasetPlan) -> None:
    """A dataset folder that is already there must be this one.

    Raises: InputError if it holds or is becoming another dataset, or its plan is damaged.
    """
    if dataset.plan.exists() and read_plan(dataset)["sha256"] != plan.sha256:
        raise InputError(
            f"{dataset.root}: holds a dataset packed from other files, labels or settings than these; "
            "choose another data.packed_dir or run folder, or delete that one"
        )


def write_plan(dataset: DatasetPaths, plan: DatasetPlan) -> None:
    """Keep the plan beside the dataset, labels included: the sheet may change before the dataset is sealed."""
    if not dataset.plan.exists():
        kept = {name: getattr(plan, name) for name in KEPT}
        paths.write_json(dataset.plan, kept | {"labels": _written(plan.labels)})


def _written(labels: Mapping[str, Label]) -> dict[str, dict[str, Any]]:
    """Labels as plain JSON, vessels and groups where they are known."""
    plain_labels = {study: asdict(label) for study, label in labels.items()}
    return {
        study: {name: value for name, value in label.items() if name not in ("vessels", "groups") or value}
        for study, label in plain_labels.items()
    }


def read_plan(dataset: DatasetPaths) -> dict[str, Any]:
    """What `write_plan` kept.

    Raises: InputError if there is no plan, or it is damaged.
    """
    if not dataset.plan.exists():
        raise InputError(f"{dataset.plan}: not there, wanted the plan that jobs/launch_cv.py --dry_run writes")
    return stages.read_kept(dataset.plan, ["sha256", "shards", "listings", "labels"])


def study_folders(data: DataConfig) -> dict[str, Path]:
    """The folders and volumes directly below the root by study key, in the order of their names.

    The key is the study's name or, where data.pseudonym_key names a file, a pseudonym made with its content.

    Raises: InputError if the root is missing or has no study, or there is no such file.
    """
    root = Path(data.dicom_root)
    if not root.is_dir():
        meant = paths.did_you_mean(root)
        raise InputError(f"data.dicom_root is {data.dicom_root!r}, but there is no such folder{meant}")
    folders = files.studies_in(root, data.format)
    if not folders:
        raise InputError(
            f"data.dicom_root is {data.dicom_root!r}, but has no folder in it; wanted one folder per study, or one "
            f"file ({', '.join(ending for endings in files.ENDINGS.values() for ending in endings)}) per study"
        )
    for folder in folders.values():
        if "\r" in folder.name or folder.name != os.fsencode(folder.name).decode(
            "utf-8", "replace"
        ):  # a study goes by this name everywhere
            raise InputError(
                f"data.dicom_root is {data.dicom_root!r}, where the name of folder {folder.name!a} is not UTF-8 or "
                "holds a carriage return; rename it, as in its row of the sheet"
            )
    if data.pseudonym_key is None:
        return folders
    secret = _secret(Path(data.pseudonym_key))
    return dict(sorted((pseudonym(name, secret), folder) for name, folder in folders.items()))


def pseudonym(name: str, secret: bytes) -> str:
    """Twelve characters that stand for a name and cannot be led back to it without the secret (HMAC-SHA256)."""
    return hmac.new(secret, name.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:12]


def _secret(path: Path) -> bytes:
    if not path.is_file() or len(secret := path.read_bytes().strip()) < 16:
        raise InputError(
            f"data.pseudonym_key is {str(path)!r}, wanted a file with 16 or more random characters that only you keep"
        )
    return secret


def _folds(labels: Mapping[str, Label], cfg: Config, groups: Groups | None) -> list[Fold]:
    patient = {study: label.patient for study, label in labels.items()}
    category = {study: label.category for study, label in labels.items()}
    slices = _sealed_slices(cfg) if cfg.split.unit == "slice" else None
    folds = splits.make_folds(patient, category, cfg.split, slices, groups)
    if cfg.trials.active and cfg.trials.inner_folds:
        for index, fold in enumerate(folds):  # the seal divides them again, of the studies that could be read
            seen = {study: patient[study] for study in (*fold.train, *fold.val)}
            splits.inner_divisions(seen, category, cfg.trials.inner_folds, cfg.trials.seed, index)
    return folds


def _sealed_slices(cfg: Config) -> dict[str, int]:
    """The number of slices of each study of a sealed dataset; `contrast.check` has seen that it is the right one."""
    with RunPaths(Path(cfg.run)).dataset(cfg.data.packed_dir).studies.open(encoding="utf-8", newline="") as file:
        return {row["study"]: int(row["slices"]) for row in csv.DictReader(file)}


def _by_key(matched: Matched, folders: dict[str, Path], cfg: Config) -> dict[str, Label]:
    """Labels by study key instead of folder name; without a patient column the patient is the study."""
    labels = {}
    for study, folder in folders.items():
        if label := matched.labels.get(files.study_name(folder)):
            patient = label.patient if cfg.labels.patient_column else study
            labels[study] = replace(label, study=study, patient=patient)
    return labels


def _near_equal(matched: Matched, cfg: Config) -> list[str]:
    """Nearly equal numbers of different patients; they may come into different parts of a fold.

    Raises: InputError naming all of them, unless the settings say that they are different people.
    """
    patient = {study: label.patient for study, label in matched.labels.items()}
    groups = [" and ".join(map(repr, studies)) for studies in near_equal(patient)]
    if groups and cfg.report.near_equal_ids == "refuse":
        raise InputError(
            f"{cfg.labels.origin}: nearly equal study numbers of different patients: {', '.join(groups)}; give them "
            "one patient in the sheet (labels.patient_column) or, if they are different people, go on: "
            "--report.near_equal_ids warn"
        )
    return [f"nearly equal study numbers of different patients: {group}" for group in groups]


def _warnings(matched: Matched, alike: Sequence[str]) -> list[str]:
    left_out = [f"left out: study {study!r}: {why}" for study, why in matched.unlabelled.items()]
    return [*matched.warnings, *alike, *left_out, *(f"left out: {row}" for row in matched.rows_without_study)]


def _counts(matched: Matched, alike: Sequence[str]) -> list[str]:
    """What may be said where the names of studies are to stay secret."""
    found = {
        "remarks about the labels": [warning for warning in matched.warnings if warning not in matched.hidden],
        "groups of nearly equal study numbers": alike,
        "studies left out": matched.unlabelled,
        "rows left out": matched.rows_without_study,
    }
    counts = [
        f"{len(items)} {what}; without data.pseudonym_key they are named" for what, items in found.items() if items
    ]
    return [*matched.hidden, *counts]


def _num_stray(cfg: Config) -> int:
    """Files beside the study folders that are neither a sheet nor the key."""
    known = [sheets.split(Path(path))[0] for path in cfg.labels.sheets]
    ours = {path.resolve() for path in (*known, *(Path(key) for key in [cfg.data.pseudonym_key] if key))}
    root = Path(cfg.data.dicom_root)
    beside = {*root.iterdir()} - {*files.studies_in(root, cfg.data.format).values()}
    return sum(1 for path in beside if path.resolve() not in ours)
