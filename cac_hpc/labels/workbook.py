"""What an .xlsx file holds, seen before openpyxl reads it: whether it is of bearable size, how far its cells go, and
which rows and columns are hidden."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from xml.parsers import expat

MOST_BYTES = 32 * 2**20  # of a sheet, unpacked; ten thousand studies with thirty columns are 12 MB
MOST_ROWS = 200_000
MOST_COLUMNS = 1_000
MOST_CELLS = 5_000_000  # rows times columns
MOST_TAGS = 4_000_000  # of XML, opening and closing; 32 MB of cells have fewer
MOST_CELLS_IN_ROW = 16_384  # blank ones too, as far as spreadsheet programs count
MOST_DEPTH = 100  # of XML; workbooks have 20
MOST_TEXT = 1_000_000  # characters between two tags; a cell holds 32,767 at most
# parts that hold no cell and are often large; openpyxl asks for none of them where no chart sheet does
UNREAD = tuple(f"xl/{folder}/" for folder in ("chartsheets", "charts", "drawings", "externalLinks", "pivotCache"))
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
NO_CELLS = f'<worksheet xmlns="{MAIN[:-1]}"/>'.encode()
ROW, COLUMN, FORMULA = MAIN + "row", MAIN + "col", MAIN + "f"


class WorkbookError(ValueError):
    """The file is larger than any score sheet, or its XML is no worksheet's; says what was found and wanted."""


@dataclass
class Extent:
    """How far the filled cells of a worksheet go, formatted blank ones aside, and what no one who opens it sees."""

    num_rows: int = 0
    num_columns: int = 0
    farthest: str = ""  # address of the first filled cell beyond the limits
    hidden_rows: set[int] = field(default_factory=set)
    hidden_columns: set[int] = field(default_factory=set)

    def add(self, row: int, column: int) -> None:
        """Count in a filled cell."""
        if not self.farthest and (row > MOST_ROWS or column > MOST_COLUMNS):
            self.farthest = f"{letters(column)}{row}"
        self.num_rows = max(self.num_rows, row)
        self.num_columns = max(self.num_columns, column)

    def check(self) -> None:
        """Raises: WorkbookError if the cells go on beyond the limits."""
        if self.farthest:
            wanted = f"at most {MOST_ROWS:,} rows and {MOST_COLUMNS:,} columns"
            raise WorkbookError(
                f"its cells go on to {self.farthest}, wanted {wanted}; delete what lies far from the table"
            )
        if self.num_rows * self.num_columns > MOST_CELLS:
            size = f"{self.num_rows:,} rows and {self.num_columns:,} columns"
            raise WorkbookError(f"found {size}, wanted {MOST_CELLS:,} cells at most; save the score columns alone")


def check_size(num_bytes: int, what: str) -> None:
    """Raises: WorkbookError if a file, or what it unpacks to, is larger than any score sheet."""
    if num_bytes > MOST_BYTES:
        found, most = -(-num_bytes // 2**20), MOST_BYTES // 2**20
        raise WorkbookError(f"{what} {found:,} MB, wanted at most {most} MB; save the columns of scores alone as .csv")


def checked_copy(path: Path) -> tuple[io.BytesIO, dict[str, Extent]]:
    """Copy a workbook into memory, without compression and without pictures, charts and links to other files.

    openpyxl must read the copy and never the file: some of its reads unpack a part whatever size the file states.

    Returns: the copy, and the extent of every part of it; of parts that are no worksheets it is empty. Worksheets
        whose cells go on beyond the limits are copied without cells.
    Raises: WorkbookError if it is too large or its XML is no worksheet's; whatever zipfile and expat raise else.
    """
    check_size(path.stat().st_size, "it is")
    parts = _unpacked(path)
    if sum(data.count(b"<") for data in parts.values()) > MOST_TAGS:
        raise WorkbookError(f"it has more than {MOST_TAGS:,} XML tags; save the columns of scores alone as .csv")
    extents = {name: _Scan().run(data) for name, data in parts.items()}
    parts |= {name: NO_CELLS for name, extent in extents.items() if extent.farthest}  # openpyxl would read on and on
    return _packed(parts), extents


def _unpacked(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        wanted = [
            part
            for part in archive.infolist()
            if part.filename.endswith((".xml", ".rels")) and not part.filename.startswith(UNREAD)
        ]
        check_size(sum(part.file_size for part in wanted), "unpacked it is")
        return {part.filename: _read_part(archive, part) for part in wanted}


def _read_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bytes:
    """Its bytes; with a size given, unlike without, zipfile never unpacks more than that."""
    if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise WorkbookError("it is packed in a way that no spreadsheet program packs; save it again as .xlsx")
    with archive.open(part) as file:
        return file.read(max(part.file_size, 1))  # one byte of an empty part, for its checksum


def _packed(parts: Mapping[str, bytes]) -> io.BytesIO:
    copy = io.BytesIO()
    with zipfile.ZipFile(copy, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return copy


class _TooFar(Exception):
    """A filled cell beyond the limits is found; the rest need not be looked at."""


class _Scan:
    """One pass over a part. Rows and cells are counted as openpyxl counts them: from the last one, where r is missing.

    Any child of a row is a cell, and filled if it holds a formula or text that is not blank.
    """

    def __init__(self) -> None:
        self.extent = Extent()
        self.depth = self.text = self.row = self.column = self.cells_in_row = 0
        self.row_depth: int | None = None  # of the row that is open

    def run(self, data: bytes) -> Extent:
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        with contextlib.suppress(_TooFar):
            parser.Parse(data, True)
        return self.extent

    def _refuse_doctype(self, *_: object) -> None:
        raise WorkbookError("its XML declares a document type, wanted none as in every .xlsx; save it again as .xlsx")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        self.text = 0
        if self.depth > MOST_DEPTH:
            raise WorkbookError(f"its XML is nested more than {MOST_DEPTH} deep; save it again as .xlsx")
        if tag == ROW:
            self._start_row(attributes)
        elif self.row_depth is None:
            if tag == COLUMN:
                self._add_columns(attributes)
        elif self.depth == self.row_depth + 1:
            self._start_cell(attributes)
        elif tag == FORMULA:
            self._fill()

    def _start_row(self, attributes: dict[str, str]) -> None:
        number = int(float(attributes["r"])) if "r" in attributes else self.row + 1
        if self.row_depth is not None or number <= self.row:
            raise WorkbookError(f"row {number} follows row {self.row}, wanted rows in order; save it again as .xlsx")
        self.row, self.column, self.cells_in_row, self.row_depth = number, 0, 0, self.depth
        if number <= MOST_ROWS and _hidden(attributes, "ht"):
            self.extent.hidden_rows.add(number)

    def _start_cell(self, attributes: dict[str, str]) -> None:
        self.column = _column(attributes["r"]) if attributes.get("r") else self.column + 1
        self.cells_in_row += 1
        if self.cells_in_row > MOST_CELLS_IN_ROW:
            raise WorkbookError(f"row {self.row} has more than {MOST_CELLS_IN_ROW:,} cells; save the scores as .csv")

    def _add_columns(self, attributes: dict[str, str]) -> None:
        if _hidden(attributes, "width"):
            first, last = int(attributes["min"]), int(attributes["max"])
            self.extent.hidden_columns.update(range(first, min(last, MOST_COLUMNS) + 1))

    def _end(self, _: str) -> None:
        self.text = 0
        if self.depth == self.row_depth:
            self.row_depth = None
        self.depth -= 1

    def _characters(self, text: str) -> None:
        self.text += len(text)
        if self.text > MOST_TEXT:
            raise WorkbookError(f"a text in it has more than {MOST_TEXT:,} characters, wanted a sheet of scores")
        if self.row_depth is not None and self.depth > self.row_depth and not text.isspace():
            self._fill()

    def _fill(self) -> None:
        self.extent.add(self.row, self.column)
        if self.extent.farthest:
            raise _TooFar


def _hidden(attributes: Mapping[str, str], size: str) -> bool:
    """By hand, by a filter or in a folded group, or of no height or width."""
    return attributes.get("hidden") in ("1", "true") or float(attributes.get(size) or 1) == 0


def _column(address: str) -> int:
    return _number(address.rstrip("0123456789"))


@lru_cache(maxsize=2_000)
def _number(letters: str) -> int:
    """1 for A, 27 for AA."""
    number = 0
    for letter in letters.upper():
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def letters(number: int) -> str:
    """What spreadsheet programs call a column: A for 1, AA for 27."""
    found = ""
    while number > 0:
        number, rest = divmod(number - 1, 26)
        found = chr(ord("A") + rest) + found
    return found
