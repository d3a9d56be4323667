"""The launcher on this machine: a whole run, bad input, going on after a failure."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cac_hpc.cluster import launch
from cac_hpc.run import ledger, lock, task_states
from cac_hpc.run.exit_codes import exit_code
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import launch_command, stored_settings
from tests.support.poison import edit, slices_of
from tests.support.runs import NUM_SLICES, REPO, job, prepare, write_config, write_scans
from tests.support.waiting import fastest, wait_for


def launch_here(arguments, capsys):
    """The launcher in this process; returns exit code and what it said."""

    def main():
        cfg, options = launch_command.parse_launch(None, [*map(str, arguments)])
        return launch.launch(cfg, options, REPO)

    code = exit_code(main)
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.timeout(300)
def test_a_run_on_this_machine_ends_with_a_complete_report(finished_run):
    run = RunPaths(finished_run)
    found = json.loads((run.report / "report.json").read_text(encoding="utf-8"))
    assert found["status"] == "COMPLETE"
    slices = [(fold["fold"], fold["n"]) for fold in found["levels"]["slice"]["folds"]]
    assert slices == [(index, 6 * NUM_SLICES) for index in range(3)]
    tested = set()
    for index in range(3):
        rows = run.fold(index).predictions.read_text(encoding="utf-8").splitlines()[1:]
        tested |= {tuple(row.split(",")[:2]) for row in rows}
    assert len(tested) == 18 * NUM_SLICES  # every packed slice once
    assert found["levels"]["patient"]["pooled"]["n"] == 18
    assert {fold["ranks"] for fold in found["training"]} == {2}


def test_a_dry_run_says_what_decided_between_the_series_of_the_first_studies(tmp_path, scans, capsys):
    shutil.copytree(scans, tmp_path / "scans")
    first, second = sorted(path for path in (tmp_path / "scans").iterdir() if path.is_dir())[:2]
    for path in slices_of(first):
        shutil.copy(path, first / f"again-{path.name}")
        edit(first / f"again-{path.name}", SeriesInstanceUID="1.2.3", ContrastBolusAgent="Iodine")
    for path in slices_of(second):
        edit(path, RescaleType="HU_MOD")
    config = write_config(tmp_path / "settings.yaml", tmp_path / "scans", tmp_path / "run")
    code, output = launch_here(["--config", config, "--dry_run"], capsys)
    assert code == 0
    assert f"study '{first.name}': {NUM_SLICES} slices taken; left out:\n" in output
    assert f"  {NUM_SLICES} files, contrast_agent: ContrastBolusAgent says so\n" in output
    assert f"study '{second.name}': no slices taken; left out:\n  {NUM_SLICES} files, not_hu: " in output
    assert "looked at: headers of 18 of 18 studies" in output


def test_a_run_folder_holds_what_the_contract_lists(finished_run):
    for name in ("config.yaml", "provenance.json", "ledger.jsonl", "code/jobs/train_fold.py", "dataset/dataset.json",
                 "dataset/studies.csv", "dataset/rejected.csv", "dataset/shards/shard-00001.h5", "splits.json",
                 "folds/fold-2/history.csv", "folds/fold-2/metrics.json", "report/report.md",
                 "report/tables/confusion_slice.csv", "report/figures/confusion_patient.png",
                 "report/figures/history.svg"):  # fmt: skip
        assert (finished_run / name).is_file(), name
    assert not list(finished_run.rglob("*.tmp"))
    provenance = json.loads((finished_run / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["packages"]["torch"]


def test_the_report_names_no_folder_of_this_machine(finished_run, scans):
    for path in (finished_run / "report").rglob("*"):
        if path.is_file():
            assert str(scans).encode() not in path.read_bytes(), path


@pytest.mark.timed
def test_status_answers_in_half_a_second_from_the_run_folder(finished_run):
    seconds, (shown, *_) = fastest(lambda: job("status.py", finished_run))
    assert shown.returncode == 0
    assert seconds < 0.5
    assert re.search(r"folds +2 +done", shown.stdout)
    states = json.loads(job("status.py", finished_run, "--json").stdout)
    assert [(state["stage"], state["task"], state["state"]) for state in states] == [
        ("pack", 0, "done"), ("pack", 1, "done"), ("seal", None, "done"), ("folds", 0, "done"), ("folds", 1, "done"),
        ("folds", 2, "done"), ("aggregate", None, "done")]  # fmt: skip


@pytest.mark.timeout(300)
def test_the_same_launch_again_does_nothing_and_resume_trains_only_what_is_missing(finished_run, scans, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    again = job("launch_cv.py", "--resume", run)
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"the report: {run / 'report' / 'report.html'}\n" in again.stdout
    assert "submitted" not in again.stdout
    whole = (run / "folds" / "fold-1" / "predictions.csv").read_bytes()
    untouched = (run / "folds" / "fold-0" / "predictions.csv").stat().st_mtime_ns
    shutil.rmtree(run / "folds" / "fold-1")
    resumed = job("launch_cv.py", "--resume", run)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert (run / "folds" / "fold-1" / "predictions.csv").read_bytes() == whole
    assert (run / "folds" / "fold-0" / "predictions.csv").stat().st_mtime_ns == untouched


@pytest.mark.timeout(300)
def test_a_fold_that_fails_is_named_with_its_log_and_the_others_are_reported(tmp_path, scans):
    run = prepare(tmp_path, scans, train={"epochs": 1})
    (run / "folds").mkdir()
    (run / "folds" / "fold-1").write_text("in the way of the fold's folder", encoding="utf-8")
    done = job("launch_cv.py", "--resume", run)
    assert done.returncode == 1
    assert "without a valid result: folds 1, aggregate" in done.stdout
    assert "folds 1 failed; the end of" in done.stderr
    found = json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))
    assert (found["status"], [fold["fold"] for fold in found["missing_folds"]]) == ("PARTIAL", [1])
    assert "fold-1" in found["missing_folds"][0]["reason"]
    assert job("status.py", run).returncode == 1


def change(scans, what):
    """Break a copy of the cohort."""
    sheet = scans / "labels.csv"
    if what == "no root":
        shutil.rmtree(scans)
        scans.parent.mkdir(exist_ok=True)
    elif what == "empty root":
        for folder in scans.iterdir():
            shutil.rmtree(folder) if folder.is_dir() else None
    elif what == "no columns":
        sheet.write_text("number,points\n", encoding="utf-8")
    elif what == "no label":
        sheet.write_text(sheet.read_text(encoding="utf-8").replace("007,", "700,"), encoding="utf-8")
    elif what == "no study":
        shutil.rmtree(scans / "009")
    elif what == "no number":
        sheet.write_text(sheet.read_text(encoding="utf-8").replace("005,2000", "005,n/a"), encoding="utf-8")


@pytest.mark.parametrize(
    "case",
    [
        ("no root", "there is no such folder"),
        ("empty root", "has no folder in it"),
        ("no columns", "found columns 'number', 'points', wanted also 'study', 'score'"),
        ("no label", "2 faults; wanted one valid row for each folder", "study '007': no row", "A9 '700': no folder"),
        ("no study", "1 fault; wanted one valid row for each folder", "A11 '009': no folder"),
        (
            "no number",
            "1 fault; wanted one valid row",
            "study '005': B7 is 'n/a', wanted a number such as 12.5, or >1000",
        ),
    ],
)
def test_bad_input_is_one_line_per_fault_and_leaves_nothing_behind(tmp_path, scans, capsys, case):
    what, *said = case
    copy = tmp_path / "copy" / "scans"
    shutil.copytree(scans, copy)
    change(copy, what)
    config = write_config(tmp_path / "settings.yaml", copy, tmp_path / "runs" / "run")
    code, output = launch_here(["--config", config], capsys)
    assert code == 2
    assert len(output.splitlines()) == len(said)
    for line, expected in zip(output.splitlines(), said, strict=True):
        assert expected in line
    assert not (tmp_path / "runs").exists()


def test_fewer_patients_than_folds_is_refused_before_anything_is_written(tmp_path, capsys):
    small = write_scans(tmp_path / "scans", num_studies=4)
    config = write_config(tmp_path / "settings.yaml", small, tmp_path / "run", split={"folds": 5})
    code, output = launch_here(["--config", config], capsys)
    assert (code, (tmp_path / "run").exists()) == (2, False)
    assert "the labels name only 4 patients" in output


def test_a_run_folder_with_another_run_is_refused_with_the_difference(tmp_path, scans, capsys):
    run = prepare(tmp_path, scans)
    before = (run / "config.yaml").read_bytes()
    capsys.readouterr()
    config = write_config(tmp_path / "settings.yaml", scans, run)
    code, output = launch_here(["--config", config, "--train.epochs", 9, "--dry_run"], capsys)
    assert code == 2
    assert "holds another run (found / wanted: train.epochs: 4 / 9)" in output
    assert f"for a new run: the same command with --run {run}_2 (" in output
    assert (run / "config.yaml").read_bytes() == before
    many = [f"--train.{name}" for name in ("epochs", "batch_size", "plateau_patience", "seed", "learning_rate")]
    options = [word for name in many for word in (name, 9)]
    code, output = launch_here(["--config", config, *options, "--model.dense", 9, "--dry_run"], capsys)
    assert "; and 1 more);" in output


def test_the_command_for_a_new_run_that_is_printed_works(tmp_path, scans, capsys):
    (tmp_path / "a b").mkdir()
    run = prepare(tmp_path / "a b", scans)
    changes = ["--train.epochs", "9", "--report.title", "Nine epochs"]
    code, output = launch_here(["--resume", run, *changes], capsys)
    (command,) = re.findall(r"for a new run: (python .*?)(?: \(nothing was started.*)?$", output, re.M)
    assert shlex.split(command)[2:] == ["--config", f"{run}/config.yaml", "--run", f"{run}_2", *changes]
    code, output = launch_here(["--resume", run, *changes, "--run", tmp_path / "other"], capsys)
    assert code == 2
    command = output.rpartition("for a new run with its settings: ")[2]
    code, output = launch_here([*shlex.split(command)[2:], "--dry_run"], capsys)
    assert code == 0, output
    assert stored_settings.load(tmp_path / "other" / "config.yaml").train.epochs == 9


@pytest.mark.parametrize("place", ["file/run", "/proc/nowhere/run"])
def test_a_run_folder_that_cannot_be_written_is_refused(tmp_path, scans, capsys, place):
    (tmp_path / "file").write_text("a file", encoding="utf-8")
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / place)
    code, output = launch_here(["--config", config, "--dry_run"], capsys)
    assert code == 2
    assert "error: cannot write the run folder" in output.splitlines()[-1]


def test_a_packed_dir_that_cannot_be_written_leaves_no_run_folder(tmp_path, scans, capsys):
    (tmp_path / "file").write_text("a file", encoding="utf-8")
    packed = {"packed_dir": str(tmp_path / "file" / "packed")}
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", data=packed)
    assert launch_here(["--config", config, "--dry_run"], capsys)[0] == 2
    assert [path.name for path in tmp_path.iterdir()] in (["file", "settings.yaml"], ["settings.yaml", "file"])


def test_a_run_that_somebody_works_on_is_left_alone(tmp_path, scans, capsys):
    run = prepare(tmp_path, scans)
    before = (run / "config.yaml").read_bytes()
    with lock.exclusive(RunPaths(run).lock):
        code, output = launch_here(["--resume", run, "--cluster.ranks_per_node", 1], capsys)
    assert code == 2
    assert re.search(
        rf"another launcher \(process {os.getpid()} of \w+ on \S+\), or what it left running, works", output
    )
    assert (run / "config.yaml").read_bytes() == before


def test_a_task_whose_process_is_gone_is_not_called_running(tmp_path, scans):
    run = prepare(tmp_path, scans)
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    facts = ledger.whereabouts() | {"pid": child.pid, "job": None}
    ledger.record(run / "ledger.jsonl", "pack", 0, "started", **facts)
    shown = job("status.py", run)
    assert re.search(r"pack +0 +gone", shown.stdout)
    assert shown.returncode == 1


def test_a_report_that_is_being_made_again_is_not_called_done(tmp_path, scans):
    run = prepare(tmp_path, scans)
    (run / "report").mkdir()
    (run / "report" / "report.json").write_text('{"status": "PARTIAL"}', encoding="utf-8")
    ledger.record(run / "ledger.jsonl", "aggregate", None, "ended", ok=False, reason="PARTIAL report")
    ledger.record(run / "ledger.jsonl", "aggregate", None, "submitted", job="17")
    assert task_states.survey(RunPaths(run))[-1].state == "submitted"


def test_a_percent_sign_in_the_run_folder_is_refused_for_slurm(tmp_path, scans, capsys, monkeypatch):
    monkeypatch.setattr("cac_hpc.cluster.slurm_commands.unavailable", lambda: None)
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "70%", cluster={"kind": "slurm"})
    code, output = launch_here(["--config", config], capsys)
    assert code == 2
    assert "SLURM gives % a meaning of its own" in output


def test_brackets_in_names_are_shown_as_they_are(tmp_path, scans):
    run = prepare(tmp_path, scans)
    odd = tmp_path / "[bold] run [" / "x]"
    odd.parent.mkdir()
    run.rename(odd)
    shown = job("status.py", odd)
    assert shown.returncode == 0
    assert "[bold] run [/x]" in shown.stdout.replace("\n", "")


def test_a_folder_with_other_files_is_not_taken_for_a_run(tmp_path, scans, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work", encoding="utf-8")
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run")
    code, output = launch_here(["--config", config, "--dry_run"], capsys)
    assert code == 2
    assert "holds other files" in output
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_cluster_that_is_not_there_is_refused(tmp_path, scans, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", cluster={"kind": "slurm"})
    code, output = launch_here(["--config", config], capsys)
    assert code == 2
    assert "cluster.kind is slurm: there is no sbatch on this machine" in output


def test_without_slurm_auto_runs_here_and_says_why(tmp_path, scans, capsys, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", cluster={"kind": "auto"})
    code, output = launch_here(["--config", config, "--dry_run"], capsys)
    assert code == 0
    assert "cluster: local, there is no sbatch on this machine" in output


def test_gpus_that_are_not_there_are_refused(tmp_path, scans, capsys, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", train={"device": "cuda"})
    code, output = launch_here(["--config", config], capsys)
    assert code == 2
    assert "a fold has 2 ranks, but this machine shows 1 GPU;" in output


@pytest.mark.timed
def test_a_dry_run_takes_three_seconds_and_never_imports_torch(tmp_path, scans):
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run")
    command = [sys.executable, "-X", "importtime", REPO / "jobs" / "launch_cv.py", "--config", config, "--dry_run"]
    seconds, answers = fastest(lambda: subprocess.run(command, capture_output=True, text=True, timeout=60))
    for done in answers:
        assert done.returncode == 0
        assert "torch" not in {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
        assert "nothing was submitted" in done.stdout
    assert seconds < 3


@pytest.mark.timeout(120)
def test_the_demos_cohort_can_be_packed_with_the_demos_settings(tmp_path):
    """As the Makefile makes it, with fewer studies."""
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"jobs/make_phantom.py (.*?)\n(?!\t)", makefile, re.S)[1]
    options = (
        recipe.replace("\\\n", " ")
        .replace("$(DEMO)", str(tmp_path / "demo"))
        .replace("--studies 68", "--studies 12")
        .split()
    )
    assert job("make_phantom.py", *options).returncode == 0
    config = re.search(r"--config (configs/\S+)", makefile)[1]
    demo = ("--config", REPO / config, "--cluster.kind", "local", "--run", tmp_path / "run")
    scans = ("--data.dicom_root", tmp_path / "demo", "--labels.sheet", tmp_path / "demo" / "labels.csv")
    prepared = job("launch_cv.py", *demo, *scans, "--split.folds", 2, "--dry_run")
    assert prepared.returncode == 0, prepared.stderr
    packed = job("pack.py", "--run", tmp_path / "run")
    assert packed.returncode == 0, packed.stderr
    assert re.search(r"studies used +12", packed.stdout)


def test_a_half_written_ledger_line_is_left_out(tmp_path):
    path = tmp_path / "ledger.jsonl"
    ledger.record(path, "pack", 0, "started")
    with path.open("ab") as file:
        file.write(b'{"stage": "pa')
    assert [event["event"] for event in ledger.read(path)] == ["started"]


def test_a_launcher_that_is_stopped_takes_its_children_along(tmp_path, scans):
    run = prepare(tmp_path, scans, train={"epochs": 1000})
    launcher = subprocess.Popen([sys.executable, REPO / "jobs" / "launch_cv.py", "--resume", run],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_for(RunPaths(run).fold(0).history.exists, 90, "the first epoch")
        launcher.terminate()
        assert launcher.wait(timeout=60) == 143
        assert RunPaths(run).fold(0).checkpoints()  # its fold was asked, and saved
    finally:
        launcher.kill()
        launcher.wait()
    assert not [path for path in Path("/proc").glob("[0-9]*") if str(run).encode() in command_line(path)]


def command_line(process):
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.timeout(120)
def test_of_two_launchers_of_one_new_run_one_makes_it_and_the_other_says_so(tmp_path, scans):
    """Started together again and again, until they meet where the folder gets its name."""
    met = "another launcher has made this run meanwhile; run this again"
    said = ""
    for number in range(8):
        run = tmp_path / f"run-{number}"
        config = write_config(tmp_path / "settings.yaml", scans, run)
        command = [sys.executable, REPO / "jobs" / "launch_cv.py", "--config", config, "--dry_run"]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        ends = [(child.communicate(timeout=100)[1], child.returncode) for child in both]
        assert 0 in [code for _, code in ends], ends
        assert (run / "config.yaml").is_file()
        assert not list(tmp_path.glob(".*.tmp"))
        said = "".join(stderr for stderr, _ in ends)
        if met in said:
            break
        assert said == ""
    assert said == f"error: {run}: {met}\n"


def test_a_report_that_finds_no_room_names_its_folder_and_what_to_do(tmp_path, finished_run):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", disk], capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    try:
        run = shutil.copytree(finished_run, disk / "run", ignore=shutil.ignore_patterns("code"))
        before = digests(run / "report")
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 64 * 1024))
        done = job("aggregate.py", "--run", run)
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert re.match(rf"error: {run}/\S+: No space left on device; make room there", last)
        assert "Traceback" not in done.stderr
        assert digests(run / "report") == before
        assert not list(run.glob(".report*"))
    finally:
        subprocess.run(["umount", disk], check=True)


def digests(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_to_compare_with_must_have_a_report(tmp_path, capsys):
    scans = write_scans(tmp_path / "scans")
    (tmp_path / "other").mkdir()
    report = {"compare": str(tmp_path / "other")}
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", report=report)
    code, said = launch_here(["--config", config, "--dry_run"], capsys)
    assert code == 2
    assert f"report.compare is {tmp_path / 'other'}, which has no report/report.json" in said
