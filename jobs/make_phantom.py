"""Write a synthetic cohort: DICOM study folders and labels.csv."""

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import phantom_command


def main() -> int:
    cfg = phantom_command.parse_phantom(__doc__)
    from cac_hpc.phantom import cohort
    from cac_hpc.run import logs

    logs.setup()
    cohort.write_cohort(cfg)
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
