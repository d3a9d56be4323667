"""Every recipe of docs/extending.md, done as it is written in a copy of the package, and a check that it has worked."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("cac_hpc", "jobs", "slurm", "tests/support")
MOST_FILES = 3
TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| \[([^]]+)\]\(#[\w-]+\)[^|]*\|([^|]*)\|([^|]*)\|$", re.MULTILINE)
TABLE = {name: (files, test) for name, files, test in ROW.findall(TEXT)}
FILE = re.compile(r"[`*]([\w/]+\.py)[`*]")
BLOCK = re.compile(
    r"^```\w+\n# (cac_hpc/\S+), (?:(new)|(after|before): ([^\n]*))\n(.*?)^```$", re.DOTALL | re.MULTILINE
)
RECIPES = (
    "category scheme", "series check", "network", "patient-level model", "optimiser", "figure", "statistic",
    "mask format", "label source", "scheduler",
)  # fmt: skip


def section(name):
    """What docs/extending.md says below the recipe's heading."""
    return re.search(rf"^## {name.capitalize()}$(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)[1]


def apply(checkout, name):
    """Do what the recipe's blocks say; returns the files that they name."""
    blocks = BLOCK.findall(section(name))
    assert len(blocks) == section(name).count("```python\n")
    for file, new, side, anchor, code in blocks:
        path = checkout / file
        assert path.exists() != bool(new)
        if new:
            path.write_text(code, encoding="utf-8")
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        (at,) = (index for index, line in enumerate(lines) if line.strip().startswith(anchor))
        apart = ["", ""] if code.startswith("def ") else []
        lines[at + (side == "after") : at + (side == "after")] = [*code.splitlines(), *apart]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {file.removeprefix("cac_hpc/") for file, *_ in blocks}


def contents(checkout):
    return {path.relative_to(checkout / "cac_hpc").as_posix(): path.read_bytes() for path in checkout.rglob("*.py")
            if path.is_relative_to(checkout / "cac_hpc")}  # fmt: skip


def test_every_recipe_is_in_the_table_in_this_order():
    assert tuple(TABLE) == RECIPES


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_works_as_it_is_written_with_three_files_at_most(name, tmp_path, scans, packed):
    checkout = tmp_path / "checkout"
    for folder in COPIED:
        shutil.copytree(ROOT / folder, checkout / folder)
    before = contents(checkout)
    named = apply(checkout, name)
    after = contents(checkout)
    touched = {file for file in after if before.get(file) != after[file]}
    files, test = TABLE[name]
    assert touched == named == set(FILE.findall(files))
    (own_test,) = FILE.findall(test)
    assert (ROOT / own_test).is_file()
    assert len(touched | {own_test}) <= MOST_FILES
    script = checkout / "tests" / "support" / "recipes.py"
    arguments = [name.replace(" ", "_").replace("-", "_"), tmp_path, scans, packed]
    env = os.environ | {"PYTHONPATH": str(checkout)}
    done = subprocess.run([sys.executable, script, *arguments], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
