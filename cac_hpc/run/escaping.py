"""Text from sheets and settings, made harmless where people open it: a spreadsheet's cell, a line of Markdown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cac_hpc.run import logs

if TYPE_CHECKING:
    import pandas as pd

FORMULA = re.compile(
    r"[\t\r\n]|\s*[=+\-@＝＋－＠]"
)  # how what a spreadsheet may calculate begins (OWASP, CSV Injection)
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
MARKS = re.compile(r"([\\`*_\[\]<>|&~#])")  # of Markdown, and of the HTML that may stand in it
LONGEST = 40  # characters of a value in a message


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may take a text for a formula; numbers are none."""
    return bool(FORMULA.match(text)) and not NUMBER.fullmatch(text)


def csv_text(table: pd.DataFrame, float_format: str | None = None) -> str:
    """A table for people as CSV: texts that a spreadsheet would calculate begin with an apostrophe."""
    shown = table.copy()
    shown.columns = [_inert(name) for name in table.columns]
    for place in range(table.shape[1]):  # by place, for two columns may have one name
        column = table.iloc[:, place]
        if column.dtype.kind not in "biuf":
            shown.isetitem(place, [_inert(cell) for cell in column])
    return shown.to_csv(index=False, float_format=float_format, lineterminator="\n")


def csv_of_rows(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    """What `csv_text` makes of a table of these rows, none of whose values is a fraction or missing, without pandas."""
    text = io.StringIO()
    lines = [[_inert(row[name]) for name in columns] for row in rows]
    csv.writer(text, lineterminator="\n").writerows([columns, *lines])
    return text.getvalue()


def plain(text: str) -> str:
    """A text of a table that `csv_text` wrote, without the apostrophe in front."""
    return text[1:] if text.startswith("'") and is_formula(text[1:]) else text


def markdown(text: str) -> str:
    """A text as it is read in a line or cell of Markdown: no mark of it means anything, no line ends."""
    return MARKS.sub(r"\\\1", " ".join(logs.line(text).split()))


def code(text: str) -> str:
    """A text as code in a line of Markdown, whatever backticks are in it."""
    text = " ".join(logs.line(text).split())
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    blank = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{blank}{text}{blank}{ticks}"


def short(value: object) -> str:
    """A value of a file in a message, cut where it is long."""
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _inert(cell: Any) -> Any:
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r", " ")  # pandas leaves it without quotes, and a row would end there
    return f"'{text}" if is_formula(cell) else text
