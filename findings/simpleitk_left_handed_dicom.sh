#!/usr/bin/env bash
# A volume that dcm2niix made of a CT, written back as one DICOM file by SimpleITK.
#
# Valid input: eight axial slices, head first on the back; SimpleITK reads the NIfTI file rightly and writes images of
# modality CT and three axes as Enhanced CT Image Storage, for which the positions of frames are free.
# Guess before running: read again, the voxels are where they were.
# Seen on 2026-11-30, dcm2niix 1.0.20260724 and SimpleITK 2.5.7: dcm2niix turns rows over, so the axes of its volume are a
# left-handed system. SimpleITK keeps the directions of rows and columns and lays the frames along their cross product,
# not along the volume's own third axis: downwards from the first. Head and feet change places as in a mirror, without a
# word, for every reader of that file; nothing in it tells. Turned to a right-handed system before (DICOMOrient, "LPS") it
# comes back right. That ITK drops such directions is known (InsightSoftwareConsortium/ITK, issue 1771, of 2020); that each
# volume of dcm2niix has them is not said there. The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 SimpleITK==2.5.7 dcm2niix==1.0.20260724
cat > try.py <<'PY'
import subprocess
from pathlib import Path

import numpy as np
import SimpleITK
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIZE, SLICES, BRIGHT = 16, 8, (6, 4, 10)  # slice, row, column of a bright voxel


def write(folder):
    folder.mkdir()
    series = generate_uid()
    for index in range(SLICES):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.Modality, ds.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), series, series
        ds.PatientName, ds.PatientID, ds.SeriesNumber, ds.InstanceNumber = "", "", 1, index + 1
        ds.StudyDate, ds.StudyTime, ds.PatientPosition = "20200102", "101000", "HFS"
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-8, -8, 100 + 3 * index], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [1, 1], 3, SIZE, SIZE
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 15, 1, 0, "HU"
        hu = np.full((SIZE, SIZE), -10 * index, "<i2")
        if index == BRIGHT[0]:
            hu[BRIGHT[1:]] = 500
        ds.PixelData = hu.tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(folder / f"{index}.dcm", enforce_file_format=True)


def show(title, image):
    place = np.argwhere(SimpleITK.GetArrayFromImage(image) == 500)[0].tolist()[::-1]
    axes = np.array(image.GetDirection()).reshape(3, 3)
    where = ", ".join(f"{mm:g}" for mm in image.TransformIndexToPhysicalPoint(place))
    print(f"{title}: bright voxel at ({where}) mm, {'right' if np.linalg.det(axes) > 0 else 'left'}-handed")


write(Path("series"))
reader = SimpleITK.ImageSeriesReader()
reader.SetFileNames(reader.GetGDCMSeriesFileNames("series"))
show("DICOM series", reader.Execute())
subprocess.run(["env/bin/dcm2niix", "-f", "out", "-z", "n", "-b", "n", "-o", ".", "series"], capture_output=True, check=True)
volume = SimpleITK.Cast(SimpleITK.ReadImage("out.nii"), SimpleITK.sitkInt16)
show("dcm2niix's volume", volume)
for title, image in (("as it is", volume), ("turned to LPS", SimpleITK.DICOMOrient(volume, "LPS"))):
    image.SetMetaData("0008|0060", "CT")
    SimpleITK.WriteImage(image, "one.dcm")
    ds = dcmread("one.dcm")
    heights = [float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in ds.PerFrameFunctionalGroupsSequence]
    print(f"written {title}: {ds.SOPClassUID.name}, frames from {heights[0]:g} to {heights[-1]:g} mm")
    show("  read again", SimpleITK.ReadImage("one.dcm"))
PY
env/bin/python -W ignore try.py > seen 2> said || { cat said; exit 1; }
cat seen
cat > expected <<'EXPECTED'
DICOM series: bright voxel at (2, -4, 118) mm, right-handed
dcm2niix's volume: bright voxel at (2, -4, 118) mm, left-handed
written as it is: Enhanced CT Image Storage, frames from 100 to 79 mm
  read again: bright voxel at (2, -4, 82) mm, right-handed
written turned to LPS: Enhanced CT Image Storage, frames from 100 to 121 mm
  read again: bright voxel at (2, -4, 118) mm, right-handed
EXPECTED
diff expected seen
