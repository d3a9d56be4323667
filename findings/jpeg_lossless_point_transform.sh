#!/usr/bin/env bash
# A JPEG Lossless frame that was written with a point transform, in six decoders.
#
# Valid input: process 14 may leave out the lowest bits of all values, as many as the header of the scan says (Pt, ISO/IEC
# 10918-1 A.4, B.2.3). A decoder begins with a prediction of 2 to the power of P - Pt - 1 (H.1.2.1), P bits being the
# precision, and multiplies what it has decoded by 2 to the power of Pt. All values here are multiples of that, so none is
# changed. Such files are met (cornerstonejs/cornerstone3D, issue 757: 16 bits, Pt 2).
# What one would guess: all six give the values that were written, or refuse the frame.
# Seen on 2026-11-30: without a point transform all are right. With one only GDCM, in SimpleITK 2.5.7, and libjpeg-turbo,
# the jpeg8_decode of imagecodecs 2026.3.6, are; the others give other values without a word, dcm2niix 1.0.20260724 with
# exit code 0. pylibjpeg-libjpeg 2.5.0 multiplies, but begins with 2 to the power of P - 1: where Pt is 1 every value is
# half of the range too high, and what is above the range becomes its highest value. jpegsof3_decode does not multiply,
# ljpeg_decode does neither, and dcm2niix divides each value, which the next one is then predicted from.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 pylibjpeg==2.1.0 pylibjpeg-libjpeg==2.5.0 SimpleITK==2.5.7 \
    imagecodecs==2026.3.6 dcm2niix==1.0.20260724 nibabel==5.4.2
cat > try.py <<'PY'
import struct
import subprocess
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import CTImageStorage, JPEGLosslessSV1, generate_uid

STORED = np.tile([16, 1000, 1024, 1072, 1424, 3008, 1040, 512], (8, 1))


def segment(marker, content):
    return struct.pack(">HH", marker, len(content) + 2) + content


def frame(bits, transform):
    """Each value predicted by the one to its left, each size of a difference in a code of five bits."""
    kept = STORED >> transform
    kept = np.column_stack([[1 << (bits - transform - 1), *kept[:-1, 0]], kept])
    scan = ""
    for difference in np.diff(kept).ravel().tolist():
        size = abs(difference).bit_length()
        scan += f"{size:05b}" + (f"{difference + (difference < 0) * ((1 << size) - 1):0{size}b}" if size else "")
    scan += "1" * (-len(scan) % 8)
    return (b"\xff\xd8" + segment(0xFFC3, struct.pack(">BHHB3B", bits, *STORED.shape, 1, 1, 0x11, 0))
            + segment(0xFFC4, bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)]))
            + segment(0xFFDA, bytes([1, 1, 0, 1, 0, transform]))
            + int(scan, 2).to_bytes(len(scan) // 8, "big").replace(b"\xff", b"\xff\0") + b"\xff\xd9")


def image(frame, bits):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    ds.SOPClassUID, ds.Modality, ds.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = (generate_uid() for _ in range(3))
    ds.PatientName, ds.PatientID, ds.SeriesNumber, ds.InstanceNumber = "", "", 1, 1
    ds.StudyDate, ds.StudyTime = "20200102", "101000"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, (ds.Rows, ds.Columns) = [1, 1], 3, STORED.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0, "HU"
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR = "OB"
    return ds


def converted(path):
    Path("out.nii").unlink(missing_ok=True)
    subprocess.run(["env/bin/dcm2niix", "-f", "out", "-z", "n", "-b", "n", "-s", "y", "-o", ".", path], check=True, capture_output=True)
    return np.asarray(nibabel.load("out.nii").dataobj).reshape(STORED.shape[::-1])[:, ::-1].T


for bits in (12, 16):
    for transform in (0, 1, 2):
        written = frame(bits, transform)
        image(written, bits).save_as("image.dcm", enforce_file_format=True)
        read = {"SimpleITK": SimpleITK.GetArrayFromImage(SimpleITK.ReadImage("image.dcm"))[0],
                "jpeg8_decode": imagecodecs.jpeg8_decode(written),
                "pylibjpeg": pixel_array("image.dcm", decoding_plugin="pylibjpeg"),
                "jpegsof3_decode": imagecodecs.jpegsof3_decode(written),
                "ljpeg_decode": imagecodecs.ljpeg_decode(written),
                "dcm2niix": converted("image.dcm")}
        print(f"{bits} bits, Pt {transform}, written", *STORED[0])
        for name, values in read.items():
            print(f"  {name}:", *["right"] if (values == STORED).all() else values[0])
PY
env/bin/python -W ignore try.py > seen 2> said || { cat said; exit 1; }
cat seen
cat > expected <<'EXPECTED'
12 bits, Pt 0, written 16 1000 1024 1072 1424 3008 1040 512
  SimpleITK: right
  jpeg8_decode: right
  pylibjpeg: right
  jpegsof3_decode: right
  ljpeg_decode: right
  dcm2niix: right
12 bits, Pt 1, written 16 1000 1024 1072 1424 3008 1040 512
  SimpleITK: right
  jpeg8_decode: right
  pylibjpeg: 2064 3048 3072 3120 3472 4095 3088 2560
  jpegsof3_decode: 8 500 512 536 712 1504 520 256
  ljpeg_decode: 1032 1524 1536 1560 1736 2528 1544 1280
  dcm2niix: 516 504 258 141 158 475 3841 3836
12 bits, Pt 2, written 16 1000 1024 1072 1424 3008 1040 512
  SimpleITK: right
  jpeg8_decode: right
  pylibjpeg: 4095 4095 4095 4095 4095 4095 4095 4095
  jpegsof3_decode: 4 250 256 268 356 752 260 128
  ljpeg_decode: 1540 1786 1792 1804 1892 2288 1796 1664
  dcm2niix: 385 157 40 13 25 105 3999 4038
16 bits, Pt 0, written 16 1000 1024 1072 1424 3008 1040 512
  SimpleITK: right
  jpeg8_decode: right
  pylibjpeg: right
  jpegsof3_decode: right
  ljpeg_decode: right
  dcm2niix: right
16 bits, Pt 1, written 16 1000 1024 1072 1424 3008 1040 512
  SimpleITK: right
  jpeg8_decode: right
  pylibjpeg: 32784 33768 33792 33840 34192 35776 33808 33280
  jpegsof3_decode: 8 500 512 536 712 1504 520 256
  ljpeg_decode: 16392 16884 16896 16920 17096 17888 16904 16640
  dcm2niix: 8196 4344 2178 1101 638 715 65401 65336
16 bits, Pt 2, written 16 1000 1024 1072 1424 3008 1040 512
  SimpleITK: right
  jpeg8_decode: right
  pylibjpeg: 65535 65535 65535 65535 65535 65535 65535 65535
  jpegsof3_decode: 4 250 256 268 356 752 260 128
  ljpeg_decode: 24580 24826 24832 24844 24932 25328 24836 24704
  dcm2niix: 6145 1597 400 103 47 110 65440 65479
EXPECTED
diff expected seen
