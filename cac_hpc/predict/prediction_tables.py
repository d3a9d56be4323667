"""The tables of a prediction, made of its parts: predictions.csv, lesions.csv, studies.csv, rejected.csv."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

import pandas as pd

from cac_hpc.dataset.sealing import REJECTED_COLUMNS
from cac_hpc.predict import parts, prediction_pages
from cac_hpc.predict.bundle import Bundle
from cac_hpc.predict.parts import Plan
from cac_hpc.run import disk, escaping
from cac_hpc.train.lesion_results import LESION_COLUMNS

BEFORE = ("study", "score", "category", "category_index")
AFTER = ("set_low", "set_high", "set_coverage", "score_low", "score_high", "folds_agreeing", "rule_score", "lesions",
         "known", "out_of_range", "warnings", "fault")  # fmt: skip
LESIONS = tuple(name for name in LESION_COLUMNS if name != "fold")
Row = Mapping[str, Any]


def prediction_columns(num_categories: int) -> list[str]:
    """The columns of predictions.csv."""
    return [*BEFORE, *(f"p{index}" for index in range(num_categories)), *AFTER]


def gather(out: Path, plan: Plan, bundle: Bundle) -> dict[str, Any]:
    """Write the tables, index.html and, last, predict.json, from parts that are all there.

    The same parts give the same bytes. Rows of candidates and files are never all in memory.

    Returns: what predict.json holds.
    """
    rows, facts, num_files = list[Row](), list[Row](), 0
    with ExitStack() as stack:
        lesions, rejected = (
            stack.enter_context(stack.enter_context(disk.atomic(out / name)).open("x", encoding="utf-8"))
            for name in ("lesions.csv", "rejected.csv")
        )
        _append(lesions, [], LESIONS, header=True)
        _append(rejected, [], REJECTED_COLUMNS, header=True)
        for outcome in parts.outcomes(out, plan):
            rows.append(outcome["row"])
            facts += [outcome["facts"]] if outcome["facts"] else []
            num_files += outcome["num_files"]
            _append(lesions, outcome["lesions"], LESIONS)
            _append(rejected, outcome["rejected"], REJECTED_COLUMNS)
    columns = list(dict.fromkeys(["study", *(name for row in facts for name in row)]))
    disk.write_text(out / "studies.csv", _csv(facts, columns))
    disk.write_text(out / "predictions.csv", _csv(rows, prediction_columns(len(bundle.names))))
    counted = _counts(rows, num_files)
    prediction_pages.write_index(out, rows, bundle, counted)
    for left in out.rglob(".*.tmp"):  # of attempts that were killed
        left.unlink(missing_ok=True)
    summary = {name: value for name, value in plan.plain.items() if name != "studies"} | {"counts": counted}
    disk.write_json(out / "predict.json", summary)
    return summary


def _counts(rows: Sequence[Row], num_files: int) -> dict[str, Any]:
    faults = Counter(str(row["fault"]).partition(":")[0] for row in rows if row["fault"])
    return {
        "studies": len(rows),
        "files": num_files,
        "predicted": sum(not row["fault"] for row in rows),
        "refused": sum(bool(row["fault"]) for row in rows),
        "known": sum(bool(row["known"]) for row in rows),
        "out_of_range": sum(bool(row["out_of_range"]) for row in rows),
        "one_category": sum(
            not row["fault"] and row["set_low"] is not None and row["set_low"] == row["set_high"] for row in rows
        ),
        "faults": dict(sorted(faults.items())),
    }


def _append(file: TextIO, rows: Sequence[Row], columns: Sequence[str], header: bool = False) -> None:
    if rows or header:
        text = _csv(rows, columns)
        file.write(text if header else text.partition("\n")[2])


def _csv(rows: Iterable[Row], columns: Sequence[str]) -> str:
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    return escaping.csv_text(pd.DataFrame(cells, columns=list(columns), dtype=object))


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.9g}" if isinstance(value, float) else value
