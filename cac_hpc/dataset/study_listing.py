"""The files of a cohort, each study listed once: how many, how large, and a digest by which a change is noticed."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.labels import sheets
from cac_hpc.settings.config import Config
from cac_hpc.settings.data import DataConfig
from cac_hpc.volumes import files


@dataclass(frozen=True)
class Listed:
    """The files of a cohort.

    num_bytes: of all studies. num_files, digests: of each study, by key. stray: number of entries beside the studies
    that do not belong there.
    """

    num_bytes: int
    num_files: dict[str, int]
    digests: dict[str, str]
    stray: int


def list_cohorts(cfg: Config, folders: Mapping[str, Mapping[str, Path]]) -> dict[str, Listed]:
    """List every study of each cohort once; of its entries, of which there may be tens of millions, no more is kept.

    Args:
        folders: of each cohort, those of its studies by key.
    """
    cohorts = cfg.by_cohort()
    ours = {path.resolve() for cohort in cohorts for path in _beside(cohort.cfg)}
    return {cohort.name: _list_cohort(cohort.cfg.data, folders[cohort.name], ours) for cohort in cohorts}


def _beside(cfg: Config) -> list[Path]:
    """Sheets and the key, which may lie beside the study folders."""
    found = [sheets.split(Path(path))[0] for path in cfg.labels.sheets]
    return [*found, Path(cfg.data.pseudonym_key)] if cfg.data.pseudonym_key else found


def _list_cohort(cfg: DataConfig, folders: Mapping[str, Path], ours: Collection[Path]) -> Listed:
    """List the studies of one cohort.

    Args:
        folders: of the studies by key. ours: files beside the studies that belong there.
    """
    root, beside = os.path.realpath(cfg.dicom_root), {study.name for study in folders.values()}
    with os.scandir(root) as entries:
        is_folder = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    num_bytes, num_files, digests = 0, dict[str, int](), dict[str, str]()
    for study, folder in folders.items():
        found = files.list_files(folder, cfg.format, root if is_folder.get(folder.name) else None)
        num_bytes += sum([entry.size for entry in found])
        num_files[study] = len(found)
        digests[study] = files.digest(found)
    strays = is_folder.keys() - beside
    stray = sum(Path(os.path.realpath(Path(root) / name)) not in ours for name in strays)
    return Listed(num_bytes, num_files, digests, stray)
