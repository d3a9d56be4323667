"""Looks at test figures: counted in the ledger of the run, known to runs that are made later, said by their reports."""

import errno
import os
import shutil
import subprocess
import sys

import pytest

from cac_hpc.cluster import launch
from cac_hpc.evaluation import inputs
from cac_hpc.report import aggregation, pictures
from cac_hpc.results.audits import ShownBefore
from cac_hpc.run import disk, ledger, looks, task_states
from cac_hpc.run.looks import Looks
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import composition, launch_command, stored_settings
from tests.support.reports import make_run
from tests.support.runs import REPO, job_here, write_config

PREDICTED = {(f"{number:03d}", number % 6): [number % 6, (number + 1) % 6] for number in range(12)}


def of_looks(root):
    return [event["how"] for event in ledger.read(RunPaths(root).ledger) if event["event"] == "shown"]


def make(folder, scans, name, **sections):
    """A run folder as a launcher makes it; nothing is run."""
    write_config(folder / f"{name}.yaml", scans, folder / name, **sections)
    cfg, options = launch_command.parse_launch(None, ["--config", str(folder / f"{name}.yaml"), "--dry_run"])
    assert launch.launch(cfg, options, REPO) == 0
    return folder / name


def before(root):
    return looks.read_before(RunPaths(root))


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A run with its report, and a ledger; read-only."""
    run = make_run(tmp_path_factory.mktemp("reported"), PREDICTED, num_folds=3, report={"draws": 200})
    ledger.record(run.ledger, "aggregate", None, "planned", result="report/report.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "draw", lambda *of: None)  # half of a report's time
        assert aggregation.aggregate(run.root)
    return run.root


@pytest.fixture
def ours(reported, tmp_path):
    return shutil.copytree(reported, tmp_path / "a")


def test_each_look_is_one_event_and_changes_no_state(ours, tmp_path):
    stood = task_states.survey(RunPaths(ours))
    assert job_here("report.py", ours).returncode == 0
    assert job_here("report.py", ours, "--out", tmp_path / "out").returncode == 0
    other = shutil.copytree(ours, tmp_path / "b")
    assert job_here("report.py", other, ours).returncode == 0
    assert of_looks(ours) == ["terminal", "archive", "comparison"]
    assert of_looks(other) == ["terminal", "archive", "comparison"]
    assert task_states.survey(RunPaths(ours)) == stood
    assert job_here("status.py", ours).returncode == 0
    assert len(of_looks(ours)) == 3  # where a run stands holds no test figures


def test_a_report_that_nobody_reads_to_its_end_was_looked_at(ours):
    """As with a pager that is left, or head."""
    command = [sys.executable, str(REPO / "jobs" / "report.py"), str(ours)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ}) as shown:
        shown.stdout.close()
    assert of_looks(ours) == ["terminal"]


def test_what_cannot_be_shown_is_no_look(ours, tmp_path):
    RunPaths(ours).report_json.write_text("no JSON", encoding="utf-8")
    assert job_here("report.py", ours).returncode == 2
    assert of_looks(ours) == []


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_a_ledger_that_cannot_be_written_stops_nobody_and_is_said(kind, ours, tmp_path):
    kept = RunPaths(ours).ledger.rename(tmp_path / "elsewhere")
    was = kept.read_bytes()
    if kind == "link":
        RunPaths(ours).ledger.symlink_to(kept)
        done = job_here("report.py", ours)
        assert done.returncode == 0
        assert done.stderr.count("this look at test figures is not counted (") == 1
    else:  # a run without a ledger has nowhere to count
        assert job_here("report.py", ours).returncode == 0
    assert kept.read_bytes() == was


def test_a_run_of_somebody_else_is_shown_and_not_counted(ours, monkeypatch):
    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(disk, "open_own", refuse)  # root, who runs tests, may write everything
    done = job_here("report.py", ours)
    assert done.returncode == 0
    assert "is not counted (Permission denied)" in done.stderr


def test_a_new_run_knows_the_looks_at_runs_of_the_same_patients_beside_it(scans, tmp_path, capsys):
    first = make(tmp_path, scans, "first")
    assert before(first) == []
    assert "had been shown" not in capsys.readouterr().out
    for _ in range(2):
        looks.note(first, "terminal")
    second = make(tmp_path, scans, "second", model={"dense": 64})
    assert "note: the test figures of these patients had been shown 2 times (run first) before this con" in (
        " ".join(capsys.readouterr().out.split())
    )
    make(tmp_path, scans, "second", model={"dense": 64})
    assert "shown 2 times (run first) before" in " ".join(capsys.readouterr().out.split())  # whenever it is looked at
    looks.note(second, "page")
    third = make(tmp_path, scans, "third")
    assert [(one.run, one.times) for one in before(third)] == [("first", 2), ("second", 1)]
    assert before(first) == []  # what was set up before is not changed by a look


def test_the_configuration_is_set_when_the_run_is_made_not_when_it_goes_on(scans, tmp_path):
    own = make(tmp_path, scans, "own")
    looks.note(own, "terminal")
    other = make(tmp_path, scans, "other", report={"title": "first"})
    looks.note(other, "terminal")
    cfg, options = launch_command.parse_launch(
        None, ["--resume", str(own), "--dry_run", "--report.title", "other words"]
    )
    assert launch.launch(cfg, options, REPO) == 0
    assert before(own) == []


def test_looks_outlive_the_run_that_they_were_at_and_a_copy_counts_once(scans, tmp_path):
    first = make(tmp_path, scans, "first")
    looks.note(first, "terminal")
    make(tmp_path, scans, "second")
    shutil.rmtree(first)
    third = make(tmp_path, scans, "third")
    assert [(one.run, one.times) for one in before(third)] == [("first", 1)]
    looks.note(third, "terminal")
    shutil.copytree(third, tmp_path / "third_kept")
    assert [(one.run, one.times) for one in before(make(tmp_path, scans, "fourth"))] == [("first", 1), ("third", 1)]


def test_other_patients_are_others_and_runs_that_the_settings_name_count_wherever_they_are(scans, tmp_path):
    (tmp_path / "away").mkdir()
    (tmp_path / "copied").mkdir()
    other_scans = shutil.copytree(scans, tmp_path / "scans")
    stranger, named = make(tmp_path, other_scans, "stranger"), make(tmp_path / "away", scans, "named")
    packed = make(tmp_path, other_scans, "packed", data={"packed_dir": str(tmp_path / "dataset")})
    for root in (stranger, named, packed):
        looks.note(root, "terminal")
    assert before(make(tmp_path, scans, "plain")) == []
    RunPaths(named).report.mkdir()
    RunPaths(named).report_json.write_text("{}", encoding="utf-8")
    assert [one.run for one in before(make(tmp_path, scans, "compared", report={"compare": str(named)}))] == ["named"]
    for root in (tmp_path / "dataset", tmp_path / "sealed"):
        root.mkdir(exist_ok=True)
        disk.write_json(root / "dataset.json", {"studies_sha256": "5" * 64})
    cfg = stored_settings.load(RunPaths(make(tmp_path, scans, "last")).config)
    sealed = composition.changed(cfg, {"data.packed_dir": str(tmp_path / "sealed")})
    assert [one.run for one in looks.find_before(RunPaths(tmp_path / "new"), sealed)] == ["named", "packed"]


def test_what_is_damaged_beside_a_run_is_passed_over(scans, tmp_path):
    for name, content in (
        ("text", "nothing"),
        ("list", "[1]"),
        ("data", "data: 3"),
        ("folder", "data: {dicom_root: 4}"),
    ):
        broken = RunPaths(tmp_path / name)
        broken.root.mkdir()
        broken.config.write_text(content, encoding="utf-8")
        ledger.record(broken.ledger, "aggregate", None, "shown", how="terminal")
        broken.provenance.write_text(f'{{"shown_before": {[3]}}}', encoding="utf-8")
    assert before(make(tmp_path, scans, "new")) == []


@pytest.mark.parametrize("kept", ["3", '{"run": "a"}', '[{"run": "/home/x/a", "run_id": "1", "times": 2}]',
                                  '[{"run": "a", "run_id": "1", "times": 0}]'])  # fmt: skip
def test_what_is_no_list_of_looks_is_none(kept, tmp_path):
    (tmp_path / "provenance.json").write_text(f'{{"shown_before": {kept}}}', encoding="utf-8")
    assert before(tmp_path) == []


def test_the_report_says_how_often_and_of_which_runs_or_nothing(ours, reported, tmp_path, monkeypatch):
    run = RunPaths(ours)
    monkeypatch.setattr(pictures, "draw", lambda *of: None)
    assert inputs.load(run).shown_before is None
    assert "shown_before" not in disk.read_json(run.report_json)
    assert "Not a first look" not in (run.report / "report.md").read_text(encoding="utf-8")
    seen = [Looks("a", "1", 2), Looks("=b|<img>", "2", 1)]
    disk.write_json(run.provenance, {"version": "0.1.0", **looks.to_json(seen)})
    assert inputs.load(run).shown_before == ShownBefore(3, ["a", "=b|<img>"])
    assert aggregation.aggregate(ours)
    content = disk.read_json(run.report_json)
    assert content["shown_before"] == {"times": 3, "runs": ["a", "=b|<img>"]}
    text = (run.report / "report.md").read_text(encoding="utf-8")
    assert r"had been shown 3 times (runs a, =b\|\<img\>) before this configuration was set.**" in text
    page = (run.report / "report.html").read_text(encoding="utf-8")
    assert (
        "Not a first look: the test figures of these patients had been shown 3 times (runs a, =b|&lt;img&gt;)" in page
    )
    shown = " ".join(job_here("report.py", ours).stdout.split())
    assert "Not a first look: the test figures of these patients had been shown 3 times (runs a, =b|<img>)" in shown
    other = shutil.copytree(reported, tmp_path / "other")
    compared = " ".join(job_here("report.py", other, ours).stdout.split())
    assert "shown 3 times (runs a, =b|<img>) before the configuration of a was set." in compared


def test_many_runs_are_counted_and_some_are_named():
    names = [f"r{number}" for number in range(8)]
    assert looks.told(9, names).endswith(
        "shown 9 times (runs r0, r1, r2, r3, r4, 3 more) before this configuration was set"
    )
    assert looks.told(1, ["r0"]).endswith("shown once (run r0) before this configuration was set")
