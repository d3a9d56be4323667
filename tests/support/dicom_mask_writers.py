"""A drawing of `mask_writers` as DICOM Segmentations, as an RT Structure Set and as COCA's property list of contours.

All is made from the study's files as they are stored. Axes: N images of the study in the order of their files, H, W as
stored.
"""

from __future__ import annotations

import json
import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage, generate_uid
from scipy import ndimage

from tests.support.slurm import unavailable
from tests.support.turning import stored_as

if TYPE_CHECKING:
    from tests.support.mask_writers import Drawing

NEEDED = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
CODE = ("49755003", "SCT", "Morphologically Abnormal Structure")
Make = Callable[[Path, "Drawing"], Path]


def images(at: Drawing) -> tuple[list[Dataset], np.ndarray, np.ndarray]:
    """The images of the study; (N, H, W) the part of each of their pixels; (N,) each one's number from the feet up."""
    found = [pydicom.dcmread(path) for path in sorted(at.study.iterdir())]
    rank_N = np.argsort(np.argsort([float(ds.ImagePositionPatient[2]) for ds in found]))
    return found, stored_as(at.part_ZHW, at.turn)[rank_N], rank_N


def segmentation(kind: str, **options: Any) -> Make:
    """highdicom's Segmentation: BINARY, LABELMAP, or FRACTIONAL with all or nothing."""

    def write(folder: Path, at: Drawing) -> Path:
        found, part_NHW, _ = images(at)
        pixels = part_NHW.astype(np.uint8)
        if kind == "FRACTIONAL":
            pixels = np.stack([part_NHW == number for number in range(1, len(at.names) + 1)], -1).astype(float)
        return write_segmentation(folder / "mask.dcm", found, pixels, kind, at.names, **options)

    return write


def write_segmentation(
    path: Path, found: Sequence[Dataset], pixels: np.ndarray, kind: str, names: Sequence[str], **options: Any
) -> Path:
    """A Segmentation by highdicom; pixels: (N, H, W) numbers of segments, or (N, H, W, S) shares of each."""
    pytest.importorskip("highdicom", reason="no highdicom here: pip install cac_hpc[dicom]")
    from highdicom import seg
    from highdicom.sr import CodedConcept

    for ds in found:
        for keyword in NEEDED:
            setattr(ds, keyword, ds.get(keyword, ""))
    code = CodedConcept(*CODE)
    segments = [
        seg.SegmentDescription(number, name, code, code, "MANUAL") for number, name in enumerate(names, start=1)
    ]
    made = seg.Segmentation(found, pixels, kind, segments, generate_uid(), 9, generate_uid(), 1, "maker", "model", "1",
                            "1", **options)  # fmt: skip
    made.save_as(path)
    return path


def dcmqi(folder: Path, at: Drawing) -> Path:
    """A Segmentation by dcmqi, as 3D Slicer's, out of an NRRD file of the regions."""
    from tests.support.mask_writers import slicer

    program = shutil.which("itkimage2segimage", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        unavailable("no dcmqi for this test: pip install cac_hpc[viewers]")
    coded = dict(zip(("CodeValue", "CodingSchemeDesignator", "CodeMeaning"), CODE, strict=True))
    kinds = {"SegmentedPropertyCategoryCodeSequence": coded, "SegmentedPropertyTypeCodeSequence": coded}
    segments = [{"labelID": number, "SegmentLabel": name, "SegmentDescription": name, "SegmentAlgorithmType": "MANUAL",
                 **kinds} for number, name in enumerate(at.names, start=1)]  # fmt: skip
    (folder / "meta.json").write_text(json.dumps({"segmentAttributes": [segments], "SeriesNumber": "9"}))
    image = slicer("LPS", "left-posterior-superior")(folder, at)
    command = [program, "--inputImageList", image, "--inputDICOMDirectory", at.study, "--inputMetadata",
               folder / "meta.json", "--outputDICOM", folder / "mask.dcm", "--skip"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    return folder / "mask.dcm"


def outlines(inside_HW: np.ndarray) -> Iterator[np.ndarray]:
    """Closed lines (P, 2) of (row, column) through the middles of the outermost pixels, as rt-utils draws them.

    For regions whose rows have no gaps: down along their first pixels, and up along their last.
    """
    labels, count = ndimage.label(inside_HW, np.ones((3, 3)))
    for number in range(1, count + 1):
        rows = [(row, np.flatnonzero(labels[row] == number)) for row in np.flatnonzero((labels == number).any(1))]
        assert all(np.ptp(columns) + 1 == len(columns) for _, columns in rows)
        down, up = [(row, columns[0]) for row, columns in rows], [(row, columns[-1]) for row, columns in rows[::-1]]
        yield np.array(down + up, float)


def in_mm(ds: Dataset, points_P2: np.ndarray) -> np.ndarray:
    """Where (row, column) of an image are in the patient."""
    along_row, along_column = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = map(float, ds.PixelSpacing)
    position = np.array(ds.ImagePositionPatient, float)
    return position + points_P2[:, :1] * row_mm * along_column + points_P2[:, 1:] * column_mm * along_row


def structure_set(folder: Path, at: Drawing) -> Path:
    """An RT Structure Set, positions of 32 bits as rt-utils writes them."""
    found, part_NHW, _ = images(at)
    drawn = [
        [("CLOSED_PLANAR", in_mm(ds, line).astype(np.float32)) for ds, part_HW in zip(found, part_NHW, strict=True)
         for line in outlines(part_HW == number)]
        for number in range(1, len(at.names) + 1)
    ]  # fmt: skip
    return write_structure_set(folder / "mask.dcm", found[0], dict(zip(at.names, drawn, strict=True)))


def write_structure_set(path: Path, image: Dataset, drawn: dict[str, list[tuple[str, np.ndarray]]]) -> Path:
    """An RT Structure Set of regions by their names, numbered from 1: the type and points (P, 3) of each contour."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID, ds.Modality = RTStructureSetStorage, generate_uid(), "RTSTRUCT"
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID, study.RTReferencedSeriesSequence = image.SeriesInstanceUID, [series]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = image.FrameOfReferenceUID, [study]
    ds.ReferencedFrameOfReferenceSequence = [frame]
    ds.StructureSetROISequence, ds.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(drawn.items(), start=1):
        region, its = Dataset(), Dataset()
        region.ROINumber, region.ROIName, region.ReferencedFrameOfReferenceUID = number, name, image.FrameOfReferenceUID
        its.ReferencedROINumber, its.ContourSequence = number, []
        for kind, points_P3 in contours:
            item = Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points_P3)
            item.ContourData = [f"{value:.10g}" for value in points_P3.ravel().tolist()]
            its.ContourSequence.append(item)
        ds.StructureSetROISequence.append(region)
        ds.ROIContourSequence.append(its)
    ds.save_as(path, enforce_file_format=True)
    return path


def coca(folder: Path, at: Drawing) -> Path:
    """A property list of contours as OsiriX writes it: pixels are counted from their corners."""
    found, part_NHW, rank_N = images(at)
    listed = []
    for ds, part_HW, rank in zip(found, part_NHW, rank_N.tolist(), strict=True):
        hu_HW = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        rois = [coca_roi(name, ds, line, hu_HW[part_HW == number]) for number, name in enumerate(at.names, start=1)
                for line in outlines(part_HW == number)]  # fmt: skip
        rois += [coca_roi(at.names[0], ds, np.zeros((0, 2)), np.zeros(1))]
        listed.append({"ImageIndex": rank, "NumberOfROIs": len(rois), "ROIs": rois})
    (folder / "mask.xml").write_bytes(plistlib.dumps({"Images": listed}))
    return folder / "mask.xml"


def coca_roi(name: str, ds: Dataset, line_P2: np.ndarray, hu: np.ndarray) -> dict[str, Any]:
    """A contour of (row, column) and the HU that it holds."""
    texts = ["({:f}, {:f}, {:f})".format(*point) for point in in_mm(ds, line_P2).tolist()]
    return {
        "Area": 0.0, "Center": "(0.0, 0.0, 0.0)", "Dev": float(hu.std()), "IndexInImage": 0, "Length": 0.0,
        "Max": float(hu.max()), "Mean": float(hu.mean()), "Min": float(hu.min()), "Name": name,
        "NumberOfPoints": len(line_P2), "Point_mm": texts,
        "Point_px": [f"({column + 0.5:f}, {row + 0.5:f})" for row, column in line_P2.tolist()],
        "Total": 0.0, "Type": 15,
    }  # fmt: skip


WRITERS: dict[str, Make] = {
    "highdicom, binary": segmentation("BINARY"),
    "highdicom, label map": segmentation("LABELMAP"),
    "highdicom, fractional": segmentation("FRACTIONAL"),
    "RT Structure Set": structure_set,
    "COCA": coca,
}
