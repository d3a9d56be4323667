"""What the headers of a study say of each of its series, and which of them the rule takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.dataset import summary
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import acquisition, dicom_study, frame, volume_study
from cac_hpc.volumes.dicom_study import Listing
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.series import NoSeries
from cac_hpc.volumes.stacks import SliceEntry, Stack, stacks

AXIAL_DEGREES = 45  # of the normal from the body axis, at most


@dataclass(frozen=True)
class SeriesFound:
    """A series by its headers; None or "" where they do not say. Nothing of it identifies a patient.

    slices: files or frames of it. positions: where they are, each counted once. taken: how many the rule takes.
    spacing_mm: between positions. pixel_mm: between columns. lies: axial, tilted or not axial, and whether rows and
    columns are those of the patient frame. why: the reason for which the others, or all, are not taken.
    """

    slices: int
    positions: int
    spacing_mm: float | None
    thickness_mm: float | None
    pixel_mm: float
    rows: int
    columns: int
    lies: str
    kvp: float | None
    kernel: str
    kernel_class: str
    gating: str
    contrast_agent: bool
    taken: int
    why: str


@dataclass(frozen=True)
class StudyFound:
    """series: the one that is taken comes first, then the longest. others: files not taken, by reason. objects:
    DICOM files among these that are no CT images, as reports and segmentations are.
    """

    num_files: int
    series: list[SeriesFound]
    others: Counter[str]
    objects: tuple[Path, ...] = ()
    is_volume: bool = False  # in another format than DICOM
    refused: str = ""  # why no series is taken: the reason of most files

    @property
    def taken(self) -> SeriesFound | None:
        return next((series for series in self.series if series.taken), None)


def read_study(entries: Sequence[Entry], cfg: PackConfig) -> StudyFound:
    """Read the headers of a study's files, and choose as packing does before it has read a pixel."""
    is_volume = volume_study.claims(entries)
    listing = volume_study.listed(entries, cfg)[0] if is_volume else dicom_study.read_headers(entries)
    others = Counter(why.reason for why in listing.refused.values())
    try:
        used = {candidate.index for candidate in dicom_study.choose(listing, cfg, {}).slices}
    except NoSeries:
        used = set()
    candidates = [
        SliceEntry(index, image.header, image.own, listing.folders[number])
        for index, (number, image) in enumerate(listing.found)
    ]
    found = [_series(stack, used, listing) for stack in stacks(candidates)]
    of_other_kind = [number for number, why in listing.refused.items() if why.reason == "not_ct_image"]
    objects = tuple(entries[number].path for number in sorted(of_other_kind))
    why = "" if used else summary.main_reason([(one.reason, one.detail) for one in listing.refused.values()])
    return StudyFound(
        len(entries), sorted(found, key=lambda one: (-one.taken, -one.slices)), others, objects, is_volume, why
    )


def _series(stack: Stack, used: set[int], listing: Listing) -> SeriesFound:
    first = stack.first.header
    taken = [candidate.index for candidate in stack.slices if candidate.index in used]
    numbers = {listing.found[candidate.index][0] for candidate in stack.slices if candidate.index not in used}
    reasons = Counter(
        f"{why.reason}: {why.detail}" for number in numbers if (why := listing.refused.get(number)) is not None
    )
    return SeriesFound(
        slices=len(stack),
        positions=len(stack.levels),
        spacing_mm=_known(stack.step),
        thickness_mm=_known(stack.thickness),
        pixel_mm=round(stack.spacing[1], 4),
        rows=first.rows,
        columns=first.columns,
        lies=_lies(stack),
        kvp=_known(first.kvp),
        kernel=acquisition.shown_kernel(first.kernel),
        kernel_class=acquisition.kernel_class(first.kernel),
        gating=first.gating,
        contrast_agent=any(header.contrast_agent for header in stack.headers),
        taken=len(taken),
        why=reasons.most_common(1)[0][0] if reasons else "",
    )


def _lies(stack: Stack) -> str:
    if stack.lean_degrees > AXIAL_DEGREES:
        return "not axial"
    said = "axial" if stack.lean_degrees < 1 else f"tilted {stack.lean_degrees:.0f} degrees"
    return said if frame.turn(stack.orientation).is_none else f"{said}, turned when it is read"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)
