"""The pages of a report: HTML that loads nothing, of what it holds and its pictures.

There are two, with the slices of patients and without: which one travels is the user's choice.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cac_hpc.appendix import checklists
from cac_hpc.appendix.checklists import Filled
from cac_hpc.appendix.methods_text import Paragraph
from cac_hpc.cluster.circumstances import Circumstances
from cac_hpc.evaluation import questions
from cac_hpc.report import page_values, slice_pictures, templates
from cac_hpc.report.templates import HERE
from cac_hpc.results.report import Report
from cac_hpc.run import paths
from cac_hpc.sections import wording


@dataclass(frozen=True)
class Appendix:
    """What a report adds for those who write a paper of it: checklists, filled, and the methods as text."""

    checklists: Sequence[Filled]
    methods: Sequence[Paragraph]


def of_report(
    folder: Path, report: Report, circumstances: Circumstances, window_hu: Sequence[float], appendix: Appendix
) -> dict[str, str]:
    """Both pages by their files' names; arguments are those of `html`."""
    return {
        paths.page_name(report.status, "html", images): html(folder, report, circumstances, window_hu, appendix, images)
        for images in (True, False)
    }


def html(
    folder: Path,
    report: Report,
    circumstances: Circumstances,
    window_hu: Sequence[float],
    appendix: Appendix,
    images: bool,
) -> str:
    """The page.

    Args:
        folder: of the report, with its figures. window_hu: of the slices. images: whether slices of patients are shown.
    """
    script = (HERE / "page.js").read_text(encoding="utf-8")
    values = page_values.of_report(report, circumstances) | {
        "script": templates.markup(script),
        "script_source": templates.markup(_source(script)),
        "window": slice_pictures.window_name(window_hu),
        "galleries": page_values.galleries(folder, report) if images else None,
        "patients": page_values.patients(folder, report) if images else None,
        "patient_at": page_values.patient_at(report) if images else {},
        "appendix": appendix,
        "picture": lambda name: page_values.address(folder / "figures" / name),
    }
    return templates.render(HERE, "page.html", values)


def _source(script: str) -> str:
    """The one script that the page's policy admits."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"


def checklist(report: Report, filled: Sequence[Filled]) -> str:
    """The page of the checklists."""
    values = {
        "report": report,
        "wording": wording,
        "mark": wording.status_mark(report),
        "filled": filled,
        "checklists": checklists,
        "asked": checklists.asked(filled),
        "questions": questions.QUESTIONS,
        "answers": report.answers or {},
    }
    return templates.render(HERE, checklists.PAGE, values)
