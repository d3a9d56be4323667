"""What the header of a volume in one file says, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cac_hpc.volumes.placement import Placement


@dataclass(frozen=True)
class VolumeHeader:
    """at: where the voxels of the array are. spacing_mm: along each of its axes, in the digits of the file.

    in_mm: whether the file says so; it is taken so if not. bits: of a stored voxel. texts: what may hold anything, also
    names of patients; never to be written. detached: the file with the voxels, if it is another one.
    """

    at: Placement
    spacing_mm: tuple[float, ...]
    in_mm: bool
    bits: int
    texts: frozenset[str]
    detached: Path | None = None
