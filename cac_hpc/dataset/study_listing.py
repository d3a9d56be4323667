"""The files of a cohort, each study listed once: how many, how large, and a digest by which a change is noticed."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.dataset import regions
from cac_hpc.settings.config import Config
from cac_hpc.volumes import files


@dataclass(frozen=True)
class Listed:
    """The files of a cohort.

    num_files, num_bytes: of all studies. digests: of the files of each study that has a label. unlabelled: number of
    files of each that has none. stray: number of entries beside the studies that do not belong there.
    """

    num_files: int
    num_bytes: int
    digests: dict[str, str]
    unlabelled: dict[str, int]
    stray: int


def list_cohort(
    cfg: Config,
    folders: Mapping[str, Path],
    names: Mapping[str, str],
    labels: Collection[str],
    ours: Collection[Path],
) -> Listed:
    """List every study once; of its entries, of which there may be tens of millions, nothing else is kept.

    Args:
        folders, names, labels: of the studies by key. ours: files beside the studies that belong there.
    """
    root, beside = os.path.realpath(cfg.data.dicom_root), {study.name for study in folders.values()}
    with os.scandir(root) as entries:
        is_folder = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    num_files, num_bytes, digests, unlabelled = 0, 0, dict[str, str](), dict[str, int]()
    for study, folder in folders.items():
        found = files.list_files(folder, cfg.data.format, root if is_folder.get(folder.name) else None)
        num_files += len(found)
        num_bytes += sum([entry.size for entry in found])
        if study in labels:
            digests[study] = regions.listing(found, names[study], cfg.pack)
        else:
            unlabelled[study] = len(found)
    strays = is_folder.keys() - beside
    stray = sum(Path(os.path.realpath(Path(root) / name)) not in ours for name in strays)
    return Listed(num_files, num_bytes, digests, unlabelled, stray)
