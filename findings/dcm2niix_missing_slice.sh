#!/usr/bin/env bash
# A CT series of single files in which one slice is missing, in two programs that make volumes of it.
#
# Valid input: each file is a complete CT image; nothing says that a series is whole or evenly spaced (DICOM PS3.3 A.3).
# Guess before running: dcm2niix 1.0.20260724 has the usual distance of 3 mm, and writes a second, resampled volume (_Eq),
# whatever the pixels are; SimpleITK 2.5.7 has the distance of the first two slices.
# Seen on 2026-11-30: dcm2niix takes the distance of the first two, so where the second slice is missing all are 6 mm apart
# and every volume in mm3 is doubled; SimpleITK takes the mean of all, 3.5 mm here. Of signed pixels dcm2niix writes the
# second volume, with a slice between its neighbours that nobody scanned, and ends with 0; of unsigned ones it writes the
# first alone and ends with 1, but the file is there. Both warn in their output. The lines below are what is printed; the
# script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 SimpleITK==2.5.7 dcm2niix==1.0.20260724 nibabel==5.4.2
cat > try.py <<'PY'
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write(folder, missing, signed):
    """Slices every 3 mm whose HU are ten times their position in mm."""
    folder.mkdir(parents=True)
    series = generate_uid()
    for index in (index for index in range(8) if index != missing):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.Modality, ds.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), series, series
        ds.PatientName, ds.PatientID, ds.SeriesNumber, ds.InstanceNumber = "", "", 1, index + 1
        ds.StudyDate, ds.StudyTime, ds.AcquisitionNumber = "20200102", "101000", 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 3 * index], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [1, 1], 3, 16, 16
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", int(signed)
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 15, 1, 0 if signed else -1024, "HU"
        ds.PixelData = np.full((16, 16), 30 * index + (0 if signed else 1024), "<i2" if signed else "<u2").tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(folder / f"{index:02d}.dcm", enforce_file_format=True)


for missing in (1, 5):
    for signed in (False, True):
        folder = Path(f"{missing}-{signed}")
        write(folder, missing, signed)
        print(f"slice at {3 * missing} mm missing, {'signed' if signed else 'unsigned'} pixels")
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        volume = reader.Execute()
        print(f"  SimpleITK: {volume.GetSize()[2]} slices, {volume.GetSpacing()[2]:.2f} mm apart")
        done = subprocess.run(["env/bin/dcm2niix", "-f", "out", "-z", "n", "-b", "n", str(folder)], capture_output=True, text=True)
        print(f"  dcm2niix: exit code {done.returncode}")
        for path in sorted(folder.glob("out*.nii")):
            image = nibabel.load(path)
            values = " ".join(f"{value:g}" for value in np.asarray(image.dataobj)[0, 0])
            print(f"    {path.name}: {image.header.get_zooms()[2]:.2f} mm apart, HU {values}")
PY
env/bin/python -W ignore try.py > seen 2> said || { cat said; exit 1; }
cat seen
cat > expected <<'EXPECTED'
slice at 3 mm missing, unsigned pixels
  SimpleITK: 7 slices, 3.50 mm apart
  dcm2niix: exit code 1
    out.nii: 6.00 mm apart, HU 0 60 90 120 150 180 210
slice at 3 mm missing, signed pixels
  SimpleITK: 7 slices, 3.50 mm apart
  dcm2niix: exit code 0
    out.nii: 6.00 mm apart, HU 0 60 90 120 150 180 210
    out_Eq_1.nii: 3.00 mm apart, HU 0 30 60 90 120 150 180 210
slice at 15 mm missing, unsigned pixels
  SimpleITK: 7 slices, 3.50 mm apart
  dcm2niix: exit code 1
    out.nii: 3.00 mm apart, HU 0 30 60 90 120 180 210
slice at 15 mm missing, signed pixels
  SimpleITK: 7 slices, 3.50 mm apart
  dcm2niix: exit code 0
    out.nii: 3.00 mm apart, HU 0 30 60 90 120 180 210
    out_Eq_1.nii: 3.00 mm apart, HU 0 30 60 90 120 150 180 210
EXPECTED
diff expected seen
