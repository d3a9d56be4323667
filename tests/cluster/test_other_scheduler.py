"""Another scheduler takes a module of six functions and a line of the table: the launcher uses nothing else of it."""

from types import SimpleNamespace

import pytest

from cac_hpc.cluster import launch, schedulers
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import launch_command
from cac_hpc.settings.errors import InputError
from tests.support.runs import REPO, write_config


@pytest.fixture
def queue(monkeypatch):
    """A scheduler with a queue, in the place of this machine: jobs by stage, all of them waiting for ever."""
    jobs = {}

    def start(run, cfg, waiting, queued):
        for stage in dict.fromkeys(task.stage.name for task in waiting):
            jobs.setdefault(stage, f"{len(jobs)}")

    other = SimpleNamespace(
        RUNS_HERE=False,
        unavailable=lambda: None,
        check=lambda cfg: None,
        in_queue=lambda run: dict(jobs),
        require_own=lambda run, found: None,
        start=start,
        try_out=lambda run, cfg, stage, tasks: (f"would wait behind {len(jobs)} jobs", stage.name == "folds"),
        jobs=jobs,
    )
    monkeypatch.setitem(schedulers.SCHEDULERS, "local", other)
    return other


def launched(tmp_path, scans, *more):
    path = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run")
    cfg, options = launch_command.parse_launch(None, ["--config", str(path), *more])
    return launch.launch(cfg, options, REPO)


def test_the_stages_go_to_another_scheduler_once(tmp_path, scans, queue, capsys):
    assert launched(tmp_path, scans) == 0
    assert list(queue.jobs) == ["pack", "seal", "folds", "aggregate"]
    assert RunPaths(tmp_path / "run").config.is_file()
    capsys.readouterr()
    assert launched(tmp_path, scans) == 0
    said = capsys.readouterr().out
    assert "this run is in the queue already: job 0, 1, 2, 3" in said
    for name in ("status", "cancel", "report"):
        assert f"python jobs/{name}.py {tmp_path / 'run'}\n" in said


def test_a_dry_run_says_what_another_scheduler_thinks(tmp_path, scans, queue, capsys):
    assert launched(tmp_path, scans, "--dry_run") == 1
    assert "folds: 3 tasks, would wait behind 0 jobs\n" in capsys.readouterr().out
    assert queue.jobs == {}


def test_one_that_is_not_there_is_not_waited_for(tmp_path, scans, queue):
    queue.unavailable = lambda: "its daemon sleeps"
    with pytest.raises(InputError, match=r"cluster\.kind is local: its daemon sleeps; log in to the cluster or set"):
        launched(tmp_path, scans)


def test_a_name_that_is_in_no_table_is_refused_before_anything_is_looked_at(tmp_path):
    with pytest.raises(InputError, match=r"^cluster\.kind is 'pbs', but must be auto, slurm or local$"):
        launched(tmp_path, tmp_path / "nowhere", "--cluster.kind", "pbs")
