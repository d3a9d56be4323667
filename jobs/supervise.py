"""Do one array index of a stage on this node, as SLURM starts it: look at the node, work, go on after a stop.

Exit code 75: it was asked to stop, has saved, and goes on from there when it is started again.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package beside this script, whatever is installed

from cac_hpc.machine import processes
from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands


def main() -> int:
    processes.listen()
    numbers = {
        "index": "of the array (default: SLURM_ARRAY_TASK_ID)",
        "per_task": "tasks of the stage for each index (default: 1)",
    }
    texts = {"stage": "pack, seal, trials, folds or aggregate"}
    run, asked = run_commands.parse_stage(__doc__, numbers=numbers, texts=texts, required=("stage",))
    from cac_hpc.run import logs, provenance

    try:
        from cac_hpc.cluster import supervisor
    except ImportError:
        provenance.check_complete(run)  # says which file is not there
        raise

    logs.setup()
    return supervisor.supervise(run, asked["stage"], asked["index"], asked["per_task"] or 1)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
