"""Where studies are: the folders of a run by study key, which is a name or a pseudonym, and those below any folder."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

from cac_hpc.run.logs import log
from cac_hpc.run.rejections import Refused
from cac_hpc.settings import given_paths
from cac_hpc.settings.config import Config, OneCohort
from cac_hpc.settings.data import DataConfig, Format
from cac_hpc.settings.errors import InputError
from cac_hpc.volumes import files, images


def by_key(cfg: Config) -> dict[str, dict[str, Path]]:
    """Of each cohort the folders and volumes directly below its root by study key, in the order of their names.

    The key is the study's name, with several cohorts behind the name of its own; or, where data.pseudonym_key names a
    file, a pseudonym made of that with its content.

    Raises: InputError if a root is missing or has no study, two roots are or hold each other, or there is no such file.
    """
    secret = _secret(Path(cfg.data.pseudonym_key)) if cfg.data.pseudonym_key else None
    found, cohorts = dict[str, dict[str, Path]](), cfg.by_cohort()
    for cohort in cohorts:
        with cohort.named():
            folders = {cohort.key(name): folder for name, folder in by_name(cohort.cfg.data).items()}
        if secret:
            folders = dict(sorted((pseudonym(name, secret), folder) for name, folder in folders.items()))
        found[cohort.name] = folders
    _check_roots(cohorts)
    return found


def _check_roots(cohorts: Sequence[OneCohort]) -> None:
    """No study is in two cohorts because their folders are the same, or one lies in the other."""
    roots = {f"{cohort.place}.dicom_root": Path(cohort.cfg.data.dicom_root) for cohort in cohorts}
    for (key, root), (other_key, other) in combinations(roots.items(), 2):
        one, two = root.resolve(), other.resolve()
        if one == two:
            raise InputError(f"{other_key} is {str(other)!r}, the same folder as {key}; wanted each folder once")
        if one in two.parents or two in one.parents:
            inner, outer = ((key, root), (other_key, other))[:: 1 if two in one.parents else -1]
            raise InputError(
                f"{inner[0]} is {str(inner[1])!r}, which lies in {outer[0]}, {str(outer[1])!r}; wanted folders apart, "
                "as every folder there is a study"
            )


def by_name(data: DataConfig) -> dict[str, Path]:
    """The studies of a single cohort by name.

    Raises: InputError if the root is missing or has no study.
    """
    root = Path(data.dicom_root)
    if not root.is_dir():
        meant = given_paths.did_you_mean(root)
        raise InputError(f"data.dicom_root is {data.dicom_root!r}, but there is no such folder{meant}")
    folders = files.studies_in(root, data.format)
    if not folders:
        raise InputError(
            f"data.dicom_root is {data.dicom_root!r}, but has no folder in it; wanted one folder per study, or one "
            f"file ({', '.join(ending for endings in files.ENDINGS.values() for ending in endings)}) per study"
        )
    for name, folder in folders.items():
        if "\r" in name or not _is_utf_8(name):  # a study goes by this name everywhere
            raise InputError(
                f"data.dicom_root is {data.dicom_root!r}, where the name of folder {folder.name!a} is not UTF-8 or "
                "holds a carriage return; rename it, as in its row of the sheet"
            )
    return folders


def _is_utf_8(name: str) -> bool:
    return name.isascii() or name == os.fsencode(name).decode("utf-8", "replace")


def pseudonym(name: str, secret: bytes) -> str:
    """Twelve characters that stand for a name and cannot be led back to it without the secret (HMAC-SHA256)."""
    return hmac.new(secret, name.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()[:12]


def _secret(path: Path) -> bytes:
    if not path.is_file() or len(secret := path.read_bytes().strip()) < 16:
        raise InputError(
            f"data.pseudonym_key is {str(path)!r}, wanted a file with 16 or more random characters that only you keep"
        )
    return secret


def beside(name: str) -> str:
    """What rejected.csv has for a study where a file is beside the study folders of a cohort; "" of the only one."""
    return f"{name}." if name else ""


def below(folder: str, single: bool, wanted: Format = "auto") -> dict[str, Path]:
    """The studies by name: the folder itself if a CT slice lies in it or it is single, else each study in it.

    Args:
        folder: or the one file of a study.
        wanted: the format of the studies.
    Raises: InputError if there is none.
    """
    root = Path(folder)
    if root.is_file() and files.volume_format(root.name):
        return {files.study_name(root): root}
    if not root.is_dir():
        raise InputError(f"{folder}: found no folder there, wanted a study or a folder of studies")
    entries = sorted(root.iterdir())
    hidden = [path.name for path in entries if path.name.startswith(".") and path.is_dir()]
    entries = [path for path in entries if not path.name.startswith(".")]
    if hidden and not single:
        log.warning("%s: hidden folders are left out: %s", folder, ", ".join(map(repr, hidden)))
    if lost := [path.name for path in entries if path.is_symlink() and not path.exists()]:
        log.warning("%s: links that lead nowhere are left out: %s", folder, ", ".join(map(repr, lost)))
    if single or any(_has_slice(path) for path in entries if path.is_file()):
        return {root.absolute().name: root}
    studies = {name: path for name, path in files.studies_in(root, wanted).items() if path in entries}
    if not studies:
        raise InputError(f"{folder}: found neither CT slices nor folders in it, wanted a study or a folder of them")
    return studies


def _has_slice(path: Path) -> bool:
    """Whether a file is a CT slice, or is meant to be one, or the header of a volume whose voxels are beside it."""
    if files.volume_format(path.name):
        return path.name.lower().endswith(files.APART)
    try:
        images.read_images(path)
    except Refused as why:
        return why.reason not in ("not_dicom", "not_ct_image", "not_a_file", "symlink")
    return True
