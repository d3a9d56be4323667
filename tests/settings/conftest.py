"""Files with the fewest settings."""

import pytest

from tests.support.runs import write_config


@pytest.fixture
def minimal(tmp_path):
    return write_config(tmp_path / "settings.yaml", tmp_path / "scans", tmp_path / "run")
