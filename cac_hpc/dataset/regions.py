"""The masks of `pack.regions`, one for each study: the Agatston rule counts in them, not in the heart that is found."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from cac_hpc.masks.masks import Elsewhere, Mask, Target
from cac_hpc.run import digests
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import files

ReadMask = Callable[[Target], Mask]  # raises Refused, whose detail says nothing of what a file may be called or hold


def listing(of_files: str, study: str, cfg: PackConfig) -> str:
    """Digest of a study's files, by their names and sizes, and of the content of its mask, if it should have one.

    Args:
        of_files: `files.digest` of the study. study: its name.
    """
    if cfg.regions is None:
        return of_files
    from cac_hpc.masks import mask_formats  # its readers take half a second, which most plans do not need

    try:
        path, parts = mask_formats.find(cfg.regions, study)
    except InputError:
        return digests.content_sha256([of_files, None])
    return digests.content_sha256([of_files, *map(digests.file_sha256, mask_formats.files_of(path)), *parts])


def without_mask(studies: Collection[str], cfg: PackConfig) -> list[str]:
    """What should be known of `pack.regions` before packing: how many studies have no mask there.

    Args:
        studies: their names.
    Raises: InputError if there is none for any study.
    """
    if cfg.regions is None:
        return []
    from cac_hpc.masks import mask_formats

    faults = list[str]()
    for study in studies:
        try:
            mask_formats.find(cfg.regions, study)
        except InputError as why:
            faults.append(str(why))
    if len(faults) == len(studies):
        raise InputError(f"pack.regions: found no mask of any study, of the first: {faults[0]}")
    said = f"{len(faults)} of {len(studies)} studies have no mask in pack.regions: they will be refused"
    return [said] if faults else []


def reader(study: Path, cfg: PackConfig) -> ReadMask | None:
    """What brings the mask of a study to its voxels; None if the heart is to be looked for instead."""
    where = cfg.regions
    if where is None:
        return None
    from cac_hpc.masks import mask_formats

    def read(target: Target) -> Mask:
        try:
            path, parts = mask_formats.find(where, files.study_name(study))
        except InputError:
            raise Refused("no_mask", "not exactly one file where pack.regions says") from None
        try:
            return mask_formats.read(path, target, parts)
        except Elsewhere as why:
            raise Refused("mask_elsewhere", why.found) from None
        except InputError:
            raise Refused("unusable_mask", "found no mask that can be read") from None

    return read
