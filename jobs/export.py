"""Make a bundle of a complete run: a model that can be handed over, to predict studies elsewhere."""

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import export_command


def main() -> int:
    cfg = export_command.parse_export(__doc__)
    from cac_hpc.predict import export
    from cac_hpc.run import logs

    logs.setup()
    export.export(cfg)
    return 0


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
