"""jobs/train_fold.py that meets with an accident: CAC_DOOM="POINT NUMBER VICTIM WHAT" of the N-th time at a point.

A test puts it into RUN/code in the place of the job, so everybody above it is real. Points: start, step, save,
validate, test, publish. Victims: 0, 1 (ranks), agent (torchrun), supervisor, file (a stop file is made). What: the name
of a signal, or raise, exit, hang.
"""

import itertools
import os
import signal
import sys
import time
from pathlib import Path

from cac_hpc.machine import processes
from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands

RANK = os.environ["RANK"]
POINT, NUMBER, VICTIM, WHAT = os.environ.get("CAC_DOOM", "never 0 none none").split()


def main() -> int:
    processes.listen()
    processes.die_with_torchrun()
    run, asked = run_commands.parse_stage(__doc__, numbers={"fold": "train this fold"}, required=("fold",))
    from cac_hpc.run import disk
    from cac_hpc.train import checkpoint, passes, setup, steps, training

    if (VICTIM if VICTIM in "01" and not WHAT.startswith("SIG") else "0") == RANK:  # signals are sent by rank 0
        numbers = {point: itertools.count(1) for point in ("start", "step", "save", "validate", "test", "publish")}

        def reach(point: str) -> None:
            if point == POINT and next(numbers[point]) == int(NUMBER):
                meet_with_it(run)

        wrap(setup, "load_fold", lambda *_: reach("start"))
        wrap(steps, "train_step", lambda *_: reach("step"))
        wrap(passes, "evaluate", lambda attempt, rows, phase: reach(phase.removesuffix("ing").removesuffix("at") + "ate"
             if phase == "validating" else "test"))  # fmt: skip
        wrap(disk, "write_bytes", lambda path, *_: reach("publish") if path.name == "predictions.csv" else None)
        save = checkpoint.torch.save

        def half_a_save(state, file):
            file.write(b"PK half a checkpoint")
            file.flush()
            reach("save")
            file.seek(0)
            save(state, file)

        checkpoint.torch.save = half_a_save
    return training.train_fold(run, asked["fold"])


def wrap(module, name, before):
    inner = getattr(module, name)

    def wrapped(*args, **kwargs):
        before(*args)
        return inner(*args, **kwargs)

    setattr(module, name, wrapped)


def meet_with_it(run: Path) -> None:
    if WHAT == "raise":
        raise ValueError("an accident")
    if WHAT == "exit":
        os._exit(0)
    if WHAT == "hang":
        time.sleep(3600)
    if VICTIM == "file":
        (run / "folds" / "fold-0" / "stop").touch()
        time.sleep(2.5)  # until the heartbeat has seen it
        return
    others = [pid for pid in processes.children(os.getppid()) if pid != os.getpid()]
    pids = {"0": os.getpid(), "1": others[0], "agent": os.getppid(),
            "supervisor": int(os.environ["CAC_HPC_SUPERVISOR"].split(":")[0])}  # fmt: skip
    os.kill(pids[VICTIM], signal.Signals[WHAT])
    if VICTIM in ("supervisor", "agent") and WHAT == "SIGKILL":
        time.sleep(30)  # we end with it


if __name__ == "__main__":
    sys.exit(exit_code(main))
