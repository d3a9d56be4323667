"""No job is recorded, waited for, signalled, started again or cancelled before SLURM has said that it is the run's."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from cac_hpc.cluster import cancellation, ownership, restarts, slurm_commands
from cac_hpc.cluster.queue_records import read_queue
from cac_hpc.run import ledger
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import WorkError
from tests.support.runs import REPO, job, job_here, prepare, write_config
from tests.support.standins import FakeSlurm, bare_run, queued, submitted
from tests.support.submitted import DEV, LATER, clear, launch, ours, put_on_path
from tests.support.waiting import wait_for

BANNER = "Welcome! your last job {stranger} took 2 h. Submitted batch job {stranger} is done"
WRAPPERS = {  # what sites put in front of sbatch
    "a banner before the answer": 'echo "{banner}"; exec {real} "$@"',
    "a banner after the answer": '{real} "$@" || exit; echo "{banner}"',
    "a banner on standard error": 'echo "{banner}" >&2; exec {real} "$@"',
    "the bare number": 'exec {real} --parsable "$@"',
    "another job's bare number": "{real} \"$@\" > /dev/null || exit; echo {stranger}",
    "not a word": 'exec {real} "$@" > /dev/null',
    "its own words": "{real} \"$@\" > /dev/null || exit; echo '{{\"ok\": true}}'; printf '\\351\\n'",
    "the answer is lost": '{real} "$@" > /dev/null; echo "Socket timed out" >&2; exit 1',
    "twice": '{real} "$@" > /dev/null; exec {real} "$@"',
}  # fmt: skip
OFTEN = ("a banner before the answer", "the bare number", "twice")  # of them with every test run


@pytest.fixture
def stranger(slurm, tmp_path):
    """A job of the same user that has nothing to do with the run; it must survive."""
    found = slurm.sbatch("sleep 600", "--job-name=thesis", "--mem=100M", f"--chdir={tmp_path}")
    yield found
    assert slurm.run("squeue", "--noheader", f"--jobs={found}", "--format=%T") in ("RUNNING", "PENDING")
    slurm.run("scancel", found)


def told(run):
    """The jobs that the ledger knows, by their stages."""
    events = ledger.read(RunPaths(run).ledger)
    return {event["stage"]: event["job"].split("_")[0] for event in events if event["event"] == "submitted"}


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    "wrapper", [pytest.param(name, marks=[] if name in OFTEN else pytest.mark.drill) for name in WRAPPERS]
)
def test_whatever_sbatch_prints_the_jobs_of_the_run_are_recorded_and_cancelled(
    slurm, scans, tmp_path, stranger, wrapper
):
    run = prepare(tmp_path, scans)
    real = subprocess.run(["which", "sbatch"], env=slurm.env, capture_output=True, text=True).stdout.strip()
    banner = BANNER.format(stranger=stranger)
    env = put_on_path(
        tmp_path / "bin", slurm.env, sbatch=WRAPPERS[wrapper].format(real=real, stranger=stranger, banner=banner)
    )
    done = launch(run, env)
    assert done.returncode == 0, done.stdout + done.stderr
    queue = dict(line.split() for line in slurm.run("squeue", "--noheader", "--format=%j %F").splitlines())
    token = json.loads(RunPaths(run).provenance.read_text(encoding="utf-8"))["run_id"]
    assert told(run) == {name.split("-")[1]: number for name, number in queue.items() if name.endswith(token)}
    assert len(told(run)) == 4
    for stage, after in (("seal", "pack"), ("folds", "seal"), ("aggregate", "folds")):
        record = slurm.run("scontrol", "show", "job", told(run)[stage], "--oneliner")
        assert re.search(rf"Dependency=after\w+:{told(run)[after]}(_\*)?\(", record), record
    if "banner" in wrapper:
        assert f"note: sbatch says: {banner}" in done.stdout
    cancelled = job_here("cancel.py", run, env=slurm.env)
    assert cancelled.returncode == 0, cancelled.stderr
    assert ours(slurm, run) == []


@pytest.mark.timeout(200)
@pytest.mark.parametrize("stage", ["folds", pytest.param("pack", marks=pytest.mark.drill)])
def test_an_sbatch_that_agrees_and_submits_nothing_leaves_nothing_behind(slurm, scans, tmp_path, stranger, stage):
    run = prepare(tmp_path, scans)
    real = subprocess.run(["which", "sbatch"], env=slurm.env, capture_output=True, text=True).stdout.strip()
    swallows = f'case "$*" in *{stage}.sbatch) echo "Submitted batch job {stranger}";; *) exec {real} "$@";; esac'
    done = launch(run, put_on_path(tmp_path / "bin", slurm.env, sbatch=swallows))
    assert done.returncode == 2, done.stdout
    assert re.search(rf"sbatch took stage {stage} .*, but SLURM has no job cac-{stage}-\w+ of yours", done.stderr)
    assert "what came before it was cancelled: look for it with squeue --me" in done.stderr
    assert ours(slurm, run) == []
    assert stage not in told(run)


@pytest.mark.timeout(200)
def test_a_job_of_another_name_that_the_ledger_names_is_neither_cancelled_nor_waited_for(
    slurm, scans, tmp_path, stranger
):
    run = RunPaths(prepare(tmp_path, scans))
    ledger.record(run.ledger, "pack", 0, "submitted", job=f"{stranger}_0")  # a number that was given out again
    ledger.record(run.ledger, "seal", None, "submitted", job=stranger)
    left = job_here("cancel.py", run.root, env=slurm.env)
    assert left.returncode == 0, left.stderr
    assert f"left alone: job {stranger}, 'thesis'" in left.stdout
    refused = launch(run.root, slurm.env)
    assert refused.returncode == 2
    assert f"job {stranger} of user {os.getuid()} works on this run by its ledger" in refused.stderr
    assert "is called 'thesis'" in refused.stderr
    assert ours(slurm, run.root) == []


@pytest.mark.timeout(100)
def test_no_order_reaches_a_stranger(slurm, scans, tmp_path, stranger, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    run = RunPaths(prepare(tmp_path, scans))
    owner = ownership.owner_of(run)
    name = ownership.job_name(run, "folds")
    another = slurm.sbatch("true", f"--job-name={name}", "--uid=nobody", "--begin=now+1hour", "--mem=100M", "--chdir=/")
    wait_for(lambda: slurm.run("squeue", "-h", f"--jobs={stranger}", "--format=%T") == "RUNNING", 30, "the stranger")
    for number in (stranger, another):
        orders = (
            slurm_commands.cancel([number], owner), slurm_commands.requeue(number, owner),
            slurm_commands.send_signal(number, "KILL", owner), slurm_commands.exclude(number, ["n1"], owner),
        )  # fmt: skip
        if number == stranger:
            assert all("no job of this run: it was left alone" in order for order in orders), orders
        else:  # the queue of other users is not even looked at
            assert orders[0] is None, orders
            assert all("SLURM no longer has job" in order for order in orders[1:]), orders
        state = slurm.run("squeue", "--noheader", f"--jobs={number}", "--format=%T %r")
        assert state == ("RUNNING None" if number == stranger else "PENDING BeginTime")
    slurm.run("scancel", another)


def test_a_run_is_told_from_others_by_its_token_and_by_whose_the_job_is(tmp_path):
    owner = ownership.Owner(tmp_path / "a b", "0123abcd", frozenset({1000}))

    def asked(name, user="1000", command="x.sbatch"):
        answer = queued("RUNNING", job="5", name=name, user=user, folder=str(tmp_path), command=command)
        job = read_queue(answer).jobs["5"]
        return owner.submitted(job), owner.may_act_on(job)

    assert asked("cac-folds-0123abcd") == (True, True)
    for argument, is_ours in ((tmp_path / "a b", True), ("a b", True), (tmp_path / "other", False), ("b", False)):
        assert asked("cac-folds", command=f"/x/slurm/train_folds.sbatch {argument}") == (False, is_ours)  # by hand
    assert asked("cac-folds") == (False, False)
    for name in (
        "cac-folds-fedcba98",
        "cac-folds-0123abcd2",
        "xcac-folds-0123abcd",
        "cac-other-0123abcd",
        "thesis",
        "",
    ):
        assert asked(name) == (False, False), name
    assert asked("cac-folds-0123abcd", "0") == (False, False)
    assert asked("cac-folds-0123abcd|1000|cac-folds-0123abcd") == (False, False)


def test_a_cancel_that_does_nothing_is_noticed_and_nothing_is_told(tmp_path, monkeypatch):
    run = bare_run(tmp_path / "run")
    submitted(run, 0, started=False)
    words = FakeSlurm(tmp_path / "bin", monkeypatch)
    words.says("squeue", queued("PENDING"))
    words.says("scancel", "")  # as with another cluster's controller
    monkeypatch.setattr(cancellation, "ENDING_S", 0.5)
    with pytest.raises(WorkError, match=r"still in the queue: job 77_0 \(pending\)"):
        cancellation.cancel(run.root)
    assert not [event for event in ledger.read(run.ledger) if event["event"] == "ended"]
    words.cancels()
    assert cancellation.cancel(run.root) == 0
    assert str(ledger.read(run.ledger)[-1]["cause"]).startswith("cancelled by ")


@pytest.mark.timeout(200)
def test_a_run_on_this_machine_inside_an_allocation_never_acts_on_the_allocation(slurm, scans, tmp_path):
    run = prepare(tmp_path, scans)
    inside = [sys.executable, REPO / "jobs" / "launch_cv.py", "--resume", run, "--cluster.kind", "local"]
    script = f"{' '.join(map(str, inside))} > {tmp_path}/out 2>&1; sleep 600"
    shell = slurm.sbatch(script, "--job-name=interactive", "--cpus-per-task=2", "--mem=3G", f"--chdir={tmp_path}",
                         f"--export=ALL,PYTHONPATH={REPO}")  # fmt: skip
    wait_for(lambda: any(event["event"] == "started" for event in ledger.read(RunPaths(run).ledger)), 90, "a start")
    left = job_here("cancel.py", run, env=slurm.env)
    assert left.returncode == 0, left.stderr
    assert slurm.run("squeue", "--noheader", f"--jobs={shell}", "--format=%T") == "RUNNING"
    slurm.run("scancel", shell)


@pytest.mark.timeout(200)
def test_a_job_by_hand_is_cancelled_where_its_script_was_given_this_run(slurm, scans, tmp_path):
    for name in ("ours", "other"):
        (tmp_path / name).mkdir()
    ours_, other = (RunPaths(prepare(tmp_path / name, scans)) for name in ("ours", "other"))
    script = str(REPO / "slurm" / "train_folds.sbatch")
    jobs = [
        slurm.run("sbatch", "--parsable", "--begin=now+1hour", "--array=0", "--output=/dev/null", script, str(run.root))
        for run in (ours_, other)
    ]
    for number in jobs:  # as a copied ledger, or one of old numbers, would name both
        ledger.record(ours_.ledger, "folds", 0, "submitted", job=f"{number}_0")
    left = job_here("cancel.py", ours_.root, env=slurm.env)
    assert left.returncode == 0, left.stderr
    assert "left alone: job " + jobs[1] in left.stdout or f"cancelled job {jobs[0]}" not in left.stdout
    assert slurm.run("squeue", "--noheader", f"--jobs={jobs[1]}", "--format=%T") == "PENDING"
    refused = launch(ours_.root, slurm.env)
    assert refused.returncode == 2, refused.stdout
    assert f"job {jobs[1]} of user" in refused.stderr
    ledger.record(other.ledger, "folds", 0, "submitted", job=f"{jobs[1]}_0")
    assert f"cancelled job {jobs[1]}: cac-folds" in job_here("cancel.py", other.root, env=slurm.env).stdout


@pytest.mark.timeout(200)
def test_a_copy_of_a_run_folder_leaves_the_jobs_of_the_run_alone_and_gets_names_of_its_own(slurm, scans, tmp_path):
    run = prepare(tmp_path, scans)
    assert launch(run, slurm.env).returncode == 0
    jobs = told(run)
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    cancelled = job_here("cancel.py", copy, env=slurm.env)
    assert cancelled.returncode == 0, cancelled.stderr
    assert "nothing of this run is in the queue" in cancelled.stdout
    assert len(ours(slurm, run)) == 4
    launched = launch(copy, slurm.env)
    assert launched.returncode == 0, launched.stderr
    assert f"{copy} is a copy of {run}" in launched.stdout
    assert not set(jobs.values()) & {job for stage, job in told(copy).items()}
    assert (len(ours(slurm, run)), len(ours(slurm, copy))) == (4, 4)
    moved = tmp_path / "moved"
    run.rename(moved)
    assert "cancelled job" in job_here("cancel.py", moved, env=slurm.env).stdout
    assert (ours(slurm, moved), len(ours(slurm, copy))) == ([], 4)
    shutil.copytree(copy, tmp_path / "second")
    copy.rename(tmp_path / "away")  # now nobody is where the copy came from
    assert "cancelled" not in job_here("cancel.py", tmp_path / "second", env=slurm.env).stdout
    assert len(ours(slurm, tmp_path / "away")) == 4
    clear(slurm, tmp_path / "away")


@pytest.mark.parametrize("run_id", [None, 123, "ABCDEF12", ["a"], "0123abcde"])
def test_a_run_without_a_valid_id_gets_one_before_anything_is_submitted(tmp_path, run_id):
    run = bare_run(tmp_path / "run")
    run.provenance.write_text(json.dumps({} if run_id is None else {"run_id": run_id}), encoding="utf-8")
    assert ownership.token_of(run) is None
    assert "its jobs have names of their own" in ownership.claim(run)
    assert re.fullmatch(r"cac-folds-[0-9a-f]{8}", ownership.job_name(run, "folds"))
    assert ownership.claim(run) is None


@pytest.mark.timeout(200)
def test_what_sbatch_refuses_is_not_taken_for_a_job_though_it_has_a_number(slurm, scans, tmp_path):
    run = tmp_path / "run"
    wanted = write_config(tmp_path / "s.yaml", scans, run, train={"device": "cuda", "precision": "auto", "epochs": 4})
    wrong = ("--cluster.gres", "gpu:a100:2")
    planned = job("launch_cv.py", "--config", wanted, "--cluster", DEV, *LATER, *wrong, "--dry_run", env=slurm.env)
    assert planned.returncode == 1, planned.stdout + planned.stderr
    refusal = "allocation failure: Requested node configuration is not available: look at cluster.gres"
    assert f"SLURM: {refusal}" in planned.stdout
    done = launch(run, slurm.env, *wrong)
    assert done.returncode == 2, done.stdout
    assert "SLURM refused stage folds" in done.stderr
    assert "look at cluster.gres" in done.stderr
    assert "nothing is left in the queue" in done.stderr
    assert (ours(slurm, run), "folds" in told(run)) == ([], False)


@pytest.mark.timeout(200)
def test_a_job_by_hand_takes_the_name_of_the_run_when_it_starts_and_is_cancelled_by_it(slurm, scans, tmp_path):
    """From SLURM 24.11 on nothing tells what a script was given: neither Command nor squeue's %o has its arguments."""
    run = RunPaths(prepare(tmp_path, scans))
    plain = slurm.sbatch("sleep 100", "--job-name=cac-pack", "--mem=100M", f"--chdir={tmp_path}")
    wait_for(lambda: slurm.run("squeue", "-h", f"--jobs={plain}", "--format=%T") == "RUNNING", 30, "a job")
    name = ownership.job_name(run, "pack")
    with pytest.MonkeyPatch.context() as patch:
        for key, value in slurm.env.items():
            patch.setenv(key, value)
        here = restarts.Place(plain, 0, 1, "k")
        restarts.take_name(run, "seal", here)  # another name than that of the stage: left as it is
        assert slurm.run("squeue", "-h", f"--jobs={plain}", "--format=%j") == "cac-pack"
        restarts.take_name(run, "pack", here)
        assert slurm.run("squeue", "-h", f"--jobs={plain}", "--format=%j") == name
        assert slurm_commands.requeue(plain, ownership.owner_of(run)) is None
    assert f"cancelled job {plain}: {name}" in job_here("cancel.py", run.root, env=slurm.env).stdout
