"""A study of DICOM files: headers read, a series chosen, its slices decoded; each file is used or has a reason.

Axes: H row, W column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NoReturn

import numpy as np

from cac_hpc.run import digests
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import acquisition, checks, images, person, pixels, placement, scanner, series
from cac_hpc.volumes import study as studies
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.frame import AS_STORED
from cac_hpc.volumes.images import Image
from cac_hpc.volumes.placement import Placement
from cac_hpc.volumes.series import Choice, NoSeries
from cac_hpc.volumes.stacks import SliceEntry, Stack
from cac_hpc.volumes.study import Acquisition, Described, Keep, Read, ReadSeries, References, Refusal, Study

PART_OF_SERIES = ("wrong_length", "no_rescale", "not_hu", "no_geometry", "unsupported_compression")  # a slice is lost
UNUSABLE = ("bad_pixel_format", "burned_in", "too_large")  # a slice of the series, or a page that was put into it
AIR_BELOW_HU, TISSUE_HU = -400, (-150, 250)
MOST_TRIED = 64  # files in which the header of a CT image is looked for
UNEVEN = 0.1  # of the spacing: so far a slice may be from where it should be, that masks are placed among the slices
MIN_AIR, MIN_TISSUE = 0.01, 0.02  # shares of the voxels of a chest, at least
# (H, W) int16 HU of a slice as stored; it may lie in the memory given
ReadHu = Callable[[Image, bytearray], np.ndarray]


@dataclass
class Listing:
    """The files of a study once their headers are read.

    folders: of each file. found: number of a file, from 0, and a slice in it. refused: by number, why a file has none.
    """

    folders: list[bytes]
    found: list[tuple[int, Image]] = field(default_factory=list)
    refused: dict[int, Refused] = field(default_factory=dict)

    @property
    def refusals(self) -> list[Refusal]:
        """Of the files that are refused, in their order."""
        return [Refusal(number + 1, why.reason, why.detail) for number, why in sorted(self.refused.items())]


def open_study(entries: Sequence[Entry]) -> ReadSeries:
    """What reads a series of a study whose headers are read now; see `study.Reader`."""
    return partial(read_series, read_headers(entries), _hu)


def by_headers(entries: Sequence[Entry], cfg: PackConfig) -> tuple[int, list[Refused]]:
    """How many slices the series has, and why other files are not in it, by headers alone."""
    return count(read_headers(entries), cfg)


def count(found: Listing, cfg: PackConfig) -> tuple[int, list[Refused]]:
    """How many slices the series has that would be chosen, and why other files are not in it."""
    try:
        used = len(choose(found, cfg, {}).slices)
    except NoSeries:
        used = 0
    return used, list(found.refused.values())


def read_scanner(entries: Sequence[Entry]) -> str:
    """The scanner of a study by the header of its first CT image; unknown if none of the first files is one."""
    for entry in [entry for entry in entries if not entry.refused][:MOST_TRIED]:
        try:
            header = images.read_images(entry.path)[0].header
            return scanner.without_identity(header.scanner, header.identity)
        except Refused:
            continue
    return scanner.UNKNOWN


def _hu(image: Image, scratch: bytearray) -> np.ndarray:
    return pixels.pixels_to_hu(pixels.read_stored(image, scratch), image.header)


def read_headers(entries: Sequence[Entry]) -> Listing:
    """Read the headers of all files of a study."""
    listing = Listing([entry.folder for entry in entries])
    for number, entry in enumerate(entries):
        try:
            if entry.refused:
                raise entry.refused
            listing.found += [(number, image) for image in images.read_images(entry.path)]
        except Refused as why:
            listing.refused[number] = why
    return listing


def choose(listing: Listing, cfg: PackConfig, left_out: Mapping[int, Refused]) -> Choice:
    """The series among all slices that were found; why the others are not in it goes to the listing's ``refused``.

    Raises: NoSeries.
    """
    candidates = [
        SliceEntry(index, image.header, image.own, listing.folders[number])
        for index, (number, image) in enumerate(listing.found)
    ]
    try:
        other_studies = _of_other_studies(candidates, listing, cfg)
        choice = series.choose(candidates, cfg, {**left_out, **other_studies})
    except NoSeries as none:
        listing.refused |= {listing.found[index][0]: why for index, why in none.others.items()}
        if none.chosen:
            _check_lost(none.chosen, listing)
        raise
    _check_lost(choice.slices, listing, choice.others)
    _check_frames(choice, listing)
    _check_usable(choice, listing, cfg)
    return choice


def _of_other_studies(candidates: Sequence[SliceEntry], listing: Listing, cfg: PackConfig) -> dict[int, Refused]:
    """The slices of studies that the settings do not take, by their index.

    Raises: NoSeries if there are several patients, or several studies and the settings take one only.
    """
    found = [candidate.header.subject for candidate in candidates]
    others = [why.subject for why in listing.refused.values() if why.subject is not None]
    try:
        acquisition.check_one_patient([*found, *others])
        of_others = acquisition.other_studies([*found, *others], cfg.several_studies)
    except Refused as why:
        raise NoSeries(why.reason, why.detail, dict.fromkeys(range(len(candidates)), why)) from None
    return {index: of_others[subject] for index, subject in enumerate(found) if subject in of_others}


def _check_lost(chosen: Sequence[SliceEntry], listing: Listing, others: Mapping[int, Refused] | None = None) -> None:
    """No file of the series is lost, which would leave a gap.

    Args:
        others: why other slices are not chosen, by their index.
    Raises: NoSeries.
    """
    first, used = chosen[0], {listing.found[candidate.index][0] for candidate in chosen}
    for number, why in sorted(listing.refused.items()):
        same = why.series == first.header.series and (why.series or listing.folders[number] == first.folder)
        if same and why.reason in PART_OF_SERIES:
            listing.refused |= {listing.found[index][0]: its for index, its in (others or {}).items()}
            refuse_all(used, number, why, listing.refused)


def _check_frames(choice: Choice, listing: Listing) -> None:
    """No file is in the series with some of its frames only, other phases apart; the other files get their reasons.

    Raises: NoSeries.
    """
    used = {listing.found[candidate.index][0] for candidate in choice.slices}
    others = {
        listing.found[index][0]: why
        for index, why in choice.others.items()
        if why.reason != "other_phase" or listing.found[index][0] not in used
    }
    listing.refused |= others
    if mixed := used & set(others):
        mixed_frames = Refused("mixed_frames", "its frames belong to several series")
        refuse_all(used, min(mixed), mixed_frames, listing.refused)


def _check_usable(choice: Choice, listing: Listing, cfg: PackConfig) -> None:
    """Every file of the series holds a slice; what is no image of 16 bits may be a page, or one that is missing.

    Raises: NoSeries if the settings do not forgive it.
    """
    series_uid = choice.slices[0].header.series
    if any(why.reason in UNUSABLE and why.series == series_uid for why in listing.refused.values()):
        incomplete = Refused("incomplete_acquisition", "a file of the series cannot be used")
        try:
            checks.note(choice.warnings, incomplete, cfg)
        except Refused:
            listing.refused |= {listing.found[candidate.index][0]: incomplete for candidate in choice.slices}
            raise NoSeries(incomplete.reason, incomplete.detail, {}) from None


def refuse_all(used: set[int], culprit: int, why: Refused, refused: dict[int, Refused]) -> NoReturn:
    """Refuse the files of a series because of one of them.

    Raises: NoSeries.
    """
    refused |= dict.fromkeys(used, Refused("study_refused", f"file {culprit + 1} of the series: {why.reason}"))
    refused[culprit] = why
    raise NoSeries(why.reason, why.detail, {}) from None


def read_series(listing: Listing, hu: ReadHu, cfg: PackConfig, left_out: Mapping[int, Refused], keep: Keep) -> Read:
    """Choose a series and read it.

    Args:
        hu: reads the pixels of a slice.
        left_out: slices that are not to be chosen, by their place in the listing.
    """
    listing = replace(listing, refused=dict(listing.refused))
    facts = choice = None
    handed_on = list[tuple[int, int, float]]()
    try:
        choice = choose(listing, cfg, left_out)
        handed_on = _read_slices(choice, listing, hu, cfg, keep)
        facts = _facts(choice, [position_mm for *_, position_mm in handed_on])
    except NoSeries:
        pass  # every file has its reason
    headers = [image.header for _, image in listing.found]
    identity = frozenset[str]().union(*{header.identity for header in headers})
    private = any(header.private for header in headers)
    turn = choice.turn if choice else AS_STORED
    files = tuple(number + 1 for number, _, _ in handed_on)
    frames = tuple(frame + 1 for _, frame, _ in handed_on)
    study = Study(len(listing.folders), listing.refusals, facts, identity, private, turn, files, frames)
    if choice and facts:
        positions_mm = [position_mm for *_, position_mm in handed_on]
        study = replace(
            study,
            placement=_placement(choice, positions_mm),
            references=_references(choice),
            described=_described(choice),
        )
    return Read(study, choice.of_series if choice else ())


def _placement(choice: Choice, positions_mm: Sequence[float]) -> Placement | None:
    """Where the voxels of the series are; None where its slices are uneven, as a gap that is forgiven leaves them.

    Args:
        positions_mm: of the slices that were handed on, along their normal.
    """
    stack, first, last = Stack(choice.slices), choice.slices[0], choice.slices[-1]
    num_slices = len(positions_mm)
    even_mm, step_mm = np.linspace(positions_mm[0], positions_mm[-1], num_slices, retstep=True)
    if num_slices > 1 and np.abs(even_mm - positions_mm).max() > UNEVEN * step_mm:
        return None
    size = first.header.rows, first.header.columns
    position_mm = first.own.position, last.own.position
    return placement.of_slices(*position_mm, num_slices, stack.orientation, size, stack.spacing, choice.turn)


def _references(choice: Choice) -> References:
    header = choice.slices[0].header
    return References(header.series, header.frame_of_reference)


def _described(choice: Choice) -> Described:
    """What the headers of the series say together."""
    headers = {id(one.header): one.header for one in choice.slices}.values()  # most slices have the same object
    return Described(
        person.agreed({header.person.sex for header in headers}),
        person.agreed({header.person.age_group for header in headers}),
        person.agreed({header.scanner for header in headers}),
    )


def _read_slices(
    choice: Choice, listing: Listing, hu: ReadHu, cfg: PackConfig, keep: Keep
) -> list[tuple[int, int, float]]:
    """Decode the chosen slices one after the other and hand each on in the patient frame, dropping copies.

    Returns: of each slice the number of its file and of its frame there, both from 0, and its position in mm.
    Raises: NoSeries if any slice cannot be used; all files of the series are then refused.
    """
    refused, chosen = listing.refused, [listing.found[candidate.index] for candidate in choice.slices]
    used = {number for number, _ in chosen}
    scratch = bytearray(chosen[0][1].header.num_bytes)
    kept, copies = set[int](), dict[int, Refused]()
    at, before, shares = dict[bytes, float](), b"", np.zeros(2)
    handed_on = list[tuple[int, int, float]]()
    for (number, image), position_mm, again in zip(chosen, choice.position_mm.tolist(), choice.repeated, strict=True):
        try:
            hu_HW = choice.turn.of(hu(image, scratch))
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
        handed_on.append((number, image.frame, position_mm))
        kept.add(number)
        before = digest
    refused |= {number: why for number, why in copies.items() if number not in kept}  # its other frames may be used
    try:
        choice.warnings.extend(_implausible(shares / len(handed_on), cfg))
    except Refused as why:
        refused |= dict.fromkeys(used, why)
        raise NoSeries(why.reason, why.detail, {}) from None
    return handed_on


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


def _facts(choice: Choice, positions: Sequence[float]) -> dict[str, object]:
    first = choice.slices[0].header
    made = Acquisition(
        thickness_mm=first.thickness_mm,
        kvp=first.kvp,
        energy_kev=first.energy_kev,
        phase_percent=first.phase_percent,
        kernel=first.kernel,
        gating=first.gating,
    )
    size = choice.turn.pair((first.rows, first.columns))
    return studies.facts(positions, size, choice.spacing_mm, made, choice.warnings)
