#!/usr/bin/env bash
# MONAI reads a CT series whose Instance Numbers do not follow the positions, with the package itk and without it.
#
# Valid input: Instance Number only identifies an image (DICOM PS3.3 C.7.6.1): two acquisitions whose slices interleave are
# numbered one after the other, and numbers may begin anew. LoadImage() takes the first reader that it can.
# Guess before running, of MONAI 1.6.1: slices are ordered by position, whichever reader it is; it warns where distances
# differ.
# Seen on 2026-11-30: with itk 5.4.7 they are. Without it, which changes nothing in the script that calls it, slices are
# stacked by Instance Number alone, so that one acquisition lies on the other, and the distance is that between the slices of
# the first and of the last number divided among all, 1.29 mm where it is 3. Nothing is said. Numbers that only run the other
# way do no harm. The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 torch==2.13.0 monai==1.6.1 itk==5.4.7
cat > write.py <<'PY'
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

NUMBERS = {"upwards": range(1, 9), "downwards": range(8, 0, -1), "one_after_the_other": [1, 5, 2, 6, 3, 7, 4, 8],
           "nearly_upwards": [1, 2, 3, 8, 4, 5, 6, 7]}
for name, numbers in NUMBERS.items():
    series = generate_uid()
    Path(name).mkdir()
    for index, number in enumerate(numbers):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.Modality, ds.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), series, series
        ds.PatientName, ds.PatientID, ds.SeriesNumber, ds.InstanceNumber = "", "", 1, number
        ds.StudyDate, ds.StudyTime = "20200102", "101000"
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 3 * index], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [1, 1], 3, 16, 16
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 15, 1, 0, "HU"
        ds.PixelData = np.full((16, 16), 30 * index, "<i2").tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(Path(name) / f"{index}.dcm", enforce_file_format=True)
PY
cat > try.py <<'PY'
import sys
import warnings

if sys.argv[1] == "without":
    sys.modules["itk"] = None  # as where it is not installed

import numpy as np
from monai.transforms import LoadImage

for name in ("upwards", "downwards", "one_after_the_other", "nearly_upwards"):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        image = LoadImage()(name)
    affine = np.asarray(image.affine)
    slices = sorted((affine[2, 2] * index + affine[2, 3], value) for index, value in enumerate(np.asarray(image)[0, 0]))
    told = ", ".join(f"{value:g} HU at {mm:.1f}" for mm, value in slices)
    spoken = any("slice" in str(one.message) or "spacing" in str(one.message) for one in said)
    print(f"{sys.argv[1]} itk, {name}: {told} mm{', with a warning' if spoken else ''}")
PY
env/bin/python write.py
for itk in with without; do
    env/bin/python try.py "$itk" 2> said || { cat said; exit 1; }
done > seen
cat seen
cat > expected <<'EXPECTED'
with itk, upwards: 0 HU at 0.0, 30 HU at 3.0, 60 HU at 6.0, 90 HU at 9.0, 120 HU at 12.0, 150 HU at 15.0, 180 HU at 18.0, 210 HU at 21.0 mm
with itk, downwards: 0 HU at 0.0, 30 HU at 3.0, 60 HU at 6.0, 90 HU at 9.0, 120 HU at 12.0, 150 HU at 15.0, 180 HU at 18.0, 210 HU at 21.0 mm
with itk, one_after_the_other: 0 HU at 0.0, 30 HU at 3.0, 60 HU at 6.0, 90 HU at 9.0, 120 HU at 12.0, 150 HU at 15.0, 180 HU at 18.0, 210 HU at 21.0 mm
with itk, nearly_upwards: 0 HU at 0.0, 30 HU at 3.0, 60 HU at 6.0, 90 HU at 9.0, 120 HU at 12.0, 150 HU at 15.0, 180 HU at 18.0, 210 HU at 21.0 mm
without itk, upwards: 0 HU at 0.0, 30 HU at 3.0, 60 HU at 6.0, 90 HU at 9.0, 120 HU at 12.0, 150 HU at 15.0, 180 HU at 18.0, 210 HU at 21.0 mm
without itk, downwards: 0 HU at 0.0, 30 HU at 3.0, 60 HU at 6.0, 90 HU at 9.0, 120 HU at 12.0, 150 HU at 15.0, 180 HU at 18.0, 210 HU at 21.0 mm
without itk, one_after_the_other: 0 HU at 0.0, 60 HU at 3.0, 120 HU at 6.0, 180 HU at 9.0, 30 HU at 12.0, 90 HU at 15.0, 150 HU at 18.0, 210 HU at 21.0 mm
without itk, nearly_upwards: 0 HU at 0.0, 30 HU at 1.3, 60 HU at 2.6, 120 HU at 3.9, 150 HU at 5.1, 180 HU at 6.4, 210 HU at 7.7, 90 HU at 9.0 mm
EXPECTED
diff expected seen
