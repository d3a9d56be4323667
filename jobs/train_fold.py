"""Train one cross-validation fold; torchrun starts this file once per GPU."""

from cac_hpc import settings


def main() -> int:
    run, asked = settings.parse_stage(__doc__, numbers={"fold": "train this fold"}, required=("fold",))
    from cac_hpc import training

    training.train_fold(run, asked["fold"])
    return 0


if __name__ == "__main__":
    raise SystemExit(settings.exit_code(main))
