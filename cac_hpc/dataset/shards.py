"""The HDF5 shard: slices of some studies, int16 HU; their candidates and views of these. The owner of h5py.

One slice is one chunk, not compressed: a whole shard reads at the speed of a plain file, any slice with one seek
(docs/packing.md). A shard is written once, study by study, and read only after its digest was checked.

Axes: N slice, S row and column; T studies with a heart; C, L, V, F as in `candidates`; P views of all these studies.
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from cac_hpc.calcium import candidates, views
from cac_hpc.calcium.candidates import Candidates
from cac_hpc.calcium.views import Views
from cac_hpc.dataset import integrity, lesion_columns
from cac_hpc.run import digests
from cac_hpc.settings.errors import InputError

ROWS_AT_ONCE = 64  # by which the images grow
DATASETS = ("images", "study", "slice", "position_mm", "digest", "heart_study", "view_box", "view_image", "view_study",
            "view_slice", "candidate_study", "candidate_feature", "candidate_start", "candidate_voxel",
            "lesion_candidate", "lesion_slice", "lesion_agatston")  # fmt: skip
NOTHING = bytes(16)  # digest of a slice that was not packed and shows nothing
VIEW_GZIP = 1  # halves views; higher levels are slower and save another hundredth


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


class _Seen(NamedTuple):
    study: int  # among those with a heart
    slice: int
    box: tuple[int, int, int, int]


class StudyWriter:
    """What takes a study, slice by slice, and after them its candidates."""

    def __init__(self, shard: ShardWriter, study: str) -> None:
        self._shard, self._study, self._count = shard, study, 0

    def __call__(self, hu_SS: np.ndarray, position_mm: float) -> None:
        """Take a slice (S, S) and its position in mm; of any size where the shard is without slices."""
        self._shard.add_slice(self._study, self._count, hu_SS, position_mm)
        self._count += 1

    def lesions(self, found: Candidates, seen: Views) -> None:
        """Take the candidates and the views of the study."""
        self._shard.add_lesions(self._study, found, seen)


class ShardWriter:
    """A shard that grows study by study; a study is in it whole or not at all."""

    def __init__(self, file: h5py.File, size: int, with_slices: bool) -> None:
        self._file, self._with_slices = file, with_slices
        self._images = file.create_dataset(
            "images", (0, size, size), "<i2", maxshape=(None, size, size), chunks=(1, size, size)
        )
        view = views.SIZE, views.SIZE
        self._views = file.create_dataset(
            "view_image", (0, *view), "u1", maxshape=(None, *view), chunks=(1, *view), compression=VIEW_GZIP
        )
        self._rows: list[_Row] = []
        self._lesions: list[tuple[str, Candidates]] = []
        self._seen: list[_Seen] = []

    def __len__(self) -> int:
        return len(self._rows)

    @contextmanager
    def study(self, study: str) -> Iterator[StudyWriter]:
        """Yield what takes the study; an error takes it back."""
        kept = [(items, len(items)) for items in (self._rows, self._lesions, self._seen)]
        try:
            yield StudyWriter(self, study)
        except BaseException:
            for items, count in kept:
                del items[count:]
            raise

    def add_slice(self, study: str, number: int, hu_SS: np.ndarray, position_mm: float) -> None:
        """Write a slice, or where the shard is without slices note its digest alone."""
        row, data = len(self._rows), np.ascontiguousarray(hu_SS, "<i2")
        digest = digests.of_bytes(data.data)
        if self._with_slices:
            _write_chunk(self._images, row, data.data)
        elif np.ptp(data) == 0:
            digest = NOTHING
        self._rows.append(_Row(study, number, position_mm, digest))

    def add_lesions(self, study: str, found: Candidates, seen: Views) -> None:
        """Note the candidates of a study and write its views."""
        for number, image_SS in zip(seen.slice_N, seen.image_NSS, strict=True):
            _write_chunk(self._views, len(self._seen), zlib.compress(image_SS.tobytes(), VIEW_GZIP))
            self._seen.append(_Seen(len(self._lesions), int(number), seen.box))
        self._lesions.append((study, found))

    def finish(self) -> None:
        """Cut the images to their rows, write the columns and close the file, which the caller has on disk."""
        count = len(self._rows)
        self._images.resize(count if self._with_slices else 0, axis=0)
        self._views.resize(len(self._seen), axis=0)
        self._views.attrs["window_hu"] = views.WINDOW_HU
        written = [  # held on to: HDF5 keeps to itself what goes wrong when it lets one go
            self._file.create_dataset(name, values.shape, values.dtype, data=values)
            for name, values in self._columns().items()
        ]
        self._file["candidate_feature"].attrs.update({"version": candidates.VERSION, "features": candidates.NAMES})
        self._file.flush()
        written.clear()
        self._file.close()

    def _columns(self) -> dict[str, np.ndarray]:
        """What is written of slices, views and candidates, by dataset."""
        rows, seen = self._rows, self._seen
        digest = np.frombuffer(b"".join(row.digest for row in rows), np.uint8)
        return {
            "study": _texts([row.study for row in rows]),
            "slice": np.array([row.slice for row in rows], "<i4"),
            "position_mm": np.array([row.position_mm for row in rows], "<f8"),
            "digest": digest.reshape(len(rows), 16),
            "view_study": np.array([view.study for view in seen], "<i4"),
            "view_slice": np.array([view.slice for view in seen], "<i4"),
            "view_box": np.array([view.box for view in seen], "<i4").reshape(len(seen), 4),
            "heart_study": _texts([study for study, _ in self._lesions]),
            **lesion_columns.joined([found for _, found in self._lesions]),
        }


def _texts(texts: Sequence[str]) -> np.ndarray:
    return np.array(texts, dtype=h5py.string_dtype())


def _write_chunk(images: h5py.Dataset, row: int, data: Any) -> None:
    """Write one image as it lies in the file, and let the dataset grow if need be."""
    with _writing():
        if row % ROWS_AT_ONCE == 0 and row == len(images):  # in this order: the length is asked of HDF5
            images.resize(row + ROWS_AT_ONCE, axis=0)
        images.id.write_direct_chunk((row, 0, 0), data)


@contextmanager
def create(path: Path, size: int, with_slices: bool = True) -> Iterator[ShardWriter]:
    """Yield the writer of a new shard; the file is whole when the block ends well.

    After an error the file stays open: on a full disk, closing it breaks the process. It is to be ended then.

    Args:
        path: where to write; the caller gives a scratch name and renames.
        size: pixels per side of a slice. with_slices: whether slices are written, not just noted.
    Raises: OSError if the disk is full or cannot be written.
    """
    about = {
        "format_version": integrity.FORMAT_VERSION,
        "units": "HU",
        "size": size,
        "digest_algorithm": digests.ALGORITHM,
    }
    with _writing():
        # nobody else knows the scratch name; blocks of metadata would be cut when the file is closed
        file = h5py.File(path, "w", libver=("v110", "v110"), locking=False, meta_block_size=0)
        file.attrs.update(about)
        writer = ShardWriter(file, size, with_slices)
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


def read_shard(path: Path, images: np.ndarray) -> ShardColumns:
    """Read a whole shard, its slices into ``images``.

    Args:
        path: a file whose digest was checked: a damaged one can break HDF5 itself.
        images: (N, S, S) int16, filled with HU; N is the shard's number of rows.
    Raises: InputError if the format version is not ours, a dataset lies elsewhere than in the file, or slices were not
    packed.
    """
    with _open(path) as file:
        _with_slices(file, path).read_direct(images)
        return _read_columns(file)


def read_places(path: Path) -> tuple[ShardColumns, np.ndarray]:
    """Read a shard's columns, and where in the file its slices lie: the offset in bytes of each (N,), int64.

    A slice is 2 x S x S bytes from there on. Arguments and errors are those of `read_shard`.
    """
    with _open(path) as file:
        images = _with_slices(file, path)
        chunks = [images.id.get_chunk_info_by_coord((row, 0, 0)) for row in range(len(images))]
        return _read_columns(file), np.array([chunk.byte_offset for chunk in chunks], np.int64)


def read_digests(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read what tells slices apart, without reading any.

    Returns: names and numbers of slices of the shard's studies (T,), in its order, and the digests (N, 16).
    Errors are those of `read_shard`.
    """
    with _open(path) as file:
        first_N = file["slice"][:] == 0  # of each study: the names of all slices would be most of the time
        names = np.array([name.decode() for name in file["study"][first_N]], dtype=str)
        return names, np.diff(np.flatnonzero(first_N), append=len(first_N)), file["digest"][:]


def read_slices(path: Path, wanted: Sequence[tuple[str, int]]) -> dict[tuple[str, int], np.ndarray]:
    """Some slices of a shard, (S, S) int16 HU by study and number; what it does not have, or damaged, is left out.

    Errors are those of `read_shard`.
    """
    found = {}
    with _open(path) as file:
        if len(file["images"]) == 0:
            return {}
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
        if len(file["images"]) == 0:
            return bool(file["digest"][row].tobytes() == NOTHING)
        return bool(np.ptp(file["images"][row]) == 0)


def read_candidates(path: Path) -> dict[str, Candidates]:
    """Read the candidates of a shard's studies, by study; studies in which no heart was found have none.

    Raises: InputError as `read_shard`, and if the candidates are of another version.
    """
    with _open(path) as file:
        _check_candidates(path, file)
        column = {name: file[name][:] for name in DATASETS if name.startswith(("candidate_", "lesion_"))}
        studies = _studies(file)
    return dict(zip(studies, lesion_columns.divided(column, len(studies)), strict=True))


def read_views(path: Path, study: str) -> Views:
    """Read the views of a study.

    Raises: InputError as `read_shard`, and if the shard has no views of the study, as where no heart was found.
    """
    with _open(path) as file:
        studies = _studies(file)
        if study not in studies:
            raise InputError(f"{path}: found no views of study {study!r}, wanted one in which the heart was found")
        index = studies.index(study)
        first, last = np.searchsorted(file["view_study"][:], [index, index + 1])
        return Views(
            image_NSS=file["view_image"][first:last],
            slice_N=file["view_slice"][first:last],
            window_hu=tuple(file["view_image"].attrs["window_hu"].tolist()),
            box=tuple(file["view_box"][first].tolist()),
        )


def _studies(file: h5py.File) -> list[str]:
    return [str(name) for name in file["heart_study"].asstr()[:]]


def _check_candidates(path: Path, file: h5py.File) -> None:
    if (found := int(file["candidate_feature"].attrs["version"])) != candidates.VERSION:
        wanted = f"wanted {candidates.VERSION}; pack into another data.packed_dir"
        raise InputError(f"{path}: found candidates of version {found}, {wanted}")


def _with_slices(file: h5py.File, path: Path) -> h5py.Dataset:
    """The images.

    Raises: InputError if slices were not packed.
    """
    if len(file["images"]) < len(file["slice"]):
        raise InputError(f"{path}: holds no slices, as pack.slices is false; pack into another data.packed_dir")
    return file["images"]


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
        integrity.check_version(path, file.attrs.get("format_version"))
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
