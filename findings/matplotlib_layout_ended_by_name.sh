#!/usr/bin/env bash
# How often a figure of matplotlib is drawn that is laid out once and then saved as several files.
#
# Valid input: a figure with constrained layout and one line, saved three times; after the first file the layout is done,
# so its engine is taken away in both documented ways, set_layout_engine("none") and set_layout_engine(None).
# Guess before running: both end the layout alike, and each file is drawn once from then on.
# Seen on 2026-11-30, matplotlib 3.11.2: after "none" there is still a placeholder of the engine, and each savefig draws the
# whole figure a second time for it, into nothing; after None each file is drawn once. The files are the same.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check matplotlib==3.11.2
cat > try.py <<'PY'
import io

import matplotlib
from matplotlib.figure import Figure

matplotlib.rcParams["svg.hashsalt"] = "same"
files = {}
for name, engine in {"nothing done": "constrained", '"none"': "none", "None": None}.items():
    figure = Figure(layout="constrained")
    figure.add_subplot().plot([1, 3, 2])
    drawn, draw = [], figure.draw
    figure.draw = lambda renderer: (drawn.append(1), draw(renderer))
    counts, files[name] = [], []
    for kind in ("png", "svg", "png"):
        before, file = len(drawn), io.BytesIO()
        figure.savefig(file, format=kind, metadata={"Date": None} if kind == "svg" else None)
        counts.append(len(drawn) - before)
        files[name].append(file.getvalue())
        if engine != "constrained":
            figure.set_layout_engine(engine)
    print(f"set_layout_engine after the first file: {name}; drawn for each file: {counts}")
print("same files after both:", files['"none"'] == files["None"])
PY
env/bin/python try.py > seen
cat seen
cat > expected <<'EXPECTED'
set_layout_engine after the first file: nothing done; drawn for each file: [2, 2, 2]
set_layout_engine after the first file: "none"; drawn for each file: [2, 2, 2]
set_layout_engine after the first file: None; drawn for each file: [2, 1, 1]
same files after both: True
EXPECTED
diff expected seen
