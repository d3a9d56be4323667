"""Sections of a report that are sentences and tables, in their order, and the files of the same numbers.

A new one is a module with ``sections``, and ``csv`` and ``latex`` if it has files, that is named here; the page, the
Markdown and the tables then have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cac_hpc.results.report import Report
from cac_hpc.sections import (
    answer_parts,
    cohort_parts,
    cut_parts,
    external_parts,
    group_parts,
    label_parts,
    occlusion_parts,
    reader_parts,
    set_parts,
    size_parts,
    subgroup_parts,
    trial_parts,
)
from cac_hpc.sections.section import Section

if TYPE_CHECKING:
    import pandas as pd


def answers(report: Report) -> list[Section]:
    """The first screen: a clinician's questions; a part that knows more of one adds its sentences to it."""
    return answer_parts.sections(report, {"sure": _sure(report), "not-for": _not_for(report)})


def verdict(report: Report) -> list[str]:
    """Sentences of parts that belong to what came out, where there is no room for all answers."""
    return [*trial_parts.verdict(report), *set_parts.verdict(report), *_not_for(report)]


def _sure(report: Report) -> list[str]:
    """How sure a single patient's category is, and the figures are."""
    return [*set_parts.verdict(report), *size_parts.sure(report)]


def _not_for(report: Report) -> list[str]:
    """For whom the model is worse."""
    return [*group_parts.verdict(report), *subgroup_parts.verdict(report)]


def first(report: Report) -> list[Section]:
    """Those in front of the levels."""
    return [
        *external_parts.sections(report),
        *group_parts.sections(report),
        *cut_parts.sections(report),
        *set_parts.sections(report),
        *subgroup_parts.sections(report),
    ]


def later(report: Report) -> list[Section]:
    """Those behind the levels."""
    return [
        *cohort_parts.sections(report),
        *reader_parts.sections(report),
        *occlusion_parts.sections(report),
        *label_parts.sections(report),
        *size_parts.sections(report),
        *trial_parts.sections(report),
    ]


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """Tables by their files' names."""
    import pandas as pd

    return {
        **external_parts.csv(report),
        **cohort_parts.csv(report),
        **cut_parts.csv(report),
        **label_parts.csv(report),
        **size_parts.csv(report),
        **set_parts.csv(report),
        **group_parts.csv(report),
        **subgroup_parts.csv(report),
        **{name: pd.DataFrame(cells).convert_dtypes() for name, cells in trial_parts.rows(report).items()},
    }


def latex(report: Report) -> list[tuple[str, pd.DataFrame, str]]:
    """Tables of a paper: label, cells and caption."""
    import pandas as pd

    trials = [
        ("trials", pd.DataFrame(list(one.rows), columns=list(one.columns)), one.caption)
        for one in trial_parts.printed(report)
    ]
    own = [*cohort_parts.latex(report), *cut_parts.latex(report)]
    return [*trials, *own, *group_parts.latex(report), *subgroup_parts.latex(report)]
