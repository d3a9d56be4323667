"""A bundle's files: a folder, or one file, which is a ZIP archive without compression, dates and owners.

Its comment is the SHA-256 of all bytes before it. The same bundle gives the same bytes. Whatever is read may come from
anywhere: nothing in it is run, and nothing is believed before it was compared.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from cac_hpc.predict import bundle_members
from cac_hpc.predict.bundle import Bundle
from cac_hpc.predict.bundle_members import FAULTS, MANIFEST, MAX_BYTES, WANTED, Read, Refused
from cac_hpc.run import digests, disk
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import given_paths
from cac_hpc.settings.errors import InputError

DIGEST_LENGTH = 64  # of the comment at the end of the archive
DATE = (1980, 1, 1, 0, 0, 0)  # of members, the earliest that ZIP knows


def write(bundle: Bundle, out: Path, files: Mapping[str, bytes] | None = None) -> None:
    """Write a bundle under its final name when it is whole: one file if that ends with .zip, else a folder.

    Args:
        files: further members, README.md and fold-K.onnx.
    Raises: InputError if something else is there already.
    """
    if out.exists():
        raise InputError(f"--out {out}: is there already, wanted the name of a new folder or .zip file")
    write_members = _write_archive if out.suffix == ".zip" else _write_folder
    write_members(out, bundle_members.of_bundle(bundle, files or {}))


def read(path: Path) -> Bundle:
    """Read a bundle, a folder or one file, and check all of it.

    Raises: InputError in one line, naming what is wrong with it.
    """
    try:
        with _opened(path) as members:
            return bundle_members.read(members)
    except Refused as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}, {WANTED}") from None
    except FAULTS as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: found something damaged, or no bundle ({said}), {WANTED}") from None


def is_bundle(path: Path) -> bool:
    """Whether a path is that of a bundle, by its name and manifest; a file need not be there."""
    return (path / MANIFEST).is_file() or (path.suffix == ".zip" and not path.is_dir())


def _write_archive(out: Path, content: Mapping[str, bytes]) -> None:
    with disk.atomic(out) as scratch:
        with zipfile.ZipFile(scratch, "w", zipfile.ZIP_STORED) as archive:
            for name, data in content.items():
                member = zipfile.ZipInfo(name, DATE)
                member.create_system, member.external_attr = 3, (stat.S_IFREG | 0o644) << 16
                archive.writestr(member, data)
            archive.comment = bytes(DIGEST_LENGTH)
        with scratch.open("r+b") as file:
            digest = _digest(file, scratch.stat().st_size - DIGEST_LENGTH)
            file.write(digest.encode())


def _digest(file: IO[bytes], count: int) -> str:
    """SHA-256 of the first bytes of a file, which is left behind them."""
    file.seek(0)
    digest, left = hashlib.sha256(), count
    while left and (block := file.read(min(left, digests.BLOCK))):
        digest.update(block)
        left -= len(block)
    return digest.hexdigest()


def _write_folder(out: Path, content: Mapping[str, bytes]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        for name, data in content.items():
            disk.write_bytes(scratch / name, data)
        scratch.replace(out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, Read]]:
    """What lies in a bundle, by name: plain files only.

    Raises: Refused.
    """
    if path.is_dir():
        if not (path / MANIFEST).is_file():
            raise Refused(f"found {_what(path)}, {WANTED}")
        yield _of_folder(path)
    elif path.is_file():
        with path.open("rb") as file:
            _check_whole(file)
            with zipfile.ZipFile(file) as archive:
                yield _of_archive(archive, path.stat().st_size)
    else:
        raise Refused(f"not there, {WANTED}{given_paths.did_you_mean(path)}")


def _what(path: Path) -> str:
    """What a folder is that is no bundle."""
    if RunPaths(path).config.is_file():
        return "a run, of which jobs/export.py makes a bundle"
    return f"no {MANIFEST} in it"


def _of_folder(path: Path) -> dict[str, Read]:
    found: dict[str, Read] = {}
    for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
        if not entry.is_file(follow_symlinks=False):
            raise Refused(f"{bundle_members.named(entry.name)} is a link, folder or device, wanted files only")

        def read(limit: int, name: str = entry.name) -> bytes:
            with (path / name).open("rb") as file:
                return file.read(limit)

        found[entry.name] = read
    return found


def _check_whole(file: IO[bytes]) -> None:
    """The archive ends with the digest of all that stands before.

    Raises: Refused.
    """
    size = file.seek(0, os.SEEK_END) - DIGEST_LENGTH
    if not 0 < size <= MAX_BYTES:
        raise Refused(f"has {size + DIGEST_LENGTH} bytes, {WANTED}")
    digest = _digest(file, size)
    if file.read(DIGEST_LENGTH) != digest.encode():
        raise Refused(f"does not end with its own SHA-256, so it is damaged or no bundle; {WANTED}")


def _of_archive(archive: zipfile.ZipFile, size: int) -> dict[str, Read]:
    found: dict[str, Read] = {}
    for member in archive.infolist():
        mode, name = member.external_attr >> 16, member.filename
        if not stat.S_ISREG(mode) or member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
            raise Refused(f"{bundle_members.named(name)} is a link, compressed or encrypted, wanted plain files only")
        if name in found:
            raise Refused(f"{bundle_members.named(name)} is in it twice")

        def read(limit: int, member: zipfile.ZipInfo = member) -> bytes:
            with archive.open(member) as file:
                return file.read(limit)

        found[name] = read
    if sum(member.file_size for member in archive.infolist()) > size:
        raise Refused("its members claim more bytes than it has")
    return found
