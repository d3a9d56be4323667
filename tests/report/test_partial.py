"""Reports of some of the folds: PARTIAL when the run has ended, PROVISIONAL while it goes on; never a mixture."""

import itertools
import json
import os
import shutil
import signal
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from cac_hpc.machine import processes
from cac_hpc.report import aggregation, checksums, pictures, publishing, terminal
from cac_hpc.run import disk, ledger, lock, paths, task_states
from cac_hpc.run import stages as graph
from cac_hpc.run.causes import Cause
from cac_hpc.run.paths import RunPaths
from cac_hpc.sections import contrast_parts
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.report_command import ReportOptions
from cac_hpc.transfer import archive, retrieval
from jobs import aggregate as stage
from tests.support import oracle
from tests.support.reports import check_report, make_run, report_of, typed_report_of, write_fold
from tests.support.standins import TOKEN, FakeSlurm, queued

SHORT = {"report": {"draws": 200, "figure_dpi": 50}}
NUM_FOLDS = 5
DIED = "rank 1 died in training: its process is gone"
RESUME = "python jobs/launch_cv.py --resume RUN"


def small_predictions():
    """Thirty patients with four slices each, two of three slices right."""
    rng = np.random.default_rng(0)
    found = {}
    for patient in range(30):
        label = patient % 6
        found[(f"s{patient:02d}", label)] = [label if rng.random() < 2 / 3 else int(rng.integers(6)) for _ in range(4)]
    return found


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, small_predictions(), train={"epochs": 15}, **SHORT)


@pytest.fixture
def quick(monkeypatch):
    """Figures and waiting for the disk take most of the time, and are not what is looked at."""

    def draw(folder, *_):
        disk.write_text(folder / "history.svg", "drawn")

    monkeypatch.setattr(pictures, "draw", draw)
    monkeypatch.setattr(disk, "sync", lambda path: None)


@pytest.fixture
def as_stage(monkeypatch):
    """As a launcher or SLURM starts it, when all folds have ended."""
    monkeypatch.setenv(processes.SUPERVISOR, f"{os.getpid()}:{processes.start_time(os.getpid())}")


def exit_code(run, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["aggregate.py", "--run", str(run.root)])
    return stage.main()


def pages(run):
    return sorted(path.name for path in run.report.glob("report*") if path.suffix != ".json")


def named(status):
    """The pages that a report of that status has."""
    return sorted(paths.page_name(status, *kind) for kind in paths.PAGES)


def files_of(run):
    """What is the same whenever the report is made."""
    files = [path for path in run.report.rglob("*") if path.is_file()]
    same = [
        path for path in files if path.suffix != ".html" and path.name not in ("circumstances.json", checksums.FILE)
    ]
    return {str(path.relative_to(run.report)): path.read_bytes() for path in same}


# all subsets


def test_subsets_of_five_folds_give_a_partial_report_of_exactly_these(run, quick, as_stage, monkeypatch):
    whole = [run.fold(index).predictions.read_bytes() for index in range(NUM_FOLDS)]
    for index in range(1, NUM_FOLDS):
        ledger.record(run.ledger, "folds", index, "started")
        ledger.record(run.ledger, "folds", index, "ended", Cause("stopped", signal="SIGTERM", epoch=index, step=7))
    stopped = "stopped by SIGTERM after epoch {}, step 7 of the next"
    cause = {0: "it never started", **{index: stopped.format(index) for index in range(1, NUM_FOLDS)}}
    subsets = [*range(0, 2**NUM_FOLDS, 3), 2**NUM_FOLDS - 1]  # each fold there and missing, in many ways
    for subset in subsets:
        there = [index for index in range(NUM_FOLDS) if subset >> index & 1]
        missing = [index for index in range(NUM_FOLDS) if index not in there]
        for index in range(NUM_FOLDS):
            path = run.fold(index).predictions
            path.write_bytes(whole[index]) if index in there else path.unlink(missing_ok=True)
        assert exit_code(run, monkeypatch) == (1 if missing else 0)
        found = report_of(run)
        assert found["status"] == ("PARTIAL" if missing else "COMPLETE")
        assert found["missing_folds"] == [{"fold": k, "at_work": False, "reason": cause[k]} for k in missing]
        assert pages(run) == named(found["status"])
        text = (run.report / paths.page_name(found["status"], "md")).read_text(encoding="utf-8")
        assert text.partition("\n")[0].endswith(" (PARTIAL)") == bool(missing)
        for index in missing:
            assert f"PARTIAL: fold {index} is missing ({cause[index]})." in text
        assert (RESUME in text) == bool(missing)
        check_numbers(found, there)
        check_report(run)


def check_numbers(found, there):
    """Both levels by plain loops over the predictions of exactly these folds."""
    names = sorted(study for study, _ in small_predictions())
    rows = []
    for (study, label), categories in small_predictions().items():
        fold = names.index(study) % NUM_FOLDS  # as make_run deals them
        for category in categories if fold in there else ():
            rows.append((fold, study, label, [0.9 if k == category else 0.02 for k in range(6)], None))
    patients = oracle.pooled(rows, "mean")
    pairs = {
        "slice": [(label, oracle.best(probability)) for _, _, label, probability, _ in rows],
        "patient": [(label, oracle.best(probability)) for _, _, label, probability, _ in patients],
    }
    for level, of_level in pairs.items():
        pooled = found["levels"][level]["pooled"]
        assert pooled["n"] == len(of_level)
        assert [fold["fold"] for fold in found["levels"][level]["folds"]] == there
        for name, value in oracle.figures(of_level, 6).items():
            if name in pooled["figures"]:
                assert pooled["figures"][name]["value"] == (None if value is None else pytest.approx(value)), name


# while folds are at work


@pytest.fixture
def at_work(tmp_path, run, monkeypatch):
    """Folds 0 and 1 are done, 2 is in its seventh epoch on n1, 3 waits, 4 has died; the aggregator waits for them."""
    disk.write_json(run.provenance, {"run_id": TOKEN})
    for index in range(NUM_FOLDS):
        result = f"folds/fold-{index}/predictions.csv"
        ledger.record(run.ledger, "folds", index, "planned", result=result)
    ledger.record(run.ledger, "aggregate", None, "planned", result="report/report.json")
    for index in range(NUM_FOLDS):
        ledger.record(run.ledger, "folds", index, "submitted", job=f"77_{index}")
    ledger.record(run.ledger, "aggregate", None, "submitted", job="78")
    for index in (0, 1, 2, 4):
        ledger.record(run.ledger, "folds", index, "started", job=f"77_{index}", node="n1", pid=1, attempt=1)
    for index in (0, 1):
        ledger.record(run.ledger, "folds", index, "ended", ok=True, attempt=1)
    ledger.record(run.ledger, "folds", 4, "ended", Cause("rank_died", rank=1, place="training"), attempt=1)
    run.fold(3).predictions.unlink()
    run.fold(4).predictions.unlink()
    run.fold(2).predictions.write_text("what a start before has left, which is no good\n", encoding="utf-8")
    run.fold(2).heartbeats.mkdir()
    pulse = {"group": "1", "rank": 0, "node": "n1", "pid": 1, "started": 1, "phase": "training", "epoch": 7, "step": 1}
    run.fold(2).heartbeat(0).write_text(json.dumps(pulse | {"steps": 20}), encoding="utf-8")
    FakeSlurm(tmp_path / "bin", monkeypatch).says(
        "squeue",
        queued("RUNNING", job="77_2")
        + queued("PENDING", "Priority", "77_3")
        + queued("PENDING", "Dependency", "78", f"cac-aggregate-{TOKEN}"),
    )
    return run


def end(run, *folds):
    for index in folds:
        ledger.record(run.ledger, "folds", index, "ended", ok=False, reason="out of memory", attempt=1)


def test_by_hand_while_folds_are_at_work_the_report_is_provisional_and_disturbs_nothing(at_work, monkeypatch, capsys):
    told, left = at_work.ledger.read_bytes(), at_work.fold(2).predictions.read_bytes()
    assert exit_code(at_work, monkeypatch) == 1
    found = report_of(at_work)
    assert found["status"] == "PROVISIONAL"
    assert found["missing_folds"] == [
        {"fold": 2, "at_work": True, "reason": "running, epoch 7 of 15"},
        {"fold": 3, "at_work": True, "reason": "waiting in the queue"},
        {"fold": 4, "at_work": False, "reason": DIED},
    ]
    assert pages(at_work) == named("PROVISIONAL")
    text = (at_work.report / "report_PROVISIONAL.md").read_text(encoding="utf-8")
    assert text.startswith("# Coronary calcium category from non-contrast cardiac CT (PROVISIONAL)\n")
    assert "PROVISIONAL: fold 2 is not done yet (running, epoch 7 of 15)." in text
    assert "PROVISIONAL: fold 3 is not done yet (waiting in the queue)." in text
    assert f"PROVISIONAL: fold 4 is missing ({DIED})." in text
    assert f"To complete the report (fold 4): {RESUME}" in text
    assert at_work.ledger.read_bytes() == told
    capsys.readouterr()
    terminal.show(at_work.root)
    assert [line["event"] for line in ledger.read(at_work.ledger)][told.count(b"\n") :] == ["shown"]
    again = f"python jobs/launch_cv.py --resume {at_work.root}"
    assert f"\nTo complete the report (fold 4): {again}\n" in capsys.readouterr().out
    assert "failed" not in text
    check_report(at_work)
    assert at_work.fold(2).predictions.read_bytes() == left
    assert not list(at_work.root.rglob("*.invalid"))
    assert not list(at_work.root.glob(".report*"))
    assert task_states.survey(at_work)[-1].state == "submitted"


def test_the_final_report_takes_the_place_of_the_provisional_one(at_work, quick, as_stage, monkeypatch):
    with monkeypatch.context() as by_hand:
        by_hand.delenv(processes.SUPERVISOR)
        aggregation.aggregate(at_work.root)
    (at_work.report / "notes.txt").write_text("of a person", encoding="utf-8")
    end(at_work, 2, 3)
    assert not aggregation.aggregate(at_work.root)
    assert report_of(at_work)["status"] == "PARTIAL"
    assert pages(at_work) == named("PARTIAL")
    assert (at_work.report / "notes.txt").read_text(encoding="utf-8") == "of a person"
    assert at_work.fold(2).predictions.with_suffix(".csv.invalid").exists()
    assert task_states.survey(at_work)[-1].state == "failed"


def test_a_provisional_report_is_not_the_result_of_the_stage(run, quick):
    ledger.record(run.ledger, "folds", 2, "planned", result="folds/fold-2/predictions.csv")
    ledger.record(run.ledger, "aggregate", None, "planned", result="report/report.json")
    run.fold(2).predictions.unlink()
    with lock.exclusive(run.lock):  # a launcher works here, one fold after the other
        assert not aggregation.aggregate(run.root)
    assert report_of(run)["missing_folds"] == [{"fold": 2, "at_work": True, "reason": "waiting for its turn"}]
    assert task_states.survey(run)[-1].state == "planned"
    (task,) = graph.tasks_of(stored_settings.load(run.config), run, "aggregate")
    assert not task.done


# report.py


def test_the_report_command_makes_a_provisional_report_of_a_run_that_goes_on(at_work, quick, tmp_path, capsys):
    assert retrieval.retrieve(ReportOptions(source=str(at_work.root))) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "(PROVISIONAL)" in shown
    assert "PROVISIONAL: fold 2 is not done yet (running, epoch 7 of 15)." in shown
    assert retrieval.retrieve(ReportOptions(source=str(at_work.root), out=str(tmp_path / "out"))) == 1
    (made,) = (tmp_path / "out").iterdir()
    assert made.name.endswith("_PROVISIONAL.tar")
    assert (archive.unpack(made, tmp_path / "there") / "report" / "report_PROVISIONAL.md").is_file()


def test_where_no_fold_is_done_there_is_no_report_and_none_is_made(at_work):
    for index in (0, 1):
        at_work.fold(index).predictions.unlink()
    with pytest.raises(
        InputError, match=r"there is no report yet; python jobs/status\.py .* says where the run stands"
    ):
        retrieval.retrieve(ReportOptions(source=str(at_work.root)))
    assert not at_work.report.exists()


def test_a_final_report_is_shown_as_it_is_and_made_again_only_where_folds_have_come(run, quick, as_stage, monkeypatch):
    kept = run.fold(2).predictions.read_bytes()
    run.fold(2).predictions.unlink()
    aggregation.aggregate(run.root)

    def shown():
        retrieval.retrieve(ReportOptions(source=str(run.root)))
        return report_of(run)["status"], report_of(run)["folds_found"]

    assert shown() == ("PARTIAL", 4)
    run.fold(1).predictions.rename(run.fold(1).root / "away.csv")  # what is left of it is the report
    assert shown() == ("PARTIAL", 4)
    (run.fold(1).root / "away.csv").rename(run.fold(1).predictions)
    run.fold(2).predictions.write_bytes(kept)
    assert shown() == ("COMPLETE", 5)  # nobody else would make it
    run.fold(2).predictions.unlink()
    assert shown() == ("COMPLETE", 5)


def test_where_all_folds_are_done_the_report_says_who_makes_the_final_one(at_work, quick, monkeypatch, capsys):
    names = dict(zip(sorted(study for study, _ in small_predictions()), itertools.cycle(range(NUM_FOLDS))))
    for index in range(2, NUM_FOLDS):
        write_fold(at_work, index, {key: found for key, found in small_predictions().items() if names[key[0]] == index})
        ledger.record(at_work.ledger, "folds", index, "ended", ok=True, attempt=1)
    assert retrieval.retrieve(ReportOptions(source=str(at_work.root))) == 1  # the aggregator waits in the queue
    assert (report_of(at_work)["status"], report_of(at_work)["missing_folds"]) == ("PROVISIONAL", [])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"where that job does not come, python jobs/aggregate.py --run {at_work.root}." in shown
    assert contrast_parts.lines(replace(typed_report_of(at_work), banner="a contrast run")) == [
        "Inflation: not worked out, for this is not the final report."
    ]
    FakeSlurm(at_work.root / "bin", monkeypatch)  # its job was cancelled
    assert retrieval.retrieve(ReportOptions(source=str(at_work.root))) == 0
    assert pages(at_work) == named("COMPLETE")


def test_a_partial_report_stays_where_nobody_can_tell_whether_folds_are_at_work(at_work, quick, monkeypatch):
    """A run folder that was copied home."""
    slurm = FakeSlurm(at_work.root / "bin", monkeypatch)
    slurm.fails("squeue")
    at_work.fold(2).heartbeat(0).unlink()
    retrieval.retrieve(ReportOptions(source=str(at_work.root)))
    assert report_of(at_work)["status"] == "PROVISIONAL"  # the aggregator may be in the queue, for all we know
    assert not aggregation.aggregate(at_work.root)  # by hand
    found = report_of(at_work)
    assert (found["status"], [fold["at_work"] for fold in found["missing_folds"]]) == ("PARTIAL", [False] * 3)
    retrieval.retrieve(ReportOptions(source=str(at_work.root)))
    assert report_of(at_work) == found
    slurm.says("squeue", queued("RUNNING", job="77_2"))
    retrieval.retrieve(ReportOptions(source=str(at_work.root)))
    assert report_of(at_work)["status"] == "PROVISIONAL"


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")])
def test_who_may_not_write_is_shown_the_report_that_is_there(error, at_work, quick, monkeypatch, caplog):
    aggregation.aggregate(at_work.root)

    def refuse(*_):
        raise error

    monkeypatch.setattr(publishing, "tidy", refuse)
    assert retrieval.retrieve(ReportOptions(source=str(at_work.root))) == 1
    assert "this report is an older one" in caplog.text


def test_where_a_new_report_cannot_be_made_the_one_that_is_there_is_shown_and_kept(at_work, quick, tmp_path, caplog):
    aggregation.aggregate(at_work.root)
    before = files_of(at_work)
    shutil.rmtree(at_work.dataset(None).root)
    assert retrieval.retrieve(ReportOptions(source=str(at_work.root), out=str(tmp_path / "out"))) == 1
    assert "this report is an older one, for a new one cannot be made" in caplog.text
    assert "wanted a sealed dataset" in caplog.text
    assert files_of(at_work) == before
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".tar"]
    shutil.rmtree(at_work.report)
    with pytest.raises(InputError, match="wanted a sealed dataset"):
        retrieval.retrieve(ReportOptions(source=str(at_work.root)))


# two at the same time, and killed ones


def test_a_final_report_that_comes_meanwhile_is_not_replaced_by_a_provisional_one(at_work, quick, monkeypatch):
    draw = pictures.draw

    def final_comes_first(*arguments):
        monkeypatch.setattr(pictures, "draw", draw)
        with monkeypatch.context() as started:
            started.setenv(processes.SUPERVISOR, "1:1")
            aggregation.aggregate(at_work.root)
        draw(*arguments)

    monkeypatch.setattr(pictures, "draw", final_comes_first)
    assert not aggregation.aggregate(at_work.root)
    assert report_of(at_work)["status"] == "PARTIAL"
    check_report(at_work)
    assert not list(at_work.root.glob(".report*"))
    assert not aggregation.aggregate(at_work.root)  # one that begins now knows of it
    assert report_of(at_work)["status"] == "PROVISIONAL"


def test_a_provisional_report_that_comes_meanwhile_is_replaced_by_the_final_one(at_work, quick, monkeypatch):
    draw = pictures.draw

    def provisional_comes_first(*arguments):
        monkeypatch.setattr(pictures, "draw", draw)
        aggregation.provisional(at_work.root)
        draw(*arguments)

    monkeypatch.setattr(pictures, "draw", provisional_comes_first)
    monkeypatch.setenv(processes.SUPERVISOR, "1:1")
    assert not aggregation.aggregate(at_work.root)
    assert report_of(at_work)["status"] == "PARTIAL"
    check_report(at_work)


def test_of_many_at_once_one_is_there_whole(tmp_path):
    run = RunPaths(tmp_path)

    def publish(name):
        for _ in range(20):
            with publishing.elsewhere(run.report) as made:
                for index in range(5):
                    (made / f"table_{index}").write_text(name, encoding="utf-8")
                (made / "report.json").write_text("{}", encoding="utf-8")
                assert publishing.publish(made, run.report)

    threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(run.report / f"table_{index}").read_text(encoding="utf-8") for index in range(5)}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report"]


CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")  # what a process does to files


def killed(run, after, count):
    """Aggregate in a process that ends by SIGKILL after so many steps in the report's folders; whether it did.

    Args:
        count: a file that it writes the number of steps to, if it comes to its end.
    """
    child = os.fork()
    if not child:
        steps = 0

        def step(event, arguments):
            nonlocal steps
            if event in CHANGES and "report" in str(arguments[0]):
                steps += 1
                if steps == after:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(step)
        try:
            aggregation.aggregate(run.root)
            count.write_text(str(steps))
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def test_killed_anywhere_it_leaves_the_old_report_or_the_new_one_and_the_next_start_gives_the_same(
    run, quick, as_stage, tmp_path, monkeypatch
):
    last = run.fold(4).predictions.read_bytes()
    run.fold(4).predictions.unlink()
    aggregation.aggregate(run.root)
    old = files_of(run)
    shutil.copytree(run.report, tmp_path / "old")
    run.fold(4).predictions.write_bytes(last)
    assert not killed(run, 0, tmp_path / "steps")
    new, steps, left = files_of(run), int((tmp_path / "steps").read_text()), set()
    for after in [*range(1, steps, steps // 4), *range(steps - 36, steps + 1, 6)]:
        shutil.rmtree(run.report, ignore_errors=True)
        shutil.copytree(tmp_path / "old", run.report)
        assert killed(run, after, tmp_path / "steps")
        there = files_of(run)
        assert there in (old, new)
        left.add("old" if there == old else "new")
        aggregation.aggregate(run.root)
        assert files_of(run) == new
        assert not list(run.root.glob(".report*"))
    assert left == {"old", "new"}
