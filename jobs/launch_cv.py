"""Cross-validate: plan, check, submit pack, seal, folds and aggregate, print the ids, return."""

from pathlib import Path

from cac_hpc.run import settings


def main() -> int:
    cfg, options = settings.parse_launch(__doc__)
    from cac_hpc.cluster import launch

    return launch.launch(cfg, options, source=Path(__file__).resolve().parents[1])


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
