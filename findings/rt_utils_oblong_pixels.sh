#!/usr/bin/env bash
# rt-utils writes and reads an RT Structure Set on images with pixels that are not square, and with more rows than columns.
#
# Valid input: PixelSpacing holds the distance between rows, then that between columns (DICOM PS3.3 10.7.1.3); Rows and
# Columns differ. Guess before running, from its code: the two distances change places, so contours are elsewhere, and its
# own reader, which does the same, gives the mask back. Of columns and rows that differ it was not clear what to expect.
# Seen on 2026-11-30, rt-utils 1.2.7: the contour around 3 x 3 pixels of 1.6 x 0.8 mm is 24.8 mm away from them, without a
# word. The reader gives the mask back where rows and columns are as many; where they are not, its array has their numbers
# exchanged, and what lies beyond is lost. The first is known (qurit/rt-utils, issue 92). The lines below are what is
# printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 opencv-python==5.0.0.93 rt-utils==1.2.7
cat > try.py <<'PY'
import contextlib
import io
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from rt_utils import RTStructBuilder

SQUARE = (slice(30, 33), slice(8, 11))  # rows, columns


def write(folder, spacing, rows, columns):
    folder.mkdir()
    study, series, frame = (generate_uid() for _ in range(3))
    for index in range(3):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.Modality, ds.SOPInstanceUID = CTImageStorage, "CT", generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.PatientName = ds.PatientID = ds.StudyID = ds.StudyDate = ds.StudyTime = ""
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 3 * index], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.Rows, ds.Columns, ds.SliceThickness = spacing, rows, columns, 3
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelData = 15, bytes(2 * rows * columns)
        ds.save_as(folder / f"{index}.dcm", enforce_file_format=True)


def outcome(number, spacing, rows, columns):
    folder, path = Path(f"study{number}"), f"mask{number}.dcm"
    write(folder, spacing, rows, columns)
    mask = np.zeros((rows, columns, 3), bool)
    mask[(*SQUARE, 1)] = True
    with contextlib.redirect_stdout(io.StringIO()):
        made = RTStructBuilder.create_new(dicom_series_path=str(folder))
        made.add_roi(mask=mask, name="square")
        made.save(path)
        back = RTStructBuilder.create_from(str(folder), path).get_roi_mask_by_name("square")
    contour = np.array(pydicom.dcmread(path).ROIContourSequence[0].ContourSequence[0].ContourData, float).reshape(-1, 3)
    low_mm = np.array([SQUARE[1].start * spacing[1], SQUARE[0].start * spacing[0], 3])
    same = back.shape == mask.shape and (back == mask).all()
    off = np.linalg.norm(contour.min(0) - low_mm)
    print(f"{rows} x {columns} pixels of {spacing[0]} x {spacing[1]} mm: contour off by {off:.1f} mm, read back as "
          f"{'the mask' if same else f'{back.shape[0]} x {back.shape[1]} with {back.sum()} pixels'}")


outcome(1, [0.8, 0.8], 40, 40)
outcome(2, [1.6, 0.8], 40, 40)
outcome(3, [0.8, 0.8], 40, 20)
PY
env/bin/python -W ignore try.py > seen
cat seen
cat > expected <<'EXPECTED'
40 x 40 pixels of 0.8 x 0.8 mm: contour off by 0.0 mm, read back as the mask
40 x 40 pixels of 1.6 x 0.8 mm: contour off by 24.8 mm, read back as the mask
40 x 20 pixels of 0.8 x 0.8 mm: contour off by 0.0 mm, read back as 20 x 40 with 0 pixels
EXPECTED
diff expected seen
