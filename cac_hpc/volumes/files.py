"""Where studies are, and what lies in each: every entry once, in an order that does not depend on the file system.

A study is a folder, or one file of a volume.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cac_hpc.run import digests
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.data import Format
from cac_hpc.settings.errors import InputError

ENDINGS = {"nifti": (".nii.gz", ".nii"), "nrrd": (".nrrd", ".nhdr")}  # by which a format is known, in small letters
DETACHED = (b".raw", b".gz", b".bz2", b".bin", b".img", b".dat")  # what the voxels of .nhdr may be in
MASK = ".seg.nrrd"  # as 3D Slicer calls its segmentations: no volume
APART = ".nhdr"  # its voxels are in another file


@dataclass(frozen=True)
class Entry:
    """An entry that is no folder: its name below the study, its real path and its size in bytes.

    refused: why it is not opened at all.
    """

    name: bytes
    path: Path
    size: int
    refused: Refused | None = None

    @property
    def folder(self) -> bytes:
        """Where it lies below the study."""
        return self.name.rpartition(b"/")[0]

    @property
    def volume_format(self) -> str | None:
        """Of which format of volumes it is, by its name; None if that is of none, as a DICOM file's."""
        return volume_format(os.fsdecode(self.name.rpartition(b"/")[2]))


def volume_format(name: str) -> str | None:
    """Of which format of volumes a file of that name is; None if of none. Hidden files and masks are no volumes."""
    small = name.lower()
    if small.startswith(".") or small.endswith(MASK):
        return None
    return next((known for known, endings in ENDINGS.items() if small.endswith(endings)), None)


def study_name(study: Path) -> str:
    """What a study is called: the name of its folder, or of its file without the ending."""
    if study.is_dir() or volume_format(study.name) is None:
        return study.name
    small = study.name.lower()
    ending = next(ending for endings in ENDINGS.values() for ending in endings if small.endswith(ending))
    return study.name[: -len(ending)]


def studies_in(root: Path, wanted: Format = "auto") -> dict[str, Path]:
    """The studies directly in a folder by their names: its folders, and its volumes in one file each.

    Args:
        wanted: the format of studies; files are studies of their own format, or of auto, alone.
    Raises: InputError if two studies are of one name.
    """
    found = dict[str, Path]()
    for path in sorted(root.iterdir()):
        if not (path.is_dir() or _is_study(path, wanted)):
            continue
        if (other := found.setdefault(study_name(path), path)) != path:
            raise InputError(f"{root}: found {other.name!r} and {path.name!r}, which are both study "
                             f"{study_name(path)!r}; rename one, or move it away")  # fmt: skip
    return found


def _is_study(path: Path, wanted: Format) -> bool:
    """Whether a file is a study of its own; a header without its voxels is none."""
    known = volume_format(path.name)
    return known is not None and wanted in ("auto", known) and not path.name.lower().endswith(APART)


def list_files(study: Path, wanted: Format = "auto") -> list[Entry]:
    """All entries below a study folder that are no folders, by the bytes of their path below it; or its one file.

    That is the order of ``find . ! -type d | LC_ALL=C sort``, so an entry can be found by its number.
    The study itself may be a link to where its files are. In it, a link to a file of the same study is followed; any
    other link is not.

    Args:
        wanted: the format of the study; entries of another are refused.
    """
    root = Path(os.path.realpath(study))
    if study.is_symlink() and Path(os.path.realpath(study.parent)).is_relative_to(root):  # it would hold itself
        return [Entry(b".", study, 0, Refused("symlink", "the study folder is a link to a folder that it lies in"))]
    if root.is_file():
        entries = [_checked(b"./" + os.fsencode(root.name), os.fsencode(root), root.parent)]
    else:
        found = sorted(_below(os.fsencode(root), b"./"), key=lambda item: item[0])
        entries = [_checked(name, path, root) for name, path in found]
    return [_of_format(entry, wanted) for entry in entries]


def _of_format(entry: Entry, wanted: Format) -> Entry:
    """The entry, refused if its name says that it is of another format."""
    known = entry.volume_format
    if known is None:
        known = "nrrd" if wanted == "nrrd" and entry.name.lower().endswith(DETACHED) else "dicom"
    if entry.refused or wanted in ("auto", known):
        return entry
    return replace(entry, refused=Refused("other_format", f"data.format is {wanted}"))


def _below(folder: bytes, name: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name below the study and path of every entry; a folder that cannot be listed is given as an entry itself."""
    waiting = [(name, folder)]
    while waiting:
        prefix, path = waiting.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((prefix + entry.name + b"/", entry.path))
                    else:
                        yield prefix + entry.name, entry.path
        except OSError:
            yield prefix, path


def _checked(name: bytes, path: bytes, root: Path) -> Entry:
    here = Path(os.fsdecode(path))
    try:
        status = os.lstat(path)  # a third of the time that here.lstat() takes
        if stat.S_ISLNK(status.st_mode):
            real = Path(os.path.realpath(here))
            if not real.is_file() or not real.is_relative_to(root):
                return Entry(name, here, 0, Refused("symlink", "leads out of the study, to a folder or nowhere"))
            here, status = real, real.stat()
        if stat.S_ISDIR(status.st_mode):
            return Entry(name, here, 0, Refused("unreadable_file", "a folder that cannot be listed"))
        if not stat.S_ISREG(status.st_mode):
            return Entry(name, here, 0, Refused("not_a_file", "wanted a regular file"))
    except OSError as error:
        return Entry(name, here, 0, Refused("unreadable_file", os.strerror(error.errno or 0)))
    return Entry(name, here, status.st_size)


def digest(entries: list[Entry]) -> str:
    """Digest of the names and sizes of a study's entries."""
    return digests.content_sha256([(os.fsdecode(entry.name), entry.size) for entry in entries])
