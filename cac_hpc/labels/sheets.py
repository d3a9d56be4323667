"""Sheets, .csv and .xlsx: every cell as text with its address, and what was hidden or is no text in it."""

from __future__ import annotations

import csv
import datetime
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from cac_hpc.labels import spelling, workbook
from cac_hpc.labels.workbook import WorkbookError
from cac_hpc.run import logs
from cac_hpc.settings import given_paths

ERRORS = {"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#GETTING_DATA", "#SPILL!", "#CALC!"}
EAST_ASIAN_DATES = {*range(27, 37), *range(50, 59), *range(71, 82)}  # ids of number formats: ECMA-376-1 18.8.30
NOT_FORMATTING = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!h+\]|m+\]|s+\])[^\]]*\]|General', re.IGNORECASE)
DATE_FORMATTING = re.compile(r"[dmyhsg]|e(?![+-])|bb|aaa", re.IGNORECASE)  # g and e: Japanese years, b: Buddhist ones


class SheetError(ValueError):
    """The file is no sheet that can be read in one way only; says what was found and what was wanted."""


class ColumnError(SheetError):
    """Wanted columns are not there."""


class Cell(NamedTuple):
    """The text of a cell without blanks around it, or the fault, in words, of a cell that is no text and no number."""

    text: str
    address: str  # such as B7, as a spreadsheet program counts
    fault: str | None = None  # such as "a date"
    in_hidden_row: bool = False  # by hand, by a filter or in a folded group: who opens the sheet does not see it
    in_hidden_column: bool = False


class Content(NamedTuple):
    """A cell before it has an address."""

    text: str = ""
    fault: str | None = None


BLANK = Content()


class Grid(NamedTuple):
    """All rows, blank ones too, and where they are in words."""

    rows: list[list[Content]]
    where: str = ""
    hidden_rows: AbstractSet[int] = frozenset()  # from 1
    hidden_columns: AbstractSet[int] = frozenset()


def read_sheet(path: Path, wanted: Sequence[str]) -> list[tuple[Cell, ...]]:
    """Read the wanted columns. Cells of other columns never leave this module: they may hold names.

    The first row that is not blank names the columns, blanks around and line breaks aside. Blank rows are left out.

    Returns: the cells of each row, in the order of wanted.
    Raises: ColumnError if columns are missing; SheetError if the file cannot be read or is larger than any score
        sheet, a name stands there twice, or a row goes on beyond the names, as an unquoted 1,234 makes it do.
    """
    return read_columns(path, wanted, ())[1]


def read_columns(
    path: Path, wanted: Sequence[str], optional: Sequence[str]
) -> tuple[tuple[str, ...], list[tuple[Cell, ...]]]:
    """Read the wanted columns, and of the optional ones those that are there; all else as `read_sheet`.

    Returns: the names of the columns that were read, and the cells of each row in their order.
    """
    grid, names, rows = _named_rows(path)
    read = (*wanted, *(name for name in optional if _tidy(name) in names))
    positions = _positions(names, [_tidy(name) for name in wanted], grid.where)
    positions += [names.index(_tidy(name)) for name in read[len(wanted) :]]
    _refuse_long_rows(names, rows)
    return read, list(zip(*(_column(grid, rows, position) for position in positions), strict=True))


def column_names(path: Path) -> list[str]:
    """The names of all columns that have one, as `read_sheet` takes them.

    Raises: SheetError as `read_sheet`.
    """
    _, names, _ = _named_rows(path)
    return [name for name in names if name]


def _named_rows(path: Path) -> tuple[Grid, list[str], dict[int, list[Content]]]:
    """A sheet, the names of its columns, and the rows below them that are not blank, by their number."""
    file, worksheet = split(path)
    if not file.is_file():
        raise SheetError(f"there is no such file; wanted a .csv or .xlsx sheet{given_paths.did_you_mean(file)}")
    if file.suffix.lower() not in (".csv", ".xlsx"):
        raise SheetError(f"its name ends in {file.suffix!r}, wanted a .csv or .xlsx sheet")
    try:
        grid = _read_xlsx(file, worksheet) if file.suffix.lower() == ".xlsx" else _read_csv(file)
    except WorkbookError as error:
        raise SheetError(str(error)) from error
    rows = {number: row for number, row in enumerate(grid.rows, start=1) if any(map(any, row))}
    if not rows:
        raise SheetError(f"no cell is filled{grid.where}, wanted the names of the columns and a row per study")
    return grid, [_tidy(content.text) for content in rows.pop(min(rows))], rows


def split(path: Path) -> tuple[Path, str | None]:
    """The file, and the name of the worksheet that ``BOOK.xlsx#NAME`` asks for."""
    named = re.fullmatch(r"(.*?\.xlsx)#(.+)", str(path), re.IGNORECASE | re.DOTALL)
    return (Path(named[1]), named[2]) if named else (path, None)


def _read_csv(path: Path) -> Grid:
    """UTF-8; the delimiter is a comma, or what the names have instead: semicolon or tab."""
    workbook.check_size(path.stat().st_size, "it is")
    data = path.read_bytes()
    try:
        names = re.match(r"\ufeff?\s*([^\r\n]*)", data.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SheetError(f"line {line} is not UTF-8 text; save the sheet as CSV UTF-8 or as .xlsx") from None
    delimiter = next((mark for mark in ",;\t" if names and mark in names[1]), ",")
    extent = workbook.Extent()
    for row in _csv_rows(data, delimiter):  # once without keeping anything: a sheet too large must not fill the memory
        extent.add(extent.num_rows + 1, len(row))
        extent.check()
    return Grid([[_from_csv(field.strip()) for field in row] for row in _csv_rows(data, delimiter)])


def _csv_rows(data: bytes, delimiter: str) -> Iterator[list[str]]:
    """The rows. Raises: SheetError if a line is no CSV."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        yield from reader
    except csv.Error as error:  # its words quote no cell
        raise SheetError(f"line {reader.line_num} cannot be read as CSV ({error})") from error


def _from_csv(text: str) -> Content:
    return Content(fault="a formula") if text.startswith("=") else Content(text) if text else BLANK


def _read_xlsx(path: Path, worksheet: str | None) -> Grid:
    """The named worksheet, else the first that is not hidden, blank ends of rows cut off.

    Raises: SheetError if it is no workbook, or has no such worksheet; WorkbookError if it is too large.
    """
    import openpyxl  # type: ignore[import-untyped]  # takes a tenth of a second: only where there is a workbook

    try:
        copy, extents = workbook.checked_copy(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what openpyxl leaves out: nothing of that is a cell's value
            book = openpyxl.load_workbook(copy, read_only=True, keep_links=False)
            chosen, where = _chosen(book, worksheet)
            extent = extents[chosen._worksheet_path]
            extent.check()
            rows = _worksheet_rows(chosen, extent)
    except (WorkbookError, SheetError):
        raise
    except Exception as error:  # openpyxl raises what its parsers raise; their words may quote cells
        raise SheetError(
            f"cannot be read as a workbook ({type(error).__name__}); wanted a whole .xlsx file without a password"
        ) from None
    return Grid(rows, where, extent.hidden_rows, extent.hidden_columns)


def _chosen(book: Any, worksheet: str | None) -> tuple[Any, str]:
    """A worksheet, and where that is in words.

    Raises: SheetError if there is none of that name.
    """
    if worksheet is not None:
        named = [sheet for sheet in book.worksheets if _tidy(sheet.title) == _tidy(worksheet)]
        if len(named) != 1:
            found = _listed([sheet.title for sheet in book.worksheets])
            raise SheetError(f"found worksheets {found}, wanted one named {worksheet!r}")
        return named[0], f" in worksheet {worksheet!r}"
    visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    titles = [sheet.title for sheet in visible]
    return visible[0], f" in worksheet {titles[0]!r}, the first of {_listed(titles)}" if len(titles) > 1 else ""


def _worksheet_rows(sheet: Any, extent: workbook.Extent) -> list[list[Content]]:
    """As far as its filled cells go; the dimensions that a workbook states for a worksheet are often wrong."""
    sheet.reset_dimensions()
    rows = sheet.iter_rows(max_row=max(extent.num_rows, 1), max_col=max(extent.num_columns, 1))
    return [_without_blank_end([_from_xlsx(cell) for cell in row]) for row in rows]


def _without_blank_end(row: list[Content]) -> list[Content]:
    return row[: max((index for index, content in enumerate(row, start=1) if any(content)), default=0)]


def _from_xlsx(cell: Any) -> Content:
    """What a cell says, never what it calculates or what it is formatted to look like."""
    value = cell.value
    if value is None:
        return BLANK
    if cell.data_type == "f":
        return Content(fault="a formula")
    if cell.data_type == "e":
        return Content(fault=f"the error {value}" if value in ERRORS else "an error")
    if isinstance(value, bool):
        return Content(fault="a logical value")
    if isinstance(value, datetime.date):  # a datetime is one, too
        return Content(fault="a date")
    if isinstance(value, datetime.time | datetime.timedelta):
        return Content(fault="a time")
    if isinstance(value, int | float):
        is_date = cell.style_array.numFmtId in EAST_ASIAN_DATES or _is_date_format(cell.number_format)
        return Content(fault="a date") if is_date else _number(value, cell.number_format)
    return Content(str(value).strip())


@lru_cache
def _is_date_format(number_format: str) -> bool:
    """Whether any part of it shows dates; openpyxl looks at the part for positive numbers, and for no Japanese year."""
    return DATE_FORMATTING.search(NOT_FORMATTING.sub("", number_format)) is not None


def _number(value: float, number_format: str) -> Content:
    """A number with the 15 digits that a spreadsheet counts with: 12 for 12.0, and 007 for 7 formatted as 000."""
    if "%" in number_format:
        return Content(fault="a percentage")
    if abs(value) >= 1e15:
        return Content(fault="a number of more than 15 digits, of which a spreadsheet keeps 15")
    text = format(Decimal(f"{value:.15g}"), "f")
    return Content(text.zfill(len(number_format)) if re.fullmatch("0+", number_format) and text.isdigit() else text)


def _tidy(name: str) -> str:
    """A name without blanks and quotes around it."""
    return " ".join(name.split()).strip("\"'‘’“” ")


def _positions(names: list[str], wanted: list[str], where: str) -> list[int]:
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise SheetError(f"found columns {_listed(twice)} twice{where}, wanted each name once")
    places, found_names = [_place(names, name) for name in wanted], _listed([name for name in names if name])
    if missing := [name for name, place in zip(wanted, places, strict=True) if place is None]:
        raise ColumnError(f"found columns {found_names}{where}, wanted also {_listed(missing)}")
    found = [place for place in places if place is not None]
    if len(set(found)) < len(found):
        spelled = f"found columns {found_names}{where}, of which two of {_listed(wanted)} are spellings of one"
        raise ColumnError(f"{spelled}; wanted the exact names")
    return found


def _place(names: Sequence[str], wanted: str) -> int | None:
    """The column of that name, else the only one of which it is another spelling."""
    if wanted in names:
        return names.index(wanted)
    alike = [
        index for index, name in enumerate(names) if name and spelling.normalised(name) == spelling.normalised(wanted)
    ]
    return alike[0] if len(alike) == 1 else None


def _refuse_long_rows(names: list[str], rows: dict[int, list[Content]]) -> None:
    """A shorter row is fine, as spreadsheet programs leave out blank ends; a longer one is not, blank or filled."""
    num_named = max(index for index, name in enumerate(names, start=1) if name)
    beyond = [
        _address(number, index)
        for number, row in rows.items()
        if len(row) > num_named
        for index, content in enumerate(row)
        if index >= num_named and (any(content) or index == len(row) - 1 >= len(names))
    ]
    if beyond:
        raise SheetError(
            f"found cells beyond the last column name, in {logs.first_of(beyond, 10)}; wanted none there, "
            "and quotes around text that holds the delimiter"
        )


def _listed(names: Sequence[str]) -> str:
    """Names in quotes, of many and long ones the beginnings."""
    return logs.first_of([repr(name if len(name) <= 40 else name[:37] + "...") for name in names], 30) or "none"


def _column(grid: Grid, rows: Mapping[int, list[Content]], position: int) -> Iterator[Cell]:
    """The cells of one column in rows."""
    letters, is_hidden = workbook.letters(position + 1), position + 1 in grid.hidden_columns
    for number, row in rows.items():
        text, fault = row[position] if position < len(row) else BLANK
        yield Cell(text, f"{letters}{number}", fault, number in grid.hidden_rows, is_hidden)


def _address(number: int, position: int) -> str:
    return f"{workbook.letters(position + 1)}{number}"
