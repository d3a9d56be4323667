"""Paths as people give them: what they mean, also from another folder, and what was meant where nothing is there."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cac_hpc.settings.errors import InputError

if TYPE_CHECKING:
    from cac_hpc.settings.config import Config

# settings that are paths, of each section; data.cohorts have their own
PATHS = {
    "data": ("dicom_root", "packed_dir", "pseudonym_key"),
    "labels": ("sheet", "masks"),
    "pack": ("regions",),
    "split": ("contrast_to",),
    "report": ("published", "compare", "checklist"),
    "trials": ("contrast_to",),
}
OF_COHORT = ("dicom_root", "sheet", "masks")


def home(path: str) -> Path:
    """A path in which ``~`` is written out.

    Raises: InputError if there is no such user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path!r}: found no home folder for ~, wanted a path") from None


def did_you_mean(path: Path) -> str:
    """Ask whether another name in the folder of a file that is not there was meant; the end of a sentence, or empty."""
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return ""
    close = [name for name in names if Path(name).stem == path.stem] or difflib.get_close_matches(
        path.name, names, 1, 0.75
    )
    return f"; did you mean {str(path.with_name(close[0]))!r}?" if close and not path.exists() else ""


def out_folder(out: str | None) -> Path:
    """The folder that results go to; it is made when there is something to put into it.

    Raises: InputError if it is a file.
    """
    folder = Path(out or ".")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: found a file, wanted a folder")
    return folder


def absolute_paths(cfg: Config) -> Config:
    """Paths as seen from anywhere: queued jobs start in another folder."""
    sections = {name: _absolute(getattr(cfg, name), names) for name, names in PATHS.items()}
    cohorts = tuple(_absolute(cohort, OF_COHORT) for cohort in cfg.data.cohorts)
    sections["data"] = dataclasses.replace(sections["data"], cohorts=cohorts)
    return dataclasses.replace(cfg, run=_from_anywhere(cfg.run), **sections)


def _absolute(section: Any, names: Sequence[str]) -> Any:
    return dataclasses.replace(section, **{name: _from_anywhere(getattr(section, name)) for name in names})


def _from_anywhere(path: Any) -> Any:
    """A path, several or none."""
    if isinstance(path, tuple):
        return tuple(map(_from_anywhere, path)) or None
    return path and str(home(path).absolute())
