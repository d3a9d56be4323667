"""Cross-validate: plan, check, submit pack, seal, folds and aggregate, print the ids, return."""

from pathlib import Path

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import launch_command


def main() -> int:
    cfg, options = launch_command.parse_launch(__doc__)
    from cac_hpc.cluster import launch

    return launch.launch(cfg, options, source=Path(__file__).resolve().parents[1])


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
