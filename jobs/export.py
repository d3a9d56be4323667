"""Make a bundle of a complete run: a model that can be handed over, to predict studies elsewhere."""

from cac_hpc.run import commands, settings


def main() -> int:
    cfg = commands.parse_export(__doc__)
    from cac_hpc.predict import export
    from cac_hpc.run import logs

    logs.setup()
    export.export(cfg)
    return 0


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
