"""Sources of labels, a new one is a line of SOURCES; which study folder each row belongs to, and which to none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from cac_hpc.labels import affixes, group_values, label_rows, label_warnings, report_labels
from cac_hpc.labels.label_rows import Reading, Row
from cac_hpc.labels.labels import Label, shown
from cac_hpc.labels.spelling import by_spelling, grouped, near_miss, normalised
from cac_hpc.run import escaping
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig

FORMULA = "spreadsheets take its name for a formula, wanted one that does not begin with = + - @ or a tab"
Source = Callable[[LabelsConfig, Sequence[str], Path], list[Row]]  # given the studies and the folder they are in
SOURCES: dict[str, Source] = {  # by labels.source
    "sheet": lambda cfg, studies, root: label_rows.read_rows(cfg),
    "sr": report_labels.read_rows,
}
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
    readings, unlabelled = _read(studies, sides, cfg)
    strays = _rows_without_study(rows, sides, cfg.edges, kind)
    own = {study: sides.named[sides.key(study)] for study in readings}
    faults = [f"study {study!r}: {why}" for study, why in unlabelled.items()] + strays
    proposed = _proposed(sides)
    if faults and (cfg.unmatched == "stop" or not own):
        advice = "labels.unmatched: skip leaves the others out"
        if not own:
            advice = _why_nothing(cfg, kind, named=bool(sides.folders.keys() & sides.named.keys()))
        raise InputError(_all_faults(cfg, dicom_root, faults, kind, advice, proposed))
    groups = group_values.of_rows([same[0] for same in own.values()], cfg)
    labels = {
        study: _label(study, own[study][0], patients, reading, of_study)
        for (study, reading), of_study in zip(readings.items(), groups, strict=True)
    }
    hidden = label_warnings.hidden(unseen, found, cfg)
    warnings = [*label_warnings.of_rows(own, rows, patients, cfg), *hidden, *filter(None, [proposed])]
    return Matched(labels, unlabelled, strays, warnings, hidden)


def _label(study: str, row: Row, patients: Mapping[str, str], found: Reading, groups: Mapping[str, str]) -> Label:
    patient = patients[normalised(row.patient.text)] if row.patient else study
    return Label(study, patient, found.score, found.category, found.vessels, groups)


@dataclass(frozen=True)
class _Sides:
    """Folders and rows by their names as they are compared; unseen are hidden rows, read or not."""

    key: Callable[[str], str]
    folders: dict[str, list[str]]
    named: dict[str, list[Row]]
    unseen: dict[str, list[Row]]

    @cached_property
    def lost_rows(self) -> dict[str, list[Row]]:
        return {key: rows for key, rows in self.named.items() if key not in self.folders}

    @cached_property
    def lost_folders(self) -> dict[str, list[str]]:
        return {key: same for key, same in self.folders.items() if key not in self.named}


def _sides(cfg: LabelsConfig, studies: Sequence[str], rows: Sequence[Row], unseen: Sequence[Row]) -> _Sides:
    @cache  # asked for each name as a folder and as a row, and each time it is looked up
    def key(name: str) -> str:
        return affixes.compared(name, cfg.id_prefix, cfg.id_suffix)

    named = (row for row in rows if row.study.text)
    by_row = [grouped(some, lambda row: key(row.study.text)) for some in (named, unseen)]
    return _Sides(key, grouped(studies, key), *by_row)


def _read(studies: Sequence[str], sides: _Sides, cfg: LabelsConfig) -> tuple[dict[str, Reading], dict[str, str]]:
    """What the row of each study comes to, and every study without a valid row of its own, and why."""
    strays = by_spelling({key: label_rows.named(rows) for key, rows in sides.lost_rows.items()})
    search = len(strays) * len(sides.lost_folders) <= MOST_PAIRS
    readings, unlabelled = {}, {}
    for study in studies:
        same, rows = sides.folders[sides.key(study)], sides.named.get(sides.key(study), [])
        reading, faults = _reading(rows, cfg.edges) if rows else (None, [_no_row(study, sides, strays, search)])
        if escaping.is_formula(study):
            faults.insert(0, FORMULA)
        if len(same) > 1:
            faults.insert(0, f"folders {' and '.join(map(repr, same))} are the same study")
        if faults:
            unlabelled[study] = "; ".join(faults)
        else:
            assert reading, "rows without a fault have a score"
            readings[study] = reading
    return readings, unlabelled


def _no_row(study: str, sides: _Sides, strays: Mapping[str, str], search: bool) -> str:
    """That no row names a study, or only rows that are hidden."""
    if hidden := sides.unseen.get(sides.key(study)):
        them = label_warnings.them(hidden)
        return f"{label_warnings.are_hidden(hidden)} (labels.hidden_rows: use reads {them})"
    return f"no row{near_miss(study, strays, search)}"


def _rows_without_study(rows: Sequence[Row], sides: _Sides, edges: Sequence[float], kind: str) -> list[str]:
    """All rows that name no folder, those of one name together."""
    lost = by_spelling({key: f"{kind} {same[0]!r}" for key, same in sides.lost_folders.items()})
    search = len(lost) * len(sides.lost_rows) <= MOST_PAIRS
    unnamed = [
        "; ".join([f"{row.study.address} is {shown(row.study)}, wanted a study", *_reading([row], edges)[1]])
        for row in rows
        if not row.study.text
    ]
    return unnamed + [
        "; ".join([f"{label_rows.named(same)}: no {kind}{near_miss(key, lost, search)}", *_reading(same, edges)[1]])
        for key, same in sides.lost_rows.items()
    ]


def _reading(rows: Sequence[Row], edges: Sequence[float]) -> tuple[Reading | None, list[str]]:
    """What the first row of a study comes to, and what is wrong with its rows. A patient's cell is never quoted."""
    faults, found = [], []
    for row in rows:
        reading, wrong = label_rows.score_of(row, edges)
        found.append((reading, row.patient and normalised(row.patient.text)))
        faults += wrong
        if row.patient and not row.patient.text:
            faults.append(f"{row.patient.address} is {shown(row.patient)}, wanted a patient")
    if len(rows) > 1:
        if len({row.sheet for row in rows}) < len(rows):
            faults.insert(0, f"{label_rows.named(rows)} name the same study")
        elif len({(one and (one.score, one.category), patient) for one, patient in found}) > 1:
            faults.insert(0, f"{label_rows.named(rows)} name the same study with different scores or patients")
    return found[0][0], faults


def _proposed(sides: _Sides) -> str | None:
    """That names would be the same without a prefix or suffix, and the setting that drops it."""
    found = affixes.propose(sides.lost_rows.keys(), sides.lost_folders.keys())
    if not found:
        return None
    row, folder = found.pairs[0]
    names, size = [sides.named[row][0].study.text, sides.folders[folder][0]], len(found.text)
    pieces = [name[-size:] if found.setting == affixes.SUFFIX else name[:size] for name in names]
    text = next((piece for piece in pieces if piece.casefold() == found.text), found.text)
    pairs = f"{len(found.pairs)} rows would be studies, as {label_rows.named(sides.named[row])} is {names[1]!r}"
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


def _patient_numbers(rows: list[Row]) -> dict[str, str]:
    """Normalised patients to numbers in their order, the only names that are ever written."""
    keys = sorted({normalised(row.patient.text) for row in rows if row.patient and row.patient.text})
    return {key: f"P{number:04d}" for number, key in enumerate(keys, start=1)}
