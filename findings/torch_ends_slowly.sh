#!/usr/bin/env bash
# What a program pays for at its end that has imported torch and does nothing with it.
#
# Valid input: a program that imports torch; the same that calls gc.freeze() as its last line.
# Guess before running: Python ends in no time worth measuring, and gc.freeze() changes nothing.
# Seen on 2026-11-30, torch 2.13.0 on Python 3.11: while it ends, Python looks for garbage among all that was loaded, which
# takes more than a tenth of the program's processor time; with gc.freeze() most of that goes.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6
cat > try.py <<'PY'
import resource
import statistics
import subprocess
import sys

SAY = "import time; print(time.process_time())"
WAYS = {"plainly": SAY, "with gc.freeze()": "import gc; gc.freeze(); " + SAY}


def seconds(code):
    """Processor time of a whole program, and of it what came after its last line."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run([sys.executable, "-c", "import torch\n" + code], capture_output=True, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return whole, whole - float(said)


found = {name: [] for name in WAYS}
for _ in range(7):  # in turns; the first compiles
    for name, code in WAYS.items():
        found[name].append(seconds(code))
whole = statistics.median(one for one, _ in found["plainly"][1:])
end = {name: statistics.median(after for _, after in rounds[1:]) for name, rounds in found.items()}
print("more than a tenth of the processor time comes after the last line:", end["plainly"] > 0.1 * whole)
print("with gc.freeze() less than half of that:", end["with gc.freeze()"] < 0.5 * end["plainly"])
print(f"{whole:.2f} s, of which {end['plainly']:.2f} s at the end; with gc.freeze() {end['with gc.freeze()']:.2f} s", file=sys.stderr)
PY
env/bin/python -W ignore try.py > seen
cat seen
cat > expected <<'EXPECTED'
more than a tenth of the processor time comes after the last line: True
with gc.freeze() less than half of that: True
EXPECTED
diff expected seen
