"""List what a published confusion matrix, or a finished report.json, contradicts; exit code 1 if anything."""

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands


def main() -> int:
    file = run_commands.parse_file(__doc__, "a published table (.yaml, .json, .csv), or report/report.json of a run")
    from cac_hpc.report import consistency

    return consistency.check(file)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
