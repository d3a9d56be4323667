"""Six million slices of 100,000 patients: one run of the stage aggregate, timed. `pytest -m drill -s` prints it."""

import pytest

from cac_hpc.benchmark import costs, inputs, large_runs
from cac_hpc.run.paths import RunPaths
from tests.support.reports import report_of
from tests.support.runs import REPO

NUM_PATIENTS = 100_000


@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_six_million_slices_are_aggregated_in_a_minute_and_one_and_a_half_gigabytes(tmp_path):
    run = RunPaths(large_runs.write(tmp_path, NUM_PATIENTS, REPO))
    cost = costs.call(REPO, inputs.job(REPO, "aggregate.py", "--run", run.root), tmp_path / "log", timeout_s=600)
    print(f"\n{cost.seconds:.1f} s, {cost.cpu_seconds:.1f} s of processor time, {cost.peak_mb:.0f} MB")
    levels = report_of(run)["levels"]
    assert (levels["slice"]["pooled"]["n"], levels["patient"]["pooled"]["n"]) == (6_000_000, NUM_PATIENTS)
    assert levels["patient"]["pooled"]["figures"]["spearman"]["interval"] == "bootstrap"
    assert cost.peak_mb < 1500
    assert cost.seconds < 60
