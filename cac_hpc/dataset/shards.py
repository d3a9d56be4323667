"""The HDF5 shard: slices of some studies, int16 HU. The owner of h5py. Axes: N slice, S row and column.

One slice is one chunk, not compressed: a whole shard reads at the speed of a plain file, any slice with one seek
(docs/packing.md). A shard is written once, study by study, and read only after its digest was checked.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from cac_hpc.run import causes, digests, notation, paths
from cac_hpc.run.causes import PACK
from cac_hpc.run.config import InputError
from cac_hpc.run.paths import DatasetPaths

FORMAT_VERSION = 3  # 3: slices in the patient frame
ROWS_AT_ONCE = 64  # by which the images grow
DATASETS = ("images", "study", "slice", "position_mm", "digest")

Keep = Callable[[np.ndarray, float], None]  # takes a packed slice (S, S) and its position in mm


@dataclass(frozen=True)
class ShardColumns:
    """Of each row of a shard, (N,): study, slice counted from 0, position along the normal in mm; digest (N, 16)."""

    study: np.ndarray
    slice: np.ndarray
    position_mm: np.ndarray
    digest: np.ndarray


class _Row(NamedTuple):
    study: str
    slice: int
    position_mm: float
    digest: bytes


class ShardWriter:
    """A shard that grows slice by slice; a study is in it whole or not at all."""

    def __init__(self, file: h5py.File, size: int) -> None:
        self._file = file
        self._images = file.create_dataset(
            "images", (0, size, size), "<i2", maxshape=(None, size, size), chunks=(1, size, size)
        )
        self._rows: list[_Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    @contextmanager
    def study(self, study: str) -> Iterator[Keep]:
        """Yield what takes the study's slices, one after the other; an error takes them back."""
        first = len(self._rows)

        def keep(hu_SS: np.ndarray, position_mm: float) -> None:
            row, data = len(self._rows), np.ascontiguousarray(hu_SS, "<i2")
            with _writing():
                if row == len(self._images):
                    self._images.resize(row + ROWS_AT_ONCE, axis=0)
                self._images.id.write_direct_chunk((row, 0, 0), data)
            self._rows.append(_Row(study, row - first, position_mm, digests.of_bytes(data.data)))

        try:
            yield keep
        except BaseException:
            del self._rows[first:]
            raise

    def finish(self) -> None:
        """Cut the images to their rows, write the columns and close the file, all of it on disk."""
        count = len(self._rows)
        self._images.resize(count, axis=0)
        digest = np.frombuffer(b"".join(row.digest for row in self._rows), np.uint8).reshape(count, 16)
        studies = np.array([row.study for row in self._rows], dtype=object)
        written = [  # held on to: HDF5 keeps to itself what goes wrong when it lets one go
            self._file.create_dataset("study", (count,), h5py.string_dtype(), data=studies),
            self._file.create_dataset("slice", (count,), "<i4", data=[row.slice for row in self._rows]),
            self._file.create_dataset("position_mm", (count,), "<f8", data=[row.position_mm for row in self._rows]),
            self._file.create_dataset("digest", (count, 16), "u1", data=digest),
        ]
        self._file.flush()
        os.fsync(self._file.id.get_vfd_handle())
        written.clear()
        self._file.close()


@contextmanager
def create(path: Path, size: int) -> Iterator[ShardWriter]:
    """Yield the writer of a new shard; the file is whole when the block ends well.

    After an error the file stays open: on a full disk, closing it breaks the process. It is to be ended then.

    Args:
        path: where to write; the caller gives a scratch name and renames.
        size: pixels per side of a slice.
    Raises: OSError if the disk is full or cannot be written.
    """
    about = {"format_version": FORMAT_VERSION, "units": "HU", "size": size, "digest_algorithm": digests.ALGORITHM}
    with _writing():
        file = h5py.File(path, "w", libver=("v110", "v110"), locking=False)  # nobody else knows the scratch name
        file.attrs.update(about)
        writer = ShardWriter(file, size)
    yield writer
    with _writing():
        writer.finish()


@contextmanager
def _writing() -> Iterator[None]:
    """HDF5 tells of a full or broken disk in several ways: here it is always OSError, with its number."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        found = re.search(r"errno = (\d+)", str(error))
        code = getattr(error, "errno", None) or (int(found[1]) if found else errno.EIO)
        raise OSError(code, os.strerror(code)) from error


def fault(path: Path, digest: str) -> str | None:
    """What is wrong with a shard that should have this digest, or None; nothing in it is believed before."""
    if not path.is_file():
        return "missing"
    try:
        found = digests.of_file(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if found == digest else f"does not match its {digests.ALGORITHM}, so it is damaged"


def packed_fault(dataset: DatasetPaths, index: int) -> str | None:
    """Why a packed shard cannot be used, or None: its facts are whole, it is as they say and the sealed one."""
    if not dataset.shard_facts(index).exists():
        return "not packed yet"
    try:
        digest = read_checked(dataset.shard_facts(index))["digest"]
    except InputError:
        return "what was noted of it is damaged"
    if sealed_digest(dataset, index) not in (None, digest):
        return "is not the one that was sealed"
    return fault(dataset.shard(index), digest)


def sealed_digest(dataset: DatasetPaths, index: int) -> str | None:
    """The digest that the seal wants a shard to have; None before the seal."""
    return read_checked(dataset.seal)["shards"][index]["digest"] if dataset.seal.exists() else None


def table_fault(path: Path, sealed: dict[str, Any]) -> str | None:
    """What is wrong with a table of a sealed dataset, or None; people do open them."""
    if not path.is_file():
        return "missing"
    return None if digests.file_sha256(path) == sealed.get(f"{path.stem}_sha256") else "not as it was sealed"


def write_checked(path: Path, content: dict[str, Any]) -> None:
    """Write facts about shards so that `read_checked` finds every change of them."""
    marks = {"format_version": FORMAT_VERSION, "content_sha256": digests.content_sha256(content)}
    paths.write_json(path, marks | content)


def read_checked(path: Path) -> dict[str, Any]:
    """What `write_checked` wrote.

    Raises: InputError if it is damaged or of another format version.
    """
    try:
        content: dict[str, Any] = paths.read_json(path)
        version, digest = content.pop("format_version"), content.pop("content_sha256", None)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        version, digest = FORMAT_VERSION, None
    _check_version(path, version)
    if digest is None or digests.content_sha256(content) != digest:
        raise InputError(causes.error(f"{path}: damaged; delete it", PACK))
    return content


def read_shard(path: Path, images: np.ndarray) -> ShardColumns:
    """Read a whole shard, its slices into ``images``.

    Args:
        path: a file whose digest was checked: a damaged one can break HDF5 itself.
        images: (N, S, S) int16, filled with HU; N is the shard's number of rows.
    Raises: InputError if the format version is not ours, or a dataset lies elsewhere than in the file.
    """
    with _open(path) as file:
        file["images"].read_direct(images)
        return _read_columns(file)


def read_places(path: Path) -> tuple[ShardColumns, np.ndarray]:
    """Read a shard's columns, and where in the file its slices lie: the offset in bytes of each (N,), int64.

    A slice is 2 x S x S bytes from there on. Arguments and errors are those of `read_shard`.
    """
    with _open(path) as file:
        images = file["images"]
        chunks = [images.id.get_chunk_info_by_coord((row, 0, 0)) for row in range(len(images))]
        return _read_columns(file), np.array([chunk.byte_offset for chunk in chunks], np.int64)


def read_digests(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read what tells slices apart, without reading any.

    Returns: names and numbers of slices of the shard's studies (T,), in its order, and the digests (N, 16).
    Errors are those of `read_shard`.
    """
    with _open(path) as file:
        first = np.flatnonzero(file["slice"][:] == 0)
        names = np.array([name.decode() for name in file["study"][:][first]], dtype=str)
        return names, np.diff(first, append=len(file["slice"])), file["digest"][:]


def read_slices(path: Path, wanted: Sequence[tuple[str, int]]) -> dict[tuple[str, int], np.ndarray]:
    """Some slices of a shard, (S, S) int16 HU by study and number; what it does not have, or damaged, is left out.

    Errors are those of `read_shard`.
    """
    found = {}
    with _open(path) as file:
        studies, numbers = file["study"].asstr()[:].astype(str), file["slice"][:]
        for study, number in wanted:
            for row in np.flatnonzero((studies == study) & (numbers == number)):
                hu_SS = np.ascontiguousarray(file["images"][row], "<i2")
                if digests.of_bytes(hu_SS.data) == file["digest"][row].tobytes():
                    found[study, number] = hu_SS
    return found


def is_blank(path: Path, row: int) -> bool:
    """Whether all pixels of a slice are the same, as outside the field of view."""
    with _open(path) as file:
        return bool(np.ptp(file["images"][row]) == 0)


def _read_columns(file: h5py.File) -> ShardColumns:
    return ShardColumns(
        study=file["study"].asstr()[:].astype(str),
        slice=file["slice"][:],
        position_mm=file["position_mm"][:],
        digest=file["digest"][:],
    )


@contextmanager
def _open(path: Path) -> Iterator[h5py.File]:
    with h5py.File(path, "r", locking=False) as file:
        _check_version(path, file.attrs.get("format_version"))
        for name in dict.fromkeys([*DATASETS, *file]):
            if elsewhere := _elsewhere(file, name):
                raise InputError(f"{path}: dataset {name!r} {elsewhere}, wanted one whose data are in the shard itself")
        yield file


def _elsewhere(file: h5py.File, name: str) -> str | None:
    """Why a dataset's data are not in the file itself, or None: nothing that lies elsewhere has a digest."""
    link = file.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink | h5py.SoftLink):
        where = f"{link.filename!r}, " if isinstance(link, h5py.ExternalLink) else ""
        return f"is a link to {where}{link.path!r}"
    if not isinstance(dataset := file.get(name), h5py.Dataset):
        return "is not there, or no dataset"
    made = dataset.id.get_create_plist()
    if made.get_layout() == h5py.h5d.VIRTUAL:
        files = sorted({source.file_name for source in dataset.virtual_sources()})
        return f"is put together of others (virtual), in {', '.join(map(repr, files[:3])) or 'no file'}"
    if made.get_external_count():
        return f"lies in {made.get_external(0)[0].decode(errors='replace')!r} (external storage)"
    return None


def _check_version(path: Path, found: object) -> None:
    if found != FORMAT_VERSION:
        version = f"format version {notation.short(found)}"
        raise InputError(f"{path}: found {version}, wanted {FORMAT_VERSION}; pack into another data.packed_dir")
