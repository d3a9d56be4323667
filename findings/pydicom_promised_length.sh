#!/usr/bin/env bash
# pydicom reads a file of some hundred bytes in which an element says that it is 2 GB long.
#
# Damaged input: four bytes of a length. Guess before running: an error, or the bytes that are there, and no more memory
# than the file is long.
# Seen on 2026-11-30, pydicom 3.0.2: 2,147 MB are allocated to read 200 bytes of a file, since Python's buffered files
# allocate what they are asked for before they read; then the shortened value is returned without a warning. From memory
# (io.BytesIO) the same file takes less than 1 MB. The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check pydicom==3.0.2
cat > try.py <<'PY'
import io
import tracemalloc
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

ds = Dataset()
ds.file_meta = FileMetaDataset()
ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
ds.SOPClassUID, ds.SOPInstanceUID, ds.PixelData = CTImageStorage, "1.2.3", bytes(40)
ds["PixelData"].VR = "OW"
ds.save_as("whole.dcm", enforce_file_format=True)
whole = Path("whole.dcm").read_bytes()
at = whole.index(b"\xe0\x7f\x10\x00OW\x00\x00") + 8
Path("damaged.dcm").write_bytes(whole[:at] + (0x7FFFFFF0).to_bytes(4, "little") + whole[at + 4 :])


def outcome(name, source):
    tracemalloc.start()
    try:
        found = f"{len(pydicom.dcmread(source).PixelData)} bytes of pixels"
    except Exception as error:
        found = type(error).__name__
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{name}: {found}, {'less than 1' if peak < 1e6 else round(peak / 1e6)} MB of memory")


outcome("from the disk", "damaged.dcm")
outcome("from memory", io.BytesIO(Path("damaged.dcm").read_bytes()))
PY
env/bin/python -W ignore try.py > seen
cat seen
cat > expected <<'EXPECTED'
from the disk: 40 bytes of pixels, 2147 MB of memory
from memory: 40 bytes of pixels, less than 1 MB of memory
EXPECTED
diff expected seen
