"""One study folder in, its packed slices and facts out; every file is in the series or refused with a reason.

Nothing of what is returned, ``identity`` apart, holds text from a file, a file's name or its path. Axes: H row,
W column, S row and column of a packed slice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import numpy as np

from cac_hpc.calcium import baseline, heart
from cac_hpc.data import hounsfield, images, resample, series
from cac_hpc.data.files import Entry
from cac_hpc.data.header import Header
from cac_hpc.data.images import Image
from cac_hpc.data.series import Candidate, Choice, NoSeries
from cac_hpc.run import digests
from cac_hpc.run.config import PackConfig
from cac_hpc.run.reasons import Refused

Keep = Callable[[np.ndarray, float], None]

PART_OF_SERIES = ("wrong_length", "no_rescale", "no_geometry", "unsupported_compression")  # a slice that is lost
AIR_BELOW_HU, TISSUE_HU = -400, (-150, 250)
MIN_AIR, MIN_TISSUE = 0.01, 0.02  # shares of the voxels of a chest, at least
KERNEL = re.compile(
    r"[A-Z]{1,2}[a-z]?\d{1,2}[a-z]{0,2}([_\\]\d)?|SOFT|STANDARD|STND|DETAIL|BONE|LUNG|EDGE|CHEST|[A-Z]{1,2}"
)
GATING = ("NONE", "REALTIME", "PROSPECTIVE", "RETROSPECTIVE", "PACED")


@dataclass(frozen=True)
class Refusal:
    """A file that is not used: its number in the study's listing, from 1, a reason code and what was found."""

    file: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Study:
    """What a study folder held.

    facts: numbers and codes of the series, None if there is none to be used. identity: what may identify the patient
    and must not be written. private: whether there are private elements.
    """

    num_files: int
    refusals: list[Refusal]
    facts: dict[str, Any] | None
    identity: frozenset[str]
    private: bool


def read_study(entries: Sequence[Entry], cfg: PackConfig, keep: Keep) -> Study:
    """Read the series of a study that the settings choose, at the packed size.

    Args:
        entries: the files of the study's folder.
        keep: takes each slice, (S, S) int16 HU, in ascending order along the normal, with its position in mm. Slices
            that it was given are void if the study turns out to have no series to be used.
    """
    if cfg.crop == "none" and not cfg.baseline:
        return read_slices(
            entries, cfg, lambda hu_HW, position_mm: keep(resample.to_size(hu_HW, cfg.size), position_mm)
        )
    study, hu_ZHW, positions = read_volume(entries, cfg)
    if study.facts is None:
        return study
    try:
        facts, (top, bottom, left, right) = _look_for_heart(hu_ZHW, study.facts, cfg)
    except Refused as why:
        refused = {refusal.file for refusal in study.refusals}
        used = [number for number in range(1, study.num_files + 1) if number not in refused]
        refusals = [*study.refusals, *(Refusal(number, why.reason, why.detail) for number in used)]
        return replace(study, facts=None, refusals=sorted(refusals, key=lambda refusal: refusal.file))
    for hu_HW, position_mm in zip(hu_ZHW, positions, strict=True):
        keep(resample.to_size(hu_HW[top:bottom, left:right], cfg.size), position_mm)
    return replace(study, facts=facts)


def read_volume(entries: Sequence[Entry], cfg: PackConfig) -> tuple[Study, np.ndarray, list[float]]:
    """Read the same series as the scanner made it.

    Returns: the study, its slices (Z, H, W), int16 HU, and their positions in mm; no slices if there is no series.
    """
    slices, positions = list[np.ndarray](), list[float]()

    def keep(hu_HW: np.ndarray, position_mm: float) -> None:
        slices.append(hu_HW.copy())
        positions.append(position_mm)

    study = read_slices(entries, cfg, keep)
    if study.facts is None:
        return study, np.zeros((0, 0, 0), np.int16), []
    hu_ZHW = np.empty((len(slices), *slices[0].shape), np.int16)
    for index in reversed(range(len(slices))):  # each is let go when it is copied: memory for one volume, not two
        hu_ZHW[index] = slices.pop()
    return study, hu_ZHW, positions


def read_slices(entries: Sequence[Entry], cfg: PackConfig, keep: Keep) -> Study:
    """What `read_study` does, at the scanner's own resolution.

    Args:
        keep: takes each slice (H, W), whose memory is used again for the next one.
    """
    refused: dict[int, Refused] = {}
    found: list[tuple[int, Image]] = []  # number of the file, from 0, and a slice in it
    for number, entry in enumerate(entries):
        try:
            if entry.refused:
                raise entry.refused
            found += [(number, image) for image in images.read_images(entry.path)]
        except Refused as why:
            refused[number] = why
    headers = [image.header for _, image in found]
    facts = None
    try:
        choice = _choose(found, [entry.folder for entry in entries], cfg, refused)
        positions = _read_slices(choice, found, cfg, refused, keep)
        facts = _facts(headers[choice.slices[0]], positions, choice)
    except NoSeries:
        pass  # every file has its reason
    refusals = [Refusal(number + 1, why.reason, why.detail) for number, why in sorted(refused.items())]
    identity = frozenset[str]().union(*{header.identity for header in headers})
    return Study(len(entries), refusals, facts, identity, any(header.private for header in headers))


def _look_for_heart(
    hu_ZHW: np.ndarray, facts: dict[str, Any], cfg: PackConfig
) -> tuple[dict[str, Any], tuple[int, int, int, int]]:
    """What is written of a study, with what is asked about its heart, and what of its slices is to be packed.

    Returns: the facts; first row, row after the last, first column, column after the last.
    Raises: Refused if slices are to be cropped to a heart that is not found, and the settings do not forgive it.
    """
    spacing_mm = (facts["slice_spacing_mm"], facts["row_spacing_mm"], facts["column_spacing_mm"])
    there, box, facts = None, (0, hu_ZHW.shape[1], 0, hu_ZHW.shape[2]), dict(facts)
    try:
        if spacing_mm[0] is None:
            raise Refused("no_heart", "a single slice")
        there = heart.find(hu_ZHW, spacing_mm)
        if cfg.crop == "heart":
            box = heart.square_around(there.box, cfg.crop_margin_mm, spacing_mm, hu_ZHW.shape)
    except Refused as why:
        if cfg.crop == "heart":
            code = series.refuse_or_warn(why, cfg)
            facts["warnings"] = f"{facts['warnings']} {code}".strip()
    if cfg.crop == "heart":
        top, bottom, left, right = box
        facts |= {"crop_row": top, "crop_column": left, "crop_rows": bottom - top, "crop_columns": right - left}
    if cfg.baseline:
        facts |= baseline.facts(hu_ZHW, there, spacing_mm)
    return facts, box


def refuse_study(entries: Sequence[Entry], reason: str, detail: str) -> Study:
    """A study that cannot be read at all: every file is refused for the same reason."""
    refusals = [
        Refusal(number, *((entry.refused.reason, entry.refused.detail) if entry.refused else (reason, detail)))
        for number, entry in enumerate(entries, start=1)
    ]
    return Study(len(entries), refusals, None, frozenset(), False)


def _choose(
    found: list[tuple[int, Image]], folders: list[bytes], cfg: PackConfig, refused: dict[int, Refused]
) -> Choice:
    """The series among all slices that were found; why the others are not in it goes to ``refused``."""
    candidates = [Candidate(image.header, image.position, folders[number]) for number, image in found]
    try:
        choice = series.choose(candidates, cfg)
    except NoSeries as none:
        refused |= {found[index][0]: why for index, why in none.others.items()}
        raise
    used = {found[index][0] for index in choice.slices}
    others = {found[index][0]: why for index, why in choice.others.items()}
    first = candidates[choice.slices[0]]
    for number, why in sorted(refused.items()):
        same = why.series == first.header.series and (why.series or folders[number] == first.folder)
        if same and why.reason in PART_OF_SERIES:
            refused |= others
            _refuse_all(used, number, why, refused)
    refused |= others
    if mixed := used & set(others):
        _refuse_all(used, min(mixed), Refused("mixed_frames", "its frames belong to several series"), refused)
    return choice


def _read_slices(
    choice: Choice, found: list[tuple[int, Image]], cfg: PackConfig, refused: dict[int, Refused], keep: Keep
) -> list[float]:
    """Decode the chosen slices one after the other and hand each on, dropping copies.

    Returns: positions of the slices, in mm.
    Raises: NoSeries if any slice cannot be used; all files of the series are then refused.
    """
    chosen = [found[index] for index in choice.slices]
    used = {number for number, _ in chosen}
    scratch = bytearray(chosen[0][1].header.num_bytes)
    kept, copies = set[int](), dict[int, Refused]()
    positions, before, shares = list[float](), b"", np.zeros(2)
    for (number, image), position_mm, again in zip(chosen, choice.position_mm.tolist(), choice.repeated, strict=True):
        try:
            hu_HW = hounsfield.pixels_to_hu(images.read_stored(image, scratch), image.header)
            digest = digests.of_bytes(hu_HW.data)
            if again:
                copies[number] = _copy(digest == before, position_mm, choice, cfg)
                continue
        except Refused as why:
            _refuse_all(used, number, why, refused)
        shares += _shares(hu_HW)
        keep(hu_HW, position_mm)
        positions.append(position_mm)
        kept.add(number)
        before = digest
    refused |= {number: why for number, why in copies.items() if number not in kept}  # its other frames may be used
    try:
        choice.warnings.extend(_implausible(shares / len(positions), cfg))
    except Refused as why:
        refused |= dict.fromkeys(used, why)
        raise NoSeries(why.reason, why.detail, {}) from None
    return positions


def _copy(same: bool, position_mm: float, choice: Choice, cfg: PackConfig) -> Refused:
    """What becomes of a slice at the position of the one before.

    Raises: Refused if they differ and the settings do not forgive it.
    """
    if same:
        return Refused("duplicate", "the same position and pixels as another file")
    conflict = Refused("conflicting_duplicates", f"at {position_mm:.2f} mm")
    code = series.refuse_or_warn(conflict, cfg)
    choice.warnings.extend([code] if code not in choice.warnings else [])
    return conflict


def _refuse_all(used: set[int], culprit: int, why: Refused, refused: dict[int, Refused]) -> NoReturn:
    """Refuse the files of a series because of one of them.

    Raises: NoSeries.
    """
    refused |= dict.fromkeys(used, Refused("study_refused", f"file {culprit + 1} of the series: {why.reason}"))
    refused[culprit] = why
    raise NoSeries(why.reason, why.detail, {}) from None


def _shares(hu_HW: np.ndarray) -> tuple[float, float]:
    """Shares of air and lung, and of soft tissue, among every eighth pixel of every eighth row."""
    some = hu_HW[::8, ::8].copy()
    tissue = (some >= TISSUE_HU[0]) & (some <= TISSUE_HU[1])
    return np.count_nonzero(some < AIR_BELOW_HU) / some.size, np.count_nonzero(tissue) / some.size


def _implausible(shares: np.ndarray, cfg: PackConfig) -> list[str]:
    air, tissue = map(float, shares)
    if air >= MIN_AIR and tissue >= MIN_TISSUE:
        return []
    found = f"{air:.1%} of the voxels are air or lung and {tissue:.1%} soft tissue"
    return [
        series.refuse_or_warn(Refused("implausible_hu", f"{found}, wanted {MIN_AIR:.0%} and {MIN_TISSUE:.0%}"), cfg)
    ]


def _facts(first: Header, positions: Sequence[float], choice: Choice) -> dict[str, Any]:
    """Numbers and codes about a series, none of which identifies anybody; None where unknown."""
    numbers = {
        "slices": len(positions),
        "rows": first.rows,
        "columns": first.columns,
        "row_spacing_mm": first.spacing[0],
        "column_spacing_mm": first.spacing[1],
        "slice_spacing_mm": round(float(np.median(np.diff(positions))), 4) if len(positions) > 1 else math.nan,
        "slice_thickness_mm": first.thickness_mm,
        "field_of_view_mm": round(first.columns * first.spacing[1], 2),
        "kvp": first.kvp,
        "phase_percent": first.phase_percent,
    }
    gating = first.synchronization.upper()
    return {
        **{name: None if math.isnan(value) else value for name, value in numbers.items()},
        "kernel": (first.kernel if KERNEL.fullmatch(first.kernel) else "other") if first.kernel else None,
        "gating": gating if gating in GATING else None,
        "warnings": " ".join(choice.warnings),
    }
