"""Show the trials of a run: what each tried, how well its validation patients were predicted, and which were pruned."""

from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands


def main() -> int:
    folder, asked = run_commands.parse_run(
        __doc__,
        flags={"json": "print all trials for scripts"},
        texts={"fold": ("K", "all trials of this fold; without it the best ones of every fold")},
    )
    from cac_hpc.cluster import trial_progress

    return trial_progress.show(folder, asked["fold"], asked["json"])


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
