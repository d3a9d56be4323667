"""Show the aggregated report of a run; exit code 1 when it is partial."""

from cac_hpc import settings


def main() -> int:
    run, _ = settings.parse_run(__doc__)
    from cac_hpc import report

    return report.show(run)


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
