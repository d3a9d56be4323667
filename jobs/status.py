"""Show where a run stands."""

from cac_hpc.run import settings


def main() -> int:
    run, asked = settings.parse_run(
        __doc__,
        flags={"watch": "keep the table up to date until the run has ended", "json": "print the states for scripts"},
        texts={"log": ("FOLD", "print the end of a fold's log, or that of pack, seal or aggregate")},
    )
    from cac_hpc.cluster import monitor

    return monitor.status(run, watch=asked["watch"], as_json=asked["json"], log=asked["log"])


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
