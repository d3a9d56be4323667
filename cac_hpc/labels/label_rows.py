"""Rows of labels of one or several sheets, a new format is a line of READERS; the score that a row comes to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cac_hpc.labels import labels, sheets
from cac_hpc.labels.labels import SCORE, read_score, shown, shown_score
from cac_hpc.labels.sheets import Cell, ColumnError, SheetError, read_sheet
from cac_hpc.run import digests
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig

Reader = Callable[[Path, Sequence[str]], list[tuple[Cell, ...]]]  # as `sheets.read_sheet`, with its errors
READERS: dict[str, Reader] = {  # by the ending of labels.sheet
    ".csv": read_sheet,
    ".xlsx": read_sheet,
}


@dataclass(frozen=True, slots=True)
class Row:
    """What a source says of one study, whatever is in its cells."""

    study: Cell
    score: Cell | None  # None without a column of totals
    patient: Cell | None = None
    vessels: Mapping[str, Cell] = field(default_factory=dict)  # by the column's name
    groups: Mapping[str, Cell] = field(default_factory=dict)  # of labels.group_columns, by the column's name
    sheet: str = ""  # which of several sheets it is in
    checked: Mapping[str, float] = field(default_factory=dict)  # scores of vessels that agree with the score
    fault: str = ""  # why the source has no score, where no cell says so
    remarks: tuple[str, ...] = ()  # for a person to look at, the same words for every study

    @property
    def number(self) -> int:
        """As a spreadsheet program counts."""
        return int(re.findall("[0-9]+", self.study.address)[0])

    @property
    def scored(self) -> Cell:
        """The cell that stands for the score in messages."""
        return self.score or next(iter(self.vessels.values()))


@dataclass(frozen=True, slots=True)
class Reading:
    """The score that a row comes to; None above the last edge, where the row says no more."""

    score: float | None
    category: int
    vessels: dict[str, float]


def read_rows(cfg: LabelsConfig) -> list[Row]:
    """What all sheets say of each study, nothing of it checked but that it can be read.

    Raises: InputError if a sheet as a whole cannot be used, or says nothing.
    """
    names = _short_names(cfg.sheets)
    return [row for path in cfg.sheets for row in _rows(cfg, path, names[path])]


def content(cfg: LabelsConfig) -> str:
    """Digest of what the sheets hold: of a single sheet its file's, else of the files' and the worksheets' names."""
    parts = [sheets.split(Path(path)) for path in cfg.sheets]
    found = [(digests.file_sha256(file), worksheet) for file, worksheet in parts]
    return found[0][0] if len(found) == 1 and found[0][1] is None else digests.content_sha256(found)


def named(rows: Sequence[Row]) -> str:
    """Where rows stand, and the study that each names."""
    return " and ".join(f"{row.study.address} {shown(row.study)}" for row in rows)


def score_of(row: Row, edges: Sequence[float]) -> tuple[Reading | None, list[str]]:
    """The score of a row: its total, else the sum of its vessels; where both are there they must agree.

    Args:
        edges: as for `labels.categories`.
    Returns: no score, and what is wrong with the cells, if anything is. A patient's cell is never quoted.
    """
    if row.fault:
        return None, [row.fault]
    vessels, faults = _vessels(row, edges) if row.vessels else ({}, [])
    total: tuple[float | None, int] | None = None
    if row.score:
        try:
            total = read_score(row.score.text, edges)
        except ValueError as error:
            faults.insert(0, f"{row.score.address} is {shown_score(row.score)}, {error}")
    if not faults and total and vessels and (fault := _contradiction(row, vessels)):
        faults.append(fault)
    if faults:
        return None, faults
    if total and (total[0] is not None or not vessels):
        return Reading(*total, vessels or dict(row.checked)), []
    added = _sum(vessels)
    return Reading(added, labels.category(added, edges), vessels), []


def _rows(cfg: LabelsConfig, path: str, name: str) -> list[Row]:
    """The rows of one sheet.

    Args:
        name: of the sheet among several, "" of a single one.
    """
    wanted = [cfg.study_column, *filter(None, [cfg.score_column, cfg.patient_column]), *cfg.vessel_columns]
    wanted += cfg.group_columns
    read = READERS.get(sheets.split(Path(path))[0].suffix.lower(), read_sheet)  # which refuses other endings
    try:
        rows = [dict(zip(wanted, cells, strict=True)) for cells in read(Path(path), wanted)]
    except ColumnError as error:
        settings = ("study_column", "score_column", "patient_column", "vessel_columns", "group_columns")
        named = f"{', '.join(f'labels.{name}' for name in settings[:-1])} or labels.{settings[-1]}"
        raise InputError(f"{path}: {error}; set {named} to the sheet's names") from error
    except SheetError as error:
        raise InputError(f"labels.sheet is {path!r}: {error}") from error
    if not rows:
        raise InputError(f"{path}: found no row below the column names, wanted one row per study")
    return [_row(cfg, _placed(cells, name), name) for cells in rows]


def _row(cfg: LabelsConfig, cells: Mapping[str, Cell], name: str) -> Row:
    return Row(
        cells[cfg.study_column],
        cells[cfg.score_column] if cfg.score_column else None,
        cells[cfg.patient_column] if cfg.patient_column else None,
        {vessel: cells[vessel] for vessel in cfg.vessel_columns},
        {column: cells[column] for column in cfg.group_columns},
        name,
    )


def _placed(cells: Mapping[str, Cell], name: str) -> Mapping[str, Cell]:
    """The cells with the name of their sheet in their address, if there are several sheets."""
    if not name:
        return cells
    return {column: cell._replace(address=f"{cell.address} of {name}") for column, cell in cells.items()}


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """What each of several sheets is called in messages: its file's name, or all of the path where names repeat."""
    if len(paths) == 1:
        return {paths[0]: ""}
    names = [Path(path).name for path in paths]
    return {path: path if names.count(name) > 1 else name for path, name in zip(paths, names, strict=True)}


def _vessels(row: Row, edges: Sequence[float]) -> tuple[dict[str, float], list[str]]:
    """The score of each vessel, none where all cells are blank beside a total, and what is wrong with the cells."""
    if all(not cell.text and not cell.fault for cell in row.vessels.values()):
        if row.score:
            return {}, []
        first, *_, last = row.vessels.values()
        return {}, [f"{first.address} to {last.address} are blank, wanted the score of each vessel"]
    found, faults = {}, []
    for name, cell in row.vessels.items():
        try:
            score, _ = read_score(cell.text, edges)
        except ValueError as error:
            faults.append(f"{cell.address} is {shown_score(cell)}, {error}")
            continue
        if score is None:
            faults.append(f"{cell.address} is {shown(cell)}, which cannot be added up; wanted a number")
        else:
            found[name] = score
    return found, faults


def _contradiction(row: Row, vessels: Mapping[str, float]) -> str | None:
    """That the total is not the sum of the vessels, further than rounding each to its digits can make it."""
    assert row.score
    total = SCORE.fullmatch(row.score.text.strip())
    assert total, "a score that was read"
    added, off = _sum(vessels), sum(_half_digit(cell.text) for cell in (row.score, *row.vessels.values()))
    if added > float(total[2]) if total[1] else abs(added - float(total[2])) <= off + 1e-9:
        return None
    first, *_, last = row.vessels.values()
    wanted = "more" if total[1] else f"equal within {off:g}, which rounding can make"
    return (
        f"{row.score.address} is {shown_score(row.score)}, but {first.address} to {last.address} add up to "
        f"{added:g}; wanted {wanted}"
    )


def _half_digit(text: str) -> float:
    """Half a unit of the last digit of a number."""
    return float(0.5 * 10 ** -len(text.strip().partition(".")[2]))


def _sum(vessels: Mapping[str, float]) -> float:
    """Their sum with the 15 digits that a spreadsheet counts with: 0.3 for 0.1 and 0.2."""
    return float(f"{sum(vessels.values()):.15g}")
