"""Labels: what a score means, and so the calcium category of a study; how scores are written is checked here."""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cac_hpc.labels.sheets import Cell

SCORE = re.compile(r"(>\s*)?([0-9]+(?:\.[0-9]+)?)")
TOO_HIGH = 20_000  # no patient has that score, and as the serial number of a date it is in 1954
HIGH = 8000  # the serial number of a day in 1921
# a refused score that cannot be a name, a date or the number of a record is quoted: four digits, and words for no value
QUOTED = re.compile(r"[<>=~≤≥+-]{0,2} ?(?:(?:0|[1-9][0-9]{0,3}|[1-9][,. ][0-9]{3})(?:[.,][0-9]?)?|[.,][0-9])?(?: ?%)?")
NO_VALUE = re.compile(r"#?n/a|tbd|missing|pending|unknown|[?]|--?", re.IGNORECASE)  # Na, Nil, None are names, too
YEAR = re.compile(r"\D*(?:19|20)[0-9]{2}\D*")


@dataclass(frozen=True, slots=True)
class Label:
    """What is known of one study; category is 0 for the lowest."""

    study: str  # the folder's name
    patient: str  # "P0001" and so on, as the sheet may hold names; the study itself without a patient column
    score: float | None  # None: above the last edge, as the sheet says no more than that
    category: int
    vessels: Mapping[str, float] = field(default_factory=dict)  # score of each vessel, where they are known
    groups: Mapping[str, str] = field(default_factory=dict)  # text of labels.group_columns; a blank cell is not in it
    site: str = ""  # the name of its cohort, of several in a run


def read_score(text: str, edges: Sequence[float]) -> tuple[float | None, int]:
    """Score and category of the text of a cell.

    A score is ASCII digits, with a point in front of decimals, and below 20000: what is higher may be the serial number
    of a date. ``>1000`` has no score, but a category, and is valid from the last edge on: with a lower number it could
    be of two categories.

    Args:
        edges: as for `categories`.
    Raises: ValueError saying what was wanted in place of any other text.
    """
    found = SCORE.fullmatch(text.strip())
    if not found:
        raise ValueError(_wanted_score(text, edges))
    score = float(found[2])
    if score >= TOO_HIGH:
        raise ValueError(
            f"a number of {TOO_HIGH} or more, as the serial number of a date is; wanted a score below {TOO_HIGH}"
        )
    if not found[1]:
        return score, category(score, edges)
    if score < edges[-1]:
        raise ValueError(f"which leaves the category open; wanted a number, or > from {edges[-1]:.15g} on")
    return None, len(edges)


def category(score: float, edges: Sequence[float]) -> int:
    """Category of a single score, as `categories` says of many.

    Args:
        score: finite. edges: as there.
    """
    return bisect.bisect_left(edges, score)


def categories(scores: Sequence[float], edges: Sequence[float]) -> np.ndarray:
    """Category of each score: the number of edges below it, so an edge belongs to the category that ends there.

    Args:
        scores: (N,) Agatston scores, finite. edges: rising upper edges of all categories but the last.
    Returns: (N,) int64.
    """
    return np.searchsorted(np.asarray(edges, dtype=float), np.asarray(scores, dtype=float), side="left")


def _wanted_score(text: str, edges: Sequence[float]) -> str:
    if re.search(r"[0-9],[0-9]", text):
        return "where a comma may part thousands or decimals; wanted 1234 or 12.5"
    if re.match(r"-\s*[0-9.]", text):
        return "wanted 0 or more"
    return f"wanted a number such as 12.5, or >{edges[-1]:.15g}"


def shown(cell: Cell) -> str:
    """The text of a cell that may be quoted, or what is in place of text."""
    if not cell.text:
        return cell.fault or "blank"
    return repr(cell.text if len(cell.text) <= 40 else cell.text[:37] + "...")


def shown_score(cell: Cell) -> str:
    """A refused score; quoted only if it can be no name, no date and no number of a record."""
    quotable = QUOTED.fullmatch(cell.text) and not YEAR.fullmatch(cell.text)
    if not cell.text or NO_VALUE.fullmatch(cell.text) or quotable:
        return shown(cell)
    return "text" if re.search(r"[^\W\d_]", cell.text) or not re.search(r"\d", cell.text) else "digits"
