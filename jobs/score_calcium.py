"""Score the calcium of study folders by the Agatston rule; exit code 1 if a study could not be scored."""

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import score_command


def main() -> int:
    cfg = score_command.parse_score(__doc__)
    from cac_hpc.run import logs

    logs.setup()
    if cfg.of_candidates:
        from cac_hpc.predict import scored

        return scored.score_studies(cfg)
    from cac_hpc.dataset import scoring

    return scoring.score_studies(cfg)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
