"""jobs/drill.py where the fold of the drill does not come as far as the drill needs."""

import time
from functools import partial

import pytest

from cac_hpc.cluster import rehearsal
from cac_hpc.run import ledger
from cac_hpc.run.causes import Cause
from cac_hpc.settings.errors import WorkError
from tests.support.drills import DEV
from tests.support.runs import job, write_config
from tests.support.standins import FakeSlurm, bare_run, queued, submitted


@pytest.fixture
def squeue(tmp_path, monkeypatch):
    return partial(FakeSlurm(tmp_path / "bin", monkeypatch).says, "squeue")


@pytest.fixture
def run(tmp_path, monkeypatch, squeue):
    monkeypatch.setattr(rehearsal, "LOOK_S", 0.0)
    monkeypatch.setattr(rehearsal, "STUCK_S", 0.2)
    monkeypatch.setattr(rehearsal, "POLL_S", 0.01)
    squeue(queued("PENDING", "AssocMaxJobsLimit"))
    found = bare_run(tmp_path / "a run")
    submitted(found, started=False)
    return found


def test_a_fold_that_has_failed_for_good_is_not_waited_for(run):
    cause = Cause("node_unfit", node="n1", detail="shows 0 GPUs, 2 were asked for")
    ledger.record(run.ledger, "folds", 0, "ended", cause, ok=False, final=True, attempt=0)
    with pytest.raises(WorkError, match="the first epoch does not come, node n1 shows 0 GPUs") as error:
        rehearsal._wait(run, lambda: None, "the first epoch")
    assert str(error.value).endswith(f"the end of its log: python jobs/status.py '{run.root}' --log 0")


@pytest.mark.parametrize(
    ("says", "found"),
    [(queued("PENDING", "AccountNotAllowed"), "held: never starts"), (queued("PENDING", "JobHeldUser"), "held: "),
     ("", "gone: ")],
)  # fmt: skip
def test_a_job_that_never_starts_is_not_waited_for(run, squeue, says, found):
    squeue(says)
    with pytest.raises(WorkError, match=f"its second start does not come, {found}"):
        rehearsal._wait(run, lambda: None, "its second start")


def test_a_job_that_waits_is_waited_for(run):
    until = time.monotonic() + 1
    assert rehearsal._wait(run, lambda: time.monotonic() > until, "its turn")


@pytest.mark.drill
@pytest.mark.timeout(200)
def test_a_drill_on_nodes_without_a_gpu_ends_with_the_cause(slurm, scans, tmp_path):
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", train={"device": "cuda"})
    planned = job("launch_cv.py", "--config", config, "--cluster", DEV, "--dry_run", env=slurm.env)
    assert planned.returncode == 0, planned.stderr
    began = time.monotonic()
    drilled = job("drill.py", tmp_path / "run", env=slurm.env, timeout_s=150)
    assert drilled.returncode == 1, drilled.stdout + drilled.stderr
    assert "shows 0 GPUs, 2 were asked for" in drilled.stderr.splitlines()[-1]
    assert time.monotonic() - began < 120
    assert not slurm.run("squeue", "-h", "--me", "-o", "%i")
