"""Rehearse on this cluster: a small fold is warned, saves, starts again and must end as one that is left alone."""

from pathlib import Path

from cac_hpc.run import settings


def main() -> int:
    run, _ = settings.parse_run(__doc__)
    from cac_hpc.cluster import rehearsal
    from cac_hpc.run import logs

    logs.setup()
    return rehearsal.rehearse(run, Path(__file__).resolve().parents[1])


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
