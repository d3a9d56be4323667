"""The archive a report travels in: written here or from what came from elsewhere, and unpacked again.

A plain tar file: SHA256SUMS first, then the files by name, all as old as the report, owned by nobody. It is not
compressed, because compressors differ from machine to machine and pictures do not shrink: the same run, the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from cac_hpc.evaluation import report_json
from cac_hpc.report import checksums, terminal
from cac_hpc.report.terminal import OtherVersion
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import Damaged
from cac_hpc.run import digests, disk, paths, provenance
from cac_hpc.settings.errors import InputError, WorkError
from cac_hpc.transfer import selection
from cac_hpc.transfer.selection import Offer, Selection

MAX_LIST_BYTES = 4 << 20


def write(folder: Path, offer: Offer, files: Mapping[str, Path], choice: Selection) -> Path:
    """Write the archive of what was offered, under its final name when it is whole.

    Args:
        files: where the content of each item lies, by its name.
    Raises: WorkError if a file is not, or no longer, what was offered, or the summary is none of a report.
    """
    report = read(files)
    own = {selection.PROVENANCE: _shareable(files[selection.PROVENANCE])} if selection.PROVENANCE in files else {}
    sums = {item.name: item.sha256 for item in offer.items}
    sums |= {name: digests.bytes_sha256(content) for name, content in own.items()}
    listed = "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()
    stem = _stem(offer, report, choice)
    target = folder / f"{stem}.tar"
    with disk.atomic(target) as scratch, tarfile.open(scratch, "w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, f"{stem}/{checksums.FILE}", offer.made, io.BytesIO(listed), len(listed))
        for item in offer.items:
            with io.BytesIO(own[item.name]) if item.name in own else files[item.name].open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                if _add(tar, f"{stem}/{item.name}", offer.made, file, size) != sums[item.name]:
                    raise WorkError(f"{item.name}: changed while it was read; start the same command again")
    return target


def read(files: Mapping[str, Path]) -> Report | OtherVersion:
    """The report that these files are of.

    Raises: WorkError saying what is wrong with it.
    """
    if selection.SUMMARY not in files:
        raise WorkError(f"{selection.SUMMARY}: is missing, wanted the JSON that the run wrote")
    try:
        return terminal.read(files[selection.SUMMARY])
    except Damaged as error:
        raise WorkError(f"{selection.SUMMARY}: is damaged, or made by other software: it {error}") from None


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an archive, wherever it comes from: only files that a report has, each as its digest says, no more.

    Returns: the new folder, named like the archive; one that is there already must hold the same.
    Raises: InputError naming what is wrong with the archive or stands in its way; then nothing is left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(archive, "r:") as tar:
            stem, sums = _read_list(tar)
            with _scratch_folder(folder, stem) as scratch:
                _extract(tar, stem, sums, scratch)
                _check_summary(scratch)
                target = folder / stem
                if not target.exists():
                    scratch.replace(target)
                elif any(not _is(target / name, digest) for name, digest in sums.items()):
                    raise InputError(f"{target}: is there already and holds something else; move it away")
                return target
    except InputError:
        raise
    except _Refused as error:
        raise InputError(f"{archive}: {error}; nothing was unpacked, fetch it again") from None
    except (tarfile.TarError, EOFError, MemoryError, *report_json.FAULTS) as error:  # tarfile's, of a crafted header
        raise InputError(f"{archive}: is damaged, or no archive of a report ({error})") from None


class _Refused(ValueError):
    """Something in an archive that no archive of a report has."""


class _Digesting:
    """A file that is read, and the digest of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        data = self.file.read(count)
        self.digest.update(data)
        return data


def _stem(offer: Offer, report: Report | OtherVersion, choice: Selection) -> str:
    """Name of the archive: run, date of the report (UTC), and in what it differs from a whole one."""
    made = datetime.fromtimestamp(offer.made, timezone.utc).strftime("%Y-%m-%d_%H%M%S")
    status = report.status
    marks = [
        *([] if status == "COMPLETE" else [status if status in paths.STATUSES else "PARTIAL"]),
        *(["CONTRAST"] if report.banner else []),
        *(["with_weights"] if choice.weights else []),
        *([] if choice.images else ["without_images"]),
    ]
    return "_".join([offer.label, "report", made, *marks])


def _shareable(path: Path) -> bytes:
    try:
        return disk.json_text(provenance.shareable(report_json.load(path))).encode()
    except report_json.FAULTS:
        raise WorkError(f"{selection.PROVENANCE}: is damaged, wanted what the run wrote") from None


def _add(tar: tarfile.TarFile, name: str, made: int, file: IO[bytes], size: int) -> str:
    """Returns: SHA-256 of what went into the archive."""
    member, content = tarfile.TarInfo(name), _Digesting(file)
    member.size, member.mtime, member.mode = size, made, 0o644
    tar.addfile(member, content)
    return content.digest.hexdigest()


def _read_list(tar: tarfile.TarFile) -> tuple[str, dict[str, str]]:
    """The first member: the archive's name, and the digest of every file in it."""
    first = tar.next()
    stem, _, name = first.name.partition("/") if first else ("", "", "")
    if first is None or name != checksums.FILE or not selection.PLAIN.fullmatch(stem) or not _is_plain_file(first):
        raise _Refused(f"does not begin with {checksums.FILE}, so it is no archive of a report")
    if first.size > MAX_LIST_BYTES:
        raise _Refused(f"{checksums.FILE} has {first.size} bytes, wanted at most {MAX_LIST_BYTES}")
    file = tar.extractfile(first)
    assert file is not None  # as it is a file
    sums = {}
    for line in file.read().decode(errors="replace").splitlines():
        found = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if not found or not selection.belongs(found[2]) or found[2] in sums:
            raise _Refused(
                f"{checksums.FILE} has the line {line[:200]!r}, wanted digest and name of a file of a report"
            )
        sums[found[2]] = found[1]
    return stem, sums


def _extract(tar: tarfile.TarFile, stem: str, sums: Mapping[str, str], scratch: Path) -> None:
    missing = dict(sums)
    for member in tar:
        name = member.name.removeprefix(f"{stem}/")
        if name == checksums.FILE and member.offset == 0:
            continue
        if not _is_plain_file(member):
            raise _Refused(f"{member.name[:200]!r} is a link, device, folder or sparse, wanted files only")
        digest = missing.pop(name, None)
        if digest is None or not member.name.startswith(f"{stem}/"):
            raise _Refused(f"{member.name[:200]!r} is not in {checksums.FILE}, or twice in the archive")
        file, path = tar.extractfile(member), scratch / name
        assert file is not None  # as it is a file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as copy:
            shutil.copyfileobj(file, copy, digests.BLOCK)
        if not _is(path, digest):
            raise _Refused(f"{name} is not as {checksums.FILE} says, so it is damaged")
    if missing:
        raise _Refused(f"{', '.join(sorted(missing)[:5])} missing of what {checksums.FILE} names")
    lines = (f"{digest}  {name}\n" for name, digest in sums.items())
    (scratch / checksums.FILE).write_text("".join(lines), encoding="utf-8")


def _check_summary(scratch: Path) -> None:
    """What was unpacked has a summary, and it is one of a report."""
    if not (scratch / selection.SUMMARY).is_file():
        raise _Refused(f"{selection.SUMMARY} is missing, so it is no archive of a report")
    try:
        terminal.read(scratch / selection.SUMMARY)
    except Damaged as error:
        raise _Refused(f"{selection.SUMMARY} {error}") from None


def _is_plain_file(member: tarfile.TarInfo) -> bool:
    """No link, no device, no folder; and not sparse, so that it takes no more bytes here than in the archive."""
    return member.isreg() and not member.issparse() and member.size >= 0


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and not path.is_symlink() and digests.file_sha256(path) == sha256


@contextmanager
def _scratch_folder(folder: Path, stem: str) -> Iterator[Path]:
    """A new folder under a name of its own; gone afterwards, unless it was given another name."""
    scratch = folder / f".{stem}.{os.getpid()}-{os.urandom(4).hex()}.tmp"
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
