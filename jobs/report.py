"""Show the report of a run, bring it home, open it, or compare runs; exit code 1 when one is partial."""

from cac_hpc.run import logs
from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import report_command


def main() -> int:
    asked = report_command.parse_report(__doc__)
    logs.setup()
    if asked.others:
        from cac_hpc.report import comparison_report

        return comparison_report.show(asked)
    from cac_hpc.transfer import retrieval

    return retrieval.retrieve(asked)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
