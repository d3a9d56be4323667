"""Programs whose cost is known are measured as what they are, in turns; the tables say so and nothing else."""

import itertools
import json
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from cac_hpc.benchmark import circumstances, costs, inputs, judging, pages, rows, turns
from cac_hpc.benchmark.judging import Goal, Term
from cac_hpc.benchmark.turns import Measurement, Program, Site
from cac_hpc.settings.errors import InputError
from tests.support.runs import REPO, job

BURN = "import sys, time\nwhile time.process_time() < float(sys.argv[1]): pass"
HIDDEN = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}, sys.argv[1]], check=True)"


def burner(name, seconds, code=BURN):
    """A program that takes so much processor time, whatever else the machine does."""
    return Program(name=name, prepare=lambda out, size: [sys.executable, "-c", code, str(seconds)], code=REPO)


def measurement(programs, *goals, **more):
    return Measurement(name="burn", what="Burn", programs=lambda site, sizes: programs, goals=goals, **more)


def burnt(against, limit):
    term = Term(against, "cpu_seconds")
    return Goal(what=f"once against {against}", of=term, against=Term("once", "cpu_seconds"), limit=limit)


@pytest.fixture(scope="module")
def burning(tmp_path_factory):
    """One that burns 0.1 s, one that burns twice as much, and one whose child does; with limits on both sides of 2."""
    programs = [burner("once", 0.1), burner("twice", 0.2), burner("twice, in a child", 0.2, HIDDEN)]
    goals = [burnt("twice", 1.8), burnt("twice", 2.3), burnt("twice, in a child", 1.8)]
    what = measurement(programs, *goals, needs=("dcm2niix",))
    folder = tmp_path_factory.mktemp("burning")
    site = Site(folder=folder, shared=folder, codes={"now": REPO})
    return what, site, turns.measure(what, site, 5)


def test_processor_time_of_a_whole_process_tree_is_measured_as_what_it_is(burning):
    what, _, measured = burning
    assert len(measured.rounds) == 5
    less, more, child = (judging.judge(goal, measured.rounds, measured.sizes) for goal in what.goals)
    assert less.bounds.median == pytest.approx(2.0, rel=0.05)
    assert (less.verdict, more.verdict, child.verdict) == ("not reached", "reached", "not reached")
    assert less.of.median == pytest.approx(0.2, rel=0.1)
    assert child.bounds.low >= 2.0


def test_tables_say_what_was_found_on_what_and_of_which_commit(burning, tmp_path):
    what, site, measured = burning
    judged = [judging.judge(goal, measured.rounds, measured.sizes) for goal in what.goals]
    moments = (circumstances.now(site.codes), circumstances.now(site.codes))
    pages.write(tmp_path, what, measured, judged, moments, tiny=False)
    pages.write_all(tmp_path, ["burn", "another"])
    text, found = (tmp_path / "burn.md").read_text(), json.loads((tmp_path / "burn.json").read_text())
    assert text.count("| not reached |") == 2
    assert "| once against twice | 0.2" in text
    assert "| once against twice |" in (tmp_path / "rows.md").read_text()
    assert "commit " in text
    assert f"{len(os.sched_getaffinity(0))} cores" in text
    assert "5 rounds after a warm-up" in text
    assert "nan" not in text.lower()
    assert len(found["rounds"]) == 5
    assert found["goals"][0]["bounds"]["confidence"] == 1 - 2 / 32
    node = platform.node()
    assert not node or node not in text + json.dumps(found)


def test_peers_that_are_not_installed_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("cac_hpc.benchmark.peers.version", lambda name: None)
    what = measurement([burner("once", 0.0)], burnt("dcm2niix", 1.0), needs=("dcm2niix",))
    measured = turns.measure(what, Site(folder=tmp_path, shared=tmp_path, codes={"now": REPO}), 1)
    assert measured.missing == ("dcm2niix",)
    judged = [judging.judge(goal, measured.rounds, measured.sizes) for goal in what.goals]
    moment = circumstances.now({"now": REPO})
    pages.write(tmp_path, what, measured, judged, (moment, moment), tiny=True)
    text = (tmp_path / "burn.md").read_text()
    assert "Not installed, so not measured: dcm2niix." in text
    assert "| not measured: dcm2niix is not there |" in text


@pytest.mark.parametrize("count", [2, 3, 5])
def test_everybody_is_as_often_before_another_as_behind_him(count):
    everybody = [(burner(str(number), 0), 1) for number in range(count)]
    orders = [[one.name for one, _ in turns.in_turn(everybody, number)] for number in range(2 * count)]
    before = Counter(pair for order in orders for pair in itertools.combinations(order, 2))
    assert set(before.values()) == {count}
    assert set(Counter(order[0] for order in orders).values()) == {2}


def test_a_number_in_files_that_a_program_wrote_is_measured(tmp_path):
    write = "import sys; open(sys.argv[1], 'w').write('4.5')"
    program = Program(
        name="once", prepare=lambda out, size: [sys.executable, "-c", write, f"{out}/told"], code=REPO,
        tell=lambda out: float((out / "told").read_text()),
    )  # fmt: skip
    measured = turns.measure(measurement([program]), Site(folder=tmp_path, shared=tmp_path, codes={"now": REPO}), 1)
    assert measured.rounds[0]["once", 1].told == 4.5


def test_what_python_compiles_is_kept_after_the_warm_up_whatever_the_shell_says(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (tmp_path / "imported.py").write_text("")
    program = Program(name="once", prepare=lambda out, size: [sys.executable, "-c", "import imported"], code=tmp_path)
    turns.measure(measurement([program]), Site(folder=tmp_path, shared=tmp_path, codes={"now": tmp_path}), 1)
    assert list(tmp_path.glob("__pycache__/imported.*.pyc"))


def test_the_gap_between_folds_is_from_the_last_file_of_one_to_the_first_of_the_next(tmp_path):
    for fold, (start, end) in enumerate([(100.0, 110.0), (112.0, 120.0), (123.0, 130.0)]):
        folder = tmp_path / "folds" / f"fold-{fold}" / "attempts"
        folder.mkdir(parents=True)
        for path, at in ((folder / "1.json", start), (folder.parent / "predictions.csv", end)):
            path.touch()
            os.utime(path, (at, at))
    assert inputs.gap_s(tmp_path) == 2.5


def test_an_earlier_commit_is_measured_from_a_checkout_that_goes(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    for text in ("before", "now"):
        (tmp_path / "code").write_text(text)
        subprocess.run([*git, "add", "code"], check=True)
        subprocess.run([*git, "commit", "-qm", text], check=True)
    with turns.checkout(tmp_path, "HEAD~1") as codes:
        assert [(code / "code").read_text() for code in codes.values()] == ["now", "before"]
        assert inputs.commit(codes["before"]) != inputs.commit(codes["now"])
    assert not codes["before"].exists()
    (tmp_path / "code").write_text("else")
    assert inputs.commit(tmp_path).endswith(", changed since")
    with (
        pytest.raises(InputError, match=r"--against nothing: .*; wanted a commit"),
        turns.checkout(tmp_path, "nothing"),
    ):
        pass


def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    child = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    parent = (
        "import subprocess, sys\n"
        f"subprocess.run([sys.executable, '-c', {child!r}, {str(tmp_path / 'started')!r}], start_new_session=True)"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        costs.run([sys.executable, "-c", parent], tmp_path / "log", {}, timeout_s=4)
    assert not Path(f"/proc/{(tmp_path / 'started').read_text()}/exe").exists()


def test_a_program_that_fails_keeps_no_other_measurement_from_being_made(tmp_path, monkeypatch):
    broken = Program(name="once", prepare=lambda out, size: [sys.executable, "-c", "raise SystemExit(3)"], code=REPO)
    two = [measurement([broken]), measurement([burner("once", 0.0)], burnt("once", 1.0))]
    monkeypatch.setattr(rows, "MEASUREMENTS", two)
    monkeypatch.setattr(rows, "NAMES", ("burn",))
    with pytest.raises(RuntimeError, match="not measured, as a program failed: burn"):
        rows.measure(rows.Asked(rounds=1, out=str(tmp_path / "out")), REPO)
    assert (tmp_path / "out" / "burn.md").exists()


def test_the_job_measures_what_is_asked_and_writes_it(tmp_path):
    started = time.monotonic()
    done = job("benchmark.py", "rows", "--tiny", "--rounds", 1, "--only", "help", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "| now |" in done.stdout
    assert "Tiny input: this shows that it runs, and nothing else." in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["help.json", "help.md", "rows.md"]
    found = json.loads((tmp_path / "out" / "help.json").read_text())
    assert 0 < found["rounds"][0][0]["seconds"] < time.monotonic() - started


def test_what_cannot_be_measured_is_refused():
    done = job("benchmark.py", "rows", "--rounds", 0)
    assert (done.returncode, done.stderr) == (2, "error: --rounds is 0, but must be 1 or more\n")
