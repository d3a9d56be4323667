"""Of how many patients a figure is as sure as wanted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NeededPatients:
    """Of how many patients the 95 % interval of a figure is so wide; None where that cannot be worked out."""

    figure: str
    width: float
    patients: int | None


@dataclass(frozen=True)
class ExpectedWidth:
    """How wide the interval of a figure is, and would be of more patients; event: of a cut, None of all categories."""

    figure: str
    event: str | None
    now: float
    then: list[float]


@dataclass(frozen=True)
class HowMany:
    """What more patients would settle; times: as many as there are now."""

    patients: int
    times: list[int]
    widths: list[ExpectedWidth]
