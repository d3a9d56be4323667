"""Measure how fast we are, beside other programs, on a cohort made for it."""

from pathlib import Path

from cac_hpc.run.exit_codes import exit_code


def main() -> int:
    from cac_hpc.benchmark import command
    from cac_hpc.run import logs

    logs.setup()
    command.run(__doc__, code=Path(__file__).resolve().parents[1])
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
