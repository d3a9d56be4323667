"""What is true of a synthetic cohort, written beside it: masks of the arteries, plaques as placed, lesions as measured.

``<study>.npz`` holds ``artery``, uint8 (Z, H, W), slices in ascending z: 0 where calcium is not coronary, else the
artery's number (``arteries`` names them, 1 is the first), ``pixel_mm`` and ``spacing_mm``, and ``frame``: patient. With
a setting of difficulty ``artery`` marks the voxels of plaques alone, ``vessel`` is the artery that is nearer than 5 mm,
and ``kind`` what else is dense there, by its number in ``kinds``, 0 for nothing. ``objects.csv`` lists that. Axes: Z
slices, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cac_hpc.calcium import agatston
from cac_hpc.phantom.coronaries import ARTERIES
from cac_hpc.phantom.objects import KINDS
from cac_hpc.phantom.phantom import Frame, Study
from cac_hpc.settings.score_command import RuleConfig

NAMES = tuple(ARTERIES)
LEAST_AREA_MM2 = RuleConfig.min_area_mm2  # below, a lesion does not count for the score
ALL = RuleConfig(min_area_mm2=0.0)  # but it is listed here


class Facts(NamedTuple):
    """Rows of the lists that concern one study."""

    study: str
    score: float
    summary: dict[str, object]
    lesions: list[dict[str, object]]
    plaques: list[dict[str, object]]
    objects: list[dict[str, object]]


def facts(name: str, study: Study) -> Facts:
    """What is listed of a study."""
    lesions = list(_lesions(name, study))
    frame = study.frame
    summary: dict[str, object] = {
        "study": name,
        "score": study.score,
        "slices": frame.num_slices,
        "slices_with_calcium": len({row["slice"] for row in lesions if row["counts"]}),
        "pixel_mm": frame.pixel_mm,
        "spacing_mm": frame.spacing_mm,
        "scanner": frame.protocol.model,
        "plaques": len(study.deposits),
    }
    return Facts(name, study.score, summary, lesions, list(_plaques(name, study)), list(_objects(name, study)))


def write_mask(folder: Path, name: str, study: Study) -> None:
    frame = study.frame
    arrays: dict[str, Any] = {"artery": study.artery_ZHW}
    if study.vessel_ZHW is not study.artery_ZHW:
        arrays |= {"vessel": study.vessel_ZHW, "kind": study.inventory.kind_ZHW, "kinds": np.array(KINDS)}
    np.savez_compressed(
        folder / f"{name}.npz",
        **arrays,
        arteries=np.array(NAMES),
        frame=np.array("patient"),
        pixel_mm=frame.pixel_mm,
        spacing_mm=frame.spacing_mm,
    )


def write_lists(folder: Path, written: Sequence[Facts]) -> None:
    """Write studies.csv, lesions.csv, plaques.csv and objects.csv."""
    lists = {
        "studies": [facts.summary for facts in written],
        "lesions": [row for facts in written for row in facts.lesions],
        "plaques": [row for facts in written for row in facts.plaques],
        "objects": [row for facts in written for row in facts.objects],
    }
    for name, rows in lists.items():
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)


def _lesions(name: str, study: Study) -> Iterator[dict[str, object]]:
    """The lesions of the Agatston rule, slice by slice, those too small to count among them."""
    pixel_mm, spacing_mm = study.frame.pixel_mm, study.frame.spacing_mm
    found = agatston.score_study(study.hu_ZHW, study.artery_ZHW, (spacing_mm, pixel_mm, pixel_mm), ALL)
    for lesion in found.lesions.to_dict("records"):
        counts = lesion["area_mm2"] >= LEAST_AREA_MM2
        yield {
            "study": name,
            "slice": lesion["slice"],
            "artery": NAMES[lesion["region"] - 1],
            "row": lesion["row"],
            "column": lesion["column"],
            "area_mm2": round(lesion["area_mm2"], 3),
            "max_hu": lesion["max_hu"],
            "weight": lesion["weight"],
            "counts": counts,
            "score": lesion["agatston"] if counts else 0.0,
        }


def _plaques(name: str, study: Study) -> Iterator[dict[str, object]]:
    for deposit in study.deposits:
        place = _place(deposit.points().mean(0).tolist(), study.frame)
        yield {
            "study": name,
            "artery": deposit.artery,
            **place,
            "radius_mm": round(deposit.radius_mm, 3),
            "length_mm": round(2 * deposit.radius_mm * deposit.slender, 3),
            "density_hu": round(deposit.density_hu),
            "motion_mm": round(float(np.linalg.norm(deposit.motion_mm)), 2),
        }


def _objects(name: str, study: Study) -> Iterator[dict[str, object]]:
    """What is dense and has its middle in the volume."""
    for item in study.inventory.items:
        place = _place(item.at_mm, study.frame)
        if all(-0.5 <= at < end for at, end in zip(place.values(), study.hu_ZHW.shape, strict=True)):
            size = {"radius_mm": round(item.radius_mm, 3), "hu": round(item.hu)}
            yield {"study": name, "kind": item.kind, **place, **size}


def _place(at_mm: Sequence[float], frame: Frame) -> dict[str, float]:
    """Slice, row and column of a position, from 0, with fractions."""
    x_mm, y_mm, z_mm = at_mm
    return {
        "slice": round((z_mm - frame.first_z_mm) / frame.spacing_mm, 2),
        "row": round((y_mm - frame.corner_mm - frame.down_mm) / frame.pixel_mm, 1),
        "column": round((x_mm - frame.corner_mm) / frame.pixel_mm, 1),
    }
