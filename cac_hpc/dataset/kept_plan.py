"""The plan of a dataset as it is kept beside the dataset. Imports nothing slow, unlike making one."""

from __future__ import annotations

from typing import Any

from cac_hpc.run import result_files
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.settings.errors import InputError


def read_plan(dataset: DatasetPaths) -> dict[str, Any]:
    """What `plan.write_plan` kept.

    Raises: InputError if there is no plan, or it is damaged.
    """
    if not dataset.plan.exists():
        raise InputError(f"{dataset.plan}: not there, wanted the plan that jobs/launch_cv.py --dry_run writes")
    return result_files.read_kept(dataset.plan, ["sha256", "shards", "listings", "labels"])
