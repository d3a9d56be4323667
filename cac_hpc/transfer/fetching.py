"""A report as one archive: of a run on this machine, or of one elsewhere, of which all files come first."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cac_hpc.report import terminal
from cac_hpc.run import disk, logs, looks
from cac_hpc.run.logs import amount
from cac_hpc.settings.errors import WorkError
from cac_hpc.settings.report_command import ReportOptions
from cac_hpc.transfer import archive, remote, selection
from cac_hpc.transfer.remote import RemoteFolder
from cac_hpc.transfer.selection import Offer, Selection


def choice_of(asked: ReportOptions) -> Selection:
    """What is taken along, as it was asked for."""
    return Selection(weights=asked.weights, images=not asked.without_images)


def unpack(source: Path, out: Path) -> tuple[Path, int]:
    """Unpack an archive and show its report; returns the new folder, and 0 or 1 as `terminal.present` does."""
    folder = archive.unpack(source, out)
    report = terminal.read(folder / selection.SUMMARY)
    return folder, terminal.present(report, f"unpacked and whole: {folder}")


def keep(root: Path, out: Path, choice: Selection) -> int:
    """The archive of a run on this machine."""
    offer = selection.survey(root, choice)
    _check_space(out, offer.num_bytes)
    looks.note(root, "archive")
    return _finish(out, offer, {item.name: root / item.name for item in offer.items}, choice)[1]


def bring(place: RemoteFolder, out: Path, choice: Selection) -> tuple[Path, int]:
    """The archive of a run elsewhere: first all files by their digests, then the archive of them."""
    logs.log.info("%s: looking for the report", place)
    with remote.connect(place, choice) as connection:
        offer = remote.survey(connection)
        _check_space(out, 2 * offer.num_bytes)
        with _store(out / f".{offer.label}_report.part") as store:
            with logs.transfer(str(place), offer.num_bytes) as advance:
                files = remote.fetch(connection, offer, store, advance)
            return _finish(out, offer, files, choice)


def _finish(out: Path, offer: Offer, files: Mapping[str, Path], choice: Selection) -> tuple[Path, int]:
    made = archive.write(out, offer, files, choice)
    size = f"{amount(len(offer.items), 'file')}, {made.stat().st_size / 1e6:.1f} MB"
    return made, terminal.present(archive.read(files), f"one archive, {size}: {made}")


def _check_space(folder: Path, num_bytes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise WorkError(f"{folder}: {free / 1e6:.0f} MB are free, wanted {num_bytes / 1e6:.0f} MB; take another --out")


@contextmanager
def _store(folder: Path) -> Iterator[Path]:
    """A folder for what has come, of one process at a time; it stays where the work does not end well.

    Raises: WorkError if another process has it.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    with disk.open_own(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WorkError(f"{folder}: another process is fetching this report to here; wait for it") from None
        yield folder
        shutil.rmtree(folder)
