"""What a run will do, settled before anything is submitted: which studies, with which labels, in which shards."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from cac_hpc import paths, splits
from cac_hpc.config import Config, InputError, plain
from cac_hpc.labels import Label, check_join, read_labels
from cac_hpc.paths import DatasetPaths
from cac_hpc.shards import FORMAT_VERSION


@dataclass(frozen=True)
class DatasetPlan:
    """The studies of every shard and the digest of all that the packed dataset depends on."""

    shards: list[list[str]]
    labels: dict[str, Label]
    sha256: str
    num_files: int
    num_bytes: int


def make_plan(cfg: Config) -> DatasetPlan:
    """List the studies, join them with the sheet and try the folds; writes nothing.

    Raises: InputError naming file, study or setting, for whatever can be seen to be wrong before reading an image.
    """
    files = {study.name: _files(study) for study in _study_folders(Path(cfg.data.dicom_root))}
    labels = read_labels(cfg.labels)
    check_join(labels, list(files), cfg.labels.sheet, cfg.data.dicom_root)
    splits.make_folds(
        {study: labels[study].patient for study in files}, {study: labels[study].category for study in files}, cfg.split
    )
    studies, step = list(files), cfg.pack.studies_per_shard
    content = {
        "format_version": FORMAT_VERSION,
        "pack": plain(cfg.pack),
        "labels": {key: value for key, value in plain(cfg.labels).items() if key != "sheet"},
        "sheet": paths.file_sha256(Path(cfg.labels.sheet)),
        "files": files,
    }
    return DatasetPlan(
        shards=[studies[first : first + step] for first in range(0, len(studies), step)],
        labels=labels,
        sha256=paths.content_sha256(content),
        num_files=sum(len(found) for found in files.values()),
        num_bytes=sum(size for found in files.values() for _, size in found),
    )


def check_dataset(dataset: DatasetPaths, plan: DatasetPlan) -> None:
    """A dataset folder that is already there must be this one.

    Raises: InputError if it holds or is becoming another dataset.
    """
    if dataset.plan.exists() and paths.read_json(dataset.plan)["sha256"] != plan.sha256:
        raise InputError(
            f"{dataset.root}: holds a dataset packed from other files, labels or settings than these; "
            "choose another data.packed_dir or run folder, or delete that one"
        )


def write_plan(dataset: DatasetPaths, plan: DatasetPlan) -> None:
    """Keep the plan beside the dataset, labels included: the sheet may change before the dataset is sealed."""
    if not dataset.plan.exists():
        labels = {study: asdict(label) for study, label in plan.labels.items()}
        paths.write_json(dataset.plan, {"sha256": plan.sha256, "shards": plan.shards, "labels": labels})


def _study_folders(root: Path) -> list[Path]:
    """The folders directly below the root, by name.

    Raises: InputError if the root is missing or has none.
    """
    if not root.is_dir():
        raise InputError(f"data.dicom_root is {str(root)!r}, but there is no such folder")
    studies = sorted(path for path in root.iterdir() if path.is_dir())
    if not studies:
        raise InputError(f"data.dicom_root is {str(root)!r}, but has no folder in it; wanted one folder per study")
    return studies


def _files(study: Path) -> list[tuple[str, int]]:
    """Name and size of all files of a study.

    Raises: InputError if none of them is DICOM.
    """
    files = sorted(path for path in study.rglob("*") if path.is_file())
    if not any(_says_dicom(path) for path in files):
        raise InputError(
            f"study {study.name!r}: found {len(files)} files and no DICOM file among them in {study}, "
            "wanted a CT series; remove the folder and its row or bring the files"
        )
    return [(str(path.relative_to(study)), path.stat().st_size) for path in files]


def _says_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
