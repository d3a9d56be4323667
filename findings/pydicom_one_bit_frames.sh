#!/usr/bin/env bash
# pydicom gives one frame of an image of one bit per pixel whose frames are no whole numbers of bytes.
#
# Valid input: in a Segmentation of type BINARY the frames follow each other without a gap (DICOM PS3.5 8.1.1), so one of
# 3 x 5 pixels may begin in the middle of a byte. What one would guess: a frame asked for by its number, or by going through
# all of them, is that of the array of all frames.
# Seen on 2026-11-30, pydicom 3.0.2: a frame that begins and ends within a byte so that one byte more is needed than its
# pixels would fill is refused with "cannot reshape array of size ...". All frames at once are right (pydicom, issue 2134,
# was about these). The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
cat > try.py <<'PY'
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import iter_pixels, pixel_array
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

FRAMES, ROWS, COLUMNS = 9, 3, 5
bits = np.random.default_rng(0).integers(0, 2, (FRAMES, ROWS, COLUMNS), np.uint8)
ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID = SegmentationStorage, "1.2.3"
ds.Rows, ds.Columns, ds.NumberOfFrames = ROWS, COLUMNS, FRAMES
ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 0
packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
ds.PixelData = packed + bytes(len(packed) % 2)
ds.save_as("mask.dcm", enforce_file_format=True)


def one(index):
    try:
        return "right" if (pixel_array("mask.dcm", index=index) == bits[index]).all() else "wrong"
    except ValueError as error:
        return str(error)


print("all at once:", "right" if (pixel_array("mask.dcm") == bits).all() else "wrong")
for index in range(FRAMES):
    print(f"frame {index}, from bit {ROWS * COLUMNS * index % 8} of a byte:", one(index))
seen = 0
try:
    for frame in iter_pixels("mask.dcm"):
        seen += 1
except ValueError as error:
    print(f"going through them ends after {seen}:", error)
PY
env/bin/python -W ignore try.py > seen
cat seen
cat > expected <<'EXPECTED'
all at once: right
frame 0, from bit 0 of a byte: right
frame 1, from bit 7 of a byte: cannot reshape array of size 9 into shape (3,5)
frame 2, from bit 6 of a byte: cannot reshape array of size 10 into shape (3,5)
frame 3, from bit 5 of a byte: cannot reshape array of size 11 into shape (3,5)
frame 4, from bit 4 of a byte: cannot reshape array of size 12 into shape (3,5)
frame 5, from bit 3 of a byte: cannot reshape array of size 13 into shape (3,5)
frame 6, from bit 2 of a byte: cannot reshape array of size 14 into shape (3,5)
frame 7, from bit 1 of a byte: right
frame 8, from bit 0 of a byte: right
going through them ends after 1: cannot reshape array of size 9 into shape (3,5)
EXPECTED
diff expected seen
