"""Masks in DICOM files, whatever their names: which kind of object it is, and its reader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cac_hpc.masks import mask_parts, segmentations, structure_sets
from cac_hpc.masks.mask_parts import Description, OpenMask
from cac_hpc.masks.masks import Mask, Target
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import dicom, images

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MOST_BYTES = 2 << 30


class Kind(NamedTuple):
    """A kind of object that holds a mask. What reads it gets a file's content, and its path for what it raises."""

    describe: Callable[[Dataset, Path], Description]
    open: Callable[[Dataset, Path], OpenMask]


SEGMENTATION = Kind(segmentations.describe, segmentations.open_mask)
KINDS = {  # by SOPClassUID
    "1.2.840.10008.5.1.4.1.1.66.4": SEGMENTATION,
    "1.2.840.10008.5.1.4.1.1.66.7": SEGMENTATION,  # of a label map
    "1.2.840.10008.5.1.4.1.1.481.3": Kind(structure_sets.describe, structure_sets.open_mask),
}
WANTED = "a DICOM Segmentation or RT Structure Set"


def describe(path: Path) -> Description:
    """What is in a mask, without reading its pixels.

    Raises: InputError if it is none.
    """
    with mask_parts.reading(path, WANTED):
        ds = _content(path, pixels=False)
        return _kind(ds, path).describe(ds, path)


def read(path: Path, target: Target) -> list[Mask]:
    """Read a mask; see `mask_formats.Reader`."""
    with mask_parts.reading(path, WANTED):
        ds = _content(path)
        place = _kind(ds, path).open(ds, path)
    return [place(target)]


def _content(path: Path, pixels: bool = True) -> Dataset:
    with images.opened(path) as (file, stamp):
        if stamp[2] > MOST_BYTES:
            raise InputError(f"{path}: found {stamp[2]} bytes, wanted {MOST_BYTES} at most")
        images.check_inflated(file, stamp[2])
        return dicom.read_object(images.stream(file), pixels)


def _kind(ds: Dataset, path: Path) -> Kind:
    kind = KINDS.get(str(ds.get("SOPClassUID") or ""))
    if kind is None:
        raise InputError(f"{path}: found a DICOM object of another kind, wanted {WANTED}")
    return kind
