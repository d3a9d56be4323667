"""jobs/run_trials.py that writes each file which it opens to $CAC_OPENED, a line "START" whenever it starts again; it
opens $CAC_LEAK, too, if there is one. A test puts it into RUN/code in the place of the job."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
LIST = os.open(os.environ["CAC_OPENED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.write(LIST, b"START\n")


def note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        os.write(LIST, f"{arguments[0]}\n".encode())


sys.addaudithook(note)

from cac_hpc.machine import processes  # noqa: E402
from cac_hpc.run.exit_codes import exit_code  # noqa: E402
from cac_hpc.settings import run_commands  # noqa: E402


def main() -> int:
    processes.listen()
    numbers = {"worker": "", "fold": "", "idle": ""}
    run, asked = run_commands.parse_stage(__doc__, numbers=numbers, required=("worker",))
    from cac_hpc.trials import worker

    if leak := os.environ.get("CAC_LEAK"):
        Path(leak).read_bytes()
    return worker.work(run, asked["worker"], asked["fold"], asked["idle"] or 0)


if __name__ == "__main__":
    sys.exit(exit_code(main))
