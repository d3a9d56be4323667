"""One study as its reader hands it on, whatever its files are: slices in the patient frame, facts, refused files.

Nothing of it, ``identity`` apart, holds text from a file, a file's name or its path. Axes: H row, W column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cac_hpc.run.rejections import Refused
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import acquisition
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.frame import AS_STORED, Turn
from cac_hpc.volumes.placement import Placement
from cac_hpc.volumes.scanner import UNKNOWN

# takes a slice (H, W) int16 HU, valid until the next, and its position in mm
Keep = Callable[[np.ndarray, float], None]


@dataclass(frozen=True)
class Refusal:
    """A file that is not used."""

    file: int  # its number among the files of the study, from 1
    reason: str  # a code of run/rejections
    detail: str  # what was found


@dataclass(frozen=True)
class References:
    """By what other objects name the series and its coordinates; "" where unknown. Never to be written."""

    series: str = ""  # SeriesInstanceUID
    frame_of_reference: str = ""  # FrameOfReferenceUID


@dataclass(frozen=True)
class Described:
    """Whom the series shows and what made it, as its headers say; else UNKNOWN, or `person.CONTRADICTORY`."""

    sex: str = UNKNOWN
    age_group: str = UNKNOWN
    scanner: str = UNKNOWN


@dataclass(frozen=True)
class Study:
    """What a study folder held."""

    num_files: int
    refusals: list[Refusal]
    facts: dict[str, Any] | None  # numbers and codes of the series, see `facts`; None if there is none to be used
    identity: frozenset[str]  # what may identify the patient and must not be written
    private: bool  # whether there are private elements
    turn: Turn = AS_STORED  # what brought the stored slices of the series into the patient frame
    slice_files: tuple[int, ...] = ()  # number of the file of each slice that was handed on, from 1; () if untold
    slice_frames: tuple[int, ...] = ()  # its frame in that file, from 1; () if untold
    placement: Placement | None = None  # of the voxels that were handed on; None if slices are uneven, or untold
    references: References = References()
    described: Described = Described()
    groups: Mapping[str, str] = field(default_factory=dict)  # by data.subgroups, see dataset/groups

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between slices, rows and columns of a series that is to be used; NaN between slices of a single one."""
        facts = self.facts or {}
        return facts["slice_spacing_mm"] or math.nan, facts["row_spacing_mm"], facts["column_spacing_mm"]


@dataclass(frozen=True)
class Read:
    """A study's series as it was read."""

    study: Study
    candidates: Sequence[int] = ()  # numbers of its slices, by which they are left out when the study is read again


ReadSeries = Callable[[PackConfig, Mapping[int, Refused], Keep], Read]


@dataclass(frozen=True)
class Reader:
    """One format of study folders.

    ``open`` takes a study's files and reads what it needs of them to choose a series. What it returns chooses one among
    all slices but those that are left out, by their number among the candidates, and hands its slices to `Keep` in
    ascending order along the normal, in the patient frame. They are void if the study has no series to be used, which
    is no error: each of its files has a refusal then. By headers alone: how many slices would be used, and why other
    files would not.
    """

    claims: Callable[[Sequence[Entry]], bool]  # whether a study of these files is of this format
    open: Callable[[Sequence[Entry]], ReadSeries]
    by_headers: Callable[[Sequence[Entry], PackConfig], tuple[int, list[Refused]]]


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """How a series was made, as far as its files say; NaN or "" where they do not."""

    thickness_mm: float = math.nan
    kvp: float = math.nan
    energy_kev: float = math.nan
    phase_percent: float = math.nan
    kernel: str = ""
    gating: str = ""


def facts(
    positions_mm: Sequence[float],
    size: tuple[int, int],
    spacing_mm: tuple[float, float],
    made: Acquisition,
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Numbers and codes about a series, none of which identifies anybody; None where unknown.

    Args:
        positions_mm: of the slices along their normal, ascending.
        size: rows and columns of a slice.
        spacing_mm: between rows, and between columns.
        warnings: codes of the checks that the series failed and the settings forgive.
    """
    numbers = {
        "slices": len(positions_mm),
        "rows": size[0],
        "columns": size[1],
        "row_spacing_mm": spacing_mm[0],
        "column_spacing_mm": spacing_mm[1],
        "slice_spacing_mm": round(float(np.median(np.diff(positions_mm))), 4) if len(positions_mm) > 1 else math.nan,
        "slice_thickness_mm": made.thickness_mm,
        "field_of_view_mm": round(size[1] * spacing_mm[1], 2),
        "kvp": made.kvp,
        "energy_kev": made.energy_kev,
        "phase_percent": made.phase_percent,
    }
    return {
        **{name: None if math.isnan(value) else value for name, value in numbers.items()},
        "kernel": acquisition.shown_kernel(made.kernel) or None,
        "energy_class": acquisition.energy_class(made.kvp, made.energy_kev),
        "kernel_class": acquisition.kernel_class(made.kernel),
        "gating": made.gating or None,
        "warnings": " ".join(warnings),
    }
