"""Which files a report wrote, and their digests: what else lies in its folder is people's own."""

from __future__ import annotations

import re
from pathlib import Path

from cac_hpc.run import digests, disk

FILE = "SHA256SUMS"
LINK = "is a link, which may lead out of the run; put the real file or folder in its place"
NO_LIST = "not there, wanted the list of the files that the report wrote; {again} makes the report again"
CHANGED = (
    "is not as the report wrote it, so it does not go out with it; move it away, or {again} makes the report again"
)


def write(folder: Path) -> None:
    """List every file of a report that was made in a folder of its own."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (f"{digests.file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    disk.write_text(folder / FILE, "".join(lines))


def read(folder: Path) -> dict[str, str] | None:
    """SHA-256 of every file that the report wrote, by its name relative to the folder; None if there is no list."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    return {name: digest for digest, name in re.findall(r"^([0-9a-f]{64})  (.+)$", text, re.MULTILINE)}
