"""One number with its interval, the difference of two, and what stands in place of results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One number: its value, the units behind it, its 95 % interval with the method, and why one of them is missing."""

    value: float | None
    n: int
    low: float | None
    high: float | None
    interval: str | None
    note: str | None


@dataclass(frozen=True)
class Difference:
    """A figure of the reference and of the other, and the other less the reference."""

    reference: float | None
    other: float | None
    difference: float | None
    low: float | None
    high: float | None
    interval: str | None
    note: str | None


@dataclass(frozen=True)
class Category(Generic[T]):
    """Figures, or differences, of one category; in JSON they are in one object with its number."""

    category: int
    figures: dict[str, T]


@dataclass(frozen=True)
class Absent:
    """In place of results: why there are none."""

    note: str
