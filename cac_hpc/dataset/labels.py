"""Labels: which study has which Agatston score, and so which calcium category; read from a sheet or another source."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from cac_hpc.dataset.sheets import (
    Cell,
    ColumnError,
    SheetError,
    by_spelling,
    near_miss,
    normalised,
    read_sheet,
    spellings,
)
from cac_hpc.run import escaping
from cac_hpc.run.config import InputError, LabelsConfig

T = TypeVar("T")
K = TypeVar("K")
SCORE = re.compile(r"(>\s*)?([0-9]+(?:\.[0-9]+)?)")
TOO_HIGH = 20_000  # no patient has that score, and as the serial number of a date it is in 1954
HIGH = 8000  # the serial number of a day in 1921
# a refused score that cannot be a name, a date or the number of a record is quoted: four digits, and words for no value
QUOTED = re.compile(r"[<>=~≤≥+-]{0,2} ?(?:(?:0|[1-9][0-9]{0,3}|[1-9][,. ][0-9]{3})(?:[.,][0-9]?)?|[.,][0-9])?(?: ?%)?")
NO_VALUE = re.compile(r"#?n/a|tbd|missing|pending|unknown|[?]|--?", re.IGNORECASE)  # Na, Nil, None are names, too
YEAR = re.compile(r"\D*(?:19|20)[0-9]{2}\D*")
FORMULA = "spreadsheets take its name for a formula, wanted one that does not begin with = + - @ or a tab"
Source = Callable[[Path, Sequence[str]], list[tuple[Cell, ...]]]  # as `sheets.read_sheet`, with its errors
SOURCES: dict[str, Source] = {  # by the ending of labels.sheet
    ".csv": read_sheet,
    ".xlsx": read_sheet,
}
MOST_PAIRS = 40_000  # of names compared letter by letter for near misses: about a second


@dataclass(frozen=True)
class Label:
    """What the sheet says of one study; category is 0 for the lowest."""

    study: str  # the folder's name
    patient: str  # "P0001" and so on, as the sheet may hold names; the study itself without a patient column
    score: float | None  # None: above the last edge, as the sheet says no more than that
    category: int


@dataclass(frozen=True)
class Matched:
    """Folders and rows that found each other, and all that did not."""

    labels: dict[str, Label]
    unlabelled: dict[str, str]  # study to why it has no label
    rows_without_study: list[str]  # addresses and names of the rows, and what else is wrong with them
    warnings: list[str]  # readings that are certain enough to go on with, but for a person to look at; hidden included
    hidden: list[str]  # which rows and columns are hidden in the sheet; names no study and no patient


@dataclass(frozen=True)
class Row:
    """The wanted cells of one row, whatever is in them."""

    study: Cell
    score: Cell
    patient: Cell | None = None

    @property
    def key(self) -> str:
        return normalised(self.study.text)

    @property
    def number(self) -> int:
        """As a spreadsheet program counts."""
        return int(re.sub(r"[A-Z]", "", self.study.address))


def match_labels(cfg: LabelsConfig, studies: Sequence[str], dicom_root: str, kind: str = "folder") -> Matched:
    """Give every study folder the label of its row; names are compared as `normalised`.

    Args:
        studies: names of the study folders. dicom_root: where they are, for the message. kind: what they are there.
    Returns: labels in the order of studies; with ``labels.unmatched: skip`` also what had to be left out.
    Raises: InputError if the sheet as a whole cannot be used; or, on one line each, naming all folders without a
        valid row and all rows without a folder, unless they are to be skipped and something is left.
    """
    found = read_labels(cfg)
    unseen = [row for row in found if row.study.in_hidden_row]
    rows = found if cfg.hidden_rows == "use" else [row for row in found if not row.study.in_hidden_row]
    patients = _patient_numbers(rows)
    folders = _grouped(studies, normalised)
    named = _grouped((row for row in rows if row.study.text), lambda row: row.key)
    unlabelled = _unlabelled(studies, folders, named, _grouped(unseen, lambda row: row.key), cfg.edges)
    strays = _rows_without_study(rows, folders, named, cfg.edges, kind)
    own = {study: named[normalised(study)][0] for study in studies if study not in unlabelled}
    faults = [f"study {study!r}: {why}" for study, why in unlabelled.items()] + strays
    if faults and (cfg.unmatched == "stop" or not own):
        advice = "labels.unmatched: skip leaves the others out"
        if not own:
            advice = _why_nothing(cfg, kind, named=bool(folders.keys() & named.keys()))
        raise InputError(_all_faults(cfg.sheet, dicom_root, faults, kind, advice))
    labels = {study: _label(study, row, patients, cfg.edges) for study, row in own.items()}
    spelled = [f"{_names([row])} is study {study!r}" for study, row in own.items() if row.study.text != study]
    hidden = _hidden_rows(unseen, cfg) + _hidden_columns(found[0], cfg)
    warnings = spelled + _odd_points(rows) + _odd_patients(rows, patients) + _high_scores(own.values()) + hidden
    return Matched(labels, unlabelled, strays, warnings, hidden)


def near_equal(patient: Mapping[str, str]) -> list[list[str]]:
    """Groups of studies whose numbers differ in separators, zeros in front or case alone, and not all of one patient.

    Args:
        patient: of each study, by study number.
    """
    alike = _grouped(patient, tokens).values()
    return [studies for studies in alike if len({patient[study] for study in studies}) > 1]


def tokens(study: str) -> tuple[str, ...]:
    """Letters and numbers of a study number, so that A07, a-7 and A 007 are alike, but 1-12 and 11-2 are not."""
    text = unicodedata.normalize("NFKC", study).casefold()
    return tuple(token.lstrip("0") or "0" for token in re.findall(r"[^\W\d_]+|\d+", text)) or (study,)


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
        return score, int(categories([score], edges)[0])
    if score < edges[-1]:
        raise ValueError(f"which leaves the category open; wanted a number, or > from {edges[-1]:.15g} on")
    return None, len(edges)


def categories(scores: Sequence[float], edges: Sequence[float]) -> np.ndarray:
    """Category of each score: the number of edges below it, so an edge belongs to the category that ends there.

    Args:
        scores: (N,) Agatston scores, finite. edges: rising upper edges of all categories but the last.
    Returns: (N,) int64.
    """
    return np.searchsorted(np.asarray(edges, dtype=float), np.asarray(scores, dtype=float), side="left")


def read_labels(cfg: LabelsConfig) -> list[Row]:
    """What the source says of each study, nothing of it checked but that it can be read.

    Raises: InputError if the source as a whole cannot be used, or says nothing.
    """
    path = Path(cfg.sheet)
    read = SOURCES.get(path.suffix.lower(), read_sheet)  # which refuses other endings
    columns = [cfg.study_column, cfg.score_column, *([cfg.patient_column] if cfg.patient_column else [])]
    try:
        rows = [Row(*cells) for cells in read(path, columns)]
    except ColumnError as error:
        settings = "labels.study_column, labels.score_column or labels.patient_column"
        raise InputError(f"{cfg.sheet}: {error}; set {settings} to the sheet's names") from error
    except SheetError as error:
        raise InputError(f"labels.sheet is {cfg.sheet!r}: {error}") from error
    if not rows:
        raise InputError(f"{cfg.sheet}: found no row below the column names, wanted one row per study")
    return rows


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _label(study: str, row: Row, patients: dict[str, str], edges: Sequence[float]) -> Label:
    patient = patients[normalised(row.patient.text)] if row.patient else study
    return Label(study, patient, *read_score(row.score.text, edges))


def _unlabelled(
    studies: Sequence[str],
    folders: dict[str, list[str]],
    named: dict[str, list[Row]],
    unseen: dict[str, list[Row]],
    edges: Sequence[float],
) -> dict[str, str]:
    """Every study without one valid row of its own, and why; unseen are hidden rows, read or not."""
    strays = by_spelling({key: _names(rows) for key, rows in named.items() if key not in folders})
    search = len(strays) * len(folders.keys() - named.keys()) <= MOST_PAIRS
    unlabelled = {}
    for study in studies:
        same, rows = folders[normalised(study)], named.get(normalised(study), [])
        faults = [f"folders {' and '.join(map(repr, same))} are the same study"] if len(same) > 1 else []
        faults += [FORMULA] if escaping.is_formula(study) else []
        if rows:
            faults += _faults(rows, edges)
        elif hidden := unseen.get(normalised(study)):
            faults.append(f"{_are_hidden(hidden)} (labels.hidden_rows: use reads {_them(hidden)})")
        else:
            faults.append(f"no row{near_miss(study, strays, search)}")
        if faults:
            unlabelled[study] = "; ".join(faults)
    return unlabelled


def _rows_without_study(
    rows: list[Row], folders: dict[str, list[str]], named: dict[str, list[Row]], edges: Sequence[float], kind: str
) -> list[str]:
    """All rows that name no folder, those of one name together."""
    lost = by_spelling({key: f"{kind} {same[0]!r}" for key, same in folders.items() if key not in named})
    search = len(lost) * len(named.keys() - folders.keys()) <= MOST_PAIRS
    unnamed = [
        "; ".join([f"{row.study.address} is {_shown(row.study)}, wanted a study", *_faults([row], edges)])
        for row in rows
        if not row.study.text
    ]
    return unnamed + [
        "; ".join([f"{_names(same)}: no {kind}{near_miss(key, lost, search)}", *_faults(same, edges)])
        for key, same in named.items()
        if key not in folders
    ]


def _faults(rows: list[Row], edges: Sequence[float]) -> list[str]:
    """What is wrong with the rows of one study. A patient's cell is never quoted."""
    faults = [f"{_names(rows)} name the same study"] if len(rows) > 1 else []
    for row in rows:
        try:
            read_score(row.score.text, edges)
        except ValueError as error:
            faults.append(f"{row.score.address} is {_shown_score(row.score)}, {error}")
        if row.patient and not row.patient.text:
            faults.append(f"{row.patient.address} is {_shown(row.patient)}, wanted a patient")
    return faults


def _wanted_score(text: str, edges: Sequence[float]) -> str:
    if re.search(r"[0-9],[0-9]", text):
        return "where a comma may part thousands or decimals; wanted 1234 or 12.5"
    if re.match(r"-\s*[0-9.]", text):
        return "wanted 0 or more"
    return f"wanted a number such as 12.5, or >{edges[-1]:.15g}"


def _shown(cell: Cell) -> str:
    if not cell.text:
        return cell.fault or "blank"
    return repr(cell.text if len(cell.text) <= 40 else cell.text[:37] + "...")


def _shown_score(cell: Cell) -> str:
    """A refused score; quoted only if it can be no name, no date and no number of a record."""
    quotable = QUOTED.fullmatch(cell.text) and not YEAR.fullmatch(cell.text)
    if not cell.text or NO_VALUE.fullmatch(cell.text) or quotable:
        return _shown(cell)
    return "text" if re.search(r"[^\W\d_]", cell.text) or not re.search(r"\d", cell.text) else "digits"


def _names(rows: list[Row]) -> str:
    return " and ".join(f"{row.study.address} {_shown(row.study)}" for row in rows)


def _all_faults(sheet: str, dicom_root: str, faults: Sequence[str], kind: str, advice: str) -> str:
    counted = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    wanted = f"wanted one valid row for each {kind} in {dicom_root} and one {kind} for each row"
    head = f"{sheet}: {counted}; {wanted} ({advice})"
    return "\n  ".join([head, *faults])


def _why_nothing(cfg: LabelsConfig, kind: str, named: bool) -> str:
    """What to look at where no study has a valid row, so that nothing would be left if faults were skipped.

    Args:
        named: whether a row names a study at all.
    """
    if named:
        return f"no {kind} has one, so nothing would be left without the others"
    return (
        f"no row names a {kind}: is it the sheet of these studies, and {cfg.study_column!r}, as labels.study_column "
        "says, its column of study numbers, written as there?"
    )


def _hidden_rows(rows: Sequence[Row], cfg: LabelsConfig) -> list[str]:
    if not rows:
        return []
    if cfg.hidden_rows == "use":
        return [f"{_are_hidden(rows)}, and read (labels.hidden_rows: leave_out leaves {_them(rows)} out)"]
    return [f"{_are_hidden(rows)}, and left out (labels.hidden_rows: use reads {_them(rows)})"]


def _hidden_columns(row: Row, cfg: LabelsConfig) -> list[str]:
    cells = {"study_column": row.study, "score_column": row.score, "patient_column": row.patient}
    return [
        f"column {re.sub('[0-9]', '', cell.address)} (labels.{setting}) is hidden in the sheet, and read"
        for setting, cell in cells.items()
        if cell and cell.in_hidden_column
    ]


def _are_hidden(rows: Sequence[Row]) -> str:
    """Such as: rows 4, 6-9 are hidden in the sheet."""
    ranges: list[list[int]] = []
    for row in rows:
        if ranges and row.number == ranges[-1][-1] + 1:
            ranges[-1][1:] = [row.number]
        else:
            ranges.append([row.number])
    shown = ", ".join("-".join(map(str, ends)) for ends in ranges)
    return f"row {shown} is hidden in the sheet" if len(rows) == 1 else f"rows {shown} are hidden in the sheet"


def _them(rows: Sequence[Row]) -> str:
    return "it" if len(rows) == 1 else "them"


def _high_scores(rows: Iterable[Row]) -> list[str]:
    """Scores that few patients reach, and that are the serial numbers of dates in the lives of many."""
    high = [row.score.address for row in rows if (found := SCORE.fullmatch(row.score.text)) and float(found[2]) >= HIGH]
    said = f"{', '.join(high)}: {HIGH} or more, as a date of birth is as a serial number; see that these are scores"
    return [said] if high else []


def _odd_points(rows: list[Row]) -> list[str]:
    """Where every point of the sheet stands in front of three digits, as points between thousands do."""
    found = [row.score for row in rows if re.fullmatch(r"[0-9]+\.[0-9]+", row.score.text)]
    if not found or not all(re.fullmatch(r"[1-9][0-9]{0,2}\.[0-9]{3}", cell.text) for cell in found):
        return []
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return [f"{found[0].address} {found[0].text!r}{more}: points are read as decimal points, not between thousands"]


def _patient_numbers(rows: list[Row]) -> dict[str, str]:
    """Normalised patients to numbers in their order, the only names that are ever written."""
    keys = sorted({normalised(row.patient.text) for row in rows if row.patient and row.patient.text})
    return {key: f"P{number:04d}" for number, key in enumerate(keys, start=1)}


def _odd_patients(rows: list[Row], patients: dict[str, str]) -> list[str]:
    """Cells that spell one patient in two ways, and patients that are two by a blank, a dash or a zero only."""
    cells = [row.patient for row in rows if row.patient and row.patient.text]
    first = [same[0] for same in _grouped(cells, lambda cell: cell.text).values()]
    written = _grouped(first, lambda cell: normalised(cell.text))
    merged = [
        f"{' and '.join(cell.address for cell in same)} differ, but are one patient, {patients[key]}"
        for key, same in written.items()
        if len(same) > 1
    ]
    apart = [
        f"{' and '.join(f'{written[key][0].address} ({patients[key]})' for key in keys)} differ little, "
        "but are different patients"
        for keys in _grouped(written, lambda key: spellings(key)[-1]).values()
        if len(keys) > 1
    ]
    return merged + apart
