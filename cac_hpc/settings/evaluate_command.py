"""Options of evaluating predictions of any program: an external test."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cac_hpc.settings.checks import require_cuts, require_text, within
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.report import CUTS, ReportConfig

Known = Literal["leave_out", "use"]
LABELS_HELP = {
    "study_column": "column of the study number",
    "score_column": "column of the Agatston score; null: the sum of the vessels",
    "vessel_columns": "columns of each vessel's score, added up, or compared with the score",
    "patient_column": "column of the patient; every study is its own patient if left out",
    "unmatched": "studies without a valid row and rows without a study: stop, or skip them and name each",
    "hidden_rows": "of an .xlsx sheet: leave_out or use",
    "id_prefix": "what study numbers begin with in the sheet or in the predictions only",
    "id_suffix": "what they end with there",
}
CHOICES = {"unmatched": ("stop", "skip"), "hidden_rows": ("leave_out", "use")}


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Which predictions are held against which sheet, and what stands beside them."""

    predictions: str  # a .csv or .xlsx file, or a folder written by jobs/predict.py
    labels: LabelsConfig
    out: str  # report/, tested.csv and external.json go there
    beside: tuple[str, ...] = ()  # predictions of the same studies, compared in pairs; a bundle, for its own figures
    name: str | None = None  # of what made the predictions
    title: str | None = None
    known: Known = "leave_out"  # studies of patients that the model was trained on
    cuts: tuple[float, ...] = CUTS
    figure_dpi: int = ReportConfig.figure_dpi
    checklist: str | None = None  # a file with answers of people

    def __post_init__(self) -> None:
        require_text("--name", *filter(None, [self.name]))
        require_text("--title", *filter(None, [self.title]))
        within(self, "--", figure_dpi=(50, 600))
        require_cuts("--cuts", self.cuts)


def parse_evaluate(doc: str | None, argv: Sequence[str] | None = None) -> EvaluateConfig:
    """Read ``PREDICTIONS --labels SHEET --out DIR [--beside BUNDLE_OR_PREDICTIONS ...] [OPTION ...]``.

    Raises: InputError for a value that cannot be.
    """
    parser = argparse.ArgumentParser(description=doc, allow_abbrev=False)
    text = "a .csv or .xlsx file with columns study, score or category, or a folder that jobs/predict.py wrote"
    parser.add_argument("predictions", metavar="PREDICTIONS", help=text)
    parser.add_argument("--out", required=True, metavar="DIR", help="the report goes to DIR/report")
    text = "predictions of the same studies, compared in pairs, or a bundle, whose own figures are shown beside these"
    parser.add_argument("--beside", nargs="+", default=[], metavar="FILE", help=text)
    parser.add_argument("--name", help="of what made the predictions, for the report")
    parser.add_argument("--title", help="of the report")
    text = "answers of people for the checklists, a file that jobs/report.py DIR --questions prints"
    parser.add_argument("--checklist", metavar="FILE", help=text)
    text = "studies of patients that the model was trained on: leave_out (default) or use"
    parser.add_argument("--known", choices=get_args(Known), default="leave_out", help=text)
    text = f"dots per inch of PNG figures; default {ReportConfig.figure_dpi}"
    parser.add_argument("--figure_dpi", type=int, default=ReportConfig.figure_dpi, help=text)
    text = "scores that treatment depends on: above 0, and from each of the others on; default 0 100 400"
    parser.add_argument("--cuts", nargs="*", type=float, default=CUTS, metavar="SCORE", help=text)
    text = f"upper edge of every category but the last; default {' '.join(f'{edge:g}' for edge in LabelsConfig.edges)}"
    parser.add_argument("--edges", nargs="+", type=float, default=LabelsConfig.edges, metavar="SCORE", help=text)
    text = "names of the categories, one more than edges"
    parser.add_argument("--names", nargs="+", default=LabelsConfig.names, metavar="NAME", help=text)
    add_labels(parser, required=True)
    read = vars(parser.parse_args(argv))
    try:
        labels = labels_of(read, edges=tuple(read.pop("edges")), names=tuple(read.pop("names")))
    except InputError as error:  # which names the settings of a run
        raise InputError(str(error).replace("labels.names", "--names").replace("labels.edges", "--edges")) from None
    assert labels
    several = {name: tuple(read[name]) for name in ("beside", "cuts")}
    return EvaluateConfig(**read | several | {"labels": labels})


def add_labels(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Options for sheets of labels: ``--labels SHEET`` and ``--labels.KEY VALUE``, as the settings are called."""
    group = parser.add_argument_group("labels, for the report of an external test")
    text = ".csv or .xlsx, one row per study; again for a further sheet"
    group.add_argument("--labels", required=required, action="append", metavar="SHEET", help=text)
    for name, text in LABELS_HELP.items():
        choices, several = CHOICES.get(name), "+" if name == "vessel_columns" else None
        group.add_argument(
            f"--labels.{name}", choices=choices, nargs=several, metavar=None if choices else "NAME", help=text
        )


def labels_of(read: dict[str, Any], **categories: Any) -> LabelsConfig | None:
    """Take the options of `add_labels` out of what was read; None if no sheet was named.

    Args:
        categories: edges and names, if they are not the usual ones.
    Raises: InputError for a value that cannot be.
    """
    sheets = read.pop("labels")
    given = {name: read.pop(f"labels.{name}") for name in LABELS_HELP}
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen.get("score_column") == "null":
        chosen["score_column"] = None
    chosen["vessel_columns"] = tuple(chosen.get("vessel_columns", ()))
    if sheets is None:
        return None
    made = LabelsConfig(sheet=_one_or_all(sheets), **chosen, **categories)
    made.check_source()
    return made


def label_arguments(cfg: LabelsConfig) -> list[str]:
    """The options that give these settings, from whatever folder; without the categories."""
    words = [word for sheet in cfg.sheets for word in ("--labels", str(Path(sheet).absolute()))]
    for name in LABELS_HELP:
        value = getattr(cfg, name)
        if name == "score_column" and value is None:
            value = "null"
        if value:
            words += [f"--labels.{name}", *([value] if isinstance(value, str) else value)]
    return words


def _one_or_all(sheets: Sequence[str]) -> str | tuple[str, ...]:
    return sheets[0] if len(sheets) == 1 else tuple(sheets)
