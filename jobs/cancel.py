"""Stop a run: cancel its jobs, or end its launcher on this machine. What it has saved stays, and it can go on."""

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands


def main() -> int:
    run, _ = run_commands.parse_run(__doc__)
    from cac_hpc.cluster import cancellation

    return cancellation.cancel(run)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
