"""Section report: what a report is drawn with, compared with, and which rules its figures follow."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cac_hpc.settings.checks import ADDED, require, require_cuts, require_text, within

CUTS = (0.0, 100.0, 400.0)


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """How a report is drawn and counted."""

    title: str = "Coronary calcium category from non-contrast cardiac CT"  # of the page and the figures
    figure_dpi: int = 300  # of PNG files
    window_hu: tuple[float, float] = (-135.0, 215.0)  # contrast of the slices that are shown: width 350, level 40
    published: str | None = None  # a published table for comparison, such as configs/published/nguyen.yaml
    compare: str | None = field(default=None, metadata=ADDED)  # a run with the same folds, a further reader
    checklist: str | None = field(default=None, metadata=ADDED)  # answers of people, for the checklists of the report
    # From slices to a patient; chosen before anything is tested, and fixed for the run.
    patient_rule: Literal["mean", "majority", "top_k"] = "mean"
    top_k: int = 5  # slices, for the rule of that name
    draws: int = 2000  # of patients, for the intervals
    seed: int = 0  # of the draws
    near_equal_ids: Literal["refuse", "warn"] = "refuse"  # studies A07 and A7 in training and test of one fold
    # scores that treatment depends on: above 0, and from each of the others on; see docs/report.md
    cuts: tuple[float, ...] = field(default=CUTS, metadata=ADDED)
    coverage: float = field(default=0.9, metadata=ADDED)  # share of patients whose category prediction sets name

    def __post_init__(self) -> None:
        require_text("report.title", self.title)
        require_cuts("report.cuts", self.cuts)
        within(self, "report.", figure_dpi=(50, 600), top_k=(1, None), draws=(200, 100_000), seed=(0, None))
        within(self, "report.", coverage=(0.5, 0.99))
        (low, high), wanted = self.window_hu, "low, high with low < high, both of -2000 to 10000"
        require(-2000 <= low < high <= 10_000, "report.window_hu", self.window_hu, wanted)
