"""Show the report of a run, bring it home, open it, or compare runs; exit code 1 when one is partial."""

from cac_hpc.run import logs, settings


def main() -> int:
    asked = settings.parse_report(__doc__)
    logs.setup()
    if asked.others:
        from cac_hpc.report import comparison_report

        return comparison_report.show(asked)
    from cac_hpc.transfer import retrieval

    return retrieval.retrieve(asked)


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
