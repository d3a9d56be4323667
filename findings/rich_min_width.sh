#!/usr/bin/env bash
# A table of which one column has a least width, on a terminal that is too narrow for all texts in one line.
#
# Valid input: a table of four columns; the first holds a path of 29 characters and has that as its least width (min_width). On
# 80 columns, which Rich takes where output goes to a file, and on 60 there is room for it and for every word of the others.
# What one would guess: Rich 15.0.0 gives the column its least width and breaks the texts of the others between words, as
# it does where the column is not to be broken (no_wrap); where something is cut off, "…" stands for it.
# Seen on 2026-11-30: columns are narrowed as if none had a least width; then that one is widened again, the table is wider
# than the terminal, and what is at the right is cut off without a sign. On 80 columns "refused by both" reads "refused";
# on 60 the last column is gone, with its heading. With no_wrap, or with neither, all columns are there.
# The lines below are what is printed; the script fails if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check rich==15.0.0
cat > try.py <<'PY'
from rich.console import Console
from rich.table import Table

ROW = {"file": "studies/1001/series-0002/0013", "reason": "two slices are missing", "reader": "pydicom and SimpleITK",
       "state": "refused by both"}
WAYS = {"no min_width": {}, "file not below 29": {"min_width": 29}, "file not broken": {"no_wrap": True}}

for width in (100, 80, 60):
    for title, options in WAYS.items():
        table = Table(box=None, padding=(0, 1, 0, 0))
        for name in ROW:
            table.add_column(name, **options if name == "file" else {})
        table.add_row(*ROW.values())
        console = Console(width=width, force_terminal=False)
        with console.capture() as captured:
            console.print(table)
        print(f"{width} columns, {title}")
        for line in captured.get().splitlines():
            print(f"  {line}".rstrip())
PY
env/bin/python try.py > seen
cat seen
cat > expected <<'EXPECTED'
100 columns, no min_width
  file                          reason                 reader                state
  studies/1001/series-0002/0013 two slices are missing pydicom and SimpleITK refused by both
100 columns, file not below 29
  file                          reason                 reader                state
  studies/1001/series-0002/0013 two slices are missing pydicom and SimpleITK refused by both
100 columns, file not broken
  file                          reason                 reader                state
  studies/1001/series-0002/0013 two slices are missing pydicom and SimpleITK refused by both
80 columns, no min_width
  file                 reason                reader               state
  studies/1001/series… two slices are        pydicom and          refused by both
                       missing               SimpleITK
80 columns, file not below 29
  file                          reason                reader               state
  studies/1001/series-0002/0013 two slices are        pydicom and          refused
                                missing               SimpleITK
80 columns, file not broken
  file                          reason           reader           state
  studies/1001/series-0002/0013 two slices are   pydicom and      refused by both
                                missing          SimpleITK
60 columns, no min_width
  file           reason         reader         state
  studies/1001/… two slices are pydicom and    refused by
                 missing        SimpleITK      both
60 columns, file not below 29
  file                          reason         reader
  studies/1001/series-0002/0013 two slices are pydicom and
                                missing        SimpleITK
60 columns, file not broken
  file                          reason    reader    state
  studies/1001/series-0002/0013 two       pydicom   refused
                                slices    and       by both
                                are       SimpleITK
                                missing
EXPECTED
diff expected seen
