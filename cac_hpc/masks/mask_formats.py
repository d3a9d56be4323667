"""The formats of masks that can be read: a further one is a reader and a line of the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cac_hpc.masks import arrays, coca_xml, dicom_masks, masks, shapes
from cac_hpc.masks.masks import Mask, Target
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import nifti, nrrd

STUDY = "{study}"  # stands for a study's name in a path


def read(path: Path, target: Target, chosen: Sequence[str] = ()) -> Mask:
    """Read a mask.

    Args:
        path: a file whose ending, or content, is one of `READERS`.
        target: the study's volume.
        chosen: parts by number or name; () for all.
    Raises: InputError if it cannot be read, does not cover the study or has no such part.
    """
    mask = masks.merge(READERS[ending(path)](path, replace(target, chosen=tuple(chosen))), chosen, path)
    empty = not chosen and not mask.part_ZHW.any()
    return replace(mask, warnings=(*mask.warnings, "empty_mask")) if empty else mask


def ending(path: Path) -> str:
    """The ending of a file's name by which its reader is known.

    Raises: InputError if there is no such format.
    """
    name = path.name.lower()
    found = max((known for known in READERS if name.endswith(known)), key=len, default=None)
    if found is None:
        raise InputError(f"{path}: found a mask of no known format, wanted one of {', '.join(filter(None, READERS))}")
    return found


def split_choice(text: str) -> tuple[str, tuple[str, ...]]:
    """A path and the parts that are chosen behind a colon: ``heart.nii.gz:51`` or ``regions.nrrd:LAD,RCA``."""
    path, colon, parts = text.rpartition(":")
    if not colon or Path(text).exists() or "/" in parts:
        return text, ()
    return path, tuple(part.strip() for part in parts.split(","))


def find(where: str, study: str) -> tuple[Path, tuple[str, ...]]:
    """The mask of a study, and the parts that are chosen of it.

    Args:
        where: a file; a path with ``{study}`` in it; or a folder with a file for each study, called as this is and as
            the format wants it. Each may end in a colon and parts.
        study: the name of its folder.
    Raises: InputError if there is no such file, or several, or its format is not known.
    """
    text, chosen = split_choice(where)
    path = Path(text.replace(STUDY, study))
    if path.is_dir():
        found = [there for known in READERS if (there := path / f"{study}{known}").is_file()]
        if len(found) != 1:
            raise InputError(f"{text}: found {len(found)} masks of study {study!r}, wanted one of "
                             f"{', '.join(study + known for known in READERS)}")  # fmt: skip
        return found[0], chosen
    if not path.is_file():
        wanted = f"a file, a path with {STUDY} in it, or a folder with a file for each study"
        raise InputError(f"{path}: found no such file, wanted {wanted}")
    ending(path)
    return path, chosen


def is_missing(where: str, study: str) -> bool:
    """Whether a study has no mask at all, whatever else may be wrong.

    Args:
        where: as `find` takes it.
    """
    path = Path(split_choice(where)[0].replace(STUDY, study))
    return not path.is_file() and not any((path / f"{study}{known}").is_file() for known in READERS)


def is_broken_link(where: str, study: str) -> bool:
    """Whether the mask of a study is a link that leads nowhere, as in a folder that was not copied whole.

    Args:
        where: as `find` takes it.
    """
    path = Path(split_choice(where)[0].replace(STUDY, study))
    return any(there.is_symlink() and not there.exists() for there in (path, *(path / f"{study}{k}" for k in READERS)))


def files_of(path: Path) -> list[Path]:
    """The files that a mask is in: a header may name another, of the voxels."""
    try:
        detached = nrrd.read_header(path).detached if ending(path) == ".nhdr" else None
    except InputError:
        detached = None
    return [path, *([detached] if detached and detached.is_file() else [])]


def _nifti(path: Path, target: Target) -> list[Mask]:
    return [masks.place(*nifti.read_nifti(path), target, path, {})]


def _nrrd(path: Path, target: Target) -> list[Mask]:
    """As 3D Slicer writes segmentations: names, values and layers of the parts in the header, the array cut to them."""
    layers, at, texts = nrrd.read_layers(path)
    cut = any(key.endswith("ReferenceImageExtentOffset") for key in texts)
    return [masks.place(layer, at, target, path, _names(texts, number), cut) for number, layer in enumerate(layers)]


def _names(texts: Mapping[str, str], layer: int) -> dict[int, str]:
    """The names of the parts of a layer by their values, as 3D Slicer writes them."""
    names = {}
    for key, value in texts.items():
        segment, _, what = key.partition("_")
        if what == "LabelValue" and value.isdecimal() and texts.get(f"{segment}_Layer", "0") == str(layer):
            names[int(value)] = texts.get(f"{segment}_Name", f"part {value}")
    return names


# gives a mask for each layer of a file: parts of one layer have no voxel in common, those of two may; mostly one
Reader = Callable[[Path, Target], Sequence[Mask]]  # raises InputError: the file, what was found and what was wanted
READERS: dict[str, Reader] = {  # by the ending of the file's name, the longest that fits; "" for DICOM of any name
    ".nii": _nifti,
    ".nii.gz": _nifti,
    ".nrrd": _nrrd,
    ".seg.nrrd": _nrrd,
    ".nhdr": _nrrd,
    ".npy": arrays.read_npy,
    ".npz": arrays.read_npz,
    ".yaml": shapes.read_mask,
    ".yml": shapes.read_mask,
    ".xml": coca_xml.read,
    ".dcm": dicom_masks.read,
    "": dicom_masks.read,
}
