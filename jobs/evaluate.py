"""Hold predictions of any program against a sheet of labels: the report of an external test."""

from cac_hpc.run import logs
from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import evaluate_command


def main() -> int:
    cfg = evaluate_command.parse_evaluate(__doc__)
    logs.setup()
    from cac_hpc.predict import external

    return external.evaluate(cfg)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
