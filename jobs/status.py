"""Show where a run, or a prediction, stands."""

from cac_hpc.run import paths
from cac_hpc.run.exit_codes import exit_code
from cac_hpc.settings import run_commands


def main() -> int:
    folder, asked = run_commands.parse_run(
        __doc__,
        flags={"watch": "keep the table up to date until the run has ended", "json": "print the states for scripts"},
        texts={"log": ("TASK", "print the end of the log of a fold, or of a task of predict, or of a stage, as seal")},
        others=lambda folder: paths.prediction_plan(folder).is_file(),
        text="the run folder, or the results of jobs/predict.py",
    )
    show = {"watch": asked["watch"], "as_json": asked["json"], "log": asked["log"]}
    if paths.prediction_plan(folder).is_file():
        from cac_hpc.predict import prediction_status

        return prediction_status.status(folder, **show)
    from cac_hpc.cluster import monitor

    return monitor.status(folder, **show)


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
