"""The files of one study once their headers are read, and which of them make its series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from cac_hpc.run.config import PackConfig
from cac_hpc.run.reasons import Refused
from cac_hpc.volumes import checks, images, series, subjects
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.images import Image
from cac_hpc.volumes.series import Choice, NoSeries
from cac_hpc.volumes.stacks import Candidate

PART_OF_SERIES = ("wrong_length", "no_rescale", "not_hu", "no_geometry", "unsupported_compression")  # a slice is lost
UNUSABLE = ("bad_pixel_format", "burned_in", "too_large")  # a slice of the series, or a page that was put into it


@dataclass
class Listing:
    """The files of a study once their headers are read.

    folders: of each file. found: number of a file, from 0, and a slice in it. refused: by number, why a file has none.
    """

    folders: list[bytes]
    found: list[tuple[int, Image]] = field(default_factory=list)
    refused: dict[int, Refused] = field(default_factory=dict)


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


def choose(listing: Listing, cfg: PackConfig, left_out: dict[int, Refused]) -> Choice:
    """The series among all slices that were found; why the others are not in it goes to the listing's ``refused``.

    Raises: NoSeries.
    """
    candidates = [
        Candidate(index, image.header, image.own, listing.folders[number])
        for index, (number, image) in enumerate(listing.found)
    ]
    try:
        other_studies = _of_other_studies(candidates, listing, cfg)
        choice = series.choose(candidates, cfg, left_out | other_studies)
    except NoSeries as none:
        listing.refused |= {listing.found[index][0]: why for index, why in none.others.items()}
        if none.chosen:
            _check_lost(none.chosen, listing)
        raise
    _check_lost(choice.slices, listing, choice.others)
    _check_frames(choice, listing)
    _check_usable(choice, listing, cfg)
    return choice


def _of_other_studies(candidates: Sequence[Candidate], listing: Listing, cfg: PackConfig) -> dict[int, Refused]:
    """The slices of studies that the settings do not take, by their index.

    Raises: NoSeries if there are several patients, or several studies and the settings take one only.
    """
    found = [candidate.header.subject for candidate in candidates]
    others = [why.subject for why in listing.refused.values() if why.subject is not None]
    try:
        subjects.check_one_patient([*found, *others])
        of_others = subjects.other_studies([*found, *others], cfg.several_studies)
    except Refused as why:
        raise NoSeries(why.reason, why.detail, dict.fromkeys(range(len(candidates)), why)) from None
    return {index: of_others[subject] for index, subject in enumerate(found) if subject in of_others}


def _check_lost(chosen: Sequence[Candidate], listing: Listing, others: Mapping[int, Refused] | None = None) -> None:
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
