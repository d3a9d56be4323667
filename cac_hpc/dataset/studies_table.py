"""studies.csv without pandas, which takes longer to load than a small dataset takes to seal: written, and read as text.

Numbers are written as pandas writes and reads them: a column with a fraction, or with empty cells, is of fractions.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from cac_hpc.settings.model import ModelConfig


def write(file: TextIO, studies: Sequence[Mapping[str, Any]], whole: Collection[str] = ()) -> None:
    """Write one line for each study; a value that is None, or that a study does not have, is an empty cell.

    Args:
        file: opened without translation of newlines. whole: columns of whole numbers, also where cells are empty.
    """
    names = dict.fromkeys(name for study in studies for name in study)
    columns = [_column([study.get(name) for study in studies], name in whole) for name in names]
    csv.writer(file, lineterminator="\n").writerows([names, *zip(*columns, strict=True)])


def _column(values: list[Any], whole: bool) -> list[Any]:
    kinds = {type(value) for value in values}
    if whole or not kinds <= {int, float, type(None)} or kinds == {int}:
        return values
    return [None if value is None else float(value) for value in values]


def read(path: Path) -> list[dict[str, str]]:
    """The studies, one after the other; every value is text, "" of an empty cell."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def usable(studies: Sequence[dict[str, str]], model: ModelConfig) -> list[dict[str, str]]:
    """The studies that a model can be given, as `sealed.usable` has them."""
    return [study for study in studies if not (model.of_candidates and study.get("has_candidates") == "False")]
