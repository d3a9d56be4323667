"""Readings of labels that are certain enough to go on with, but for a person to look at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from cac_hpc.labels import affixes, label_rows
from cac_hpc.labels.label_rows import Row
from cac_hpc.labels.labels import HIGH, SCORE
from cac_hpc.labels.spelling import grouped, normalised, spellings
from cac_hpc.run import logs
from cac_hpc.settings.labels import LabelsConfig

SHOWN = 3  # of many lines that say the same


def of_rows(
    own: Mapping[str, Sequence[Row]], rows: list[Row], patients: dict[str, str], cfg: LabelsConfig
) -> list[str]:
    """What is odd about labels, a line for each thing.

    Args:
        own: the rows of each study that has a label. rows: all of the source, but those left out as hidden.
        patients: the number of each normalised patient.
    """
    found = [*_spelled(own, cfg), *_repeated(own), *_remarks(own)]
    if cfg.source == "sheet":
        found += [*_odd_points(rows), *_odd_patients(rows, patients), *_high_scores([same[0] for same in own.values()])]
    return found


def hidden(unseen: Sequence[Row], rows: Sequence[Row], cfg: LabelsConfig) -> list[str]:
    """Which rows and columns are hidden in the sheets, and what was done with them; names no study and no patient.

    Args:
        unseen: the hidden ones of all rows.
    """
    return _hidden_rows(unseen, cfg) + _hidden_columns(rows)


def _spelled(own: Mapping[str, Sequence[Row]], cfg: LabelsConfig) -> list[str]:
    """Rows whose study is written otherwise than its folder; of those by a prefix or suffix the first."""
    found = {True: list[str](), False: list[str]()}
    for study, rows in own.items():
        for row in rows:
            if row.study.text != study:
                by_affix = normalised(row.study.text) != normalised(study)
                found[by_affix].append(f"{label_rows.named([row])} is study {study!r}")
    dropped = " and ".join(
        f"labels.{setting} {text}"
        for setting, text in ((affixes.PREFIX, cfg.id_prefix), (affixes.SUFFIX, cfg.id_suffix))
        if text
    )
    return found[False] + ([f"{dropped}: {logs.first_of(found[True], SHOWN)}"] if found[True] else [])


def _repeated(own: Mapping[str, Sequence[Row]]) -> list[str]:
    """Studies of which several sheets say the same."""
    found = [label_rows.named(rows) for rows in own.values() if len(rows) > 1]
    return [f"in several sheets with the same score: {logs.first_of(found, SHOWN)}"] if found else []


def _remarks(own: Mapping[str, Sequence[Row]]) -> list[str]:
    """What is said of several studies, with the first of them."""
    found: dict[str, list[str]] = {}
    for study, (row, *_) in own.items():
        for remark in row.remarks:
            found.setdefault(remark, []).append(f"study {study!r}")
    return [f"{remark}: {logs.first_of(studies, SHOWN)}" for remark, studies in found.items()]


def _hidden_rows(rows: Sequence[Row], cfg: LabelsConfig) -> list[str]:
    lines = []
    for same in grouped(rows, lambda row: row.sheet).values():
        if cfg.hidden_rows == "use":
            lines.append(f"{are_hidden(same)}, and read (labels.hidden_rows: leave_out leaves {them(same)} out)")
        else:
            lines.append(f"{are_hidden(same)}, and left out (labels.hidden_rows: use reads {them(same)})")
    return lines


def _hidden_columns(rows: Sequence[Row]) -> list[str]:
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


def are_hidden(rows: Sequence[Row]) -> str:
    """Such as: rows 4, 6-9 are hidden in the sheet."""
    ranges: list[list[int]] = []
    for row in rows:
        if ranges and row.number == ranges[-1][-1] + 1:
            ranges[-1][1:] = [row.number]
        else:
            ranges.append([row.number])
    numbers, where = ", ".join("-".join(map(str, ends)) for ends in ranges), rows[0].sheet or "the sheet"
    return f"row {numbers} is hidden in {where}" if len(rows) == 1 else f"rows {numbers} are hidden in {where}"


def them(rows: Sequence[Row]) -> str:
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
    found = [cell for cell in cells if "." in cell.text and re.fullmatch(r"[0-9]+\.[0-9]+", cell.text)]
    if not found or not all(re.fullmatch(r"[1-9][0-9]{0,2}\.[0-9]{3}", cell.text) for cell in found):
        return []
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return [f"{found[0].address} {found[0].text!r}{more}: points are read as decimal points, not between thousands"]


def _odd_patients(rows: list[Row], patients: dict[str, str]) -> list[str]:
    """Cells that spell one patient in two ways, and patients that are two by a blank, a dash or a zero only."""
    cells = [row.patient for row in rows if row.patient and row.patient.text]
    first = [same[0] for same in grouped(cells, lambda cell: cell.text).values()]
    written = grouped(first, lambda cell: normalised(cell.text))
    merged = [
        f"{' and '.join(cell.address for cell in same)} differ, but are one patient, {patients[key]}"
        for key, same in written.items()
        if len(same) > 1
    ]
    apart = [
        f"{' and '.join(f'{written[key][0].address} ({patients[key]})' for key in keys)} differ little, "
        "but are different patients"
        for keys in grouped(written, lambda key: spellings(key)[-1]).values()
        if len(keys) > 1
    ]
    return merged + apart
