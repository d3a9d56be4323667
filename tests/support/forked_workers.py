"""Workers of trials that start in no time: for each line "WORKER N" a child of this process is one, whose number is
printed. It is killed before its N-th use of a file of the run, 0 is never. They end when the input does."""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from cac_hpc.machine import processes
from cac_hpc.trials import training, worker

EVENTS = ("open", "os.rename", "os.remove", "os.link", "os.mkdir")


def main() -> None:
    assert training
    torch.use_deterministic_algorithms(True)  # its imports take a second
    root = Path(sys.argv[sys.argv.index("--run") + 1])
    for line in sys.stdin:
        number, kill_at = map(int, line.split())
        if pid := os.fork():
            print(pid, flush=True)
        else:
            os._exit(be_worker(root, number, kill_at))


def be_worker(root: Path, number: int, kill_at: int) -> int:
    processes.die_with(os.getppid())
    processes.listen()
    left = kill_at

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in EVENTS and str(arguments[0]).startswith(str(root / "trials")):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    worker._start_again = lambda _, own, fold, idle: sys.exit(worker.work(root, own, fold, idle))
    try:
        return worker.work(root, number)
    except SystemExit as end:
        return int(end.code or 0)


if __name__ == "__main__":
    main()
