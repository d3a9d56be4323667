"""jobs/train_fold.py that takes its time: CAC_PACE_S seconds more for every step, and changes nothing else.

A test puts it into RUN/code in the place of the job, so everybody above it is real.
"""

import os
import sys
import time

from cac_hpc.machine import processes
from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands


def main() -> int:
    processes.listen()
    processes.die_with_torchrun()
    run, asked = run_commands.parse_stage(__doc__, numbers={"fold": "train this fold"}, required=("fold",))
    from cac_hpc.train import steps, training

    inner, pace_s = steps.train_step, float(os.environ.get("CAC_PACE_S", "0"))

    def paced(*args, **kwargs):
        time.sleep(pace_s)
        return inner(*args, **kwargs)

    steps.train_step = paced
    return training.train_fold(run, asked["fold"])


if __name__ == "__main__":
    sys.exit(exit_code(main))
