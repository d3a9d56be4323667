"""Damaged files beside the results cost their own part of the report, and it is said which."""

import json

import pytest

from cac_hpc.cluster import circumstances, usage
from cac_hpc.report import aggregation
from cac_hpc.results.serialization import to_json
from cac_hpc.run import ledger, result_files, task_states
from cac_hpc.settings import stored_settings
from tests.support.reports import make_run

TIME = "2026-01-01T00:00:00+00:00"
NO_EVENTS = [
    "{}",
    "null",
    "[1]",
    '{"time": "x", "stage": "folds", "task": 0, "event": "started"}',
    '{"time": "2026-01-01T00:00:00", "stage": "folds", "task": 0, "event": "started"}',
    f'{{"time": "{TIME}", "stage": "folds", "task": 0, "event": "danced"}}',
    f'{{"time": "{TIME}", "stage": "folds", "task": [0], "event": "started"}}',
    f'{{"time": "{TIME}", "stage": "folds", "event": "started"}}',
    f'{{"time": "{TIME}", "stage": "fo',
]


def event(**facts):
    return json.dumps({"time": TIME, "stage": "folds", "task": 0, "event": "started", **facts})


def small_run(folder):
    return make_run(folder, {(name, index): [index] * 2 for index, name in enumerate("abcdef")}, num_folds=3)


def test_lines_that_are_no_events_are_skipped_and_counted_once(tmp_path, caplog):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes("\n".join([event(), *NO_EVENTS, event(task=1)]).encode() + b"\n\xff\xfe\x00\n" + b'{"time')
    for _ in range(2):
        assert [one["task"] for one in ledger.read(path)] == [0, 1]
    assert caplog.messages == [f"{path}: lines that are no events were skipped: {len(NO_EVENTS) + 1}"]


def test_events_without_their_facts_are_told_as_far_as_they_go(tmp_path):
    run = small_run(tmp_path)
    used = {"event": "used", "cpus": 1, "gpus": 0, "peak_mb": 9.0, "job": "7"}
    lines = [event(event="planned"), event(), event(event="progress"), event(event="used"),
             event(**used, seconds=float("inf")), event(**used, seconds=3600.0)]  # fmt: skip
    run.ledger.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (state,) = task_states.survey(run)
    assert (state.state, state.progress) == ("running", None)
    (use,) = usage.read(run, stored_settings.load(run.config))
    assert use.core_hours == 1.0


@pytest.mark.parametrize("text", ["", "{", "[]", '{"packages": []}'])
def test_a_damaged_provenance_is_left_out_and_named(tmp_path, caplog, text):
    run = small_run(tmp_path)
    run.provenance.write_text(text, encoding="utf-8")
    assert circumstances.collect(run, stored_settings.load(run.config)).provenance is None
    assert f"{run.provenance}: cannot be read" in caplog.text


@pytest.mark.parametrize("text", ["", "epoch,train_seconds\n1,inf\n", "epoch,train_seconds\n1,x\n"])
def test_a_fold_with_damaged_speeds_is_left_out_and_named(tmp_path, caplog, text):
    run = small_run(tmp_path)
    run.fold(0).speed.write_text(text, encoding="utf-8")
    run.fold(1).speed.write_text("epoch,train_seconds\n1,2.5\n", encoding="utf-8")
    speeds = circumstances.collect(run, stored_settings.load(run.config)).folds
    assert [to_json(one) for one in speeds] == [{"fold": 1, "epochs": 1, "train_seconds": 2.5}]
    assert f"{run.fold(0).speed}: cannot be read" in caplog.text


@pytest.mark.parametrize("text", ["[]", "null", "{"])
def test_a_fold_whose_metrics_are_no_object_is_not_done(tmp_path, text):
    run = small_run(tmp_path)
    run.fold(0).metrics.write_text(text, encoding="utf-8")
    assert not result_files.fold_is_done(run.fold(0))


def test_a_report_is_made_with_all_of_them_damaged(tmp_path, caplog):
    run = small_run(tmp_path)
    good = "epoch,train_loss,val_loss,learning_rate\n1,1,1,0.1\n2,0.5,0.6,0.1\n"
    for fold, text in enumerate(["", "epoch,loss\n1,2\n", good]):
        run.fold(fold).history.write_text(text, encoding="utf-8")
    run.fold(0).speed.write_text("", encoding="utf-8")
    run.provenance.write_text("[]", encoding="utf-8")
    run.ledger.write_text("\n".join([*NO_EVENTS, event(event="used")]) + "\n", encoding="utf-8")
    assert aggregation.aggregate(run.root)
    for path in (run.fold(0).history, run.fold(1).history, run.fold(0).speed, run.provenance):
        assert f"{path}: cannot be read" in caplog.text
    assert (run.report / "figures" / "history.svg").is_file()
