"""Settings of trials for tests."""

from __future__ import annotations

from cac_hpc.settings import launch_command
from cac_hpc.settings.config import Config
from tests.support.runs import REPO


def lesions(*options: str) -> Config:
    """configs/lesions.yaml with these options."""
    return launch_command.parse_launch(None, ["--config", str(REPO / "configs" / "lesions.yaml"), *options])[0]
