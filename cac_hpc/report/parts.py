"""Sections of a report that are sentences and tables, in their order, and the files of the same numbers.

A new one is a module with ``sections``, and ``csv`` and ``latex`` if it has files, that is named here; the page, the
Markdown and the tables then have it.
"""

from __future__ import annotations

import pandas as pd

from cac_hpc.report import answer_parts, cut_parts, external_parts, rows, size_parts, trial_parts
from cac_hpc.report.rows import Section
from cac_hpc.statistics.results import Report


def answers(report: Report) -> list[Section]:
    """The first screen: a clinician's questions; a part that knows more of one adds its sentences here."""
    more = {"sure": [*size_parts.sure(report)], "not-for": list[str]()}
    return answer_parts.sections(report, more)


def first(report: Report) -> list[Section]:
    """Those in front of the levels."""
    return [*external_parts.sections(report), *cut_parts.sections(report)]


def later(report: Report) -> list[Section]:
    """Those behind the levels."""
    return [*rows.compared(report), *size_parts.sections(report), *trial_parts.sections(report)]


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """Tables by their files' names."""
    found = external_parts.csv(report) | cut_parts.csv(report) | size_parts.csv(report)
    return found | {name: pd.DataFrame(cells).convert_dtypes() for name, cells in trial_parts.rows(report).items()}


def latex(report: Report) -> list[tuple[str, pd.DataFrame, str]]:
    """Tables of a paper: label, cells and caption."""
    trials = [
        ("trials", pd.DataFrame(list(one.rows), columns=list(one.columns)), one.caption)
        for one in trial_parts.printed(report)
    ]
    return [*trials, *cut_parts.latex(report)]
