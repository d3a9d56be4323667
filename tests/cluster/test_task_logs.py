"""The logs of a run's tasks, as status shows them."""

import os
import time

import pytest

from cac_hpc.cluster import monitor
from cac_hpc.run import ledger
from cac_hpc.settings.errors import InputError
from tests.support.runs import job_here
from tests.support.standins import bare_run, submitted


def test_log_shows_the_end_of_the_newest_log_and_names_it(tmp_path):
    run = bare_run(tmp_path / "run", "folds", "seal")
    submitted(run, job="70_0")
    submitted(run, job="77_0")
    submitted(run, None, "seal", "71")
    for name, age_s in (("70_0_0_log.out", 50), ("77_0_0_log.out", 0), ("77_1_0_log.out", 0), ("71_0_log.out", 0)):
        (run.slurm / name).write_text("".join(f"{name} {number}\n" for number in range(9999)), encoding="utf-8")
        os.utime(run.slurm / name, (time.time() - age_s,) * 2)
    shown = job_here("status.py", run.root, "--log", 0)
    lines = shown.stdout.splitlines()
    assert (shown.returncode, lines[0]) == (0, f"the end of {run.slurm}/77_0_0_log.out:")
    assert lines[1:] == [f"77_0_0_log.out {number}" for number in range(9959, 9999)]
    assert "71_0_log.out 9998" in job_here("status.py", run.root, "--log", "seal").stdout
    none_yet = job_here("status.py", run.root, "--log", 1)
    assert (none_yet.returncode, "no log of fold 1 yet" in none_yet.stdout) == (1, True)
    wrong = job_here("status.py", run.root, "--log", 9)
    assert wrong.returncode == 2
    assert (
        "--log 9: the run has no such fold or stage, wanted one of 0, 1, pack, seal, folds, aggregate" in wrong.stderr
    )


def test_log_shows_what_a_run_on_this_machine_wrote(tmp_path):
    run = bare_run(tmp_path / "run", "folds", "pack")
    for name in ("folds-0.log", "pack-1.log"):
        (run.slurm / name).write_text(f"it is {name}\n", encoding="utf-8")
    assert "it is folds-0.log" in job_here("status.py", run.root, "--log", 0).stdout
    assert "it is pack-1.log" in job_here("status.py", run.root, "--log", "pack").stdout


def test_a_log_of_a_stage_that_does_not_exist_is_refused_also_after_a_cancel(tmp_path):
    run = bare_run(tmp_path / "run")
    submitted(run)
    ledger.record(run.ledger, "folds", None, "cancelled", job="77", by="somebody")
    with pytest.raises(InputError, match="wanted one of 0, 1, pack, seal, folds, aggregate"):
        monitor.status(run.root, log="foo")
