"""The tables for papers, typeset by LaTeX."""

import re
import shutil
import subprocess

import pytest

from cac_hpc.report import tables
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import from_json
from cac_hpc.run import disk

PAPER = r"""\documentclass[a4paper]{article}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


def typeset(folder, summary):
    """What LaTeX says of a paper that holds all tables; an error fails the test."""
    found = tables.latex(from_json(summary, Report))
    for name, text in found.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "paper.tex").write_text(PAPER % "\n".join(rf"\input{{{name}}}" for name in found), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.drill
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX (make drill installs it)")
def test_tables_for_papers_are_typeset_and_fit_a_page(finished_run, tmp_path):
    summary = disk.read_json(finished_run / "report" / "report.json")
    assert not re.search(r"Overfull|Warning: (?!Label)", typeset(tmp_path, summary))
    hostile = ["[1] & 2", "# % $ _ { } ~ ^ \\\\", "<10", "* star", r"\input{/etc/passwd}", '"quoted"']
    for category, name in zip(summary["categories"], hostile, strict=True):
        category["name"] = name
    assert "(/etc/passwd" not in typeset(tmp_path, summary)
