"""Six million slices of 100,000 patients: one run of the stage aggregate, timed. `pytest -m drill -s` prints it."""

import resource
import time

import pytest

from cac_hpc.benchmark import large_runs
from cac_hpc.run.paths import RunPaths
from tests.support.reports import report_of
from tests.support.runs import REPO, job

NUM_PATIENTS = 100_000


@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_six_million_slices_are_aggregated_in_a_minute_and_four_gigabytes(tmp_path):
    run = RunPaths(large_runs.write(tmp_path, NUM_PATIENTS, REPO))
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = job("aggregate.py", "--run", run.root, timeout_s=600)
    took_s, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    processor_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"\n{took_s:.1f} s, {processor_s:.1f} s of processor time, {after.ru_maxrss / 1e6:.2f} GB")
    levels = report_of(run)["levels"]
    assert (levels["slice"]["pooled"]["n"], levels["patient"]["pooled"]["n"]) == (6_000_000, NUM_PATIENTS)
    assert levels["patient"]["pooled"]["figures"]["spearman"]["interval"] == "bootstrap"
    assert after.ru_maxrss < 4e6  # kB
    assert took_s < 60
