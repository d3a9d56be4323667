"""report.json: every number of a report, from which its page, tables and figures are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cac_hpc.run import paths
from cac_hpc.run.config import InputError
from cac_hpc.run.paths import RunPaths

FORMAT_VERSION = 4  # README, "Statistics"


def write(run: RunPaths, summary: dict[str, Any]) -> None:
    """Write report.json, after everything else: it also says that the report is complete."""
    paths.write_json(run.report_json, summary)


def read(root: Path) -> dict[str, Any]:
    """The summary that the report of a run was made from.

    Raises: InputError if the run has no report yet.
    """
    stored = RunPaths(root).report_json
    if not stored.is_file():
        raise InputError(f"{stored}: there is no report yet; python jobs/status.py {root} says where the run stands")
    return dict(paths.read_json(stored))
