"""Where studies are, and what lies in each: every entry once, in an order that does not depend on the file system.

A study is a folder, or one file of a volume.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cac_hpc.run import digests
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.data import Format
from cac_hpc.settings.errors import InputError

ENDINGS = {"nifti": (".nii.gz", ".nii"), "nrrd": (".nrrd", ".nhdr")}  # by which a format is known, in small letters
EVERY_ENDING = tuple(ending for endings in ENDINGS.values() for ending in endings)
DETACHED = (b".raw", b".gz", b".bz2", b".bin", b".img", b".dat")  # what the voxels of .nhdr may be in
MASK = ".seg.nrrd"  # as 3D Slicer calls its segmentations: no volume
APART = ".nhdr"  # its voxels are in another file


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that is no folder: its name below the study, its real path and its size in bytes.

    refused: why it is not opened at all.
    """

    name: bytes
    place: bytes  # its real path, as the system has it: a plan has millions of them, and opens few
    size: int
    refused: Refused | None = None

    @property
    def path(self) -> Path:
        """Its real path."""
        return Path(os.fsdecode(self.place))

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
    if not small.endswith(EVERY_ENDING) or small.startswith(".") or small.endswith(MASK):
        return None
    return next(known for known, endings in ENDINGS.items() if small.endswith(endings))


def study_name(study: Path) -> str:
    """What a study is called: the name of its folder, or of its file without the ending."""
    name = study.name
    return name if volume_format(name) is None or study.is_dir() else _without_ending(name)


def _without_ending(volume: str) -> str:
    """The name of a volume's file without the ending that says its format."""
    small = volume.lower()
    return volume[: -len(next(ending for ending in EVERY_ENDING if small.endswith(ending)))]


def studies_in(root: Path, wanted: Format = "auto") -> dict[str, Path]:
    """The studies directly in a folder by their names: its folders, and its volumes in one file each.

    Args:
        wanted: the format of studies; files are studies of their own format, or of auto, alone.
    Raises: InputError if two studies are of one name.
    """
    with os.scandir(root) as entries:
        is_folder = {entry.name: _is_folder(entry) for entry in entries}
    names, found = sorted(is_folder), dict[str, Path]()
    if names:
        (root / names[0]).is_dir()  # raises where the folder may be listed, but nothing in it be reached
    for name in names:
        if is_folder[name] or _is_study(name, wanted):
            study, path = name if is_folder[name] else _without_ending(name), root / name
            if (other := found.setdefault(study, path)) is not path:
                raise InputError(f"{root}: found {other.name!r} and {name!r}, which are both study {study!r}; "
                                 "rename one, or move it away")  # fmt: skip
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one; what a link leads to is asked of the system, all else is known."""
    return Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir(follow_symlinks=False)


def _is_study(name: str, wanted: Format) -> bool:
    """Whether a file is a study of its own; a header without its voxels is none."""
    known = volume_format(name)
    return known is not None and wanted in ("auto", known) and not name.lower().endswith(APART)


def list_files(study: Path, wanted: Format = "auto", within: str | None = None) -> list[Entry]:
    """All entries below a study folder that are no folders, by the bytes of their path below it; or its one file.

    That is the order of ``find . ! -type d | LC_ALL=C sort``, so an entry can be found by its number.
    The study itself may be a link to where its files are. In it, a link to a file of the same study is followed; any
    other link is not.

    Args:
        wanted: the format of the study; entries of another are refused.
        within: the real path of the folder that the study is in; of a study that is known to be a folder, no link.
    """
    if within is not None:
        root = os.fsencode(f"{within.rstrip('/')}/{study.name}")
    else:
        root = os.fsencode(os.path.realpath(study))
        if study.is_symlink() and Path(os.path.realpath(study.parent)).is_relative_to(os.fsdecode(root)):
            refused = Refused("symlink", "the study folder is a link to a folder that it lies in")  # it holds itself
            return [Entry(b".", os.fsencode(study), 0, refused)]
    if within is None and Path(os.fsdecode(root)).is_file():
        folder, _, name = root.rpartition(b"/")
        entries = [_checked(b"./" + name, root, folder)]
    else:
        entries = [_checked(name, path, root) for name, path in sorted(_below(root))]
    return entries if wanted == "auto" else [_of_format(entry, wanted) for entry in entries]


def _of_format(entry: Entry, wanted: Format) -> Entry:
    """The entry, refused if its name says that it is of another format."""
    known = entry.volume_format
    if known is None:
        known = "nrrd" if wanted == "nrrd" and entry.name.lower().endswith(DETACHED) else "dicom"
    if entry.refused or wanted == known:
        return entry
    return replace(entry, refused=Refused("other_format", f"data.format is {wanted}"))


def _below(folder: bytes) -> list[tuple[bytes, bytes]]:
    """Name below the study and path of every entry; a folder that cannot be listed is given as an entry itself."""
    found, waiting = [], [(b"./", folder)]
    while waiting:
        prefix, path = waiting.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((prefix + entry.name + b"/", entry.path))
                    else:
                        found.append((prefix + entry.name, entry.path))
        except OSError:
            found.append((prefix, path))
    return found


def _checked(name: bytes, path: bytes, root: bytes) -> Entry:
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            real = Path(os.path.realpath(os.fsdecode(path)))
            if not real.is_file() or not real.is_relative_to(os.fsdecode(root)):
                return Entry(name, path, 0, Refused("symlink", "leads out of the study, to a folder or nowhere"))
            path, status = os.fsencode(real), real.stat()
        if stat.S_ISREG(status.st_mode):
            return Entry(name, path, status.st_size)
        if stat.S_ISDIR(status.st_mode):
            return Entry(name, path, 0, Refused("unreadable_file", "a folder that cannot be listed"))
        return Entry(name, path, 0, Refused("not_a_file", "wanted a regular file"))
    except OSError as error:
        return Entry(name, path, 0, Refused("unreadable_file", os.strerror(error.errno or 0)))


def digest(entries: Sequence[Entry]) -> str:
    """Digest of the names and sizes of a study's entries."""
    return digests.content_sha256([(os.fsdecode(entry.name), entry.size) for entry in entries])
