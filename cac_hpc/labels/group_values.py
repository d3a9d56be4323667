"""Values of columns of a sheet by which patients form groups: few, and nothing that names a person, a day or a record.

Values are kept as they stand, and shown in reports; so what may identify somebody is refused, and never quoted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from cac_hpc.labels.label_rows import Row
from cac_hpc.labels.labels import NO_VALUE, Label
from cac_hpc.labels.sheets import Cell
from cac_hpc.labels.spelling import normalised
from cac_hpc.run import escaping
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig

MOST_VALUES = 20
MOST_SIGNS = 40
RESERVED = ("several", "withheld", "contradictory")  # words of studies.csv and of reports
TELLING = {  # what may stand for one person
    "names": re.compile(r"\^|^[^\W\d_]{2,}, ?[^\W\d_]{2,}$"),
    "dates": re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}|^(19|20)\d{6}$|^(19|20)\d{2}$"),
    "numbers of records": re.compile(r"\d{5,}"),
    "telephone numbers or addresses": re.compile(r"@|\+?\d{2,}[ -/]\d{3,}"),
}
OF_AGE = re.compile(r"\bage|alter|jahre|birth|geb|años|edad|naiss|dob", re.IGNORECASE)
NUMBER = re.compile(r"\d+([.,]\d+)?")
HINT = "labels.group_columns names columns of groups, as a hospital or a scanner; leave this one out"


def of_rows(rows: Sequence[Row], cfg: LabelsConfig) -> list[dict[str, str]]:
    """By column, the value of each row; a blank cell has none, nor has one that says that there is none.

    Spellings that differ in case and blanks are one value, in the most frequent spelling.

    Raises: InputError naming the sheet, the column and what is wrong with it, the cell where that can be said.
    """
    found = [dict[str, str]() for _ in rows]
    for column in cfg.group_columns:
        cells = [row.groups[column] for row in rows]
        where = f"{cfg.origin}: column {column!r} of labels.group_columns"
        values = [_value(cell, where) for cell in cells]
        spellings = _check([value for value in values if value], column, where)
        for groups, value in zip(found, values, strict=True):
            if value:
                groups[column] = spellings[normalised(value)]
    return found


def one_spelling(labels: Mapping[str, Label]) -> dict[str, Label]:
    """The labels of several cohorts, whose sheets may spell one value each in their own way, with the most frequent.

    Raises: InputError if the cohorts together have too many values.
    """
    columns = dict.fromkeys(column for label in labels.values() for column in label.groups)
    if not columns:
        return dict(labels)
    spelled = {
        column: _spellings(Counter(label.groups[column] for label in labels.values() if column in label.groups))
        for column in columns
    }
    for column, of_column in spelled.items():
        if len(of_column) > MOST_VALUES:
            where = f"column {column!r} of labels.group_columns"
            raise InputError(f"{where}: all cohorts have {len(of_column)} values, wanted {MOST_VALUES} at most; {HINT}")
    return {
        study: replace(label, groups={name: spelled[name][normalised(value)] for name, value in label.groups.items()})
        for study, label in labels.items()
    }


def _spellings(counts: Counter[str]) -> dict[str, str]:
    """The most frequent spelling of each value, by what it is compared as."""
    found: dict[str, str] = {}
    for value, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        found.setdefault(normalised(value), value)
    return found


def _value(cell: Cell, where: str) -> str:
    """Raises: InputError if a cell is no text that may be shown."""
    if cell.fault:
        raise InputError(f"{where}: cell {cell.address} is {cell.fault}, wanted text or a blank cell")
    text = " ".join(cell.text.split())
    if not text or NO_VALUE.fullmatch(text):
        return ""
    wanted = f"wanted at most {MOST_SIGNS} signs of text"
    if len(text) > MOST_SIGNS or not text.isprintable():
        raise InputError(f"{where}: cell {cell.address} has {len(text)} signs, {wanted}; {HINT}")
    if escaping.is_formula(text) or text.casefold() in RESERVED:
        not_these = "no =, +, - or @ in front, and none of the words " + ", ".join(RESERVED)
        raise InputError(f"{where}: cell {cell.address} cannot name a group, {wanted}, {not_these}")
    for what, sign in TELLING.items():
        if sign.search(text):
            raise InputError(
                f"{where}: cell {cell.address} looks like one of {what}, {wanted} that names a group; {HINT}"
            )
    return text


def _check(values: Iterable[str], column: str, where: str) -> dict[str, str]:
    """The spelling of each value.

    Raises: InputError if these are no groups.
    """
    counts = Counter(values)
    spellings = _spellings(counts)
    if len(spellings) > MOST_VALUES:
        raise InputError(f"{where}: found {len(spellings)} different values, wanted {MOST_VALUES} at most; {HINT}")
    if len(spellings) == counts.total() > 2:  # names of people have no sign of their own
        raise InputError(f"{where}: no value occurs twice, wanted groups of patients; {HINT}")
    if OF_AGE.search(column) and any(NUMBER.fullmatch(value) for value in spellings.values()):
        groups = "wanted groups such as 60-69, or data.subgroups: [age_group], which reads them from the scans"
        raise InputError(f"{where}: found numbers, which are exact ages or years, {groups}")
    return spellings
