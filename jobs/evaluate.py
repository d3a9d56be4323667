"""Hold predictions of any program against a sheet of labels: the report of an external test."""

from cac_hpc.run import evaluate_commands, logs, settings


def main() -> int:
    cfg = evaluate_commands.parse_evaluate(__doc__)
    logs.setup()
    from cac_hpc.predict import external

    return external.evaluate(cfg)


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
