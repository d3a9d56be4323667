#!/usr/bin/env bash
# highdicom makes the reference of a report to a Segmentation that it has made itself, of one segment and of two.
#
# Valid input: ReferencedSegment.from_segmentation is the documented way from a Segmentation to a TID 1500 report. Functional
# groups that are equal for all frames may be shared (DICOM PS3.3 C.7.6.16), as highdicom does where there is one segment.
# Guess before running: it finds the frames of the segment, whatever the type of the Segmentation.
# Seen on 2026-11-30, highdicom 0.28.2: of one segment it raises AttributeError, for it looks for the segment in the groups
# of each frame only; of two it works in types BINARY and FRACTIONAL. In a LABELMAP it never does. So a program that was
# tried on patients with several lesions ends at the first with one. The constructor takes the UIDs instead. The lines below
# are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 highdicom==0.28.2
cat > try.py <<'PY'
import numpy as np
from highdicom import seg, sr
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SIZE, SLICES = 16, 6
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
    ds.InstanceNumber, ds.ImagePositionPatient = index + 1, [0, 0, 3 * index]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [0.8, 0.8], 3, SIZE, SIZE
    images.append(ds)

code = CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")
for kind in ("BINARY", "FRACTIONAL", "LABELMAP"):
    for count in (1, 2):
        numbers = range(1, count + 1)
        mask = np.zeros((SLICES, SIZE, SIZE), np.uint8)
        for number in numbers:
            mask[number, 4:7, 4 * number] = number
        pixels = np.stack([mask == number for number in numbers], -1).astype(float) if kind == "FRACTIONAL" else mask
        described = [seg.SegmentDescription(number, f"lesion {number}", code, code, "MANUAL") for number in numbers]
        made = seg.Segmentation(images, pixels, kind, described, generate_uid(), 1, generate_uid(), 1, "maker", "model",
                                "1", "1")
        try:
            reference = sr.ReferencedSegment.from_segmentation(made, segment_number=1)
            print(f"{kind}, {count} segment(s): {len(reference)} items")
        except AttributeError as error:
            print(f"{kind}, {count} segment(s): AttributeError, {str(error).split()[-1]}")
PY
env/bin/python -W ignore try.py > seen
cat seen
cat > expected <<'EXPECTED'
BINARY, 1 segment(s): AttributeError, 'SegmentIdentificationSequence'
BINARY, 2 segment(s): 2 items
FRACTIONAL, 1 segment(s): AttributeError, 'SegmentIdentificationSequence'
FRACTIONAL, 2 segment(s): 2 items
LABELMAP, 1 segment(s): AttributeError, 'SegmentIdentificationSequence'
LABELMAP, 2 segment(s): AttributeError, 'SegmentIdentificationSequence'
EXPECTED
diff expected seen
