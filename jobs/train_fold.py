"""Train one cross-validation fold; torchrun starts this file once per GPU.

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
    processes.die_with_torchrun()
    run, asked = run_commands.parse_stage(__doc__, numbers={"fold": "train this fold"}, required=("fold",))
    from cac_hpc.run import provenance
    from cac_hpc.train import training

    provenance.check_origin(run)
    return training.train_fold(run, asked["fold"])


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
