"""The launcher's --help: every setting with its meaning, type and default, and nothing else."""

import re
import subprocess
import sys

import pytest

from cac_hpc.settings import launch_command, setting_names
from tests.support.runs import REPO


@pytest.fixture
def written(capsys):
    with pytest.raises(SystemExit) as ended:
        launch_command.parse_launch("What it does.", ["--config", "missing.yaml", "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


@pytest.fixture
def shown(written):
    """The help as one text, words a blank apart."""
    return " ".join(written.split()) + " "


def test_every_setting_section_and_option_is_explained_once(written):
    explained = re.findall(r"^  --([a-z_.]+)", written, re.MULTILINE)
    options = [name for name in launch_command.LAUNCHER if name != "help"]
    assert sorted(explained) == sorted([*setting_names.names(), *options])


@pytest.mark.parametrize(
    "line",
    [
        "--resume RESUME go on with this run: only what has no valid result; other settings as --section.key VALUE or "
        "--section FILE, never with --config or --run",
        "--config CONFIG YAML file with the settings, for example configs/demo.yaml",
        "--run RUN the run folder: everything the run is lives there (required, text)",
        "pack: How studies are read, checked and packed. --pack FILE YAML file with this section",
        "--data.dicom_root DICOM_ROOT one folder per study below it, or one NIfTI or NRRD file; its name is the study "
        "number (text)",
        "--data.format {auto,dicom,nifti,nrrd} of the studies; auto: of each what its files are (default: auto)",
        "--labels.sheet SHEET .csv or .xlsx, one row per study; BOOK.xlsx#NAME is one of its sheets (text or list of "
        "texts or none, default: null)",
        "pack.checks: What is done with a study that fails a check: it is left out, or used and marked in studies.csv. "
        'What each check finds: docs/data.md, "Rejected files".',
        "--pack.baseline {true,false} score every study by the Agatston rule in its heart, for studies.csv (default: "
        "true)",
        "--pack.checks.mixed_rescale {refuse,warn} (default: refuse)",
        "--train.epochs EPOCHS (required, integer)",
        "--cluster.fold.time_min TIME_MIN time limit (integer, default: 480)",
        "--cluster.sbatch SBATCH options by long names (mapping, default: {})",
        "--report.cuts [ITEM,...] scores that treatment depends on: above 0, and from each of the others on; see "
        "docs/report.md (list of numbers, default: [0.0, 100.0, 400.0])",
        "--data.cohorts [ITEM,...] several cohorts in one run, each with its own dicom_root and sheet: docs/data.md, "
        '"Several cohorts" (list of mappings, default: [])',
    ],
)
def test_of_each_there_are_meaning_type_and_default(shown, line):
    assert f" {line} " in shown


def test_every_default_is_written_as_it_would_be_given(written):
    options = [" ".join(option.split()) for option in re.split(r"\n\n|\n  (?=--)", written)]
    found = (re.fullmatch(r"--([a-z_]+\.[a-z_.]+) .*[(,] ?default: (.*)\)", option) for option in options)
    defaults = [match.groups() for match in found if match]
    needed = ["--run", "R", "--data.dicom_root", "D", "--labels.sheet", "S.csv", "--train.epochs", "1"]
    given = [part for name, value in defaults if f"--{name}" not in needed for part in (f"--{name}", value)]
    assert len(defaults) > 100
    assert launch_command.parse_launch("", [*needed, *given])[0] == launch_command.parse_launch("", needed)[0]


def test_it_is_shown_without_reading_any_settings():
    """Whoever looks at it waits for every library that is imported."""
    command = [sys.executable, "-X", "importtime", REPO / "jobs" / "launch_cv.py", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not {"jsonargparse", "numpy", "omegaconf", "pydantic", "rich", "yaml"} & imported
