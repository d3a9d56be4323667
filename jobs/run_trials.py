"""Train the trials of a run, one after the other, until every fold has chosen; several of this may run at once.

Exit code 75: it was asked to stop, has saved, and goes on from there when it is started again.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package beside this script, whatever is installed

from cac_hpc.machine import processes
from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands


def main() -> int:
    processes.listen()  # before torch, which takes seconds
    numbers = {
        "worker": "its number among those of the run, from 0",
        "fold": "begin with this fold; left out, the number of the worker says which",
        "idle": "folds in a row in which there was nothing to do; it says so itself when it goes to the next",
    }
    run, asked = run_commands.parse_stage(__doc__, numbers=numbers, required=("worker",))
    from cac_hpc.run import provenance
    from cac_hpc.trials import worker

    provenance.check_origin(run)
    return worker.work(run, asked["worker"], asked["fold"], asked["idle"] or 0)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
