"""What a section of a report is made of: sentences and tables of texts under a heading."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Row = dict[str, str | int | float | None]  # of a file of numbers, by columns


@dataclass(frozen=True)
class TextTable:
    """A table of the report; the first column names the rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: Sequence[int] = ()  # columns of text


@dataclass(frozen=True)
class Section:
    """Sentences and tables under a heading."""

    id: str
    heading: str
    lines: Sequence[str]
    tables: Sequence[TextTable]
