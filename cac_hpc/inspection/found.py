"""What was found in a folder that nobody knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cac_hpc.inspection.layout import Layout
from cac_hpc.inspection.masks_found import MasksFound
from cac_hpc.inspection.series_found import StudyFound
from cac_hpc.inspection.sheet_columns import SheetFound
from cac_hpc.settings.data import Format


@dataclass(frozen=True)
class Found:
    """What is in a folder.

    place: where the studies are. looked_at: some of them, by name. volumes: how many of these are in other formats than
    DICOM, too, by format. reports: studies looked at that hold a structured report with a calcium score.
    """

    place: Layout
    looked_at: Mapping[str, StudyFound]
    volumes: Mapping[str, int]
    reports: int
    sheets: list[SheetFound]
    masks: list[MasksFound]

    @property
    def format(self) -> Format:
        """As data.format: dicom where volumes of other formats, which are masks then, lie in the folders of studies."""
        dicom = sum(bool(study.series) and not study.is_volume for study in self.looked_at.values())
        return "dicom" if dicom and self.volumes else "auto"

    @property
    def usable(self) -> int:
        """Studies looked at of which the rule takes a series."""
        return sum(study.taken is not None for study in self.looked_at.values())
