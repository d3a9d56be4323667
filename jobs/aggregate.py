"""Combine the folds' predictions into the report; exit code 1 when a fold is missing or still at work."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package beside this script, whatever is installed

from cac_hpc.run import settings


def main() -> int:
    run, _ = settings.parse_stage(__doc__)
    from cac_hpc.report import aggregation
    from cac_hpc.run import logs, provenance

    logs.setup()
    provenance.check_origin(run)
    return 0 if aggregation.aggregate(run) else 1


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
