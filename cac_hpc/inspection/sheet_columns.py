"""What the columns of a sheet that nobody knows seem to hold: study numbers, scores, vessels, patients.

No cell is ever handed on, only the names of columns and counts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cac_hpc.labels import affixes, sheets
from cac_hpc.labels.affixes import Proposal
from cac_hpc.labels.labels import SCORE, TOO_HIGH
from cac_hpc.labels.sheets import Cell, SheetError
from cac_hpc.labels.spelling import normalised

MOST = 0.8  # share of the cells of a column that are what it is taken for
SAME_SUM = 0.01, 0.6  # a total is the sum of the vessels within this share and this number, which rounding can make
VESSEL = re.compile(r"(?<![a-z])(lm|lmca|lca|left main|lad|lcx|cx|circumflex|rca)(?![a-z])", re.IGNORECASE)
TOTAL = re.compile(r"agatston|total|score|calcium|(?<![a-z])cacs?(?![a-z])", re.IGNORECASE)
OTHER_MEASURE = re.compile(r"vol|mass|mg|mm|percentile|categor|class|grade|age|year|date", re.IGNORECASE)
PATIENT = re.compile(r"patient|subject|person|(?<![a-z])(mrn|pid|pat)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """A column by what is in it. role: study, score, vessel, patient, or "" where it looks like none of them.

    filled: cells that are not blank. studies: study folders that its cells name. numbers: cells that can be scores.
    """

    name: str
    role: str
    filled: int
    studies: int
    numbers: int


@dataclass(frozen=True)
class SheetFound:
    """A sheet and what its columns are taken for; None and () where none fits. fault: why it cannot be read.

    matched: study folders that it has a row for, with the prefix or suffix that ``dropped`` proposes. doubts: what else
    the columns could be, for a person to decide.
    """

    path: str
    rows: int = 0
    columns: tuple[Column, ...] = ()
    study: str | None = None
    score: str | None = None
    vessels: tuple[str, ...] = ()
    patient: str | None = None
    matched: int = 0
    dropped: Proposal | None = None
    doubts: tuple[str, ...] = ()
    fault: str = ""


Cells = dict[str, list[Cell]]


def look(path: Path, studies: Collection[str]) -> SheetFound:
    """Read a sheet and say what its columns hold.

    Args:
        studies: names of the study folders.
    """
    try:
        names = sheets.column_names(path)
        rows = sheets.read_sheet(path, names)
    except SheetError as error:
        return SheetFound(str(path), fault=str(error))
    cells = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    study, dropped, matched = _study_column(cells, studies)
    vessels = tuple(name for name in names if name != study and VESSEL.search(name) and _is_scores(cells[name]))
    vessels = vessels if len(vessels) > 1 else ()
    score, doubts = _score_column(
        {name: cells[name] for name in names if name not in (study, *vessels)}, cells, vessels
    )
    patient = _patient_column(cells, (study, score, *vessels))
    roles = dict.fromkeys(vessels, "vessel") | {study: "study", score: "score", patient: "patient"}
    known = {normalised(name) for name in studies}
    columns = tuple(Column(name, roles.get(name, ""), *_counts(column, known)) for name, column in cells.items())
    return SheetFound(str(path), len(rows), columns, study, score, vessels, patient, matched, dropped, tuple(doubts))


def _counts(column: Sequence[Cell], known: Collection[str]) -> tuple[int, int, int]:
    filled = [cell for cell in column if cell.text or cell.fault]
    named = {normalised(cell.text) for cell in filled} & set(known)
    return len(filled), len(named), sum(_is_score(cell) for cell in filled)


def _study_column(cells: Cells, studies: Collection[str]) -> tuple[str | None, Proposal | None, int]:
    """The column that names most study folders; of those that name as many, the one whose cells repeat least.

    Returns: its name, what has to be dropped from its cells or the folders' names, and how many folders it names.
    """
    known = {normalised(name) for name in studies}
    best: tuple[tuple[int, bool, float], str | None, Proposal | None, int] = ((0, False, 0.0), None, None, 0)
    for name, column in cells.items():
        texts = [normalised(cell.text) for cell in column if cell.text]
        if not texts:
            continue
        matched, dropped = len(known & set(texts)), None
        proposed = affixes.propose(set(texts) - known, known - set(texts))
        if proposed and len(proposed.pairs) > matched:
            matched, dropped = len(proposed.pairs), _as_written(proposed, column)
        rank = matched, dropped is None, len(set(texts)) / len(texts)
        if matched and rank > best[0]:
            best = rank, name, dropped, matched
    return best[1:]


def _as_written(proposed: Proposal, column: Sequence[Cell]) -> Proposal:
    """The same with letters of the case in which the cells have them."""
    folded = proposed.text
    for cell in column:
        part = cell.text[: len(folded)] if proposed.setting == affixes.PREFIX else cell.text[-len(folded) :]
        if part.casefold() == folded:
            return replace(proposed, text=part)
    return proposed


def _score_column(others: Cells, cells: Cells, vessels: Sequence[str]) -> tuple[str | None, list[str]]:
    """The column of totals, and what speaks against it: the sum of the vessels, else a name that says so.

    Returns: None where the vessels stand alone, or nothing looks like scores.
    """
    numbers = [name for name, column in others.items() if _is_scores(column)]
    sums = [name for name in numbers if vessels and _is_sum(cells, name, vessels)]
    named = [name for name in numbers if TOTAL.search(name) and not OTHER_MEASURE.search(name)]
    fitting = sums or named or ([] if vessels else [name for name in numbers if not OTHER_MEASURE.search(name)])
    if not fitting:
        return None, []
    rest = [name for name in fitting[1:] if name != fitting[0]]
    doubts = [f"{fitting[0]!r} or {', '.join(map(repr, rest))}: which is the Agatston score?"] if rest else []
    if vessels and named and not sums:
        doubts.append(f"{named[0]!r} is not the sum of {', '.join(map(repr, vessels))}")
    if not (sums or named):
        doubts.append(f"{fitting[0]!r} holds numbers, but its name does not say that they are Agatston scores")
    return fitting[0], doubts


def _patient_column(cells: Cells, taken: Collection[str | None]) -> str | None:
    """A column whose name says that it names patients, if some of them have several rows."""
    for name, column in cells.items():
        texts = [normalised(cell.text) for cell in column if cell.text]
        if name not in taken and PATIENT.search(name) and len(set(texts)) < len(texts):
            return name
    return None


def _is_scores(column: Sequence[Cell]) -> bool:
    """Whether most filled cells can be scores."""
    filled = [cell for cell in column if cell.text or cell.fault]
    return bool(filled) and sum(map(_is_score, filled)) >= MOST * len(filled)


def _is_score(cell: Cell) -> bool:
    found = SCORE.fullmatch(cell.text.strip())
    return found is not None and float(found[2]) < TOO_HIGH


def _is_sum(cells: Mapping[str, Sequence[Cell]], total: str, vessels: Sequence[str]) -> bool:
    """Whether a column is the sum of others in most rows that have numbers in all of them."""
    rows = [
        row for row in zip(cells[total], *(cells[name] for name in vessels), strict=True) if all(map(_is_score, row))
    ]
    share, number = SAME_SUM
    sums = [
        (float(first.text.lstrip("> ")), sum(float(cell.text.lstrip("> ")) for cell in rest)) for first, *rest in rows
    ]
    same = sum(abs(one - other) <= max(number, share * one) for one, other in sums)
    return bool(rows) and same >= MOST * len(rows)
