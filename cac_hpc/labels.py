"""The score sheet: study numbers and Agatston scores in, calcium categories out."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cac_hpc.config import InputError, LabelsConfig

SCORE = re.compile(r"[0-9]+(\.[0-9]+)?")


@dataclass(frozen=True)
class Label:
    """What the sheet says of one study; category is 0 for the lowest."""

    study: str
    patient: str
    score: float
    category: int


def read_labels(cfg: LabelsConfig) -> dict[str, Label]:
    """Read the sheet as text and parse every score.

    Returns: study number to label, in the sheet's order.
    Raises: InputError naming the sheet, every faulty row with what was found, and what was wanted.
    """
    sheet = _read_sheet(Path(cfg.sheet))
    wanted = [cfg.study_column, cfg.score_column, *([cfg.patient_column] if cfg.patient_column else [])]
    missing = [column for column in wanted if column not in sheet.columns]
    if missing:
        raise InputError(
            f"{cfg.sheet}: found columns {list(sheet.columns)}, wanted also {missing}; set "
            "labels.study_column, labels.score_column or labels.patient_column to the sheet's names"
        )
    labels: dict[str, Label] = {}
    faults = []
    for row, (study, score, *patient) in enumerate(sheet[wanted].itertuples(index=False), start=2):
        if not any((study, score, *patient)):
            continue  # an empty row
        if fault := _fault(study, score, patient, labels):
            faults.append(f"row {row}: {fault}")
            continue
        category = int(categories([float(score)], cfg.edges)[0])
        labels[study] = Label(study, patient[0] if patient else study, float(score), category)
    if faults:
        raise InputError(f"{cfg.sheet}: " + some(faults))
    if not labels:
        raise InputError(f"{cfg.sheet}: found no row with a study, wanted one row per study")
    return labels


def categories(scores: Sequence[float], edges: Sequence[float]) -> np.ndarray:
    """Category of each score: the number of edges below it, so an edge belongs to the category that ends there.

    Args:
        scores: (N,) Agatston scores, finite. edges: rising upper edges of all categories but the last.
    Returns: (N,) int64.
    """
    return np.searchsorted(np.asarray(edges, dtype=float), np.asarray(scores, dtype=float), side="left")


def check_join(labels: dict[str, Label], studies: Sequence[str], sheet: str, dicom_root: str) -> None:
    """Every study has a label and every label a study.

    Raises: InputError listing the mismatches of both directions.
    """
    unlabelled = [f"study {study!r} has no row" for study in studies if study not in labels]
    found = set(studies)
    absent = [f"study {study!r} has no folder" for study in labels if study not in found]
    if unlabelled or absent:
        raise InputError(
            f"{sheet} and {dicom_root} do not match, wanted one row and one folder per study: "
            + some(unlabelled + absent)
        )


def some(faults: list[str], shown: int = 10) -> str:
    """The first faults on one line, and how many more there are."""
    more = f"; and {len(faults) - shown} more" if len(faults) > shown else ""
    return "; ".join(faults[:shown]) + more


def _read_sheet(path: Path) -> pd.DataFrame:
    """All cells as text, blanks around headers and cells removed."""
    if not path.is_file():
        raise InputError(f"labels.sheet is {str(path)!r}, but there is no such file; wanted a .csv or .xlsx sheet")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header
            if path.suffix.lower() == ".xlsx":
                sheet = pd.read_excel(path, dtype=str, keep_default_na=False)
            else:
                sheet = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False, index_col=False)
    except Exception as error:  # readers raise what their parsers raise
        raise InputError(
            f"{path}: cannot be read as a sheet ({' '.join(str(error).split())}); wanted .csv or .xlsx, "
            "every row as long as the header"
        ) from error
    columns = [str(column).strip() for column in sheet.columns]
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise InputError(f"{path}: found columns {twice} twice, wanted each name once")
    sheet.columns = pd.Index(columns)
    return pd.DataFrame({column: sheet[column].str.strip() for column in sheet.columns})


def _fault(study: str, score: str, patient: list[str], labels: dict[str, Label]) -> str | None:
    if not study:
        return f"study is empty beside score {score!r}"
    if study in labels:
        return f"study {study!r} stands there twice"
    if not SCORE.fullmatch(score):
        return f"study {study!r} has score {score!r}, wanted a number of 0 or more"
    if patient and not patient[0]:
        return f"study {study!r} has no patient"
    return None
