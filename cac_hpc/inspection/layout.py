"""Where the studies lie in a folder that nobody knows: below which folder there is one folder for each."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cac_hpc.run.rejections import Refused
from cac_hpc.settings import given_paths
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import files, images

T = TypeVar("T")
MOST_LEVELS = 6  # below the given folder
SAMPLE = 8  # folders, and images below each, that are looked at
TRIES = 4  # files of a folder that are opened before it counts as one without images


@dataclass(frozen=True)
class Layout:
    """root: below it is one folder, or file, for each study. studies: where each is, by its name. remarks: what to look
    at.
    """

    root: Path
    studies: dict[str, Path]
    remarks: list[str]


@dataclass(frozen=True)
class _Exams:
    """What the images looked at below a folder say: how many there are, of these DICOM, and which studies they name."""

    images: int = 0
    dicom: int = 0
    named: frozenset[str] = frozenset()

    @property
    def are_several(self) -> bool:
        return len(self.named) > 1


def find(folder: Path) -> Layout:
    """The folder below which each study has a folder, from a few images of each: descends where a folder holds a
    collection and nothing else.

    Raises: InputError if there is no image, or collections lie side by side.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: found no folder there, wanted one with studies{given_paths.did_you_mean(folder)}")
    root, remarks = folder, list[str]()
    for _ in range(MOST_LEVELS):
        _refuse_images_here(root)
        inside = {child: exams for child in spread(_folders(root), SAMPLE) if (exams := _exams(child)).images}
        if any(exams.dicom for exams in inside.values()):  # volumes beside them are masks
            inside = {child: exams for child, exams in inside.items() if exams.dicom}
        collections = [child for child, exams in inside.items() if exams.are_several]
        if of_files := [child for child, exams in inside.items() if not exams.dicom and _holds_studies(child, inside)]:
            if len(inside) > 1:  # as images and masks are
                raise InputError(_side_by_side(root, list(inside)))
            collections = of_files
        if not inside and _volumes(root):
            break
        if not inside:
            raise InputError(f"{folder}: found no CT image in the folders looked at, wanted one folder per study")
        if len(collections) > 1 and 2 * len(collections) >= len(inside):
            raise InputError(_side_by_side(root, collections))
        if collections and len(inside) == 1:
            root = collections[0]
        elif len(inside) == 1 and not next(iter(inside.values())).named and _holds_folders(next(iter(inside))):
            root = next(iter(inside))
            remarks = [f"no file names its study: that {root} holds one folder per study is a guess by its folders"]
        else:
            break
    return Layout(root, files.studies_in(root), remarks + _odd(root, collections))


def spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many of the items, from all over them, the first and the last among these."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / max(most - 1, 1))] for place in range(most)]


def _side_by_side(root: Path, collections: Sequence[Path]) -> str:
    shown = ", ".join(f"{child.name!r}" for child in collections[:5])
    return f"{root}: found collections of studies side by side, in {shown}; wanted one of them"


def _holds_studies(folder: Path, beside: Collection[Path]) -> bool:
    """Whether the volumes in a folder are studies, as there are more than folders beside it; else they are of one."""
    return len(_volumes(folder)) > max(1, len(beside))


def _odd(root: Path, collections: Sequence[Path]) -> list[str]:
    names = ", ".join(repr(child.name) for child in collections[:3])
    return [f"{root}: {names} hold several studies each: see pack.several_studies"] if collections else []


def _refuse_images_here(root: Path) -> None:
    """Studies are folders, so images beside them are of none.

    Raises: InputError saying what to do.
    """
    here = _exams_of(_files(root))
    if here.images and not _folders(root) and not _volumes(root):
        raise InputError(
            f"{root}: found images in it and no folders; wanted one folder per study: name the folder that this study "
            "is in or, if these are several studies, sort them into folders first"
        )


def _exams(folder: Path, most: int = SAMPLE, level: int = 0) -> _Exams:
    """What a few images below a folder say, from all over it."""
    found = _exams_of(_files(folder))
    inside = spread(_folders(folder), most) if level < MOST_LEVELS else []
    for child in inside:
        below = _exams(child, max(most // len(inside), 1), level + 1)
        found = _Exams(found.images + below.images, found.dicom + below.dicom, found.named | below.named)
    return found


def _exams_of(entries: Sequence[Path]) -> _Exams:
    """What the first image of some files says."""
    for path in spread(entries, TRIES):
        if files.volume_format(path.name):
            return _Exams(images=1)
        try:
            header = images.read_images(path)[0].header
        except Refused:
            continue
        uid = header.subject.study[0] or header.frame_of_reference  # some archives take the former away
        return _Exams(1, 1, frozenset([uid] if uid else []))
    return _Exams()


def _volumes(folder: Path) -> list[Path]:
    """Files that are studies of their own."""
    return [path for path in _files(folder) if files.volume_format(path.name)]


def _holds_folders(folder: Path) -> bool:
    """Whether images are in several folders of it, none in itself."""
    return (
        not _exams_of(_files(folder)).images and sum(_exams(child, 1).images > 0 for child in _folders(folder)[:3]) > 1
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in _entries(folder) if entry.is_dir())


def _files(folder: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in _entries(folder) if not entry.is_dir())


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []
