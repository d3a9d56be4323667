"""What real archives hold and naive code falls over, planted in a synthetic cohort where its settings ask for it.

Every study is whole and readable; only its names, ids, order and its row in the sheet are odd. Without
``settings.surprises`` everything is plain.
"""

from __future__ import annotations

from collections.abc import Sequence

from cac_hpc.run.commands import PhantomConfig
from cac_hpc.run.config import LabelsConfig

SERIES = "Pro_Gated_CS_3.0_I30f_3_70%"
ABOVE = LabelsConfig.edges[-1]
BLANK, TEXT, ABSENT = 2, 4, 6  # rows of the sheet, from 0, whose score is left out, is text, or which are not there
STRAY = "no images,12.5"  # a row without a study


def folder_name(index: int, settings: PhantomConfig) -> str:
    """The study's number: with a letter, a blank and %, or a dot in some."""
    plain = f"{index:03d}"
    odd = (plain, f"{index}A", f"{plain} 70%", f"{plain}.x")
    return odd[index % 4] if settings.surprises else plain


def series_name(index: int, settings: PhantomConfig) -> str:
    """The folder of the files in the study's folder, empty for the same."""
    return SERIES if settings.surprises and index % 3 == 0 else ""


def attributes(index: int, settings: PhantomConfig) -> dict[str, object]:
    """Header elements that are odd: no study and series UID in some, UIDs that are none in others."""
    if not settings.surprises or index % 5 > 1:
        return {}
    made_up = None if index % 5 == 0 else f"1.2.840.0113619.02.{index}"  # no part of a UID starts with 0
    return {"StudyInstanceUID": made_up, "SeriesInstanceUID": made_up and f"{made_up}.01"}


def descending(index: int, settings: PhantomConfig) -> bool:
    """Whether instance numbers run from the head down."""
    return settings.surprises and index % 2 == 0


def sheet(rows: Sequence[tuple[str, str]], settings: PhantomConfig) -> str:
    """The label sheet as CSV.

    Args:
        rows: study and score of each.
    """
    if not settings.surprises:
        return "\n".join(["study,score", *(f"{study},{score}" for study, score in rows)]) + "\n"
    lines = ["study ,score ,remark"]
    for number, (study, _) in enumerate(rows):
        if number != ABSENT:
            lines.append(f"{study},{_odd_score(number, rows)},")
    return "\n".join([*lines, f"{STRAY},"]) + "\n"


def _odd_score(number: int, rows: Sequence[tuple[str, str]]) -> str:
    """Of those above the last edge the first says no more than that, the second has a comma in it."""
    score = rows[number][1]
    high = [at for at, (_, value) in enumerate(rows) if float(value) > ABOVE and at not in (BLANK, TEXT, ABSENT)]
    if number in high[:2]:
        return f">{ABOVE:g}" if number == high[0] else f'"{float(score):,}"'
    return {BLANK: "", TEXT: "n/a"}.get(number, score)
