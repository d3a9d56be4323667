"""The score sheet: which study has which Agatston score, and so which calcium category."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from cac_hpc.data import escaping
from cac_hpc.data.sheets import Cell, ColumnError, SheetError, read_sheet
from cac_hpc.run.config import InputError, LabelsConfig

T = TypeVar("T")
K = TypeVar("K")
SCORE = re.compile(r"(>\s*)?([0-9]+(?:\.[0-9]+)?)")
FORMULA = "spreadsheets take its name for a formula, wanted one that does not begin with = + - @ or a tab"
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
    warnings: list[str]  # readings that are certain enough to go on with, but for a person to look at


@dataclass(frozen=True)
class Row:
    """The wanted cells of one row, whatever is in them."""

    study: Cell
    score: Cell
    patient: Cell | None = None

    @property
    def key(self) -> str:
        return normalised(self.study.text)


def match_labels(cfg: LabelsConfig, studies: Sequence[str], dicom_root: str) -> Matched:
    """Give every study folder the label of its row; names are compared as `normalised`.

    Args:
        studies: names of the study folders. dicom_root: where they are, for the message.
    Returns: labels in the order of studies; with ``labels.unmatched: skip`` also what had to be left out.
    Raises: InputError if the sheet as a whole cannot be used; or, on one line each, naming all folders without a
        valid row and all rows without a folder, unless they are to be skipped and something is left.
    """
    rows = _read_rows(cfg)
    patients = _patient_numbers(rows)
    folders = _grouped(studies, normalised)
    named = _grouped((row for row in rows if row.study.text), lambda row: row.key)
    unlabelled = _unlabelled(studies, folders, named, cfg.edges)
    strays = _rows_without_study(rows, folders, named, cfg.edges)
    own = {study: named[normalised(study)][0] for study in studies if study not in unlabelled}
    faults = [f"study {study!r}: {why}" for study, why in unlabelled.items()] + strays
    if faults and (cfg.unmatched == "stop" or not own):
        raise InputError(_all_faults(cfg.sheet, dicom_root, faults))
    labels = {study: _label(study, row, patients, cfg.edges) for study, row in own.items()}
    spelled = [f"{_names([row])} is study {study!r}" for study, row in own.items() if row.study.text != study]
    return Matched(labels, unlabelled, strays, spelled + _odd_points(rows) + _odd_patients(rows, patients))


def normalised(name: str) -> str:
    """The name of a study or patient as it is compared.

    Unicode compatibility forms (NFKC) and case are made equal, blanks around it and zeros in front of it are dropped,
    and blanks inside it become one: `` 007`` is ``7`` and ``01A`` is ``1a``, but ``A07`` is not ``A7``.
    """
    text = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return re.sub(r"^0+(?=[0-9])", "", text)


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

    A score is ASCII digits, with a point in front of decimals. ``>1000`` has no score, but a category, and is valid
    from the last edge on: with a lower number it could be of two categories.

    Args:
        edges: as for `categories`.
    Raises: ValueError saying what was wanted in place of any other text.
    """
    found = SCORE.fullmatch(text.strip())
    if not found:
        raise ValueError(_wanted_score(text, edges))
    score = float(found[2])
    if not math.isfinite(score):
        raise ValueError("wanted a number that a computer can hold")
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


def _read_rows(cfg: LabelsConfig) -> list[Row]:
    columns = [cfg.study_column, cfg.score_column, *([cfg.patient_column] if cfg.patient_column else [])]
    try:
        rows = [Row(*cells) for cells in read_sheet(Path(cfg.sheet), columns)]
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
    studies: Sequence[str], folders: dict[str, list[str]], named: dict[str, list[Row]], edges: Sequence[float]
) -> dict[str, str]:
    """Every study without one valid row of its own, and why."""
    strays = {_loose(key): _names(rows) for key, rows in named.items() if key not in folders}
    search = len(strays) * len(folders.keys() - named.keys()) <= MOST_PAIRS
    unlabelled = {}
    for study in studies:
        same, rows = folders[normalised(study)], named.get(normalised(study), [])
        faults = [f"folders {' and '.join(map(repr, same))} are the same study"] if len(same) > 1 else []
        faults += [FORMULA] if escaping.is_formula(study) else []
        faults += _faults(rows, edges) if rows else [f"no row{_near_miss(study, strays, search)}"]
        if faults:
            unlabelled[study] = "; ".join(faults)
    return unlabelled


def _rows_without_study(
    rows: list[Row], folders: dict[str, list[str]], named: dict[str, list[Row]], edges: Sequence[float]
) -> list[str]:
    """All rows that name no folder, those of one name together."""
    lost = {_loose(key): f"folder {same[0]!r}" for key, same in folders.items() if key not in named}
    search = len(lost) * len(named.keys() - folders.keys()) <= MOST_PAIRS
    unnamed = [
        "; ".join([f"{row.study.address} is {_shown(row.study)}, wanted a study", *_faults([row], edges)])
        for row in rows
        if not row.study.text
    ]
    return unnamed + [
        "; ".join([f"{_names(same)}: no folder{_near_miss(key, lost, search)}", *_faults(same, edges)])
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
    if "," in text:
        return "where a comma may part thousands or decimals; wanted 1234 or 12.5"
    if text.startswith("-"):
        return "wanted 0 or more"
    return f"wanted a number such as 12.5, or >{edges[-1]:.15g}"


def _shown(cell: Cell) -> str:
    if not cell.text:
        return cell.fault or "blank"
    return repr(cell.text if len(cell.text) <= 40 else cell.text[:37] + "...")


def _shown_score(cell: Cell) -> str:
    """A faulty score; words are not quoted, they may be a name."""
    return "text" if re.search(r"[^\W\d_]{5}", cell.text) else _shown(cell)


def _names(rows: list[Row]) -> str:
    return " and ".join(f"{row.study.address} {_shown(row.study)}" for row in rows)


def _all_faults(sheet: str, dicom_root: str, faults: list[str]) -> str:
    counted = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    head = (
        f"{sheet}: {counted}; wanted one valid row for each folder in {dicom_root} and one folder for each row "
        "(labels.unmatched: skip leaves the others out)"
    )
    return "\n  ".join([head, *faults])


def _loose(name: str) -> str:
    """What two spellings of one name have in common: letters and digits, without zeros in front of any number."""
    return re.sub(r"(?<![0-9])0+(?=[0-9])|[\W_]", "", normalised(name))


def _near_miss(name: str, others: dict[str, str], search: bool) -> str:
    """The one among others, keyed by `_loose`, that may have been meant; with search also if letters differ."""
    near = _loose(name)
    close = [near] if near in others else difflib.get_close_matches(near, others, n=1) if search else []
    return f"; did you mean {others[close[0]]}?" if close else ""


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
    spellings = _grouped(first, lambda cell: normalised(cell.text))
    merged = [
        f"{' and '.join(cell.address for cell in same)} differ, but are one patient, {patients[key]}"
        for key, same in spellings.items()
        if len(same) > 1
    ]
    apart = [
        f"{' and '.join(f'{spellings[key][0].address} ({patients[key]})' for key in keys)} differ little, "
        "but are different patients"
        for keys in _grouped(spellings, _loose).values()
        if len(keys) > 1
    ]
    return merged + apart
