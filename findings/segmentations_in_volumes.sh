#!/usr/bin/env bash
# A DICOM Segmentation of a CT series without and with gantry tilt, in two readers that make volumes of it.
#
# Valid input: each frame of a Segmentation has its own Plane Position (DICOM PS3.3 C.8.20.3, C.7.6.16.2.3), so frames may
# be left out, and may be stacked along another direction than their normal, as those of a CT with gantry tilt.
# Guess before running: dcmqi 1.5.7 refuses the tilted one, or keeps each voxel where its frame says it is; SimpleITK
# 2.5.7 has voxels of 0.8 x 0.8 mm, as the Segmentation says, or refuses frames that are unevenly apart.
# Seen on 2026-11-30: dcmqi makes a straight block of the tilted stack and ends with 0, its voxels moved in the plane by
# 10.92 mm ten slices above the first; of a stack that leans the other way it says "outside image geometry" and, too, ends
# with 0. SimpleITK has voxels of 1 x 1 x 1 mm, frame on frame, whatever lies between them, without a word. The lines below
# are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 highdicom==0.28.2 SimpleITK==2.5.7 dcmqi==1.5.7
cat > try.py <<'PY'
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import SimpleITK
from highdicom import seg
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIZE, SLICES, STEP_MM = 32, 12, 3.0
FOUND = ((0, 4, 7), (2, 6, 11), (10, 20, 9))  # slice, row, column of three voxels


def slices(degrees):
    """A CT whose slices lean by an angle, while the table moves along the patient."""
    study, series, frame = (generate_uid() for _ in range(3))
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    for index in range(SLICES):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.Modality, ds.SOPInstanceUID = CTImageStorage, "CT", generate_uid()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                        "StudyDate", "StudyTime"):
            setattr(ds, keyword, "")
        ds.InstanceNumber, ds.ImagePositionPatient = index + 1, [0, 0, round(STEP_MM * index / c, 8)]  # 3 mm along the normal
        ds.ImageOrientationPatient = [1, 0, 0, 0, round(c, 8), round(s, 8)]
        ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [0.8, 0.8], 3, SIZE, SIZE
        yield ds


def write(path, images):
    mask = np.zeros((SLICES, SIZE, SIZE), np.uint8)
    for voxel in FOUND:
        mask[voxel] = 1
    code = CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")
    described = seg.SegmentDescription(1, "voxels", code, code, "MANUAL")
    seg.Segmentation(images, mask, "BINARY", [described], generate_uid(), 1, generate_uid(), 1, "maker", "model", "1",
                     "1").save_as(path)


def place(images, voxel):
    """Where a voxel is, as the header of its image says."""
    image, (_, row, column) = images[voxel[0]], voxel
    cosines = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    return np.array(image.ImagePositionPatient, float) + 0.8 * (cosines[0] * column + cosines[1] * row)


for degrees in (0, 20):
    images = list(slices(degrees))
    write("segmentation.dcm", images)
    out = Path(f"out{degrees}")
    out.mkdir()
    command = ["env/bin/segimage2itkimage", "--inputDICOM", "segmentation.dcm", "--outputDirectory", out, "-t", "nrrd"]
    done = subprocess.run(command, capture_output=True, text=True)
    block = SimpleITK.ReadImage(str(out / "1.nrrd"))
    found = [block.TransformIndexToPhysicalPoint(index[::-1]) for index in
             np.argwhere(SimpleITK.GetArrayFromImage(block)).tolist()]
    off = [min(np.linalg.norm(np.subtract(one, place(images, voxel))) for one in found) for voxel in FOUND]
    print(f"tilt {degrees}: dcmqi ends with {done.returncode}, voxels off by", " ".join(f"{mm:.2f}" for mm in off), "mm")
    read = SimpleITK.ReadImage("segmentation.dcm")
    print(f"tilt {degrees}: SimpleITK {read.GetSize()} voxels of {read.GetSpacing()} mm")
PY
env/bin/python -W ignore try.py > seen
cat seen
cat > expected <<'EXPECTED'
tilt 0: dcmqi ends with 0, voxels off by 0.00 0.00 0.00 mm
tilt 0: SimpleITK (32, 32, 3) voxels of (1.0, 1.0, 1.0) mm
tilt 20: dcmqi ends with 0, voxels off by 0.00 2.18 10.92 mm
tilt 20: SimpleITK (32, 32, 3) voxels of (1.0, 1.0, 1.0) mm
EXPECTED
diff expected seen
