#!/usr/bin/env bash
# Signed CT pixels of other than 12 or 16 bits, plain and in JPEG-LS, in three readers.
#
# Valid input: the sign of a signed pixel is its High Bit, and what stands above is not part of it (DICOM PS3.5 8.1.1);
# encoders of JPEG-LS take Bits Stored as the precision, so a decoded -1000 of 13 bits is 7192 until its sign is put back.
# Guess before running: pydicom 3.0.2, SimpleITK 2.5.7 and dcm2niix 1.0.20260724 give the same values.
# Seen on 2026-11-30: dcm2niix does so of 12 and of 16 bits. Of 11, 13, 14 and 15 bits every negative value comes out too
# high by 2 to the power of the bits: air of -1000 HU is 7192 HU of 13 bits, without a word and with exit code 0. In RLE
# and JPEG 2000, whose decoders give the sign, values are right, so it depends on how an archive stored the same series.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 SimpleITK==2.5.7 dcm2niix==1.0.20260724 nibabel==5.4.2 \
    pyjpegls==1.5.1 pylibjpeg==2.1.0 pylibjpeg-openjpeg==2.6.0
cat > try.py <<'PY'
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

SIZE = 32


def image(hu, bits):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.Modality, ds.ImageType = CTImageStorage, "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID = (generate_uid() for _ in range(3))
    ds.PatientName, ds.PatientID, ds.SeriesNumber, ds.InstanceNumber = "", "", 1, 1
    ds.StudyDate, ds.StudyTime = "20200102", "101000"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.Rows, ds.Columns = [1, 1], 3, SIZE, SIZE
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0, "HU"
    ds.PixelData = hu.astype("<i2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def outcome(title, ds, hu):
    path = Path("image.dcm")
    ds.save_as(path, enforce_file_format=True)
    Path("out.nii").unlink(missing_ok=True)
    done = subprocess.run(["env/bin/dcm2niix", "-f", "out", "-z", "n", "-b", "n", "-s", "y", "-o", ".", str(path)], capture_output=True, text=True)
    converted = np.asarray(nibabel.load("out.nii").dataobj).reshape(SIZE, SIZE)[:, ::-1].T
    read = {"pydicom": pixel_array(path), "SimpleITK": SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0],
            f"dcm2niix, exit code {done.returncode}": converted}
    told = []
    for name, values in read.items():
        off = np.unique(values.astype(int) - hu)
        told.append(f"{name}: " + ("right" if (off == 0).all() else f"{(values < 0).sum()} below 0, off by {off[off != 0]}"))
    print(f"{bits} bits, {title}: " + "; ".join(told))


for bits in (11, 12, 13, 14, 15, 16):
    hu = np.random.default_rng(bits).integers(-1000, 1000, (SIZE, SIZE))
    plain = image(hu, bits)
    plain.PixelData = (hu & ((1 << bits) - 1)).astype("<u2").tobytes()
    plain["PixelData"].VR = "OW"
    outcome("0 above the sign", plain, hu)
    for syntax, name in ((JPEGLSLossless, "JPEG-LS"), (JPEG2000Lossless, "JPEG 2000"), (RLELossless, "RLE")):
        ds = image(hu, bits)
        ds.compress(syntax)
        outcome(name, ds, hu)
PY
env/bin/python -W ignore try.py > seen 2> said || { cat said; exit 1; }
cat seen
cat > expected <<'EXPECTED'
11 bits, 0 above the sign: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: 0 below 0, off by [2048]
11 bits, JPEG-LS: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: 0 below 0, off by [2048]
11 bits, JPEG 2000: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
11 bits, RLE: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
12 bits, 0 above the sign: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
12 bits, JPEG-LS: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
12 bits, JPEG 2000: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
12 bits, RLE: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
13 bits, 0 above the sign: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: 0 below 0, off by [8192]
13 bits, JPEG-LS: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: 0 below 0, off by [8192]
13 bits, JPEG 2000: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
13 bits, RLE: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
14 bits, 0 above the sign: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: 0 below 0, off by [16384]
14 bits, JPEG-LS: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: 0 below 0, off by [16384]
14 bits, JPEG 2000: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
14 bits, RLE: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
15 bits, 0 above the sign: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: 0 below 0, off by [32768]
15 bits, JPEG-LS: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: 0 below 0, off by [32768]
15 bits, JPEG 2000: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
15 bits, RLE: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
16 bits, 0 above the sign: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
16 bits, JPEG-LS: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
16 bits, JPEG 2000: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
16 bits, RLE: pydicom: right; SimpleITK: right; dcm2niix, exit code 0: right
EXPECTED
diff expected seen
