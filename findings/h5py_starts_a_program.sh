#!/usr/bin/env bash
# What importing h5py does besides loading it.
#
# Valid input: a program that imports numpy, and then h5py, and nothing else; programs that it starts are told by Python's
# own audit events.
# Guess before running: an import starts no other program.
# Seen on 2026-11-30, h5py 3.16.0 on Python 3.11: importing h5py starts `uname -p` once, as it asks platform.uname for
# the processor. Every worker that reads HDF5 pays for a fork, and for a moment there are two processes of its size.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check h5py==3.16.0 numpy==2.4.6
cat > try.py <<'PY'
import sys

started = []
sys.addaudithook(lambda event, given: started.append(given[1]) if event == "subprocess.Popen" else None)
for name in ("numpy", "h5py"):
    started.clear()
    __import__(name)
    print(f"import {name} starts", ", ".join(" ".join(program) for program in started) or "nothing")
PY
env/bin/python try.py > seen
cat seen
cat > expected <<'EXPECTED'
import numpy starts nothing
import h5py starts uname -p
EXPECTED
diff expected seen
