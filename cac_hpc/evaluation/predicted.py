"""Predictions of studies as any program writes them: a sheet with one row per study, read and checked.

Columns: study; score (Agatston), category (a name, or its number from 0) or both; where they are there, p0, p1 ... of
each category, patient, and what jobs/predict.py adds: category_index, rule_score, known, out_of_range, fault, and of
prediction sets set_low, set_high (numbers of categories), set_coverage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cac_hpc.labels import labels, sheets, spelling
from cac_hpc.labels.sheets import Cell, SheetError
from cac_hpc.run import digests, escaping
from cac_hpc.settings.errors import InputError

OTHERS = ("score", "category", "category_index", "patient", "rule_score", "known", "out_of_range", "fault", "slices",
          "set_low", "set_high", "set_coverage")  # fmt: skip
SUM_TOLERANCE = 1e-3  # of the probabilities of a study
NAMED = 5  # faults that a message names


@dataclass(frozen=True)
class Predicted:
    """What a program says of studies.

    table: study, category (index, -1 where there is no prediction), score and rule_score (NaN where there is none),
    p0, p1 ..., patient, known (0, 1), out_of_range (0, 1), fault (why there is no prediction), set_low and set_high (-1
    where there is no prediction set). sets: whether there are prediction sets. coverage: of what share of patients they
    are to name the category, None if nothing tells.
    """

    file: str  # its name
    table: pd.DataFrame
    scores: bool
    probabilities: bool
    columns: frozenset[str]
    sha256: str
    sets: bool = False
    coverage: float | None = None


@dataclass(frozen=True)
class _Scheme:
    """The categories, and how their cells are read."""

    names: Sequence[str]
    edges: Sequence[float]
    by_name: bool


def read(path: Path, names: Sequence[str], edges: Sequence[float]) -> Predicted:
    """Read predictions, a .csv or .xlsx file.

    Args:
        names, edges: of the categories, as in labels.names and labels.edges.
    Raises: InputError naming the file, its cells, what was found and what was wanted.
    """
    chances = [f"p{category}" for category in range(len(names))]
    try:
        columns, rows = sheets.read_columns(path, ["study"], [*OTHERS, *chances, f"p{len(names)}"])
    except SheetError as error:
        raise InputError(f"{path}: {error}; see docs/predicting.md for the columns of predictions") from None
    cells = [dict(zip(columns, map(_plain, row), strict=True)) for row in rows]
    _check_columns(path, columns, chances)
    _check_names(path, cells)
    faults: list[str] = []
    table = pd.DataFrame([_row(one, chances, _scheme(cells, names, edges), faults.append) for one in cells])
    _refuse(path, faults)
    there = table["category"] >= 0
    found = Predicted(
        file=path.name,
        table=table,
        scores=bool(table.loc[there, "score"].notna().any()),
        probabilities=chances[0] in columns,
        columns=frozenset(columns),
        sha256=digests.file_sha256(path),
        sets=bool((table.loc[there, "set_low"] >= 0).any()),
        coverage=_wanted(path, table),
    )
    _refuse(path, [*_incomplete(found, there)])
    return found


def _plain(cell: Cell) -> Cell:
    """A cell as it was before jobs/predict.py made it harmless for spreadsheets."""
    return cell._replace(text=escaping.plain(cell.text))


def _check_columns(path: Path, columns: Sequence[str], chances: Sequence[str]) -> None:
    if not {"score", "category", "category_index"} & {*columns}:
        raise InputError(f"{path}: found columns {', '.join(columns)}, wanted score or category beside study")
    if (beyond := f"p{len(chances)}") in columns:
        raise InputError(
            f"{path}: found a column {beyond}, wanted none beyond {chances[-1]}, as there are "
            f"{len(chances)} categories; those of the predictions are set by --edges and --names"
        )
    if 0 < len({*columns} & {*chances}) < len(chances):
        raise InputError(f"{path}: found some of {', '.join(chances)}, wanted all of them or none")


def _check_names(path: Path, cells: Sequence[dict[str, Cell]]) -> None:
    """Every row names a study, and no other row the same one."""
    if not cells:
        raise InputError(f"{path}: found no row below the column names, wanted one per study")
    seen: dict[str, Cell] = {}
    faults = []
    for cell in (row["study"] for row in cells):
        if not cell.text:
            faults.append(f"{cell.address} is {cell.fault or 'blank'}, wanted a study")
        elif (first := seen.setdefault(spelling.normalised(cell.text), cell)) is not cell:
            faults.append(f"{first.address} and {cell.address} name the same study {cell.text!r}, wanted one row of it")
    _refuse(path, faults)


def _scheme(cells: Sequence[dict[str, Cell]], names: Sequence[str], edges: Sequence[float]) -> _Scheme:
    texts = {row["category"].text for row in cells if "category" in row} - {""}
    return _Scheme(names, edges, by_name=texts <= {*names})


def _row(
    row: dict[str, Cell], chances: Sequence[str], scheme: _Scheme, say: Callable[[str], None]
) -> dict[str, object]:
    """One study; what is wrong with its cells is said."""
    found: dict[str, object] = {"study": row["study"].text}
    for name in ("score", "rule_score", "slices", "set_coverage"):
        found[name] = _number(row.get(name), say)
    score, category = float(str(found["score"])), _category(row, scheme, say)
    if not math.isnan(score):
        by_score = int(labels.categories([score], scheme.edges)[0])
        if category not in (-1, by_score):
            said = f"{row['score'].address} {score:g} is of category {scheme.names[by_score]}"
            say(f"{said}, but its category is {scheme.names[category]}; wanted one of both, or the same")
        category = by_score
    found |= {name: _number(row.get(name), say) for name in chances}
    total = sum(float(str(found[name])) for name in chances)
    if category >= 0 and chances[0] in row and not abs(total - 1) <= SUM_TOLERANCE:
        say(f"the probabilities of study {row['study'].text!r} ({row[chances[0]].address} ...) sum to {total:g}, not 1")
    found |= _set(row, len(scheme.names), say)
    flags = {"known": _known(row.get("known"), say), "out_of_range": _flag(row.get("out_of_range"))}
    patient, fault = (row[name].text if name in row else "" for name in ("patient", "fault"))
    return found | flags | {"category": category, "patient": patient, "fault": fault}


def _number(cell: Cell | None, say: Callable[[str], None]) -> float:
    """A number of 0 or more; NaN where the cell is blank."""
    if cell is None or not (cell.text or cell.fault):
        return math.nan
    try:
        number = float(cell.text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        say(f"{cell.address} is {cell.fault or repr(cell.text[:40])}, wanted a number of 0 or more such as 12.5")
    return number


def _set(row: dict[str, Cell], num_categories: int, say: Callable[[str], None]) -> dict[str, int]:
    """Lowest and highest category of a prediction set; -1 where there is none."""
    cells = [row[name] for name in ("set_low", "set_high") if name in row]
    if not any(cell.text or cell.fault for cell in cells):
        return {"set_low": -1, "set_high": -1}
    texts = [cell.text.removesuffix(".0") for cell in cells]  # as programs write a column that has blank cells
    ends = [int(text) if text.isascii() and text.isdecimal() else num_categories for text in texts]
    if len(ends) < len(("set_low", "set_high")) or not ends[0] <= ends[1] < num_categories:
        found = " and ".join(f"{cell.address} {cell.text[:40]!r}" for cell in cells)
        say(f"{found} name no prediction set, wanted its lowest and highest category, 0 to {num_categories - 1}")
        return {"set_low": -1, "set_high": -1}
    return {"set_low": ends[0], "set_high": ends[1]}


def _wanted(path: Path, table: pd.DataFrame) -> float | None:
    """Of what share of patients prediction sets are to name the category.

    Raises: InputError if they are not all of one share.
    """
    shares = table["set_coverage"].dropna().unique().tolist()
    if len(shares) > 1 or not all(0 < share < 1 for share in shares):
        shown = ", ".join(f"{share:g}" for share in shares[:NAMED])
        raise InputError(f"{path}: found set_coverage {shown}, wanted one share between 0 and 1 for all rows")
    return float(shares[0]) if shares else None


def _known(cell: Cell | None, say: Callable[[str], None]) -> int:
    """0 or 1, also as 0.0 or false, as programs write a column again that has blank cells; blank is 0."""
    text = "" if cell is None else cell.text.lower()
    if cell is None or text in ("", "0", "0.0", "false"):
        return 0
    if text not in ("1", "1.0", "true"):
        say(f"{cell.address} is {cell.fault or repr(cell.text[:40])}, wanted 0 or 1")
    return 1


def _flag(cell: Cell | None) -> int:
    """Whether a cell holds sentences, or says yes."""
    return int(cell is not None and cell.text.lower() not in ("", "0", "0.0", "false"))


def _category(row: dict[str, Cell], scheme: _Scheme, say: Callable[[str], None]) -> int:
    """Its index, of category and category_index, which must agree; -1 where both are blank."""
    cells = [(name, row[name]) for name in ("category_index", "category") if name in row]
    found = [
        (cell, _index(cell, scheme, scheme.by_name and name == "category", say))
        for name, cell in cells
        if cell.text or cell.fault
    ]
    if not found:
        return -1
    (cell, category), (other, again) = found[0], found[-1]
    if category != again and min(category, again) >= 0:
        said = f"{cell.address} is {cell.text}, {scheme.names[category]}, but {other.address} is {other.text[:40]!r}"
        say(f"{said}; wanted the same category in both")
    return category


def _index(cell: Cell, scheme: _Scheme, by_name: bool, say: Callable[[str], None]) -> int:
    """The category of a cell; -1, and what is wrong is said, if there is none."""
    if by_name and cell.text:
        return list(scheme.names).index(cell.text)
    if cell.text.isascii() and cell.text.isdecimal() and int(cell.text) < len(scheme.names):
        return int(cell.text)
    wanted = f"one of {', '.join(scheme.names)} in all rows, or numbers from 0 to {len(scheme.names) - 1} in all"
    say(f"{cell.address} is {cell.fault or repr(cell.text[:40])}, wanted {wanted}")
    return -1


def _incomplete(found: Predicted, there: pd.Series) -> Iterator[str]:
    """Studies that lack what others have."""
    table = found.table[there]
    if found.scores:
        yield from (f"study {study!r} has no score, others have" for study in table.loc[table["score"].isna(), "study"])
    if found.sets:
        without = table.loc[table["set_low"] < 0, "study"]
        yield from (f"study {study!r} has no prediction set, others have" for study in without)
    if "patient" in found.columns:
        yield from (f"study {study!r} has no patient" for study in table.loc[table["patient"] == "", "study"])


def _refuse(path: Path, faults: Sequence[str]) -> None:
    """Raises: InputError if there is a fault."""
    if faults:
        more = [f"and {len(faults) - NAMED} more"] if len(faults) > NAMED else []
        raise InputError("\n  ".join([f"{path}: {len(faults)} of its cells cannot be used", *faults[:NAMED], *more]))


def probabilities(table: pd.DataFrame, num_categories: int) -> np.ndarray:
    """Probabilities of the categories (N, K) float64, rows sum to 1 exactly enough."""
    chance_NK = table[[f"p{category}" for category in range(num_categories)]].to_numpy(float)
    return np.asarray(chance_NK / chance_NK.sum(axis=1, keepdims=True))
