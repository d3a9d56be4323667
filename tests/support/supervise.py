"""Run fold 0 of a run as the launcher does on this machine: supervise.py RUN."""

import sys
from pathlib import Path

from cac_hpc.cluster import local
from cac_hpc.run import stages
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings


def main() -> int:
    run = RunPaths(Path(sys.argv[1]))
    cfg = stored_settings.load(run.config)
    task = next(task for task in stages.plan_tasks(cfg, run, 1) if task.stage.name == "folds")
    for _ in local.start(run, cfg, [task], {}):
        pass
    return 0 if task.done else 1


if __name__ == "__main__":
    sys.exit(main())
