"""Many folds at once, folds over nodes, folds that fail for good: what the array as a whole makes of it.

As in tests/cluster/test_slurm_drills.py, a fold that was disturbed ends with the bytes of one that was not.
"""

import json
import re
import socket

import pytest

from cac_hpc.cluster import rendezvous
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import WorkError
from tests.support.drills import DEV, events, log, nothing_is_left, pace, submit, wait_for_end, wait_for_progress
from tests.support.folds import TRAIN, fold_run, results
from tests.support.runs import job
from tests.support.waiting import wait_for

FOLDS = 3
ROUNDS, AT_ONCE = 20, 4
SHORT = TRAIN | {"epochs": 1}


def launched(slurm, run, *options, code=0):
    """Launch on the development cluster and wait for the end; returns the jobs of the stages."""
    said = job("launch_cv.py", "--resume", run, "--cluster", DEV, *options, "--wait", env=slurm.env)
    assert said.returncode == code, said.stdout + said.stderr
    return dict(re.findall(r"submitted (\w+) +job (\d+)", said.stdout))


def report_of(run):
    return json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))


def all_results(run, folds=FOLDS):
    return [results(run, fold) for fold in range(folds)]


def traces(run, fold):
    """Everything that a start could change in a fold's folder."""
    paths = sorted(RunPaths(run).fold(fold).root.rglob("*"))
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths if path.is_file()}


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_an_array_requeued_as_a_whole_trains_only_what_is_not_done(slurm, run, undisturbed_run):
    pace(run, 0, '[ "$SLURM_ARRAY_TASK_ID" != 2 ] || export CAC_PACE_S=1')
    array = submit(slurm, run, array="0-2%1")
    wait_for_progress(run, fold=2)
    before = [traces(run, fold) for fold in (0, 1)]
    slurm.run("scontrol", "requeue", array)
    wait_for(lambda: len(events(run, "started", 2)) == 2, 60, f"the second start of fold 2: {log(run)}")
    assert set(wait_for_end(slurm, array).values()) == {"COMPLETED"}
    assert "Restarts=1" in slurm.run("scontrol", "show", "job", f"{array}_0")
    assert [traces(run, fold) for fold in (0, 1)] == before
    assert [len(events(run, "started", fold)) for fold in range(FOLDS)] == [1, 1, 2]
    aggregate = submit(slurm, run, script="aggregate", array=None)
    assert wait_for_end(slurm, aggregate) == {aggregate: "COMPLETED"}
    assert all_results(run) == all_results(undisturbed_run)
    assert report_of(run)["levels"] == report_of(undisturbed_run)["levels"]


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_folds_that_start_at_the_same_time_on_one_node_do_not_meet(slurm, scans, packed, tmp_path):
    run = fold_run(tmp_path, scans, packed, "paced_fold.py", train=SHORT, folds=AT_ONCE)
    pace(run, 0)
    found = []
    for number in range(ROUNDS):
        at_once = [f"--array=0-{AT_ONCE - 1}", "--nodelist=n1", "--cpus-per-task=1"]
        ends = wait_for_end(slurm, submit(slurm, run, *at_once, array=None))
        assert set(ends.values()) == {"COMPLETED"}, log(run)
        found.append(all_results(run, AT_ONCE))
        (run / "folds").rename(run.parent / f"folds-{number}")
    assert all(each == found[0] for each in found)
    nothing_is_left(run)


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_one_job_trains_two_folds_side_by_side(slurm, run, undisturbed_run):
    pace(run, 1)  # else the first may end before the second is up on a busy machine
    jobs = launched(slurm, run, "--cluster.folds_per_node", 2)
    assert set(wait_for_end(slurm, jobs["folds"])) == {f"{jobs['folds']}_{index}" for index in (0, 1)}
    assert all_results(run) == all_results(undisturbed_run)
    assert [event["job"] for event in events(run, "started", 1)] == [f"{jobs['folds']}_0"]
    assert report_of(run)["levels"] == report_of(undisturbed_run)["levels"]
    first, second = (events(run, kind, fold)[0]["time"] for kind, fold in (("started", 1), ("ended", 0)))
    assert first < second


@pytest.mark.drill
@pytest.mark.timeout(400)
def test_two_ranks_on_each_of_two_nodes_are_as_four_on_one(slurm, scans, packed, tmp_path):
    for name in ("here", "wide", "hand"):
        (tmp_path / name).mkdir()
    here = fold_run(tmp_path / "here", scans, packed, "paced_fold.py", ranks=4)
    assert job("launch_cv.py", "--resume", here).returncode == 0
    wide = fold_run(tmp_path / "wide", scans, packed, "paced_fold.py", ranks=4)
    pace(wide, 0)
    jobs = launched(slurm, wide, "--cluster.nodes_per_fold", 2, "--cluster.ranks_per_node", 2)
    wait_for_end(slurm, jobs["folds"])
    nodes = slurm.run("sacct", "-X", "-n", "-P", "-o", "nnodes", "-j", jobs["folds"]).split()
    assert nodes == ["2"] * FOLDS
    assert all_results(wide) == all_results(here)
    by_hand = fold_run(tmp_path / "hand", scans, packed, "paced_fold.py")
    pace(by_hand, 0)
    task = submit(slurm, by_hand, "--nodes=2")
    assert wait_for_end(slurm, task) == {task: "COMPLETED"}, log(by_hand)
    assert results(by_hand) == results(here)
    nothing_is_left(wide)
    nothing_is_left(by_hand)


def test_the_first_node_is_waited_for_until_its_name_is_known(monkeypatch):
    answers = iter([socket.gaierror("Name or service not known")] * 3 + ["10.0.0.7"])

    def look_up(name):
        assert name == "n7.cluster"
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr("cac_hpc.cluster.slurm_commands.node_address", lambda node: f"{node}.cluster")
    monkeypatch.setattr(socket, "gethostbyname", look_up)
    monkeypatch.setattr(rendezvous, "RETRY_S", 0.01)
    assert rendezvous._address("n7") == "10.0.0.7"
    monkeypatch.setattr(rendezvous, "WAIT_S", 0.05)
    answers = iter([socket.gaierror("Name or service not known")] * 1000)
    with pytest.raises(WorkError, match=r"node n7: its name n7.cluster does not resolve here \(Name or service not"):
        rendezvous._address("n7")


@pytest.mark.drill
@pytest.mark.timeout(300)
@pytest.mark.parametrize("killed", ["0", "agent"])
def test_a_fold_that_dies_again_and_again_before_it_saves_is_given_up(slurm, scans, packed, tmp_path, killed):
    run = fold_run(tmp_path, scans, packed, "doomed_fold.py", attempts=2)
    pace(run, 0, f"export CAC_DOOM='start 1 {killed} SIGKILL'")
    task = submit(slurm, run)
    wait_for(lambda: [event for event in events(run, "ended") if "cluster.attempts" in str(event["cause"])], 120,
             f"the end of it: {log(run)}")  # fmt: skip
    assert wait_for_end(slurm, task) == {task: "FAILED"}
    assert not slurm.run("squeue", "-h", "--me", "-o", "%i")
    assert len(events(run, "started")) == len(events(run, "requeued")) == 2
    shown = job("status.py", run, "--json", env=slurm.env)
    state = next(state for state in json.loads(shown.stdout) if (state["stage"], state["task"]) == ("folds", 0))
    assert state["state"] == "failed"
    why = r"2 starts in a row brought nothing new \(cluster.attempts\), the last ended so: (.*)"
    last = re.search(why, state["reason"])[1]
    assert state["command"] == f"python jobs/launch_cv.py --resume {run}"
    who = r"rank 0 on \S+ died in [\w ]+: " if killed == "0" else r"torchrun on \S+ "
    assert re.match(rf"{who}ended by SIGKILL, sent by the kernel when the memory is used up", last), state["reason"]
    nothing_is_left(run)


@pytest.mark.drill
@pytest.mark.timeout(300)
def test_what_has_failed_for_good_is_named_in_the_report_and_mended_later(slurm, run, undisturbed_run):
    pace(run, 0)
    in_the_way = RunPaths(run).fold(1).root
    in_the_way.parent.mkdir(exist_ok=True)
    in_the_way.write_text("in the way of the fold's folder", encoding="utf-8")
    jobs = launched(slurm, run, code=1)
    ends = wait_for_end(slurm, ",".join(jobs.values()))
    folds, aggregate = jobs["folds"], jobs["aggregate"]
    assert ends == {f"{folds}_0": "COMPLETED", f"{folds}_1": "FAILED", f"{folds}_2": "COMPLETED", aggregate: "FAILED"}
    found = report_of(run)
    assert (found["status"], [fold["fold"] for fold in found["missing_folds"]]) == ("PARTIAL", [1])
    assert "NotADirectoryError" in found["missing_folds"][0]["reason"]
    assert "PARTIAL" in (run / "report" / "report_PARTIAL.md").read_text(encoding="utf-8")
    assert not events(run, "requeued")
    before = traces(run, 0)
    in_the_way.unlink()
    jobs = launched(slurm, run)
    assert list(wait_for_end(slurm, jobs["folds"])) == [f"{jobs['folds']}_1"]
    assert traces(run, 0) == before
    assert all_results(run) == all_results(undisturbed_run)
    found = report_of(run)
    assert (found["status"], found["missing_folds"]) == ("COMPLETE", [])
    assert found["levels"] == report_of(undisturbed_run)["levels"]
