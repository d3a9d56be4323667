"""One study folder in, its packed slices and facts out; every file is in the series or refused with a reason.

Nothing of what is returned, ``identity`` apart, holds text from a file, a file's name or its path. Slices are in the
patient frame (`frame`). Axes: Z slice, H row, W column, S row and column of a packed slice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cac_hpc.calcium import baseline, heart
from cac_hpc.calcium.heart import Heart
from cac_hpc.run import digests
from cac_hpc.run.config import PackConfig
from cac_hpc.run.reasons import Refused
from cac_hpc.volumes import acquisition, checks, hounsfield, images, resample
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.frame import AS_STORED, Turn
from cac_hpc.volumes.listing import Listing, choose, read_headers, refuse_all
from cac_hpc.volumes.series import Choice, NoSeries

Keep = Callable[[np.ndarray, float], None]

AIR_BELOW_HU, TISSUE_HU = -400, (-150, 250)
MIN_AIR, MIN_TISSUE = 0.01, 0.02  # shares of the voxels of a chest, at least


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
    and must not be written. private: whether there are private elements. turn: what brought the stored slices of the
    series into the patient frame.
    """

    num_files: int
    refusals: list[Refusal]
    facts: dict[str, Any] | None
    identity: frozenset[str]
    private: bool
    turn: Turn = AS_STORED

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between slices, rows and columns of a series that is to be used; NaN between slices of a single one."""
        facts = self.facts or {}
        return facts["slice_spacing_mm"] or math.nan, facts["row_spacing_mm"], facts["column_spacing_mm"]


@dataclass(frozen=True)
class Volume:
    """A study with its slices as the scanner made them.

    hu_ZHW: int16, HU, ascending along the normal; no slices if there is no series to be used. positions_mm: (Z,) along
    the normal. heart: where it is; None where it was not looked for, or is not found: no_heart says why.
    """

    study: Study
    hu_ZHW: np.ndarray
    positions_mm: list[float]
    heart: Heart | None = None
    no_heart: Refused | None = None


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
    if cfg.baseline:
        facts = facts | baseline.facts(hu_ZHW, volume.heart, study.spacing_mm)
    for hu_HW, position_mm in zip(hu_ZHW, volume.positions_mm, strict=True):
        keep(resample.to_size(hu_HW[top:bottom, left:right], cfg.size), position_mm)
    return replace(study, facts=facts)


def read_chest(entries: Sequence[Entry], cfg: PackConfig) -> Volume:
    """Read the same series as the scanner made it, and look for the heart.

    A series whose blood in the heart is as bright as with a contrast agent is left out of the choice, and the next is
    read, unless the settings forgive it.
    """
    listing, left_out = read_headers(entries), dict[int, Refused]()
    while True:
        volume, choice = _read_volume(listing, cfg, left_out)
        if choice is None or volume.study.facts is None:
            return volume
        volume = _with_heart(volume)
        if volume.heart is None or not volume.heart.has_contrast:
            return volume
        bright = Refused("contrast_agent", f"blood in the heart measures {volume.heart.blood_hu:.0f} HU")
        if cfg.checks.contrast_agent == "warn":
            return replace(volume, study=_warned(volume.study, bright.reason))
        left_out |= dict.fromkeys(choice.of_series, bright)


def read_slices(entries: Sequence[Entry], cfg: PackConfig, keep: Keep) -> Study:
    """What `read_study` does, at the scanner's own resolution and by headers alone.

    Args:
        keep: takes each slice (H, W), whose memory is used again for the next one.
    """
    return _read_series(read_headers(entries), cfg, {}, keep)[0]


def _read_volume(listing: Listing, cfg: PackConfig, left_out: dict[int, Refused]) -> tuple[Volume, Choice | None]:
    slices, positions = list[np.ndarray](), list[float]()

    def keep(hu_HW: np.ndarray, position_mm: float) -> None:
        slices.append(hu_HW.copy())
        positions.append(position_mm)

    study, choice = _read_series(listing, cfg, left_out, keep)
    if study.facts is None:
        return Volume(study, np.zeros((0, 0, 0), np.int16), []), choice
    hu_ZHW = np.empty((len(slices), *slices[0].shape), np.int16)
    for index in reversed(range(len(slices))):  # each is let go when it is copied: memory for one volume, not two
        hu_ZHW[index] = slices.pop()
    return Volume(study, hu_ZHW, positions), choice


def _read_series(
    listing: Listing, cfg: PackConfig, left_out: dict[int, Refused], keep: Keep
) -> tuple[Study, Choice | None]:
    """Choose a series and read it; the choice is None where there is none.

    Args:
        left_out: slices that are not to be chosen, by their place in the listing.
    """
    listing = replace(listing, refused=dict(listing.refused))
    facts = choice = None
    try:
        choice = choose(listing, cfg, left_out)
        positions = _read_slices(choice, listing, cfg, keep)
        facts = _facts(choice, positions)
    except NoSeries:
        pass  # every file has its reason
    refusals = [Refusal(number + 1, why.reason, why.detail) for number, why in sorted(listing.refused.items())]
    headers = [image.header for _, image in listing.found]
    identity = frozenset[str]().union(*{header.identity for header in headers})
    private = any(header.private for header in headers)
    turn = choice.turn if choice else AS_STORED
    return Study(len(listing.folders), refusals, facts, identity, private, turn), choice


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
    return replace(study, facts=None, refusals=sorted(refusals, key=lambda refusal: refusal.file))


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


def _read_slices(choice: Choice, listing: Listing, cfg: PackConfig, keep: Keep) -> list[float]:
    """Decode the chosen slices one after the other and hand each on in the patient frame, dropping copies.

    Returns: positions of the slices, in mm.
    Raises: NoSeries if any slice cannot be used; all files of the series are then refused.
    """
    refused, chosen = listing.refused, [listing.found[candidate.index] for candidate in choice.slices]
    used = {number for number, _ in chosen}
    scratch = bytearray(chosen[0][1].header.num_bytes)
    kept, copies = set[int](), dict[int, Refused]()
    at, before, shares = dict[bytes, float](), b"", np.zeros(2)
    positions = list[float]()
    for (number, image), position_mm, again in zip(chosen, choice.position_mm.tolist(), choice.repeated, strict=True):
        try:
            hu_HW = choice.turn.of(hounsfield.pixels_to_hu(images.read_stored(image, scratch), image.header))
            digest = digests.of_bytes(hu_HW.data)
            if again:
                copies[number] = _copy(digest == before, position_mm, choice, cfg)
                continue
            if (elsewhere_mm := at.setdefault(digest, position_mm)) != position_mm and np.ptp(hu_HW):  # not all padding
                repeated = Refused("repeated_pixels", f"at {elsewhere_mm:.2f} mm and {position_mm:.2f} mm")
                checks.note(choice.warnings, repeated, cfg)
        except Refused as why:
            refuse_all(used, number, why, refused)
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
    checks.note(choice.warnings, conflict, cfg)
    return conflict


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
        checks.refuse_or_warn(Refused("implausible_hu", f"{found}, wanted {MIN_AIR:.0%} and {MIN_TISSUE:.0%}"), cfg)
    ]


def _facts(choice: Choice, positions: Sequence[float]) -> dict[str, Any]:
    """Numbers and codes about a series, none of which identifies anybody; None where unknown."""
    first = choice.slices[0].header
    rows, columns = choice.turn.pair((first.rows, first.columns))
    numbers = {
        "slices": len(positions),
        "rows": rows,
        "columns": columns,
        "row_spacing_mm": choice.spacing_mm[0],
        "column_spacing_mm": choice.spacing_mm[1],
        "slice_spacing_mm": round(float(np.median(np.diff(positions))), 4) if len(positions) > 1 else math.nan,
        "slice_thickness_mm": first.thickness_mm,
        "field_of_view_mm": round(columns * choice.spacing_mm[1], 2),
        "kvp": first.kvp,
        "energy_kev": first.energy_kev,
        "phase_percent": first.phase_percent,
    }
    known = first.kernel if acquisition.KERNEL.fullmatch(first.kernel) else "other"
    return {
        **{name: None if math.isnan(value) else value for name, value in numbers.items()},
        "kernel": known if first.kernel else None,
        "energy_class": acquisition.energy_class(first.kvp, first.energy_kev),
        "kernel_class": acquisition.kernel_class(first.kernel),
        "gating": first.gating or None,
        "warnings": " ".join(choice.warnings),
    }
