"""Matching: which study folder each row of labels belongs to, and what is wrong with those that belong to none."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cac_hpc.labels import affixes, group_values, label_rows, report_labels
from cac_hpc.labels.label_rows import Row
from cac_hpc.labels.labels import HIGH, SCORE, Label, shown
from cac_hpc.labels.sheets import by_spelling, near_miss, normalised, spellings
from cac_hpc.run import escaping
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig

T = TypeVar("T")
K = TypeVar("K")
FORMULA = "spreadsheets take its name for a formula, wanted one that does not begin with = + - @ or a tab"
Source = Callable[[LabelsConfig, Sequence[str], Path], list[Row]]  # given the studies and the folder they are in
SOURCES: dict[str, Source] = {  # by labels.source
    "sheet": lambda cfg, studies, root: label_rows.read_rows(cfg),
    "sr": report_labels.read_rows,
}
SHOWN = 3  # of many lines that say the same
MOST_PAIRS = 40_000  # of names compared letter by letter for near misses: about a second


@dataclass(frozen=True)
class Matched:
    """Folders and rows that found each other, and all that did not."""

    labels: dict[str, Label]
    unlabelled: dict[str, str]  # study to why it has no label
    rows_without_study: list[str]  # addresses and names of the rows, and what else is wrong with them
    warnings: list[str]  # readings that are certain enough to go on with, but for a person to look at; hidden included
    hidden: list[str]  # which rows and columns are hidden in the sheet; names no study and no patient


def match_labels(
    cfg: LabelsConfig,
    studies: Sequence[str],
    dicom_root: str,
    kind: str = "folder",
    given: list[Row] | None = None,
    people: list[Row] | None = None,
) -> Matched:
    """Give every study folder the label of its row; names are compared as `affixes.compared`.

    Args:
        studies: names of the study folders. dicom_root: where they are. kind: what they are there.
        given: what the source says, where it was read before. people: rows whose patients are counted together, those
            of other cohorts included; else its own.
    Returns: labels in the order of studies; with ``labels.unmatched: skip`` also what had to be left out.
    Raises: InputError if the source as a whole cannot be used; or, on one line each, naming all folders without a
        valid row and all rows without a folder, unless they are to be skipped and something is left.
    """
    found = SOURCES[cfg.source](cfg, studies, Path(dicom_root)) if given is None else given
    unseen = [row for row in found if row.study.in_hidden_row]
    rows = found if cfg.hidden_rows == "use" else [row for row in found if not row.study.in_hidden_row]
    patients = _patient_numbers(rows if people is None else people)
    sides = _sides(cfg, studies, rows, unseen)
    unlabelled = _unlabelled(studies, sides, cfg)
    strays = _rows_without_study(rows, sides, cfg.edges, kind)
    own = {study: sides.named[sides.key(study)] for study in studies if study not in unlabelled}
    faults = [f"study {study!r}: {why}" for study, why in unlabelled.items()] + strays
    proposed = _proposed(sides)
    if faults and (cfg.unmatched == "stop" or not own):
        advice = "labels.unmatched: skip leaves the others out"
        if not own:
            advice = _why_nothing(cfg, kind, named=bool(sides.folders.keys() & sides.named.keys()))
        raise InputError(_all_faults(cfg, dicom_root, faults, kind, advice, proposed))
    groups = group_values.of_rows([same[0] for same in own.values()], cfg)
    labels = {
        study: _label(study, same[0], patients, cfg.edges, of_study)
        for (study, same), of_study in zip(own.items(), groups, strict=True)
    }
    hidden = _hidden_rows(unseen, cfg) + _hidden_columns(found, cfg)
    warnings = [*_spelled(own, cfg), *_repeated(own), *_remarks(own)]
    if cfg.source == "sheet":
        high = _high_scores([same[0] for same in own.values()])
        warnings += [*_odd_points(rows), *_odd_patients(rows, patients), *high]
    warnings += [*hidden, *filter(None, [proposed])]
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


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _label(
    study: str, row: Row, patients: Mapping[str, str], edges: Sequence[float], groups: Mapping[str, str]
) -> Label:
    patient = patients[normalised(row.patient.text)] if row.patient else study
    found, _ = label_rows.score_of(row, edges)
    assert found, "rows with faults label no study"
    return Label(study, patient, found.score, found.category, found.vessels, groups)


@dataclass(frozen=True)
class _Sides:
    """Folders and rows by their names as they are compared; unseen are hidden rows, read or not."""

    key: Callable[[str], str]
    folders: dict[str, list[str]]
    named: dict[str, list[Row]]
    unseen: dict[str, list[Row]]

    @property
    def lost_rows(self) -> dict[str, list[Row]]:
        return {key: rows for key, rows in self.named.items() if key not in self.folders}

    @property
    def lost_folders(self) -> dict[str, list[str]]:
        return {key: same for key, same in self.folders.items() if key not in self.named}


def _sides(cfg: LabelsConfig, studies: Sequence[str], rows: Sequence[Row], unseen: Sequence[Row]) -> _Sides:
    def key(name: str) -> str:
        return affixes.compared(name, cfg.id_prefix, cfg.id_suffix)

    named = (row for row in rows if row.study.text)
    by_row = [_grouped(some, lambda row: key(row.study.text)) for some in (named, unseen)]
    return _Sides(key, _grouped(studies, key), *by_row)


def _unlabelled(studies: Sequence[str], sides: _Sides, cfg: LabelsConfig) -> dict[str, str]:
    """Every study without a valid row of its own, and why."""
    strays = by_spelling({key: _names(rows) for key, rows in sides.lost_rows.items()})
    search = len(strays) * len(sides.lost_folders) <= MOST_PAIRS
    unlabelled = {}
    for study in studies:
        same, rows = sides.folders[sides.key(study)], sides.named.get(sides.key(study), [])
        faults = [f"folders {' and '.join(map(repr, same))} are the same study"] if len(same) > 1 else []
        faults += [FORMULA] if escaping.is_formula(study) else []
        if rows:
            faults += _faults(rows, cfg.edges)
        elif hidden := sides.unseen.get(sides.key(study)):
            faults.append(f"{_are_hidden(hidden)} (labels.hidden_rows: use reads {_them(hidden)})")
        else:
            faults.append(f"no row{near_miss(study, strays, search)}")
        if faults:
            unlabelled[study] = "; ".join(faults)
    return unlabelled


def _rows_without_study(rows: Sequence[Row], sides: _Sides, edges: Sequence[float], kind: str) -> list[str]:
    """All rows that name no folder, those of one name together."""
    lost = by_spelling({key: f"{kind} {same[0]!r}" for key, same in sides.lost_folders.items()})
    search = len(lost) * len(sides.lost_rows) <= MOST_PAIRS
    unnamed = [
        "; ".join([f"{row.study.address} is {shown(row.study)}, wanted a study", *_faults([row], edges)])
        for row in rows
        if not row.study.text
    ]
    return unnamed + [
        "; ".join([f"{_names(same)}: no {kind}{near_miss(key, lost, search)}", *_faults(same, edges)])
        for key, same in sides.lost_rows.items()
    ]


def _faults(rows: Sequence[Row], edges: Sequence[float]) -> list[str]:
    """What is wrong with the rows of one study. A patient's cell is never quoted."""
    faults, found = [], []
    for row in rows:
        score, wrong = label_rows.score_of(row, edges)
        found.append((score and (score.score, score.category), row.patient and normalised(row.patient.text)))
        faults += wrong
        if row.patient and not row.patient.text:
            faults.append(f"{row.patient.address} is {shown(row.patient)}, wanted a patient")
    if len({row.sheet for row in rows}) < len(rows):
        faults.insert(0, f"{_names(rows)} name the same study")
    elif len(set(found)) > 1:
        faults.insert(0, f"{_names(rows)} name the same study with different scores or patients")
    return faults


def _names(rows: Sequence[Row]) -> str:
    return " and ".join(f"{row.study.address} {shown(row.study)}" for row in rows)


def _proposed(sides: _Sides) -> str | None:
    """That names would be the same without a prefix or suffix, and the setting that drops it."""
    found = affixes.propose(sides.lost_rows.keys(), sides.lost_folders.keys())
    if not found:
        return None
    row, folder = found.pairs[0]
    names, size = [sides.named[row][0].study.text, sides.folders[folder][0]], len(found.text)
    pieces = [name[-size:] if found.setting == affixes.SUFFIX else name[:size] for name in names]
    text = next((piece for piece in pieces if piece.casefold() == found.text), found.text)
    pairs = f"{len(found.pairs)} rows would be studies, as {_names(sides.named[row])} is {names[1]!r}"
    return f"{pairs}, with --labels.{found.setting} {text}"


def _all_faults(
    cfg: LabelsConfig, dicom_root: str, faults: list[str], kind: str, advice: str, proposed: str | None
) -> str:
    counted = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    of_sheets = f"one valid row for each {kind} in {dicom_root} and one {kind} for each row"
    wanted = of_sheets if cfg.source == "sheet" else f"one score in each {kind} in {dicom_root}"
    head = f"{cfg.origin}: {counted}; wanted {wanted} ({advice})"
    return "\n  ".join([f"{head}; {proposed}" if proposed else head, *faults])


def _why_nothing(cfg: LabelsConfig, kind: str, named: bool) -> str:
    """What to look at where no study has a valid row, so that nothing would be left if faults were skipped.

    Args:
        named: whether a row names a study at all.
    """
    if named or cfg.source != "sheet":
        return f"no {kind} has one, so nothing would be left without the others"
    return (
        f"no row names a {kind}: is it the sheet of these studies, and {cfg.study_column!r}, as labels.study_column "
        "says, its column of study numbers, written as there?"
    )


def _spelled(own: Mapping[str, Sequence[Row]], cfg: LabelsConfig) -> list[str]:
    """Rows whose study is written otherwise than its folder; of those by a prefix or suffix the first."""
    found = {True: list[str](), False: list[str]()}
    for study, rows in own.items():
        for row in rows:
            if row.study.text != study:
                by_affix = normalised(row.study.text) != normalised(study)
                found[by_affix].append(f"{_names([row])} is study {study!r}")
    dropped = " and ".join(
        f"labels.{setting} {text}"
        for setting, text in ((affixes.PREFIX, cfg.id_prefix), (affixes.SUFFIX, cfg.id_suffix))
        if text
    )
    return found[False] + ([f"{dropped}: {_some(found[True])}"] if found[True] else [])


def _repeated(own: Mapping[str, Sequence[Row]]) -> list[str]:
    """Studies of which several sheets say the same."""
    found = [_names(rows) for rows in own.values() if len(rows) > 1]
    return [f"in several sheets with the same score: {_some(found)}"] if found else []


def _remarks(own: Mapping[str, Sequence[Row]]) -> list[str]:
    """What is said of several studies, with the first of them."""
    found: dict[str, list[str]] = {}
    for study, (row, *_) in own.items():
        for remark in row.remarks:
            found.setdefault(remark, []).append(f"study {study!r}")
    return [f"{remark}: {_some(studies)}" for remark, studies in found.items()]


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return f"{', '.join(items[:SHOWN])}{more}"


def _hidden_rows(rows: Sequence[Row], cfg: LabelsConfig) -> list[str]:
    lines = []
    for same in _grouped(rows, lambda row: row.sheet).values():
        if cfg.hidden_rows == "use":
            lines.append(f"{_are_hidden(same)}, and read (labels.hidden_rows: leave_out leaves {_them(same)} out)")
        else:
            lines.append(f"{_are_hidden(same)}, and left out (labels.hidden_rows: use reads {_them(same)})")
    return lines


def _hidden_columns(rows: Sequence[Row], cfg: LabelsConfig) -> list[str]:
    found = []
    for row in {row.sheet: row for row in rows}.values():
        cells = [("study_column", row.study), ("score_column", row.score), ("patient_column", row.patient)]
        cells += [("vessel_columns", cell) for cell in row.vessels.values()]
        cells += [("group_columns", cell) for cell in row.groups.values()]
        for setting, cell in cells:
            if cell and cell.in_hidden_column:
                column, where = re.findall("[A-Z]+", cell.address)[0], row.sheet or "the sheet"
                found.append(f"column {column} (labels.{setting}) is hidden in {where}, and read")
    return found


def _are_hidden(rows: Sequence[Row]) -> str:
    """Such as: rows 4, 6-9 are hidden in the sheet."""
    ranges: list[list[int]] = []
    for row in rows:
        if ranges and row.number == ranges[-1][-1] + 1:
            ranges[-1][1:] = [row.number]
        else:
            ranges.append([row.number])
    numbers, where = ", ".join("-".join(map(str, ends)) for ends in ranges), rows[0].sheet or "the sheet"
    return f"row {numbers} is hidden in {where}" if len(rows) == 1 else f"rows {numbers} are hidden in {where}"


def _them(rows: Sequence[Row]) -> str:
    return "it" if len(rows) == 1 else "them"


def _high_scores(rows: Iterable[Row]) -> list[str]:
    """Scores that few patients reach, and that are the serial numbers of dates in the lives of many."""
    cells = [row.score for row in rows if row.score]
    high = [cell.address for cell in cells if (found := SCORE.fullmatch(cell.text)) and float(found[2]) >= HIGH]
    said = f"{', '.join(high)}: {HIGH} or more, as a date of birth is as a serial number; see that these are scores"
    return [said] if high else []


def _odd_points(rows: list[Row]) -> list[str]:
    """Where every point of the sheet stands in front of three digits, as points between thousands do."""
    cells = [cell for row in rows for cell in (row.score, *row.vessels.values()) if cell]
    found = [cell for cell in cells if re.fullmatch(r"[0-9]+\.[0-9]+", cell.text)]
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
