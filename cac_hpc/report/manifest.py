"""Which files a report wrote, as sha256sum lists them: what else lies in its folder is people's own."""

from __future__ import annotations

import re
from pathlib import Path

from cac_hpc.run import digests, paths

NAME = "SHA256SUMS"


def write(folder: Path) -> None:
    """List every file of a report that was made in a folder of its own."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = (f"{digests.file_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files)
    paths.write_text(folder / NAME, "".join(lines))


def read(folder: Path) -> dict[str, str] | None:
    """SHA-256 of every file that the report wrote, by its name relative to the folder; None if there is no list."""
    try:
        text = (folder / NAME).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    return {name: digest for digest, name in re.findall(r"^([0-9a-f]{64})  (.+)$", text, re.MULTILINE)}
