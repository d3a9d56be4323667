"""What these tests share: settings of a run, and stand-ins for SLURM's tools that say what a test wants."""

from __future__ import annotations

from pathlib import Path

import pytest

from cac_hpc.settings import stored_settings
from cac_hpc.settings.config import Config
from tests.support import site_answers
from tests.support.runs import write_config
from tests.support.standins import FakeSlurm


@pytest.fixture
def cfg(tmp_path: Path, scans: Path) -> Config:
    return stored_settings.load(write_config(tmp_path / "settings.yaml", scans, tmp_path / "run"))


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put stand-ins for SLURM's tools first on PATH; they say what stands in the files of the returned folder."""
    return site_answers.write_tools(tmp_path, monkeypatch)


@pytest.fixture
def slurm_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """The tools that look at jobs, and end them."""
    return FakeSlurm(tmp_path / "bin", monkeypatch)
