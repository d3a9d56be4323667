"""One study folder in, its packed slices and facts out; every file is in the series or refused with a reason.

Nothing of what is returned, ``identity`` apart, holds text from a file, a file's name or its path. Slices are in the
patient frame (`frame`). Axes: Z slice, H row, W column, S row and column of a packed slice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cac_hpc.calcium import aorta, baseline, candidates, heart, views
from cac_hpc.calcium.candidates import Candidates
from cac_hpc.calcium.heart import Heart
from cac_hpc.calcium.views import Views
from cac_hpc.dataset import groups, whole_volumes
from cac_hpc.dataset.regions import ReadMask
from cac_hpc.masks.masks import Target
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.pack import Frame, PackConfig
from cac_hpc.settings.score_command import RuleConfig
from cac_hpc.volumes import checks, frame
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.formats import reader_of
from cac_hpc.volumes.study import Keep, ReadSeries, Refusal, Study

KeepLesions = Callable[[Candidates, Views], None]  # takes the candidates of a study and its views


@dataclass(frozen=True)
class Volume:
    """A study with its slices as the scanner made them."""

    study: Study
    hu_ZHW: np.ndarray  # int16, HU, ascending along the normal; no slices if there is no series to be used
    positions_mm: list[float]  # (Z,) along the normal
    heart: Heart | None = None  # where it is; None where it was not looked for, or is not found
    no_heart: Refused | None = None  # why it is not found

    def target(self, frame: Frame | None = None) -> Target:
        """What a mask is brought to.

        Args:
            frame: whose rows and columns a mask without geometry counts, where it does not say so itself.
        """
        study = self.study
        references = study.references.series, study.references.frame_of_reference
        return Target(study.placement, study.spacing_mm, self.hu_ZHW, study.turn, frame, *references)


def read_study(
    entries: Sequence[Entry],
    cfg: PackConfig,
    keep: Keep,
    keep_lesions: KeepLesions = lambda found, seen: None,
    read_mask: ReadMask | None = None,
    subgroups: Collection[str] = (),
) -> Study:
    """Read the series of a study that the settings choose, at the packed size.

    Args:
        entries: the files of the study's folder.
        keep: takes each slice, (S, S) int16 HU, in ascending order along the normal, with its position in mm; without
            pack.slices as the scanner made it. Slices are void if the study turns out to have no series to be used.
        keep_lesions: takes the candidates and views after them, where pack.candidates wants them and a heart is found.
        read_mask: gives the mask in which the rule counts, None for the heart's region; not used without pack.baseline.
        subgroups: data.subgroups, whose values the study then has.
    """
    if not whole_volumes.are_needed(cfg, subgroups):
        study = read_slices(entries, cfg, lambda hu_HW, position_mm: keep(frame.to_size(hu_HW, cfg.size), position_mm))
        return replace(study, groups=groups.of_study(study, None, None, subgroups))
    volume = read_chest(entries, cfg)
    study, hu_ZHW = volume.study, volume.hu_ZHW
    if study.facts is None:
        return study
    facts, (top, bottom, left, right) = study.facts, (0, hu_ZHW.shape[1], 0, hu_ZHW.shape[2])
    if cfg.crop == "heart":
        try:
            facts, (top, bottom, left, right) = _cropped(volume, facts, cfg)
        except Refused as why:
            return _refused(study, why)
    if volume.no_heart is not None and not cfg.slices:
        return _refused(study, volume.no_heart)
    if cfg.baseline:
        try:
            facts = _with_baseline(volume, facts, RuleConfig(spacing_factor=cfg.spacing_factor), read_mask)
        except Refused as why:
            return _refused(study, why)
    for hu_HW, position_mm in zip(hu_ZHW, volume.positions_mm, strict=True):
        keep(frame.to_size(hu_HW[top:bottom, left:right], cfg.size) if cfg.slices else hu_HW, position_mm)
    if cfg.candidates:
        facts = facts | _keep_lesions(volume, cfg.spacing_factor, keep_lesions)
    return replace(study, facts=facts, groups=groups.of_study(study, hu_ZHW, volume.heart, subgroups))


def _with_baseline(
    volume: Volume, facts: dict[str, Any], rule: RuleConfig, read_mask: ReadMask | None
) -> dict[str, Any]:
    """The facts with what the rule says, and with what is odd about the mask.

    Raises: Refused if a mask is wanted and there is none to be used.
    """
    spacing_mm = volume.study.spacing_mm
    if read_mask is None:
        return facts | baseline.facts(volume.hu_ZHW, volume.heart, spacing_mm, rule=rule)
    if math.isnan(spacing_mm[0]):
        raise Refused("too_few_slices", "a single one has no spacing")
    mask = read_mask(volume.target())
    warnings = " ".join(dict.fromkeys([*facts["warnings"].split(), *mask.warnings]))
    found = baseline.facts(volume.hu_ZHW, volume.heart, spacing_mm, mask.part_ZHW, rule)
    return facts | {"warnings": warnings} | found


def _keep_lesions(volume: Volume, spacing_factor: bool, keep: KeepLesions) -> dict[str, Any]:
    """Hand on the candidates of a study, and say what the rule by whole candidates makes of them."""
    there, spacing_mm = volume.heart, volume.study.spacing_mm
    if there is None:
        return baseline.control(None, len(volume.hu_ZHW))
    ascending = aorta.find(there.chest, there.box)
    found = candidates.find(volume.hu_ZHW, spacing_mm, there, ascending, spacing_factor)
    keep(found, views.make(volume.hu_ZHW, spacing_mm, there, found))
    return baseline.control(found, len(volume.hu_ZHW), ascending.found)


def read_chest(entries: Sequence[Entry], cfg: PackConfig) -> Volume:
    """Read the same series as the scanner made it, and look for the heart.

    A series whose blood in the heart is as bright as with a contrast agent is left out of the choice, and the next is
    read, unless the settings forgive it.
    """
    read, left_out = reader_of(entries).open(entries), dict[int, Refused]()
    while True:
        volume, candidates = _read_volume(read, cfg, left_out)
        if volume.study.facts is None:
            return volume
        volume = _with_heart(volume)
        if volume.heart is None or not volume.heart.has_contrast:
            return volume
        bright = Refused("contrast_agent", f"blood in the heart measures {volume.heart.blood_hu:.0f} HU")
        if cfg.checks.contrast_agent == "warn":
            return replace(volume, study=_warned(volume.study, bright.reason))
        assert candidates, "a reader that does not tell which slices it has read"
        left_out |= dict.fromkeys(candidates, bright)


def read_slices(entries: Sequence[Entry], cfg: PackConfig, keep: Keep) -> Study:
    """What `read_study` does, at the scanner's own resolution and by headers alone.

    Args:
        keep: takes each slice (H, W), whose memory is used again for the next one.
    """
    return reader_of(entries).open(entries)(cfg, {}, keep).study


def _read_volume(read: ReadSeries, cfg: PackConfig, left_out: dict[int, Refused]) -> tuple[Volume, Sequence[int]]:
    """Read a series, all of it; and its slices among the candidates."""
    slices, positions = list[np.ndarray](), list[float]()

    def keep(hu_HW: np.ndarray, position_mm: float) -> None:
        slices.append(hu_HW.copy())
        positions.append(position_mm)

    found = read(cfg, left_out, keep)
    if found.study.facts is None:
        return Volume(found.study, np.zeros((0, 0, 0), np.int16), []), found.candidates
    hu_ZHW = np.empty((len(slices), *slices[0].shape), np.int16)
    for index in reversed(range(len(slices))):  # each is let go when it is copied: memory for one volume, not two
        hu_ZHW[index] = slices.pop()
    return Volume(found.study, hu_ZHW, positions), found.candidates


def _with_heart(volume: Volume) -> Volume:
    """The volume with its heart, or why none is found."""
    try:
        if math.isnan(volume.study.spacing_mm[0]):
            raise Refused("no_heart", "a single slice")
        return replace(volume, heart=heart.find(volume.hu_ZHW, volume.study.spacing_mm))
    except Refused as why:
        return replace(volume, no_heart=why)


def _refused(study: Study, why: Refused) -> Study:
    """The study without its series, whose files are refused."""
    refused = {refusal.file for refusal in study.refusals}
    used = [number for number in range(1, study.num_files + 1) if number not in refused]
    refusals = [*study.refusals, *(Refusal(number, why.reason, why.detail) for number in used)]
    return replace(
        study, facts=None, slice_files=(), slice_frames=(), refusals=sorted(refusals, key=lambda refusal: refusal.file)
    )


def _warned(study: Study, code: str) -> Study:
    facts = dict(study.facts or {})
    facts["warnings"] = " ".join(dict.fromkeys([*facts["warnings"].split(), code]))
    return replace(study, facts=facts)


def _cropped(
    volume: Volume, facts: dict[str, Any], cfg: PackConfig
) -> tuple[dict[str, Any], tuple[int, int, int, int]]:
    """What is to be packed of each slice, and the facts that tell it.

    Returns: the facts; first row, row after the last, first column, column after the last.
    Raises: Refused if no heart was found, and the settings do not forgive it.
    """
    shape, spacing_mm = volume.hu_ZHW.shape, volume.study.spacing_mm
    box = 0, shape[1], 0, shape[2]
    if volume.heart is not None:
        box = heart.square_around(volume.heart.box, cfg.crop_margin_mm, spacing_mm, shape)
    if volume.no_heart is not None:
        code = checks.refuse_or_warn(volume.no_heart, cfg)
        facts = facts | {"warnings": f"{facts['warnings']} {code}".strip()}
    top, bottom, left, right = box
    crop = {"crop_row": top, "crop_column": left, "crop_rows": bottom - top, "crop_columns": right - left}
    return facts | crop, box


def refuse_study(entries: Sequence[Entry], reason: str, detail: str) -> Study:
    """A study that cannot be read at all: every file is refused for the same reason."""
    refusals = [
        Refusal(number, *((entry.refused.reason, entry.refused.detail) if entry.refused else (reason, detail)))
        for number, entry in enumerate(entries, start=1)
    ]
    return Study(len(entries), refusals, None, frozenset(), False)
