"""Show where a run stands."""

from cac_hpc import settings


def main() -> int:
    run, asked = settings.parse_run(
        __doc__,
        flags={"watch": "keep the table up to date until the run has ended", "json": "print the states for scripts"},
    )
    from cac_hpc import monitor

    return monitor.status(run, watch=asked["watch"], as_json=asked["json"])


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
