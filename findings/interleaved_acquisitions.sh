#!/usr/bin/env bash
# Two acquisitions of one series, the second half a slice off the first (AcquisitionNumber 1 and 2), in two readers.
#
# Valid input: DICOM lets several acquisitions be of one series (PS3.3 C.7.3.1, C.7.4.1).
# Guess before running: dcm2niix 1.0.20250506 parts them by AcquisitionNumber and writes two volumes of 14 slices;
# SimpleITK 2.5.3, which sorts by position, makes one volume of 28 slices of half the distance, without a word.
# Seen on 2026-11-29: both make one volume of 28 slices of half the distance, whether InstanceNumber goes on or begins
# anew, though AcquisitionNumber and AcquisitionTime differ: breath-holds of two depths in one volume. A tool that reads
# what they write cannot know. The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 SimpleITK==2.5.3 dcm2niix==1.0.20250506 nibabel==5.3.3
cat > try.py <<'PY'
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIZE, SLICES = 32, 14


def write(folder, numbers_go_on):
    folder.mkdir(parents=True)
    series, rng = generate_uid(), np.random.default_rng(1)
    for run in (1, 2):
        for index in range(SLICES):
            ds = Dataset()
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.SOPClassUID, ds.Modality, ds.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
            ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), series, series
            ds.PatientName, ds.PatientID, ds.SeriesNumber, ds.AcquisitionNumber = "", "", 1, run
            ds.AcquisitionTime, ds.SeriesTime, ds.StudyTime = f"1010{run}0", "101000", "101000"
            ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20200102"
            ds.InstanceNumber = index + 1 + (SLICES * (run - 1) if numbers_go_on else 0)
            ds.ImagePositionPatient = [0, 0, 3 * index + 1.5 * (run - 1)]
            ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [1, 1], 3, SIZE, SIZE
            ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
            ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
            ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, -1024, "HU"
            ds.PixelData = rng.integers(900, 1100, (SIZE, SIZE)).astype("<u2").tobytes()
            ds["PixelData"].VR = "OW"
            ds.save_as(folder / f"{run}-{index:02d}.dcm", enforce_file_format=True)


for numbers_go_on in (False, True):
    folder = Path("dicom") / str(numbers_go_on)
    write(folder, numbers_go_on)
    said = "InstanceNumber 1 to 28" if numbers_go_on else "InstanceNumber 1 to 14 twice"
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    volume = reader.Execute()
    print(f"{said}: SimpleITK one volume of {volume.GetSize()[2]} slices, {volume.GetSpacing()[2]:.2f} mm apart")
    done = subprocess.run(["env/bin/dcm2niix", "-f", "out", "-z", "n", "-b", "n", str(folder)], capture_output=True, text=True)
    sizes = [nibabel.load(path) for path in sorted(folder.glob("out*.nii"))]
    shown = ", ".join(f"{image.shape[2:]} of {image.header.get_zooms()[2]:.2f} mm" for image in sizes)
    print(f"{said}: dcm2niix {len(sizes)} volume(s): {shown}")
PY
env/bin/python -W ignore try.py > seen
cat seen
cat > expected <<'EXPECTED'
InstanceNumber 1 to 14 twice: SimpleITK one volume of 28 slices, 1.50 mm apart
InstanceNumber 1 to 14 twice: dcm2niix 1 volume(s): (28,) of 1.50 mm
InstanceNumber 1 to 28: SimpleITK one volume of 28 slices, 1.50 mm apart
InstanceNumber 1 to 28: dcm2niix 1 volume(s): (28,) of 1.50 mm
EXPECTED
diff expected seen
