"""What tests of a site's limits share: settings of a run, and tools of SLURM that say what a test wants."""

from __future__ import annotations

from pathlib import Path

import pytest

from cac_hpc.run import settings
from cac_hpc.run.config import Config
from tests.support import site_answers
from tests.support.runs import write_config


@pytest.fixture
def cfg(tmp_path: Path, scans: Path) -> Config:
    return settings.load(write_config(tmp_path / "settings.yaml", scans, tmp_path / "run"))


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put stand-ins for SLURM's tools first on PATH; they say what stands in the files of the returned folder."""
    return site_answers.write_tools(tmp_path, monkeypatch)
