"""jobs/status.py and jobs/cancel.py as people use them: table, JSON, logs, live view, stopping a run."""

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import threading
import time

import pytest

from cac_hpc.cluster import cancellation, monitor, task_status
from cac_hpc.run import ledger, stages, task_states
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import WorkError
from tests.support.runs import REPO, job, job_here, prepare
from tests.support.standins import HEADER, NAME, accounted, bare_run, finish, queued, submitted
from tests.support.waiting import fastest, wait_for

HISTORY = "epoch,train_loss,val_loss\n1,0.9,0.8\n2,0.7,0.654321\n"
SPEED = "epoch,train_seconds,val_seconds,slices_per_second\n1,90.0,10.0,300\n2,90.0,10.0,320\n"


@pytest.fixture
def at_work(tmp_path, slurm_words):
    """A run whose fold 0 is in its third epoch on n1 and whose fold 1 waits."""
    run = bare_run(tmp_path / "run", "folds", "aggregate")
    submitted(run)
    submitted(run, 1, job="77_1", started=False)
    submitted(run, None, "aggregate", "78", started=False)
    files = run.fold(0)
    files.heartbeats.mkdir(parents=True)
    files.history.write_text(HISTORY, encoding="utf-8")
    files.speed.write_text(SPEED, encoding="utf-8")
    pulse = {"group": "1", "rank": 0, "node": "n1", "pid": 1, "started": 1, "phase": "training", "epoch": 3, "step": 10}
    files.heartbeat(0).write_text(json.dumps(pulse | {"steps": 20}), encoding="utf-8")
    slurm_words.says(
        "squeue",
        queued("RUNNING")
        + queued("PENDING", "Priority", "77_1")
        + queued("PENDING", "Dependency", "78", NAME.replace("folds", "aggregate")),
    )
    return run


def test_the_table_shows_a_fold_with_its_numbers_and_why_others_wait(at_work, slurm_words):
    shown = job_here("status.py", at_work.root)
    assert shown.returncode == 0
    row = r"folds +0 +running +77_0 +n1 +1 +3/4 +0\.654 +320 +3 min"
    assert re.search(row, shown.stdout), shown.stdout
    assert re.search(r"folds +1 +queued +77_1", shown.stdout)
    assert "folds 1: waits for its turn (SLURM: Priority)" in shown.stdout
    assert "aggregate: waits for the stage before" in shown.stdout
    assert len(slurm_words.calls("squeue")) == 1
    assert not slurm_words.calls("sacct")


def test_json_has_every_number_for_scripts(at_work):
    fold = json.loads(job_here("status.py", at_work.root, "--json").stdout)[0]
    wanted = {"stage": "folds", "task": 0, "state": "running", "job": "77_0", "node": "n1", "attempt": 1, "pid": 1,
              "reason": None, "cause": None, "command": None, "epoch": 3, "epochs": 4, "val_loss": 0.654321,
              "slices_per_second": 320.0, "progress": "epoch 3 step 10 of 20 (training)"}  # fmt: skip
    assert wanted.items() <= fold.items()
    assert fold["eta_s"] == 2 * 100 - 45 + 10  # two epochs but for half a training pass, and the test part


@pytest.mark.timed
@pytest.mark.parametrize("arguments", [(), ("--json",), ("--log", "0")])
def test_status_answers_in_half_a_second_without_torch_from_slurm_too(at_work, arguments):
    (at_work.slurm / "77_0_0_log.out").write_text("a line\n", encoding="utf-8")
    command = [sys.executable, "-X", "importtime", REPO / "jobs" / "status.py", at_work.root, *arguments]
    seconds, answers = fastest(lambda: subprocess.run(command, capture_output=True, text=True, timeout=60))
    for shown in answers:
        assert shown.returncode == 0
        imported = {line.split("|")[-1].strip() for line in shown.stderr.splitlines()}
        assert not {"torch", "numpy", "pandas", "pydantic", "submitit", "yaml", "cac_hpc.settings.config"} & imported
    assert seconds < 0.5


def test_a_failed_fold_is_told_with_a_command_that_can_be_copied(tmp_path, slurm_words):
    run = bare_run(tmp_path / ("a rather long name of a folder " * 3) / "run")
    submitted(run)
    slurm_words.says("sacct", f"{HEADER}\n{accounted('NODE_FAIL')}")
    shown = job_here("status.py", run.root)
    assert shown.returncode == 1
    assert "folds 0: its node failed on n1, and SLURM did not start it again\n" in shown.stdout
    assert f"    python jobs/launch_cv.py --resume {shlex.quote(str(run.root))}\n" in shown.stdout  # on one line


def test_many_shards_that_are_alike_share_a_line(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run", "pack")
    for shard in range(2, 100):
        ledger.record(run.ledger, "pack", shard, "planned", result="none")
    ledger.record(run.ledger, "pack", 50, "ended", ok=False, reason="a full disk")
    shown = job_here("status.py", run.root).stdout
    assert re.search(r"pack +0-49, 51-99 +planned", shown)
    assert re.search(r"pack +50 +failed", shown)
    assert len(shown.splitlines()) < 12


class Screen:
    """A job in a terminal of its own; what it draws is kept."""

    def __init__(self, *command, env):
        self.pid, self._line = pty.fork()
        if self.pid == 0:
            os.execvpe(sys.executable, [sys.executable, *map(str, command)], env)
        self.text = ""

    def read(self, until, timeout_s=30):
        deadline = time.monotonic() + timeout_s
        while not re.search(until, self.text):
            assert time.monotonic() < deadline, f"{until} is not in {self.text}"
            if select.select([self._line], [], [], 0.1)[0]:
                try:
                    self.text += os.read(self._line, 65536).decode(errors="replace")
                except OSError:  # the other end is closed
                    assert re.search(until, self.text), self.text
        return self.text

    def wait(self):
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._line)
        return code


def test_watch_redraws_the_table_until_the_run_has_ended(at_work, slurm_words):
    screen = Screen(REPO / "jobs" / "status.py", at_work.root, "--watch",
                    env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "LINES": "40"})  # fmt: skip
    screen.read(r"folds +0 +running")
    ledger.record(at_work.ledger, "folds", 0, "ended", ok=False, reason="a bad day", attempt=1)
    screen.read(r"folds +0 +failed")
    assert "\x1b[2K" in screen.text  # drawn over, not below
    finish(at_work, 1)
    ledger.record(at_work.ledger, "aggregate", None, "ended", ok=False, reason="PARTIAL report", attempt=0)
    slurm_words.says("squeue", "")
    assert "PARTIAL report" in screen.read(r"aggregate: PARTIAL report")
    assert screen.wait() == 1


def test_watch_ends_on_a_key_and_leaves_the_run_alone(at_work, slurm_words):
    screen = Screen(REPO / "jobs" / "status.py", at_work.root, "--watch", env={**os.environ, "TERM": "xterm"})
    screen.read(r"folds")
    os.kill(screen.pid, signal.SIGINT)
    assert screen.wait() == 130
    assert not slurm_words.calls("scancel")


def settled(run, monkeypatch, **limits):
    for name, value in limits.items():
        monkeypatch.setattr(monitor, name, value)
    monkeypatch.setattr(monitor, "POLL_S", 0.02)
    return list(monitor.until_settled(monitor.RunView(run)))


def test_a_run_whose_jobs_left_the_queue_settles_when_a_second_look_agrees(at_work, slurm_words, monkeypatch):
    at_work.fold(0).heartbeat(0).unlink()
    slurm_words.says("squeue", "")
    looks = settled(at_work, monkeypatch)
    assert [state.state for state in looks[-1]] == ["gone"] * 3
    assert 2 <= len(looks) < 10


def test_a_run_that_is_held_settles_after_a_while_and_one_that_waits_does_not(at_work, slurm_words, monkeypatch):
    finish(at_work, 0)
    waits = queued("PENDING", "Dependency", "78", "cac-aggregate")
    slurm_words.says("squeue", queued("PENDING", "JobHeldUser", "77_1") + waits)
    looks = settled(at_work, monkeypatch, HELD_S=0.3)
    assert [state.state for state in looks[-1]] == ["done", "held", "queued"]
    slurm_words.says("squeue", queued("PENDING", "Priority", "77_1") + waits)
    later = threading.Timer(1.0, lambda: slurm_words.says("squeue", ""))
    later.start()
    assert settled(at_work, monkeypatch, HELD_S=0.3)[-1][1].state == "gone"
    later.join()


def test_a_run_of_which_nobody_says_anything_settles_in_the_end(at_work, slurm_words, monkeypatch):
    at_work.fold(0).heartbeat(0).unlink()
    slurm_words.fails("squeue")
    looks = settled(at_work, monkeypatch, SILENT_S=0.3)
    assert {state.state for state in looks[-1]} == {"unknown"}


def test_followed_without_a_terminal_a_change_is_a_line_and_no_change_is_none(at_work, slurm_words, capsys):
    def steps():
        yield from [None] * 5
        ledger.record(at_work.ledger, "folds", 0, "ended", ok=False, reason="a bad day", attempt=1)
        slurm_words.says("squeue", "")
        yield from [None] * 5

    monitor.follow(monitor.RunView(at_work), steps())
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "folds 0: running, epoch 3 of 4, validation loss 0.654",
        "folds 1: queued, waits for its turn (SLURM: Priority)",
        "aggregate: queued, waits for the stage before (SLURM: Dependency)",
    ]
    assert lines[3] == "folds 0: failed, a bad day"
    assert lines[4] == f"    python jobs/launch_cv.py --resume {at_work.root}"
    assert len(lines) == 9


def test_cancel_takes_the_runs_jobs_out_of_the_queue_the_newest_first(at_work, slurm_words):
    strangers = queued("RUNNING", job="90", name="cac-folds-fedcba98") + queued("RUNNING", job="91", name="other")
    lost = queued("PENDING", job="79", name=NAME.replace("folds", "seal"))  # submitted, but the ledger does not know
    queue = (slurm_words.folder / "squeue.txt").read_text(encoding="utf-8")
    slurm_words.says("squeue", queue + strangers + lost)
    done = job_here("cancel.py", at_work.root)
    assert done.returncode == 0, done.stderr
    assert slurm_words.calls("scancel") == ["79 78 77"]
    assert f"cancelled job 77: {NAME}, running; {NAME}, pending" in done.stdout
    assert "saves first" in done.stdout
    assert f"python jobs/launch_cv.py --resume {at_work.root}" in done.stdout
    slurm_words.says("squeue", "")
    states = json.loads(job_here("status.py", at_work.root, "--json").stdout)
    assert [state["state"] for state in states] == ["running", "stopped", "stopped"]  # the first still beats
    assert states[1]["reason"].startswith("cancelled by ")


def test_cancel_of_jobs_that_all_wait_says_nothing_of_folds_at_work(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run, started=False)
    slurm_words.says("squeue", queued("PENDING", "Priority"))
    done = job_here("cancel.py", run.root)
    assert (done.returncode, "saves first" in done.stdout) == (0, False), done.stderr
    assert f"cancelled job 77: {NAME}, pending" in done.stdout


def test_cancel_says_when_there_is_nothing_to_do_or_slurm_does_not_obey(at_work, slurm_words):
    slurm_words.fails("scancel")
    refused = job_here("cancel.py", at_work.root)
    assert refused.returncode == 1
    assert "SLURM does not cancel job 78, 77: Slurm accounting storage is disabled" in refused.stderr
    slurm_words.fails("squeue")
    silent = job_here("cancel.py", at_work.root)
    assert (silent.returncode, "SLURM does not answer" in silent.stderr) == (1, True)
    slurm_words.says("squeue", "")
    nothing = job_here("cancel.py", at_work.root)
    assert (nothing.returncode, "nothing of this run is in the queue" in nothing.stdout) == (0, True)


@pytest.mark.timeout(200)
def test_cancel_ends_a_run_on_this_machine_which_has_saved(tmp_path, scans):
    run = prepare(tmp_path, scans, train={"epochs": 1000})
    launcher = subprocess.Popen([sys.executable, REPO / "jobs" / "launch_cv.py", "--resume", run],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_for(RunPaths(run).fold(0).history.exists, 120, "the first epoch")
        done = threading.Thread(target=launcher.wait)  # else it stays behind as a zombie, as no shell would leave it
        done.start()
        ended = job("cancel.py", run)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert f"ended the launcher (process {launcher.pid})" in ended.stdout
        done.join(10)
        assert launcher.returncode == 143
        assert RunPaths(run).fold(0).checkpoints()
        assert job("cancel.py", run).stdout.startswith("nothing of this run")
        states = json.loads(job("status.py", run, "--json").stdout)
        assert [state["state"] for state in states if (state["stage"], state["task"]) == ("folds", 0)] == ["stopped"]
    finally:
        launcher.kill()


def test_a_launcher_on_another_machine_is_named(tmp_path, monkeypatch, slurm_words):
    run = bare_run(tmp_path / "run")
    run.lock.write_text(json.dumps({"host": "elsewhere", "pid": 4711, "user": "ada"}), encoding="utf-8")
    assert cancellation.cancel(run.root) == 0  # nobody holds it
    monkeypatch.setattr(cancellation.lock, "is_held", lambda _: True)
    with pytest.raises(WorkError, match=r"the launcher runs on elsewhere, .* kill 4711"):
        cancellation.cancel(run.root)
    run.lock.write_text("", encoding="utf-8")
    with pytest.raises(WorkError, match="does not say who"):
        cancellation.cancel(run.root)


def test_a_task_of_another_machine_without_slurm_is_unknown_not_gone(tmp_path):
    run = bare_run(tmp_path / "run")
    ledger.record(run.ledger, "folds", 0, "started", node="elsewhere", pid=1, attempt=1)
    found = task_status.RunStates(run).states()[0]
    assert (found.state, "elsewhere" in found.reason) == ("unknown", True)


def test_a_result_that_is_there_is_done_whatever_the_ledger_said_before(tmp_path, scans):
    run = RunPaths(prepare(tmp_path, scans))
    tasks = stages.plan_tasks(stored_settings.load(run.config), run, 2)
    seal = next(task for task in tasks if task.stage.name == "seal")
    ledger.record(run.ledger, "seal", None, "submitted", job="5")
    ledger.record(run.ledger, "seal", None, "ended", ok=False, reason="its code was gone", final=True)
    task_states.take_as_done(run, tasks)
    assert {state.stage: state.state for state in task_states.survey(run)}["seal"] == "failed"
    for path in (seal.result, *seal.further):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}", encoding="utf-8")
    task_states.take_as_done(run, tasks)
    assert {state.stage: state.state for state in task_states.survey(run)}["seal"] == "done"
