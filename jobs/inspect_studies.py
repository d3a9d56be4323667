"""Look at a folder of studies that nobody knows: layout, series, sheets, masks; print settings to start from."""

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import inspect_command


def main() -> int:
    cfg = inspect_command.parse_inspect(__doc__)
    from cac_hpc.inspection import inspection
    from cac_hpc.run import logs

    logs.setup()
    return inspection.inspect(cfg)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
