#!/usr/bin/env bash
# A Segmentation made by highdicom of a CT series whose SpacingBetweenSlices is wrong, the right one being given.
#
# Valid input for highdicom: pixel_measures is a documented argument of Segmentation, which the source images need not
# agree with. SpacingBetweenSlices is no attribute of the CT Image IOD's modules (DICOM PS3.3 A.3.3), so nobody checks it;
# scanners and converters write it all the same. ContentCreatorName is of type 2 in a Segmentation (PS3.3 C.8.20.2,
# Table 10-12): it may be empty, but not missing.
# Guess before running: highdicom 0.28.2 takes the pixel_measures that it is given, and writes each type 2 attribute.
# Seen on 2026-11-30: it drops those that are given where their pixel spacing equals that of the source, and with them the
# spacing of slices: 7.5 mm is written though 3 mm is given and positions are 3 mm apart. dcmqi 1.5.7 goes by what is
# written and puts the voxel at 12 mm to 15 mm, without a word. ContentCreatorName is missing. The lines below are what is
# printed; the script fails if that changes.
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
study, series, frame = (generate_uid() for _ in range(3))
images = []
for index in range(SLICES):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.Modality, ds.SOPInstanceUID = CTImageStorage, "CT", generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                    "StudyDate", "StudyTime"):
        setattr(ds, keyword, "")
    ds.InstanceNumber, ds.ImagePositionPatient = index + 1, [0, 0, STEP_MM * index]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns, ds.SpacingBetweenSlices = [0.8, 0.8], 3, SIZE, SIZE, 7.5
    images.append(ds)

mask = np.zeros((SLICES, SIZE, SIZE), np.uint8)
mask[0, 4, 7] = mask[4, 20, 9] = 1
code = CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")
described = seg.SegmentDescription(1, "voxels", code, code, "MANUAL")
made = seg.Segmentation(images, mask, "BINARY", [described], generate_uid(), 1, generate_uid(), 1, "maker", "model", "1",
                        "1", pixel_measures=hd.PixelMeasuresSequence([0.8, 0.8], 3.0, 3.0))
made.save_as("segmentation.dcm")
measures = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
print("given 3 mm, written", measures.SpacingBetweenSlices, "mm; ContentCreatorName",
      "there" if "ContentCreatorName" in made else "missing")
Path("out").mkdir()
command = ["env/bin/segimage2itkimage", "--inputDICOM", "segmentation.dcm", "--outputDirectory", "out", "-t", "nrrd"]
done = subprocess.run(command, capture_output=True, text=True)
volumes = list(Path("out").glob("*.nrrd"))
print("dcmqi ends with", done.returncode, "and", len(volumes), "volume(s)")
for path in volumes:
    block = SimpleITK.ReadImage(str(path))
    found = np.argwhere(SimpleITK.GetArrayFromImage(block)).tolist()
    print("slices at", sorted(round(block.TransformIndexToPhysicalPoint(index[::-1])[2], 2) for index in found),
          "mm, wanted [0.0, 12.0]")
PY
env/bin/python -W ignore try.py > seen
cat seen
cat > expected <<'EXPECTED'
given 3 mm, written 7.5 mm; ContentCreatorName missing
dcmqi ends with 0 and 1 volume(s)
slices at [0.0, 15.0] mm, wanted [0.0, 12.0]
EXPECTED
diff expected seen
