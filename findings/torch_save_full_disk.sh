#!/usr/bin/env bash
# torch.save where the disk is full: given a path, and given a file that Python has opened.
#
# Guess before running: both raise OSError with errno 28 (No space left on device), and the path's names the file.
# Seen on 2026-11-29 with torch 2.13.0: given a path, torch writes by itself and raises RuntimeError, of a small state with
# "basic_ios::clear: iostream error", of a large one with "unexpected pos": no errno and no file name, so nobody can tell a full
# disk from a damaged one. Given an open file, it raises OSError with errno 28. Open the file yourself to learn the cause.
# /dev/full takes the place of a full disk. The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > try.py <<'PY'
import re

import torch


def told(call):
    try:
        call()
    except Exception as error:
        words = re.sub(r"\d+", "N", str(error).splitlines()[0].split("] . ")[-1])
        return f"{type(error).__name__}, errno {getattr(error, 'errno', None)}: {words}"
    return "no error"


def to_open_file(state):
    with open("/dev/full", "wb") as file:
        torch.save(state, file)


for name, size in (("small", 10), ("large", 1_000_000)):
    state = {"weights": torch.zeros(size)}
    print(f"{name}, path: {told(lambda: torch.save(state, '/dev/full'))}")
    print(f"{name}, open file: {told(lambda: to_open_file(state))}")
PY
cat > wanted <<'END'
small, path: RuntimeError, errno None: basic_ios::clear: iostream error
small, open file: OSError, errno 28: [Errno N] No space left on device
large, path: RuntimeError, errno None: unexpected pos N vs N
large, open file: OSError, errno 28: [Errno N] No space left on device
END
env/bin/python try.py | tee seen
diff wanted seen
