"""Show the report of a run, bring it home as one archive, open it; exit code 1 when it is partial."""

from cac_hpc import logs, settings


def main() -> int:
    asked = settings.parse_report(__doc__)
    logs.setup()
    from cac_hpc import retrieval

    return retrieval.retrieve(asked)


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
