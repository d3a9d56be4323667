#!/usr/bin/env bash
# An enhanced CT whose frames have slopes and intercepts of their own, and one with a gap, in two readers.
#
# Valid input: highdicom makes Legacy Converted Enhanced CT Images of eight slices of one value each. Pixel Value
# Transformation may stand in the functional groups of each frame (DICOM PS3.3 C.7.6.16.2.9, A.70), and where slices have
# different ones highdicom puts it there. A position may be left out.
# Guess before running: both readers apply each frame's own rescale; with a gap they refuse, or keep the pixel spacing and
# say something, as they do of the same slices in single files.
# Seen on 2026-11-30, SimpleITK 2.5.7 and dcm2niix 1.0.20260724: each applies one rescale to all frames, SimpleITK that of
# the first, dcm2niix that of the last, with exit code 0: of slices whose intercepts are -1024 and -1000 each has another
# half wrong by 24 HU; where slopes differ it is hundreds. Of the same slices in single files both apply each one's own.
# With a gap SimpleITK has voxels of 1 x 1 x 1 mm and dcm2niix the mean of all distances. highdicom itself gives each
# frame's values, and refuses the gap. The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 highdicom==0.28.2 SimpleITK==2.5.7 dcm2niix==1.0.20260724 nibabel==5.4.2
cat > try.py <<'PY'
import subprocess
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import SimpleITK
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLICES = 8


def slices(positions, rescale):
    """Slices of 100, 110, ... 170 HU."""
    study, series, frame = (generate_uid() for _ in range(3))
    for index in range(SLICES):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.Modality, ds.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = generate_uid(), study, series
        ds.FrameOfReferenceUID, ds.PatientPosition = frame, "HFS"
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                        "ReferringPhysicianName", "Manufacturer", "PositionReferenceIndicator"):
            setattr(ds, keyword, "")
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200102"
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101000"
        ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = 1, 1, index + 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, positions[index]], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns, ds.KVP = [0.8, 0.8], 3, 16, 16, 120
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, (ds.RescaleSlope, ds.RescaleIntercept) = 15, rescale(index)
        stored = round((100 + 10 * index - ds.RescaleIntercept) / ds.RescaleSlope)
        ds.PixelData = np.full((16, 16), stored, "<u2").tobytes()
        ds["PixelData"].VR, ds.RescaleType = "OW", "HU"
        yield ds


def show(name, spacing_mm, values):
    print(f"  {name}: {spacing_mm}, from inferior to superior", " ".join(f"{value:g}" for value in values))


def outcome(title, positions, rescale):
    path = Path(f"{title.split()[0]}.dcm")
    LegacyConvertedEnhancedCTImage(list(slices(positions, rescale)), generate_uid(), 1, generate_uid(), 1).save_as(path)
    print(title)
    try:
        volume = highdicom.imread(path).get_volume()
        order = np.argsort([volume.map_indices_to_reference(np.array([[k, 0, 0]]))[0, 2] for k in range(SLICES)])
        show("highdicom", " x ".join(f"{mm:.2f}" for mm in volume.spacing[::-1]), volume.array[order, 0, 0])
    except RuntimeError as error:
        print("  highdicom:", error)
    image = SimpleITK.ReadImage(str(path))
    values = SimpleITK.GetArrayFromImage(image)[:, 0, 0]
    upward = image.GetDirection()[8] > 0
    show("SimpleITK", " x ".join(f"{mm:.2f}" for mm in image.GetSpacing()), values if upward else values[::-1])
    done = subprocess.run(["env/bin/dcm2niix", "-f", path.stem, "-z", "n", "-b", "n", "-s", "y", str(path)], capture_output=True, text=True)
    image = nibabel.load(f"{path.stem}.nii")
    show(f"dcm2niix, exit code {done.returncode}", " x ".join(f"{mm:.2f}" for mm in image.header.get_zooms()),
         np.asarray(image.dataobj)[0, 0])


even = [3 * index for index in range(SLICES)]
outcome("one rescale", even, lambda index: (1, -1024))
outcome("intercepts of -1024 and, from the fifth slice on, -1000", even, lambda index: (1, -1024 if index < 4 else -1000))
outcome("slopes of 1 and 0.5 in turn", even, lambda index: (0.5, -1000) if index % 2 else (1, -1024))
outcome("gap after the fifth slice", [3 * index + 3 * (index > 4) for index in range(SLICES)], lambda index: (1, -1024))
PY
env/bin/python -W ignore try.py > seen 2> said || { cat said; exit 1; }
cat seen
cat > expected <<'EXPECTED'
one rescale
  highdicom: 0.80 x 0.80 x 3.00, from inferior to superior 100 110 120 130 140 150 160 170
  SimpleITK: 0.80 x 0.80 x 3.00, from inferior to superior 100 110 120 130 140 150 160 170
  dcm2niix, exit code 0: 0.80 x 0.80 x 3.00, from inferior to superior 100 110 120 130 140 150 160 170
intercepts of -1024 and, from the fifth slice on, -1000
  highdicom: 0.80 x 0.80 x 3.00, from inferior to superior 100 110 120 130 140 150 160 170
  SimpleITK: 0.80 x 0.80 x 3.00, from inferior to superior 124 134 144 154 140 150 160 170
  dcm2niix, exit code 0: 0.80 x 0.80 x 3.00, from inferior to superior 100 110 120 130 116 126 136 146
slopes of 1 and 0.5 in turn
  highdicom: 0.80 x 0.80 x 3.00, from inferior to superior 100 110 120 130 140 150 160 170
  SimpleITK: 0.80 x 0.80 x 3.00, from inferior to superior -438 110 -428 130 -418 150 -408 170
  dcm2niix, exit code 0: 0.80 x 0.80 x 3.00, from inferior to superior 100 1196 120 1236 140 1276 160 1316
gap after the fifth slice
  highdicom: Frame positions do not form a regularly-spaced volume.
  SimpleITK: 1.00 x 1.00 x 1.00, from inferior to superior 100 110 120 130 140 150 160 170
  dcm2niix, exit code 0: 0.80 x 0.80 x 3.43, from inferior to superior 100 110 120 130 140 150 160 170
EXPECTED
diff expected seen
