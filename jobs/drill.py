"""Rehearse on this cluster: a small fold is warned, saves, starts again and must end as one that is left alone."""

from pathlib import Path

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands


def main() -> int:
    run, _ = run_commands.parse_run(__doc__)
    from cac_hpc.cluster import rehearsal
    from cac_hpc.run import logs

    logs.setup()
    return rehearsal.rehearse(run, Path(__file__).resolve().parents[1])


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
