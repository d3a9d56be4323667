"""A synthetic collection that lies on disk as COCA does: gated exams with contours, others with a sheet of scores.

Patients are phantoms. The files have the names, the gaps and the oddities of the collection; no byte of it is in here.
"""

from __future__ import annotations

import plistlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
from contourpy import contour_generator
from scipy import ndimage

from cac_hpc.calcium import agatston
from cac_hpc.phantom import cohort
from cac_hpc.phantom.coronaries import ARTERIES
from cac_hpc.settings.phantom_command import PhantomConfig
from cac_hpc.settings.score_command import RuleConfig
from cac_hpc.volumes import dicom

SERIES = "Pro_Gated_CS_3.0_I30f_3_70%"
VESSELS = {  # column of scores.xlsx, name of the contours, arteries of the phantom
    "LCA": ("Left Coronary Artery", ("LM",)),
    "LAD": ("Left Anterior Descending Artery", ("LAD", "D1")),
    "LCX": ("Left Circumflex Artery", ("LCx", "OM")),
    "RCA": ("Right Coronary Artery", ("RCA", "PDA")),
}
MATRIX, VIEW_MM = 96, 180.0
EMPTY = {"Area": 0.0, "Center": "(0.000000, 0.000000, 0.000000)", "Dev": 0.0, "IndexInImage": 0, "Length": 0.0,
         "Max": 0.0, "Mean": 0.0, "Min": 0.0, "NumberOfPoints": 0, "Point_mm": [], "Point_px": [], "Total": 0.0,
         "Type": 19}  # fmt: skip


@cache
def patient(category: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """HU (Z, H, W) in slices of 3 mm, vessel of each voxel from 1 in the order of VESSELS, mm per pixel, first z."""
    settings = PhantomConfig(out="-", studies=6, slices=28, matrix=MATRIX, field_of_view_mm=VIEW_MM, seed=20, easy=True)
    made = cohort.render(category + 1, category, settings)
    vessel_of = {
        artery: vessel for vessel, (_, arteries) in enumerate(VESSELS.values(), start=1) for artery in arteries
    }
    vessels = np.array([0, *(vessel_of[artery] for artery in ARTERIES)], np.uint8)
    return made.hu_ZHW, vessels[made.artery_ZHW], made.frame.pixel_mm, made.frame.first_z_mm


def volume(number: int, category: int, thick: bool = False) -> tuple[np.ndarray, np.ndarray, float, float]:
    """The same of one patient of the collection: moved and with noise of its own; thick: in slices of 5 mm."""
    hu_ZHW, vessel_ZHW, pixel_mm, z_mm = patient(category)
    rng = np.random.default_rng([number, thick])
    down, right = (int(step) for step in rng.integers(-2, 3, 2))
    hu_ZHW, vessel_ZHW = (np.roll(array, (down, right), (1, 2)) for array in (hu_ZHW, vessel_ZHW))
    if thick:
        at = np.arange(0, len(hu_ZHW) - 1, 5 / 3)
        hu_ZHW = np.stack([_between(hu_ZHW, place) for place in at])
        vessel_ZHW = vessel_ZHW[np.rint(at).astype(int)]
    noise = rng.integers(-4, 5, hu_ZHW.shape) * (hu_ZHW < 100) * (hu_ZHW > -1000)  # calcium stays as it is
    return (hu_ZHW + noise).astype(np.int16), vessel_ZHW, pixel_mm, z_mm


def _between(hu_ZHW: np.ndarray, place: float) -> np.ndarray:
    below = int(place)
    return np.asarray((1 - place % 1) * hu_ZHW[below] + place % 1 * hu_ZHW[below + 1])


def write_gated(root: Path, num_studies: int = 12, first: int = 0) -> dict[str, float]:
    """``ROOT/patient/<n>/<series>/IM-0001-0001.dcm``, ``ROOT/calcium_xml/<n>.xml``; none for patients without calcium.

    Returns: the Agatston score of each study.
    """
    (root / "calcium_xml").mkdir(parents=True)
    scores = {}
    for number in range(first, first + num_studies):
        category, study = number % 6, str(number)
        hu_ZHW, vessel_ZHW, pixel_mm, z_mm = volume(number, category)
        write_series(root / "patient" / study / SERIES, number, hu_ZHW, pixel_mm, z_mm, thickness_mm=3.0)
        score = _score(hu_ZHW, vessel_ZHW, (3.0, pixel_mm, pixel_mm), RuleConfig())
        scores[study] = score.agatston
        if category:
            images = contours(hu_ZHW, vessel_ZHW, pixel_mm, 3.0, z_mm)
            (root / "calcium_xml" / f"{study}.xml").write_bytes(plistlib.dumps({"Images": images}))
    return scores


def write_nongated(root: Path, num_studies: int = 12) -> dict[str, float]:
    """``ROOT/<n>/<n>/IM-0001-0001.dcm`` in slices of 5 mm, and ``ROOT/scores.xlsx`` with scores that no factor scales.

    Returns: the total of each study.
    """
    root.mkdir(parents=True)
    book = openpyxl.Workbook()
    book.active.append(["filename ", *VESSELS, "total"])
    scores = {}
    for number in range(1, num_studies + 1):
        hu_ZHW, vessel_ZHW, pixel_mm, z_mm = volume(number, number % 6, thick=True)
        write_series(root / str(number) / str(number), 500 + number, hu_ZHW, pixel_mm, z_mm, thickness_mm=5.0)
        score = _score(hu_ZHW, vessel_ZHW, (5.0, pixel_mm, pixel_mm), RuleConfig(spacing_factor=False))
        by_vessel = score.lesions.groupby("region")["agatston"].sum()
        vessels = [round(float(by_vessel.get(value, 0.0)), 1) for value in range(1, len(VESSELS) + 1)]
        scores[str(number)] = round(sum(vessels), 1)
        book.active.append([f"{number}A", *vessels, scores[str(number)]])
    book.save(root / "scores.xlsx")
    return scores


def _score(hu_ZHW: np.ndarray, vessel_ZHW: np.ndarray, spacing_mm: agatston.Spacing, rule: RuleConfig) -> Any:
    return agatston.score_study(hu_ZHW, vessel_ZHW, spacing_mm, rule)


def write_series(
    folder: Path, number: int, hu_ZHW: np.ndarray, pixel_mm: float, z_mm: float, thickness_mm: float
) -> None:
    """A series without patient; every fourth without UIDs, every third counted from the head down."""
    attributes: dict[str, object] = {
        "PatientID": "", "PatientName": "", "Manufacturer": "SIEMENS", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "KVP": 120, "SliceThickness": thickness_mm, "BodyPartExamined": "HEART",
    }  # fmt: skip
    if number % 4 == 1:
        attributes |= {"StudyInstanceUID": None, "SeriesInstanceUID": None}
    dicom.write_series(
        folder,
        hu_ZHW,
        pixel_spacing_mm=pixel_mm,
        slice_spacing_mm=thickness_mm,
        first_z_mm=z_mm,
        uid_entropy=["coca", str(number)],
        attributes=attributes,
        descending=number % 3 == 0,
    )
    for path in folder.glob("IM*.dcm"):
        path.rename(folder / f"IM-0001-{path.stem.removeprefix('IM')}.dcm")


def contours(
    hu_ZHW: np.ndarray, vessel_ZHW: np.ndarray, pixel_mm: float, step_mm: float, z_mm: float
) -> list[dict[str, Any]]:
    """The array Images of a property list as OsiriX exports it; some of its images have contours without points."""
    images = []
    for index, (hu_HW, vessel_HW) in enumerate(zip(hu_ZHW, vessel_ZHW, strict=True)):
        drawn = [
            roi
            for value, (name, _) in enumerate(VESSELS.values(), start=1)
            for roi in _drawn((vessel_HW == value) & (hu_HW >= 130), hu_HW, name, pixel_mm, z_mm + index * step_mm)
        ]
        if drawn or index % 5 == 0:
            empty = [EMPTY | {"Name": name} for name, _ in VESSELS.values()] if index % 5 == 0 else []
            images.append({"ImageIndex": index, "NumberOfROIs": len(drawn + empty), "ROIs": drawn + empty})
    return images


def _drawn(mask_HW: np.ndarray, hu_HW: np.ndarray, name: str, pixel_mm: float, z_mm: float) -> list[dict[str, Any]]:
    """A contour around each piece, halfway to the pixels beside it; holes belong to it."""
    pieces, count = ndimage.label(mask_HW)
    return [
        _roi(ndimage.binary_fill_holes(pieces == piece), hu_HW, name, pixel_mm, z_mm) for piece in range(1, count + 1)
    ]


def _roi(piece_HW: np.ndarray, hu_HW: np.ndarray, name: str, pixel_mm: float, z_mm: float) -> dict[str, Any]:
    (line,) = contour_generator(z=np.pad(piece_HW, 1).astype(float)).lines(0.5)
    column_row = np.asarray(line)[:-1] - 1
    corner_mm = -pixel_mm * (MATRIX - 1) / 2
    at_mm = [(*(corner_mm + pixel_mm * point), z_mm) for point in column_row]
    hu = hu_HW[piece_HW].astype(float)
    return EMPTY | {
        "Name": name,
        "Area": float(piece_HW.sum()) * pixel_mm**2 / 100,
        "Center": "({:.6f}, {:.6f}, {:.6f})".format(*np.mean(at_mm, axis=0)),
        "Min": float(hu.min()), "Max": float(hu.max()), "Mean": float(hu.mean()), "Dev": float(hu.std()),
        "Total": float(hu.sum()), "Length": float(len(column_row)) * pixel_mm / 10,
        "NumberOfPoints": len(column_row),
        "Point_px": ["({:.6f}, {:.6f})".format(*point) for point in column_row],
        "Point_mm": ["({:.6f}, {:.6f}, {:.6f})".format(*point) for point in at_mm],
        "Type": 15,
    }  # fmt: skip
