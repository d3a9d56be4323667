"""Sheets, .csv and .xlsx: every cell as text beside its address, so that whoever refuses a cell can point at it."""

from __future__ import annotations

import csv
import datetime
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import openpyxl  # type: ignore[import-untyped]
from openpyxl.utils import get_column_letter  # type: ignore[import-untyped]


class SheetError(ValueError):
    """The file is no sheet that can be read in one way only; says what was found and what was wanted."""


class ColumnError(SheetError):
    """Wanted columns are not there."""


@dataclass(frozen=True)
class Cell:
    """The text of a cell without blanks around it, or the fault, in words, of a cell that is no text and no number."""

    text: str
    address: str  # such as B7, as a spreadsheet program counts
    fault: str | None = None  # such as "a date"


class Content(NamedTuple):
    """A cell before it has an address."""

    text: str = ""
    fault: str | None = None


def read_sheet(path: Path, wanted: Sequence[str]) -> list[tuple[Cell, ...]]:
    """Read the wanted columns. Cells of other columns never leave this module: they may hold names.

    The first row that is not blank names the columns, blanks around and line breaks aside. Blank rows are left out.

    Returns: the cells of each row, in the order of wanted.
    Raises: ColumnError if columns are missing; SheetError if the file cannot be read, a name stands there twice, or
        a row goes on beyond the names, as an unquoted 1,234 makes it do.
    """
    if not path.is_file():
        raise SheetError("there is no such file; wanted a .csv or .xlsx sheet")
    if path.suffix.lower() not in (".csv", ".xlsx"):
        raise SheetError(f"its name ends in {path.suffix!r}, wanted a .csv or .xlsx sheet")
    grid, where = _read_xlsx(path) if path.suffix.lower() == ".xlsx" else (_read_csv(path), "")
    rows = {number: row for number, row in enumerate(grid, start=1) if any(any(content) for content in row)}
    if not rows:
        raise SheetError(f"no cell is filled{where}, wanted the names of the columns and a row per study")
    names = [_tidy(content.text) for content in rows.pop(min(rows))]
    positions = _positions(names, [_tidy(name) for name in wanted], where)
    _refuse_long_rows(names, rows)
    return [tuple(_cell(row, number, position) for position in positions) for number, row in rows.items()]


def _read_csv(path: Path) -> list[list[Content]]:
    """All rows, blank ones too. UTF-8; the delimiter is a comma, or what the names have instead: semicolon or tab."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SheetError(f"line {line} is not UTF-8 text; save the sheet as CSV UTF-8 or as .xlsx") from error
    names = "".join(text.strip().splitlines()[:1])
    delimiter = next((mark for mark in ",;\t" if mark in names), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return [[_from_csv(field.strip()) for field in row] for row in reader]
    except csv.Error as error:
        raise SheetError(f"line {reader.line_num} cannot be read as CSV ({error})") from error


def _from_csv(text: str) -> Content:
    return Content(fault="a formula") if text.startswith("=") else Content(text)


def _read_xlsx(path: Path) -> tuple[list[list[Content]], str]:
    """All rows of the first worksheet that is not hidden, blank ends of rows cut off; and in words which one it is."""
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            warnings.simplefilter("ignore")  # about what openpyxl leaves out: nothing of that is a cell's value
            book = openpyxl.load_workbook(file, read_only=True)
            visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
            visible[0].reset_dimensions()  # some programs write them wrong, and rows would be missing
            grid = [_without_blank_end([_from_xlsx(cell) for cell in row]) for row in visible[0].iter_rows()]
            book.close()
    except Exception as error:  # openpyxl raises what its parsers raise; their words may quote cells
        raise SheetError(
            f"cannot be read as a workbook ({type(error).__name__}); wanted a whole .xlsx file without a password"
        ) from error
    titles = [sheet.title for sheet in visible]
    return grid, f" in worksheet {titles[0]!r}, the first of {titles}" if len(titles) > 1 else ""


def _without_blank_end(row: list[Content]) -> list[Content]:
    return row[: max((index for index, content in enumerate(row, start=1) if any(content)), default=0)]


def _from_xlsx(cell: Any) -> Content:
    """What a cell says, never what it calculates or what it is formatted to look like."""
    value = cell.value
    if cell.data_type == "f":
        return Content(fault="a formula")
    if cell.data_type == "e":
        return Content(fault=f"the error {value}")
    if isinstance(value, bool):
        return Content(fault="a logical value")
    if isinstance(value, datetime.date):  # a datetime is one, too
        return Content(fault="a date")
    if isinstance(value, datetime.time | datetime.timedelta):
        return Content(fault="a time")
    if isinstance(value, int | float):
        return _number(value, cell.number_format)
    return Content("" if value is None else str(value).strip())


def _number(value: float, number_format: str) -> Content:
    """A number with the 15 digits that a spreadsheet counts with: 12 for 12.0, and 007 for 7 formatted as 000."""
    if "%" in number_format:
        return Content(fault="a percentage")
    if abs(value) >= 1e15:
        return Content(fault="a number of more than 15 digits, of which a spreadsheet keeps 15")
    text = format(Decimal(f"{value:.15g}"), "f")
    return Content(text.zfill(len(number_format)) if re.fullmatch("0+", number_format) and text.isdigit() else text)


def _tidy(name: str) -> str:
    return " ".join(name.split())


def _positions(names: list[str], wanted: list[str], where: str) -> list[int]:
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise SheetError(f"found columns {twice} twice{where}, wanted each name once")
    if missing := [name for name in wanted if name not in names]:
        raise ColumnError(f"found columns {[name for name in names if name]}{where}, wanted also {missing}")
    return [names.index(name) for name in wanted]


def _refuse_long_rows(names: list[str], rows: dict[int, list[Content]]) -> None:
    """A shorter row is fine, as spreadsheet programs leave out blank ends; a longer one is not, blank or filled."""
    num_named = max(index for index, name in enumerate(names, start=1) if name)
    beyond = [
        _address(number, index)
        for number, row in rows.items()
        for index, content in enumerate(row)
        if index >= num_named and (any(content) or index == len(row) - 1 >= len(names))
    ]
    if beyond:
        raise SheetError(
            f"found cells beyond the last column name, in {', '.join(beyond)}; wanted none there, "
            "and quotes around text that holds the delimiter"
        )


def _cell(row: list[Content], number: int, position: int) -> Cell:
    text, fault = row[position] if position < len(row) else Content()
    return Cell(text, _address(number, position), fault)


def _address(number: int, position: int) -> str:
    return f"{get_column_letter(position + 1)}{number}"
