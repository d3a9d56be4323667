"""Combine the folds' predictions into the report; exit code 1 when a fold is missing or still at work."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package beside this script, whatever is installed

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands


def main() -> int:
    run, _ = run_commands.parse_stage(__doc__)
    from cac_hpc.report import aggregation
    from cac_hpc.run import logs, provenance

    logs.setup()
    provenance.check_origin(run)
    return 0 if aggregation.aggregate(run) else 1


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
