"""Section labels: where calcium scores are read from, and the categories that are predicted; others need no code."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from cac_hpc.settings.checks import ADDED, require, require_text
from cac_hpc.settings.data import Subgroup


@dataclass(frozen=True, kw_only=True)
class LabelsConfig:
    """Where scores are read from, and which categories they fall into."""

    sheet: str | tuple[str, ...] | None = None  # .csv or .xlsx, one row per study; BOOK.xlsx#NAME is one of its sheets
    study_column: str = "study"  # study number, the name of the study's folder
    score_column: str | None = "score"  # Agatston score; null: the sum of vessel_columns
    patient_column: str | None = None  # null: every study is its own patient
    edges: tuple[float, ...] = (0.0, 10.0, 100.0, 400.0, 1000.0)  # a category ends at its edge, the edge included
    names: tuple[str, ...] = (
        "Very Low",
        "Low",
        "Low/Moderate",
        "Moderate",
        "Moderate/High",
        "High",
    )  # one more than edges
    unmatched: Literal["stop", "skip"] = "stop"  # folders without a valid row, rows without a folder: or leave them out
    hidden_rows: Literal["leave_out", "use"] = "leave_out"  # of an .xlsx sheet, hidden by hand or by a filter
    source: Literal["sheet", "sr", "masks"] = field(default="sheet", metadata=ADDED)  # sr: reports in the study folders
    masks: str | None = field(default=None, metadata=ADDED)  # of source masks: as pack.regions
    # of a study without one: it has no label, or its score is 0, where masks were drawn on calcium alone
    without_mask: Literal["refuse", "zero"] = field(default="refuse", metadata=ADDED)
    vessel_columns: tuple[str, ...] = field(default=(), metadata=ADDED)  # Agatston score of each vessel, as LM
    group_columns: tuple[str, ...] = field(default=(), metadata=ADDED)  # of text by which patients form groups
    id_prefix: str | None = field(default=None, metadata=ADDED)  # before numbers, in sheet or folders: not compared
    id_suffix: str | None = field(default=None, metadata=ADDED)  # behind them: A lets row 1A be folder 1

    def __post_init__(self) -> None:
        require(list(self.edges) == sorted(set(self.edges)), "labels.edges", self.edges, "rising numbers")
        require(all(map(math.isfinite, self.edges)), "labels.edges", self.edges, "finite numbers")
        require(len(set(self.sheets)) == len(self.sheets), "labels.sheet", self.sheet, "different sheets")
        require(len(self.edges) >= 1, "labels.edges", self.edges, "at least one number")
        columns = [self.study_column, self.score_column, self.patient_column, *self.vessel_columns]
        columns += self.group_columns
        named = [column for column in columns if column is not None]
        wanted = (
            f"different columns: {', '.join(sorted({repr(name) for name in named if named.count(name) > 1}))} twice"
        )
        require(len(set(named)) == len(named), "labels.*_column", named, wanted)
        require(len(self.vessel_columns) != 1, "labels.vessel_columns", self.vessel_columns, "two columns or more")
        require_text("labels.id_prefix and labels.id_suffix", self.id_prefix or "", self.id_suffix or "")
        wanted = f"{len(self.edges) + 1} names, one more than labels.edges"
        require(len(self.names) == len(self.edges) + 1, "labels.names", self.names, wanted)
        require_text("labels.names", *self.names)
        wanted = f"columns of other names than {', '.join(get_args(Subgroup))}, which data.subgroups has"
        taken = {column.strip().casefold() for column in self.group_columns} & {*get_args(Subgroup)}
        require(not taken, "labels.group_columns", self.group_columns, wanted)
        require_text("labels.group_columns", *self.group_columns)

    def check_source(self) -> None:
        """What the labels of a cohort are read from is there, and nothing besides.

        Raises: InputError naming the setting.
        """
        wanted = "the path of a .csv or .xlsx sheet, or a list of paths"
        require((bool(self.sheets) and all(self.sheets)) or self.source != "sheet", "labels.sheet", self.sheet, wanted)
        given, wanted = self.masks, "a folder of masks, or a path with {study} in it, as labels.source is masks"
        require(self.source != "masks" or bool(given), "labels.masks", given, wanted)
        require(self.source == "masks" or not given, "labels.masks", given, "null, as labels.source is not masks")
        of_sheet, wanted = self.source == "sheet", "null: only a sheet names patients"
        require(of_sheet or not self.patient_column, "labels.patient_column", self.patient_column, wanted)
        wanted = "left out: only a sheet has columns"
        require(of_sheet or not self.group_columns, "labels.group_columns", self.group_columns, wanted)
        scored = self.score_column is not None or bool(self.vessel_columns)
        require(scored, "labels.score_column", self.score_column, "a column, where labels.vessel_columns is empty")

    @property
    def sheets(self) -> tuple[str, ...]:
        """All sheets, each as `sheet` names it."""
        return (self.sheet,) if isinstance(self.sheet, str) else self.sheet or ()

    @property
    def origin(self) -> str:
        """Where the labels are from, for messages."""
        return ", ".join(self.sheets) if self.source == "sheet" else f"labels.source {self.source}"
