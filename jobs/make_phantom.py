"""Write a synthetic cohort: DICOM study folders and labels.csv."""

from cac_hpc.run import commands, settings


def main() -> int:
    cfg = commands.parse_phantom(__doc__)
    from cac_hpc.phantom import cohort
    from cac_hpc.run import logs

    logs.setup()
    cohort.write_cohort(cfg)
    return 0


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
