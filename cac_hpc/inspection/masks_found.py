"""Masks and contours near studies: by which pattern their files are named, and whether they fit the scans."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.dataset import intake, mask_labels
from cac_hpc.inspection.layout import Layout, spread
from cac_hpc.inspection.series_found import StudyFound
from cac_hpc.masks import dicom_masks, mask_formats
from cac_hpc.settings.data import Format
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import files

CHECKED = 3  # masks that are read with their scans
NEAR = 12  # folders beside the studies that are looked into
SAMPLE = 24  # studies whose names are looked for
MOST_FILES = 2000  # of a folder
MOST_PATTERNS = 4


@dataclass(frozen=True)
class MasksFound:
    """Files of one pattern.

    pattern: with {study} in it, as labels.masks takes it. studies: how many studies have such a file. checked, fitting:
    how many were read with their scans, and how many of these lie on them. parts: names in these. arteries: whether all
    of the parts are named for coronary arteries. remarks: what a person should look at.
    """

    pattern: str
    studies: int
    checked: int
    fitting: int
    parts: tuple[str, ...]
    arteries: bool
    remarks: tuple[str, ...]


def find(place: Layout, given: str | None, looked_at: Mapping[str, StudyFound], wanted: Format) -> list[MasksFound]:
    """Look for masks of the studies.

    Args:
        given: a folder of masks; None looks beside the studies and in them.
        looked_at: some of the studies, by name.
        wanted: the format of the studies.
    Raises: InputError if the given folder is none.
    """
    if given is not None and not Path(given).is_dir():
        raise InputError(f"--masks {given}: found no folder there, wanted one with masks")
    folders = [Path(given)] if given is not None else [place.root, *_beside(place.root)]
    usable = [name for name, study in looked_at.items() if study.taken]
    names = list(dict.fromkeys([*usable, *looked_at, *spread(list(place.studies), SAMPLE)]))
    patterns = Counter(pattern for folder in folders for pattern in _patterns(folder, place, names))
    patterns.update(pattern for name, study in looked_at.items() for pattern in _dicom_masks(name, study, place))
    found = [_checked(pattern, place, usable, wanted) for pattern, _ in patterns.most_common(MOST_PATTERNS)]
    return sorted(found, key=lambda one: -one.studies)


def _beside(root: Path) -> list[Path]:
    """Folders beside that of the studies."""
    with os.scandir(root.parent) as entries:
        found = sorted(Path(entry.path) for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    return [folder for folder in found if folder.resolve() != root.resolve()][:NEAR]


def _patterns(folder: Path, place: Layout, names: Sequence[str]) -> Iterator[str]:
    """The pattern of each mask in a folder that is named for a study."""
    here = [path for path in _files(folder) if _is_mask(path)]
    for study in names:
        for path in here:
            if path != place.studies.get(study) and (name := _with_study(path.name, study)):
                yield str(folder / name)
        if (folder / study).is_dir():
            for path in _masks_of(folder / study):
                inside = path.relative_to(folder / study)
                yield str(folder / "{study}" / inside.parent / (_with_study(inside.name, study) or inside.name))


def _dicom_masks(name: str, study: StudyFound, place: Layout) -> Iterator[str]:
    """The pattern of each DICOM Segmentation and RT Structure Set in the folder of a study."""
    for path in study.objects:
        try:
            dicom_masks.describe(path)
        except InputError:
            continue
        inside = path.relative_to(os.path.realpath(place.studies[name]))
        yield str(place.root / "{study}" / inside.parent / (_with_study(inside.name, name) or inside.name))


def _masks_of(study: Path) -> list[Path]:
    """Masks in the folder of a study; where nothing else is in it than volumes these are its scans."""
    entries = files.list_files(study)
    found = [entry.path for entry in entries if entry.refused is None and _is_mask(entry.path)]
    return found if len(found) < len(entries) else []


def _with_study(name: str, study: str) -> str | None:
    """A file's name with {study} in place of the study's; None if it is not named for it alone."""
    rest = name.removeprefix(study)
    return "{study}" + rest if rest != name and not rest[0].isalnum() else None


def _is_mask(path: Path) -> bool:
    try:
        return mask_formats.ending(path) not in ("", ".dcm") and not path.name.startswith(".")
    except InputError:
        return False


def _files(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_file())[:MOST_FILES]


def _checked(pattern: str, place: Layout, sample: Sequence[str], wanted: Format) -> MasksFound:
    """Read some of the masks with the scans that they should lie on."""
    there = [name for name in place.studies if not mask_formats.is_missing(pattern, name)]
    asked = [name for name in sample if name in set(there)][:CHECKED]
    parts, remarks, fitting = dict[str, None](), dict[str, None](), 0
    for name in asked:
        try:
            found, codes = _read(place.studies, pattern, name, wanted)
        except InputError as why:
            remarks[str(why)] = None
            continue
        fitting += 1
        parts |= dict.fromkeys(found)
        remarks |= dict.fromkeys(codes)
    arteries = bool(parts) and all(mask_labels.artery_of(part) for part in parts)
    return MasksFound(pattern, len(there), len(asked), fitting, tuple(parts), arteries, tuple(remarks))


def _read(studies: Mapping[str, Path], pattern: str, name: str, wanted: Format) -> tuple[tuple[str, ...], list[str]]:
    """Names of the parts of a mask, and what it warns of.

    Raises: InputError if it does not lie on the scan, or one of them cannot be read.
    """
    volume = intake.read_chest(files.list_files(studies[name], wanted), PackConfig())
    if volume.study.facts is None:
        raise InputError(f"study {name!r} cannot be read, so that its mask cannot be checked")
    mask = mask_formats.read(mask_formats.find(pattern, name)[0], volume.target())
    return mask.names, list(mask.warnings)
