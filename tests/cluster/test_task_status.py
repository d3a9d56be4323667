"""Truth about state: every word that SLURM has for a job, and what is made of it when accounting lies, hangs or is off.

squeue and sacct are stand-ins on PATH here, the parsers and everything behind them are the real ones.
"""

import os
import pwd
import signal
import time
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from cac_hpc.cluster import monitor, queue_records, restarts, slurm_commands
from cac_hpc.cluster.task_status import RunStates
from cac_hpc.run import ledger
from cac_hpc.run.causes import Cause
from tests.support.standins import HEADER, NEVER, accounted, bare_run, finish, queued, submitted

# state: what a job in the queue is, what one is that has left it without a result
TRUTH = {
    "BOOT_FAIL": ("queued", "failed"),
    "CANCELLED": ("running", "failed"),
    "COMPLETED": ("running", "gone"),
    "COMPLETING": ("running", "gone"),
    "CONFIGURING": ("queued", "gone"),
    "DEADLINE": ("running", "failed"),
    "EXPEDITING": ("queued", "gone"),  # from 25.11 on
    "FAILED": ("running", "failed"),
    "NODE_FAIL": ("queued", "failed"),
    "OUT_OF_MEMORY": ("running", "failed"),
    "PENDING": ("queued", "gone"),
    "PREEMPTED": ("queued", "failed"),
    "REQUEUED": ("queued", "gone"),
    "REQUEUE_FED": ("queued", "gone"),
    "REQUEUE_HOLD": ("held", "gone"),
    "RESIZING": ("running", "gone"),
    "RESV_DEL_HOLD": ("held", "gone"),
    "REVOKED": ("unknown", "gone"),
    "RUNNING": ("running", "gone"),
    "SIGNALING": ("running", "gone"),
    "SPECIAL_EXIT": ("held", "gone"),
    "STAGE_OUT": ("running", "gone"),
    "STOPPED": ("suspended", "gone"),
    "SUSPENDED": ("suspended", "gone"),
    "TIMEOUT": ("running", "failed"),
}
ACCOUNTING = ("right", "off", "garbage", "slow")


@pytest.fixture
def slurm_words(slurm_words, monkeypatch):
    monkeypatch.setattr(slurm_commands, "ACCOUNTING_TIMEOUT_S", 0.3)
    return slurm_words


def account(words, kind, line):
    """Let sacct be right, or wrong in one of the ways that sites have."""
    if kind == "right":
        words.says("sacct", f"{HEADER}\n{line}")
    elif kind == "garbage":
        words.says("sacct", "\x00\x1b[31mConnection refused\n77_0|COMP\n||||\n")
    else:
        words.hangs("sacct") if kind == "slow" else words.fails("sacct")


def state_of(run, task=0):
    return next(state for state in RunStates(run).states() if state.task == task)


def test_the_table_knows_every_state():
    assert set(queue_records.STATES) == set(TRUTH)
    assert len(TRUTH) == 25


@pytest.mark.parametrize("kind", ACCOUNTING)
@pytest.mark.parametrize("state", sorted(TRUTH))
def test_a_job_that_left_the_queue_is_what_accounting_says_or_gone_but_never_done(tmp_path, slurm_words, state, kind):
    run = bare_run(tmp_path / "run")
    submitted(run)
    account(slurm_words, kind, accounted(state))
    began = time.monotonic()
    found = state_of(run)
    assert time.monotonic() - began < 3
    assert found.state == (TRUTH[state][1] if kind == "right" else "gone"), found
    assert found.reason
    assert "launch_cv.py --resume" in found.command
    assert (len(slurm_words.calls("squeue")), len(slurm_words.calls("sacct"))) == (1, 1)
    finish(run)
    assert state_of(run).state == "done"  # whatever SLURM says


@pytest.mark.parametrize("kind", ACCOUNTING)
@pytest.mark.parametrize("state", sorted(TRUTH))
def test_a_job_in_the_queue_is_never_given_up_and_accounting_is_not_asked(tmp_path, slurm_words, state, kind):
    run = bare_run(tmp_path / "run")
    submitted(run)
    slurm_words.says("squeue", queued(state))
    account(slurm_words, kind, accounted("FAILED"))
    found = state_of(run)
    assert found.state == TRUTH[state][0], found
    assert (len(slurm_words.calls("squeue")), len(slurm_words.calls("sacct"))) == (1, 0)


@pytest.mark.parametrize("how", ["fails", "hangs", "garbage", "missing"])
def test_a_silent_queue_makes_nothing_dead(tmp_path, slurm_words, monkeypatch, how):
    monkeypatch.setattr(slurm_commands, "ask", lambda command, asked=slurm_commands.ask, **_: asked(command, 0.3))
    run = bare_run(tmp_path / "run")
    submitted(run)
    if how == "garbage":
        slurm_words.says("squeue", "slurm_load_jobs error: Unable to contact slurm controller\n")
    elif how == "missing":
        (slurm_words.folder / "squeue").unlink()
        monkeypatch.setenv("PATH", str(slurm_words.folder))
    else:
        getattr(slurm_words, how)("squeue")
    found = state_of(run)
    assert (found.state, found.reason) == ("unknown", "SLURM does not answer (squeue)")
    assert not slurm_words.calls("sacct")


def test_a_line_of_the_queue_that_is_damaged_makes_nothing_dead(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    slurm_words.says("squeue", queued("RUNNING", job="5") + "77_0|RUNN\n")
    assert state_of(run).state == "unknown"


ME = pwd.getpwuid(os.getuid()).pw_name + (" or by SLURM itself" if os.getuid() == 0 else "")


@pytest.mark.parametrize(
    ("words", "who"),
    [
        ("CANCELLED by 0", "cancelled by root or by SLURM itself"),
        (f"CANCELLED by {os.getuid()}", f"cancelled by {ME}"),
        ("CANCELLED by 2147483000", "cancelled by user 2147483000"),
        ("CANCELLED+", "cancelled (SLURM does not say by whom)"),
        ("CANCELLED", "cancelled (SLURM does not say by whom)"),
        ("CANCELLED by 4294967294", "cancelled (SLURM does not say by whom)"),
    ],
)
def test_a_cancelled_task_says_by_whom(tmp_path, slurm_words, words, who):
    run = bare_run(tmp_path / "run")
    submitted(run)
    submitted(run, 1, job="77_1", started=False)
    lines = accounted(words, Elapsed="00:03:00") + accounted(words, job="77_1")
    slurm_words.says("sacct", f"{HEADER}\n{lines}")
    assert state_of(run).state == "failed"
    assert state_of(run).reason.startswith(who)
    never = state_of(run, 1)
    assert (never.state, never.reason.startswith(who)) == ("stopped", True)
    assert "before it started" in never.reason
    ledger.record(run.ledger, "folds", 0, "ended", ok=False, resumable=True, reason="stopped by SIGTERM", attempt=1)
    saved = state_of(run)
    assert (saved.state, saved.reason) == ("stopped", f"{who}; in the ledger: stopped by SIGTERM")


def test_a_cancelled_fold_that_saved_says_after_which_epoch_and_the_command_is_no_part_of_it(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    saved = Cause("stopped", signal="SIGTERM", epoch=2, step=3)
    ledger.record(run.ledger, "folds", 0, "ended", saved, ok=False, resumable=True, attempt=1)
    stages_task = SimpleNamespace(stage=SimpleNamespace(name="folds"), index=0)
    ended = restarts._ended_by(run, stages_task, "77_0")
    ledger.record(run.ledger, "folds", 0, "ended", ended, ok=False, resumable=True, final=True, attempt=1)
    found = state_of(run)
    words = "stopped by SIGTERM after epoch 2, step 3 of the next"
    assert found.reason == f"cancelled, or over its time limit without a warning; {words}"
    slurm_words.says("sacct", f"{HEADER}\n{accounted('CANCELLED by 0')}")
    found = state_of(run)
    assert found.reason == f"cancelled by root or by SLURM itself; in the ledger: {words}"
    assert found.command == f"python jobs/launch_cv.py --resume {run.root}"
    assert monitor.change(found, None)[1].splitlines() == [
        f"folds 0: stopped, {found.reason}", f"    {found.command}"]  # fmt: skip


def test_a_fold_that_lost_a_rank_is_no_failure_while_its_job_may_start_it_again(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    slurm_words.says("squeue", queued("RUNNING"))
    killed = Cause("rank_killed", rank=1, exit_code=-9, place="epoch 1 step 2 of 9 (training)")
    ledger.record(run.ledger, "folds", 0, "ended", killed, ok=False, lost=True, attempt=1)
    ledger.record(run.ledger, "folds", 0, "ended", Cause("rank_lost"), ok=False, attempt=1)
    found = state_of(run)
    assert (found.state, found.command) == ("running", None)
    assert found.reason.startswith("is about to be started again by its job; before: rank 1 died in epoch 1 step 2")
    ledger.record(run.ledger, "folds", 0, "ended", Cause("fruitless", count=5), ok=False, final=True, attempt=1)
    assert state_of(run).state == "failed"


def test_one_command_releases_all_folds_that_are_held(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    for task in (0, 1):
        submitted(run, task, job=f"77_{task}", started=False)
    slurm_words.says("squeue", "".join(queued("PENDING", "JobHeldAdmin", f"77_{task}") for task in (0, 1)))
    assert monitor.notes(RunStates(run).states()) == [
        "folds 0-1: held by an administrator, who alone can release it (SLURM: JobHeldAdmin)", "    scontrol release 77"
    ]  # fmt: skip


def test_without_accounting_it_is_said_that_nobody_says_who_has_ended_a_job(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    found = state_of(run)
    assert (found.state, "whether it failed or was cancelled: accounting does not answer" in found.reason) == (
        "gone",
        True,
    )


def test_a_state_that_nobody_has_heard_of_is_unknown_in_the_queue_and_gone_after_it(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    slurm_words.says("squeue", queued("LEVITATING"))
    assert state_of(run).state == "unknown"
    slurm_words.says("squeue", "")
    slurm_words.says("sacct", f"{HEADER}\n{accounted('LEVITATING')}")
    assert state_of(run).state == "gone"


@pytest.mark.parametrize("how", ["another name", "long ago"])
def test_a_job_of_the_same_number_from_before_is_not_ours(tmp_path, slurm_words, how):
    run = bare_run(tmp_path / "run")
    submitted(run)
    other = {"another name": {"JobName": "cac-folds-fedcba98"}, "long ago": {"JobName": "allocation", "Submit": NEVER}}
    slurm_words.says("sacct", f"{HEADER}\n{accounted('COMPLETED', **other[how])}{accounted('TIMEOUT', **other[how])}")
    found = state_of(run)
    assert (found.state, "accounting does not know it" in found.reason) == ("gone", True)
    mine = accounted("NODE_FAIL", Submit=datetime.now().isoformat(timespec="seconds"))
    slurm_words.says("sacct", f"{HEADER}\n{mine}{accounted('COMPLETED', **other[how])}")
    assert "node failed on n1" in state_of(run).reason
    name = other[how]["JobName"]
    slurm_words.says("squeue", queued("RUNNING", name=name, submitted=other[how].get("Submit", "N/A")))
    assert state_of(run).state == "failed"  # the one in the queue is not ours either


def test_of_several_starts_the_newest_counts(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    now = datetime.now()
    first, last = ((now + timedelta(minutes=minutes)).isoformat(timespec="seconds") for minutes in (1, 5))
    lines = accounted("TIMEOUT", Submit=last, Timelimit="00:20:00") + accounted("NODE_FAIL", Submit=first)
    slurm_words.says("sacct", f"{HEADER}\n{lines}")
    assert "over its time limit of 00:20:00" in state_of(run).reason


@pytest.mark.parametrize(
    "case",
    [
        ("JobHeldUser", "held", "held by its owner", "scontrol release 77"),
        ("JobHeldAdmin", "held", "held by an administrator", "scontrol release 77"),
        ("launch failed requeued held", "held", "bad node", "scontrol release 77"),
        ("job requeued in held state", "held", "put back into the queue and held", "scontrol release 77"),
        ("DependencyNeverSatisfied", "held", "never starts: what it waits for", "jobs/cancel.py"),
        ("PartitionTimeLimit", "held", "never starts: it asks for more time", "--cluster.fold.time_min LESS"),
        ("PartitionNodeLimit", "held", "never starts: its partition does not give", "--cluster.partition OTHER"),
        ("PartitionConfig", "held", "does not take its account", "--cluster.account OTHER"),
        ("AccountNotAllowed", "held", "never starts: its account may not", "--cluster.account OTHER"),
        ("Job's QOS not permitted to use this partition (gpu allows long not normal)", "held", "never starts: its QOS",
         "jobs/cancel.py RUN && python jobs/launch_cv.py --resume RUN --cluster.qos OTHER"),
        ("AssocMaxMemPerJob", "held", "more memory than its account", "--cluster.fold.mem_gb LESS"),
        ("QOSMaxCpuPerJobLimit", "held", "more cores than its QOS", "--cluster.cpus_per_rank LESS"),
        ("QOSMaxGRESPerNode", "held", "more GPUs than its QOS", "--cluster.ranks_per_node LESS"),
        ("AssocGrpCPUMinutesLimit", "queued", "the budget of its account, which is used up", "flags=assoc"),
        ("QOSGrpBillingMinutes", "queued", "the budget of its QOS, which is used up", "flags=qos"),
        ("ReqNodeNotAvail, Reserved for maintenance", "queued", "are reserved", "scontrol show reservation"),
        ("Reservation night was deleted", "held", "its reservation was deleted", "scontrol release 77"),
        ("OutOfMemory", "queued", "its last start was out of memory", None),
        ("Dependency", "queued", "waits for the stage before", None),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", "queued", "nodes it could use are down", "sinfo -R"),
        ("BeginTime", "queued", "starts again in a moment", None),
        ("JobArrayTaskLimit", "queued", "cluster.array_parallelism", None),
        ("QOSMaxCpuPerUserLimit", "queued", "waits until other jobs of yours have ended", "flags=qos"),
        ("Priority", "queued", "waits for its turn", None),
        ("SomethingNew", "queued", "waits (SLURM: SomethingNew)", None),
        ("", "queued", "SLURM names no reason", None),
    ],
)  # fmt: skip
def test_why_a_job_waits_is_told_with_what_mends_it(tmp_path, slurm_words, case):
    reason, state, words, mend = case
    run = bare_run(tmp_path / "run")
    submitted(run, started=False)
    slurm_words.says("squeue", queued("PENDING", reason))
    found = state_of(run)
    assert (found.state, words in found.reason) == (state, True), found
    assert found.command is None if mend is None else mend.replace("RUN", str(run.root)) in found.command


def test_killed_for_memory_is_read_from_the_step_with_what_was_asked_and_reached(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    step = accounted("OUT_OF_MEMORY", job="77_0.0", ExitCode="0:125", MaxRSS="2000000K", JobName="bash")
    slurm_words.says("sacct", f"{HEADER}\n{accounted('FAILED', ReqMem='2048M')}{step}")
    found = state_of(run)
    assert found.reason == "out of memory: asked for 2 GB, a process reached 1.91 GB"
    assert found.command.endswith("--cluster.fold.mem_gb 4")


def test_a_kill_at_the_limit_is_probably_memory_and_a_kill_below_is_not(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    for peak, memory in (("1990000K", False), ("2090000K", True)):
        step = accounted("FAILED", job="77_0.0", ExitCode="0:9", MaxRSS=peak)
        slurm_words.says("sacct", f"{HEADER}\n{accounted('FAILED', ReqMem='2048M', ExitCode='0:9')}{step}")
        assert ("probably out of memory" in state_of(run).reason) == memory
    assert "SIGKILL" not in state_of(run).reason


@pytest.mark.parametrize("code", ["0:9", "9:0", "137:0"])  # a shell's 137 is 9:0 up to 25.05
@pytest.mark.parametrize("where", ["job", "step"])
def test_a_kill_at_the_limit_is_probably_memory_however_sacct_writes_it(tmp_path, slurm_words, code, where):
    run = bare_run(tmp_path / "run")
    submitted(run)
    job, step = (code, "1:0") if where == "job" else ("1:0", code)
    lines = accounted("FAILED", ReqMem="2048M", ExitCode=job) + accounted(
        "FAILED", job="77_0.0", ExitCode=step, MaxRSS="2090000K"
    )
    slurm_words.says("sacct", f"{HEADER}\n{lines}")
    assert state_of(run).reason.startswith("probably out of memory: asked for 2 GB")


def test_slurms_own_signal_for_memory_is_memory(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    slurm_words.says("sacct", f"{HEADER}\n{accounted('FAILED', ReqMem='2048M', ExitCode='0:125')}")
    assert state_of(run).reason == "out of memory: asked for 2 GB"


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGBUS, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_fatal_signal_has_its_name_whether_the_job_or_a_shell_in_it_met_it(tmp_path, slurm_words, number):
    run = bare_run(tmp_path / "run")
    submitted(run)
    for code in (f"0:{number}", f"{128 + number}:0", f"{number}:0"):
        slurm_words.says("sacct", f"{HEADER}\n{accounted('FAILED', ExitCode=code)}")
        assert state_of(run).reason == f"ended by {number.name} on n1 (SLURM: {code})"


def test_what_the_ledger_says_of_a_killed_rank_is_explained_by_accounting(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    why = "rank 1 on n1 died in epoch 2: its process 17 is gone"
    ledger.record(run.ledger, "folds", 0, "ended", ok=False, reason=why, attempt=1)
    step = accounted("OUT_OF_MEMORY", job="77_0.0", MaxRSS="1G")
    slurm_words.says("sacct", f"{HEADER}\n{accounted('FAILED', ReqMem='1G')}{step}")
    found = state_of(run)
    assert found.state == "failed"
    assert found.reason.startswith("out of memory: asked for 1 GB")
    assert found.reason.endswith(why)


@pytest.mark.parametrize(
    "case",
    [
        ("0:53", "failed", "the folder of its log is missing or cannot be written on n1 (exit 0:53)", "writable"),
        ("75:0", "stopped", "has saved", "--resume"),
        ("0:15", "failed", "ended by SIGTERM on n1", "--resume"),
        ("130:0", "failed", "ended by SIGINT on n1 (SLURM: 130:0)", "--resume"),
        ("0:40", "failed", "ended by signal 40 on n1 (SLURM: 0:40)", "--resume"),
        ("200:0", "failed", "ended with exit code 200 on n1", "--log"),
        ("3:0", "failed", "ended with exit code 3 on n1", "--log"),
        ("?", "failed", "ended with exit code ? on n1", "--log"),
    ],
)
def test_exit_codes_are_words(tmp_path, slurm_words, case):
    code, state, words, mend = case
    run = bare_run(tmp_path / "run")
    submitted(run)
    slurm_words.says("sacct", f"{HEADER}\n{accounted('FAILED', ExitCode=code)}")
    found = state_of(run)
    assert (found.state, words in found.reason, mend in found.command) == (state, True, True), found


def test_completed_without_a_result_is_no_success_and_names_the_step_that_failed(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    step = accounted("CANCELLED", job="77_0.0", ExitCode="0:12")
    slurm_words.says("sacct", f"{HEADER}\n{accounted('COMPLETED', ExitCode='0:0')}{step}")
    found = state_of(run)
    assert (found.state, "CANCELLED 0:12" in found.reason) == ("gone", True)
    ledger.record(run.ledger, "folds", 0, "ended", ok=True, attempt=1)
    found = state_of(run)
    assert (found.state, "predictions.csv is not there" in found.reason) == ("gone", True)
    finish(run)
    run.fold(0).predictions.write_bytes(b"stu")  # cut short
    assert state_of(run).state == "gone"


def test_a_requeued_task_waits_with_its_reason_and_a_late_word_of_the_old_start_changes_nothing(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    ledger.record(run.ledger, "folds", 0, "requeued", job="77_0", reason="ended by USR2")
    slurm_words.says("squeue", queued("PENDING", "BeginTime"))
    found = state_of(run)
    assert (found.state, "ended by USR2" in found.reason) == ("queued", True)
    ledger.record(run.ledger, "folds", 0, "started", job="77_0", node="n2", pid=2, attempt=2)
    ledger.record(run.ledger, "folds", 0, "ended", ok=False, reason="late", attempt=1)
    slurm_words.says("squeue", queued("RUNNING"))
    found = state_of(run)
    assert (found.state, found.reason, found.attempt, found.node) == ("running", None, 2, "n2")


def test_a_failed_task_that_slurm_has_put_back_into_the_queue_is_not_failed(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    ledger.record(run.ledger, "folds", 0, "ended", ok=False, reason="a bad day", attempt=1)
    slurm_words.says("squeue", queued("COMPLETING"))
    assert state_of(run).state == "failed"
    slurm_words.says("squeue", queued("PENDING", "JobHeldUser"))
    assert state_of(run).state == "held"
    assert state_of(run).reason.endswith("before: a bad day")


def test_signs_of_life_are_stronger_than_silence_and_than_an_empty_queue(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    files = run.fold(0)
    files.heartbeats.mkdir(parents=True)
    pulse = '{"group": "1", "rank": 0, "node": "n1", "pid": 1, "started": 1, "epoch": 2, "step": 3, "phase": "training"'
    files.heartbeat(0).write_text(pulse + "}", encoding="utf-8")
    assert state_of(run).state == "running"
    slurm_words.fails("squeue")
    assert state_of(run).state == "running"
    files.heartbeat(0).write_text(pulse + ', "end": "ValueError"}', encoding="utf-8")
    assert state_of(run).state == "unknown"


def test_a_dead_accounting_is_left_alone_for_longer_and_longer(tmp_path, slurm_words, monkeypatch):
    run = bare_run(tmp_path / "run")
    submitted(run)
    clock = [1000.0]
    monkeypatch.setattr(slurm_commands.time, "monotonic", lambda: clock[0])
    run_states = RunStates(run)
    for _ in range(200):
        assert run_states.states()[0].state == "gone"
        clock[0] += 3
    assert 5 <= len(slurm_words.calls("sacct")) <= 9  # of 200 looks in ten minutes
    assert len(slurm_words.calls("squeue")) == 200


def test_what_accounting_has_said_finally_is_kept_until_the_job_is_back(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    slurm_words.says("sacct", f"{HEADER}\n{accounted('NODE_FAIL')}")
    run_states = RunStates(run)
    assert [run_states.states()[0].state for _ in range(5)] == ["failed"] * 5
    assert len(slurm_words.calls("sacct")) == 1
    slurm_words.says("squeue", queued("RUNNING"))
    assert run_states.states()[0].state == "running"
    slurm_words.says("squeue", "")
    slurm_words.says("sacct", f"{HEADER}\n{accounted('TIMEOUT')}")
    run_states._accounting._not_before_s = 0.0
    assert "time limit" in run_states.states()[0].reason


def test_a_stage_that_never_started_names_the_one_it_waited_for(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run", "pack", "seal", "folds")
    for task in (0, 1):
        submitted(run, task, "pack", f"70_{task}")
    ledger.record(run.ledger, "pack", 0, "ended", ok=False, reason="a full disk", attempt=0)
    submitted(run, None, "seal", "71", started=False)
    found = {state.stage: state for state in RunStates(run).states() if state.task in (None, 0)}
    assert (found["seal"].state, "stage pack did not end well" in found["seal"].reason) == ("stopped", True)


def test_tastes_of_the_user_do_not_hide_jobs(tmp_path, slurm_words, monkeypatch):
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    slurm_words._write("squeue", "env")
    assert "SQUEUE_STATES" not in slurm_commands.ask(["squeue"])
    assert "SLURM_TIME_FORMAT" not in slurm_commands.ask(["squeue"])
