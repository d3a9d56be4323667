"""Start the ranks of one fold on this node with torchrun, as the launcher and jobs/supervise.py do."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the package beside this script, whatever is installed

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands


def main() -> int:
    run, asked = run_commands.parse_stage(
        __doc__,
        numbers={"fold": "train this fold"},
        texts={"torchrun": "torchrun's options, in one word, as --torchrun='--standalone --nproc-per-node=2'"},
        required=("fold", "torchrun"),
    )
    from cac_hpc.run import logs
    from cac_hpc.train import distributed

    logs.setup()
    return distributed.start_ranks(run, asked["fold"], asked["torchrun"])


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
