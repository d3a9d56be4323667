"""Stop a run: cancel its jobs, or end its launcher on this machine. What it has saved stays, and it can go on."""

from cac_hpc.run import settings


def main() -> int:
    run, _ = settings.parse_run(__doc__)
    from cac_hpc.cluster import cancellation

    return cancellation.cancel(run)


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
