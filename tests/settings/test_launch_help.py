"""The launcher's --help: every setting with its type and default, and nothing else."""

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
        "--run RUN the run folder: everything the run is lives there (required, type: str)",
        "pack: How studies are read, checked and packed. --pack FILE YAML file with this section",
        "--data.dicom_root DICOM_ROOT (type: str)",
        "--data.format {auto,dicom,nifti,nrrd} (default: auto)",
        "--labels.sheet SHEET (type: str | tuple[str, ...] | null, default: null)",
        "--pack.baseline {true,false} (default: true)",
        "--train.epochs EPOCHS (required, type: int)",
        "--cluster.fold.time_min TIME_MIN (type: int, default: 480)",
        "--cluster.sbatch SBATCH (type: dict[str, int | float | bool | str], default: {})",
        "--report.cuts [ITEM,...] (type: tuple[float, ...], default: [0.0, 100.0, 400.0])",
        "--data.cohorts LIST several cohorts, in a file alone: docs/data.md",
    ],
)
def test_of_each_there_are_type_and_default(shown, line):
    assert f" {line} " in shown


def test_every_default_is_written_as_it_would_be_given(written):
    explained = re.sub(r"\s+", " ", written) + " -"
    defaults = re.findall(r"--([a-z_]+\.[a-z_.]+) \S+ \((?:type: [^()]*?, )?default: (.*?)\) (?=-|[a-z])", explained)
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
