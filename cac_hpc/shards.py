"""The HDF5 shard: slices of some studies, int16 HU. The owner of h5py. Axes: N slice, H row, W column.

A shard is written once, study by study, and read only after its digest was checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

FORMAT_VERSION = 1


@dataclass(frozen=True)
class StudySlices:
    """The packed slices of one study: (N, H, W) int16 HU and their positions (N,) in mm along z."""

    study: str
    images: np.ndarray
    position_mm: np.ndarray


@dataclass(frozen=True)
class ShardColumns:
    """Study, slice and position of each row of a shard, (N,)."""

    study: np.ndarray
    slice: np.ndarray
    position_mm: np.ndarray


def write_shard(path: Path, studies: Iterable[StudySlices], size: int, settings: Mapping[str, str | int]) -> int:
    """Write studies one after the other, so that one study at a time is in memory.

    Args:
        path: where to write; the caller gives a scratch name and renames.
        settings: the packing settings, kept as attributes.
    Returns: number of slices.
    """
    with h5py.File(path, "w", libver=("v110", "v110")) as file:
        file.attrs.update({"format_version": FORMAT_VERSION, "units": "HU", **settings})
        images = file.create_dataset(
            "images", (0, size, size), "<i2", maxshape=(None, size, size), chunks=(1, size, size), fletcher32=True
        )
        columns = {
            "study": file.create_dataset("study", (0,), h5py.string_dtype(), maxshape=(None,)),
            "slice": file.create_dataset("slice", (0,), "<i4", maxshape=(None,)),
            "position_mm": file.create_dataset("position_mm", (0,), "<f8", maxshape=(None,)),
        }
        for part in studies:
            first, count = len(images), len(part.images)
            for dataset in (images, *columns.values()):
                dataset.resize(first + count, axis=0)
            images[first:] = part.images
            columns["study"][first:] = part.study
            columns["slice"][first:] = np.arange(count)
            columns["position_mm"][first:] = part.position_mm
        return len(images)


def read_shard(path: Path, images: np.ndarray) -> ShardColumns:
    """Read a whole shard, its slices into ``images``.

    Args:
        images: (N, H, W) int16, filled with HU; N is the shard's number of rows.
    Raises: ValueError if the format version is not ours.
    """
    with h5py.File(path, "r", locking=False) as file:
        if file.attrs.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"{path}: found format version {file.attrs.get('format_version')}, "
                f"wanted {FORMAT_VERSION}; pack the dataset again"
            )
        file["images"].read_direct(images)
        return ShardColumns(
            study=file["study"].asstr()[:].astype(str), slice=file["slice"][:], position_mm=file["position_mm"][:]
        )
