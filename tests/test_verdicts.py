"""Truth about state: every word that SLURM has for a job, and what is made of it when accounting lies, hangs or is off.

squeue and sacct are stand-ins on PATH here, the parsers and everything behind them are the real ones.
"""

import time
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cac_hpc.cluster import monitor, records, scheduler, states
from cac_hpc.cluster.outlook import Outlook
from cac_hpc.run import ledger
from tests.standins import HEADER, NEVER, FakeSlurm, accounted, bare_run, finish, queued, submitted

# state: what a job in the queue is, what one is that has left it without a result
TRUTH = {
    "BOOT_FAIL": ("queued", "failed"),
    "CANCELLED": ("running", "failed"),
    "COMPLETED": ("running", "gone"),
    "COMPLETING": ("running", "gone"),
    "CONFIGURING": ("queued", "gone"),
    "DEADLINE": ("running", "failed"),
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
ANY = st.text(st.characters(exclude_categories=["Cs"]))
SLURMISH = st.text(st.sampled_from("0123456789_[]-,:%+|. \nABCDKMGTn")) | ANY


@pytest.fixture
def slurm_words(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "ACCOUNTING_TIMEOUT_S", 0.3)
    return FakeSlurm(tmp_path / "bin", monkeypatch)


def account(words, kind, line):
    """Let sacct be right, or wrong in one of the ways that sites have."""
    if kind == "right":
        words.says("sacct", f"{HEADER}\n{line}")
    elif kind == "garbage":
        words.says("sacct", "\x00\x1b[31mConnection refused\n77_0|COMP\n||||\n")
    else:
        words.hangs("sacct") if kind == "slow" else words.fails("sacct")


def state_of(run, task=0):
    return next(state for state in monitor.read_states(run) if state.task == task)


def test_the_table_knows_every_state():
    assert set(states.STATES) == set(TRUTH)
    assert len(TRUTH) == 24


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
    assert "launch_cv.py --resume" in found.mend
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
    monkeypatch.setattr(scheduler, "ask", lambda command, timeout_s=0.3, asked=scheduler.ask: asked(command, 0.3))
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


@pytest.mark.parametrize("words", ["CANCELLED by 0", "CANCELLED+", "CANCELLED by 4294967294"])
def test_forms_of_cancelled_are_known(tmp_path, slurm_words, words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    submitted(run, 1, job="77_1", started=False)
    lines = accounted(words, Elapsed="00:03:00") + accounted(words, job="77_1")
    slurm_words.says("sacct", f"{HEADER}\n{lines}")
    assert state_of(run).state == "failed"
    assert "cancelled" in state_of(run).reason
    never = state_of(run, 1)
    assert (never.state, "before it started" in never.reason) == ("stopped", True)


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
        ("JobHeldUser", "held", "held by its owner", "scontrol release 77_0"),
        ("JobHeldAdmin", "held", "held by an administrator", "scontrol release 77_0"),
        ("launch failed requeued held", "held", "bad node", "scontrol release 77_0"),
        ("job requeued in held state", "held", "put back into the queue and held", "scontrol release 77_0"),
        ("DependencyNeverSatisfied", "held", "never starts: what it waits for", "jobs/cancel.py"),
        ("PartitionTimeLimit", "held", "more time than is allowed", "--cluster.fold.time_min LESS"),
        ("PartitionNodeLimit", "held", "asks for what it does not get here", "jobs/cancel.py"),
        ("Dependency", "queued", "waits for the stage before", None),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", "queued", "nodes it could use are down", "sinfo -R"),
        ("BeginTime", "queued", "starts again in a moment", None),
        ("JobArrayTaskLimit", "queued", "cluster.array_parallelism", None),
        ("QOSMaxCpuPerUserLimit", "queued", "waits for a limit of the site", None),
        ("Priority", "queued", "waits for its turn", None),
        ("SomethingNew", "queued", "SomethingNew", None),
    ],
)
def test_why_a_job_waits_is_told_with_what_mends_it(tmp_path, slurm_words, case):
    reason, state, words, mend = case
    run = bare_run(tmp_path / "run")
    submitted(run, started=False)
    slurm_words.says("squeue", queued("PENDING", reason))
    found = state_of(run)
    assert (found.state, words in found.reason) == (state, True), found
    assert found.mend is None if mend is None else mend in found.mend


def test_killed_for_memory_is_read_from_the_step_with_what_was_asked_and_reached(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    step = accounted("OUT_OF_MEMORY", job="77_0.0", ExitCode="0:125", MaxRSS="2000000K", JobName="bash")
    slurm_words.says("sacct", f"{HEADER}\n{accounted('FAILED', ReqMem='2048M')}{step}")
    found = state_of(run)
    assert found.reason == "out of memory: asked for 2 GB, a process reached 1.91 GB"
    assert found.mend.endswith("--cluster.fold.mem_gb 4")


def test_a_kill_at_the_limit_is_probably_memory_and_a_kill_below_is_not(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    for peak, memory in (("1990000K", False), ("2090000K", True)):
        step = accounted("FAILED", job="77_0.0", ExitCode="0:9", MaxRSS=peak)
        slurm_words.says("sacct", f"{HEADER}\n{accounted('FAILED', ReqMem='2048M', ExitCode='0:9')}{step}")
        assert ("probably out of memory" in state_of(run).reason) == memory
    assert "SIGKILL" not in state_of(run).reason


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
    assert (found.state, words in found.reason, mend in found.mend) == (state, True, True), found


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
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: clock[0])
    outlook = Outlook(run)
    for _ in range(200):
        assert outlook.states()[0].state == "gone"
        clock[0] += 3
    assert 5 <= len(slurm_words.calls("sacct")) <= 9  # of 200 looks in ten minutes
    assert len(slurm_words.calls("squeue")) == 200


def test_what_accounting_has_said_finally_is_kept_until_the_job_is_back(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run")
    submitted(run)
    slurm_words.says("sacct", f"{HEADER}\n{accounted('NODE_FAIL')}")
    outlook = Outlook(run)
    assert [outlook.states()[0].state for _ in range(5)] == ["failed"] * 5
    assert len(slurm_words.calls("sacct")) == 1
    slurm_words.says("squeue", queued("RUNNING"))
    assert outlook.states()[0].state == "running"
    slurm_words.says("squeue", "")
    slurm_words.says("sacct", f"{HEADER}\n{accounted('TIMEOUT')}")
    outlook._accounting._not_before_s = 0.0
    assert "time limit" in outlook.states()[0].reason


def test_a_stage_that_never_started_names_the_one_it_waited_for(tmp_path, slurm_words):
    run = bare_run(tmp_path / "run", "pack", "seal", "folds")
    for task in (0, 1):
        submitted(run, task, "pack", f"70_{task}")
    ledger.record(run.ledger, "pack", 0, "ended", ok=False, reason="a full disk", attempt=0)
    submitted(run, None, "seal", "71", started=False)
    found = {state.stage: state for state in monitor.read_states(run) if state.task in (None, 0)}
    assert (found["seal"].state, "stage pack did not end well" in found["seal"].reason) == ("stopped", True)


def test_tastes_of_the_user_do_not_hide_jobs(tmp_path, slurm_words, monkeypatch):
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    slurm_words._write("squeue", "env")
    assert "SQUEUE_STATES" not in scheduler.ask(["squeue"])
    assert "SLURM_TIME_FORMAT" not in scheduler.ask(["squeue"])


@pytest.mark.parametrize(
    "case",
    [
        ("12", ["12"]),
        ("12_3", ["12_3"]),
        ("12+1", ["12"]),
        ("12_[2-4%56]", ["12_2", "12_3", "12_4"]),
        ("12_[0,4-8:2,9]", ["12_0", "12_4", "12_6", "12_8", "12_9"]),
        ("12_[0-1,...]", ["12_0", "12_1", "12_*"]),
        ("12_[0-1,5", ["12_0", "12_1", "12_5", "12_*"]),
        ("12_[0-999999999]", ["12_*"]),
        ("12_[7-3]", ["12_*"]),
        ("slurm_load_jobs error", []),
        ("", []),
    ],
)
def test_ids_stand_for_jobs(case):
    assert records.job_ids(case[0]) == case[1]


def test_a_task_of_a_range_that_was_cut_short_is_in_the_queue():
    listing = records.read_queue(queued("PENDING", job="77_[3-5,...]"))
    assert listing.find("77_4").state == listing.find("77_9").state == "PENDING"
    assert listing.find("78") is None


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 20), st.none() | st.integers(1, 999))
def test_pending_ranges_are_read_as_python_counts(first, length, step, limit):
    text = f"7_[{first}-{first + length}:{step}" + ("" if limit is None else f"%{limit}") + "]"
    assert records.job_ids(text) == [f"7_{index}" for index in range(first, first + length + 1, step)]


@given(SLURMISH)
def test_no_text_breaks_the_parsers(text):
    records.job_ids(text)
    records.num_bytes(text)
    records.read_queue(text)
    records.read_accounts(text)
    accounts = records.read_accounts(f"{HEADER}\n{text}\n{accounted('FAILED', job='9_1')}")
    assert accounts["9_1"][-1].state == "FAILED"
    listing = records.read_queue(f"{text}\n{queued('RUNNING', job='9_1')}")
    assert listing.find("9_1").state == "RUNNING"


@given(st.permutations(records.ACCOUNT_FIELDS[:-1]), st.lists(st.sampled_from(["Foo", "Bar"]), max_size=2))
def test_columns_are_found_wherever_they_are(fields, unknown):
    columns = [*unknown, *fields, "JobName"]
    values = {"JobID": "9_1", "State": "TIMEOUT", "ReqMem": "4Gn", "JobName": "a|b"}
    text = "|".join(columns) + "\n" + "|".join(values.get(name, "") for name in columns)
    found = records.read_accounts(text)["9_1"][0]
    assert (found.state, found.asked_bytes, found.name) == ("TIMEOUT", 4 * 1024**3, "a|b")
