"""RUN/code, the run's own copy of the code: what runs in jobs, noticed when it is purged or edited."""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace

import pytest

from cac_hpc.cluster import circumstances, launch, sbatch_scripts
from cac_hpc.run import ledger, provenance
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import launch_command, stored_settings
from cac_hpc.settings.errors import InputError
from tests.support.runs import REPO, job, job_here, prepare, write_config

HERE = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
HERE["PYTHONPATH"] = str(REPO)
ODD = '2026-11-29T10:30:00 it\'s "a" $HOME `id` #1,b;c*?[d] ~e=&|<>(!){f} \N{LATIN SMALL LETTER U WITH DIAERESIS}'


@pytest.fixture
def run(prepared_run):
    return RunPaths(prepared_run)


def supervise(run, shard=0):
    """What SLURM starts to pack a shard, without SLURM."""
    command = ["bash", run.code / "slurm" / "task.sh", run.root, "pack", "--index", str(shard)]
    env = HERE | {"CAC_HPC_PYTHON": sys.executable}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)


def test_purged_code_ends_a_job_by_name_and_resume_puts_it_back(run):
    gone = [run.code / "cac_hpc" / "phantom" / "phantom.py", run.code / "jobs" / "aggregate.py"]
    was = [path.read_bytes() for path in gone]
    for path in gone:
        path.unlink()
    done = supervise(run)
    assert done.returncode == 2, done.stderr
    wanted = "cac_hpc/phantom/phantom.py, jobs/aggregate.py are missing"
    assert wanted in done.stderr
    last = ledger.read(run.ledger)[-1]
    assert (last["event"], last["stage"], last["task"], last["ok"]) == ("ended", "pack", 0, False)
    assert wanted in last["cause"].detail
    assert wanted in job_here("status.py", run.root).stdout
    resumed = job_here("launch_cv.py", "--resume", run.root, "--dry_run")
    assert resumed.returncode == 0, resumed.stderr
    assert "put back as they were: cac_hpc/phantom/phantom.py, jobs/aggregate.py (2 in all)" in resumed.stdout
    assert [path.read_bytes() for path in gone] == was
    assert provenance.incomplete(run) is None


@pytest.mark.parametrize("gone", ["cac_hpc/cluster/supervisor.py", "cac_hpc/cluster/preflight.py"])
def test_a_job_that_cannot_even_load_names_the_file(run, gone):
    (run.code / gone).unlink()
    done = supervise(run)
    assert done.returncode == 2
    assert f"{gone} is missing" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_code_of_another_version_is_not_put_back(run):
    told = json.loads(run.provenance.read_text(encoding="utf-8"))
    told |= {"git_commit": "0123abcd", "code_files": told["code_files"] | {"jobs/pack.py": "0" * 64}}
    run.provenance.write_text(json.dumps(told), encoding="utf-8")
    (run.code / "jobs" / "pack.py").unlink()
    resumed = job("launch_cv.py", "--resume", run.root)
    assert resumed.returncode == 2
    assert "jobs/pack.py is missing, and another version of jobs/pack.py runs here" in resumed.stderr
    assert "check out commit 0123abcd" in resumed.stderr
    assert len(resumed.stderr.splitlines()) == 1


def test_edited_code_runs_and_is_noted_once_wherever_somebody_looks(run):
    for name in ("cac_hpc/dataset/packing.py", "slurm/env.sh"):
        with (run.code / name).open("a", encoding="utf-8") as file:
            file.write("\n# mended\n")
    (run.code / "jobs" / "extra.py").write_text("", encoding="utf-8")
    wanted = "cac_hpc/dataset/packing.py, jobs/extra.py are not as copied"
    for index in range(2):
        done = supervise(run, index)
        assert done.returncode == 0, done.stderr
        assert wanted in done.stderr
    assert [line["file"] for line in ledger.lines(run.code_changes)] == ["cac_hpc/dataset/packing.py", "jobs/extra.py"]
    assert wanted in job_here("status.py", run.root).stdout
    assert wanted in job_here("launch_cv.py", "--resume", run.root, "--dry_run").stdout
    found = circumstances.collect(run, stored_settings.load(run.config)).provenance
    assert found["code_changed"] == "cac_hpc/dataset/packing.py, 1 added"
    assert "code_files" not in found


def test_what_python_leaves_beside_the_code_is_no_change(run):
    assert supervise(run).returncode == 0
    assert list(run.code.rglob("__pycache__"))
    assert provenance.note_changes(run) == []


def test_a_script_of_the_run_refuses_to_work_with_another_package(run):
    script = str(run.code / "jobs" / "pack.py")
    arguments = [script, "--run", str(run.root)]
    start = f"sys.argv = {arguments!r}; runpy.run_path({script!r}, run_name='__main__')"
    loaded_before = f"import cac_hpc, runpy, sys; {start}"
    done = subprocess.run([sys.executable, "-c", loaded_before], env=HERE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"runs with the package {REPO / 'cac_hpc'}, wanted {run.code / 'cac_hpc'}" in done.stderr


@pytest.mark.timeout(120)
def test_in_a_folder_with_odd_characters_the_runs_own_code_runs(tmp_path, scans):
    odd = tmp_path / ODD
    odd.mkdir()
    run = RunPaths(prepare(odd, scans))
    with (run.code / "cac_hpc" / "dataset" / "packing.py").open("a", encoding="utf-8") as file:
        file.write("\nPath(__file__).with_suffix('.ran').touch()\n")
    done = supervise(run)
    assert done.returncode == 0, done.stderr
    assert (run.code / "cac_hpc" / "dataset" / "packing.ran").exists()
    assert shlex.quote(str(run.root)) in job_here("launch_cv.py", "--resume", run.root, "--dry_run").stdout


@pytest.mark.parametrize(
    ("key", "character", "name"),
    [
        ("run", "\n", "'\\n' (U+000A)"),
        ("run", "\x1b", "'\\x1b' (U+001B)"),
        ("run", "\udcff", "'\\udcff' (U+DCFF)"),
        ("packed_dir", "\t", "'\\t' (U+0009)"),
        ("packed_dir", "\u2028", "'\\u2028' (LINE SEPARATOR)"),
    ],
)
def test_a_path_that_would_not_come_back_as_it_is_is_refused_by_character(tmp_path, scans, key, character, name):
    config = str(write_config(tmp_path / "settings.yaml", scans, tmp_path / "run"))
    cfg, options = launch_command.parse_launch(None, ["--config", config, "--dry_run"])
    odd = str(tmp_path / f"a{character}b")
    data = cfg.data if key == "run" else replace(cfg.data, packed_dir=odd)
    with pytest.raises(InputError) as refused:
        launch.launch(replace(cfg, run=odd if key == "run" else cfg.run, data=data), options, REPO)
    assert re.match(r"(data\.)?" + key + " is ", str(refused.value))
    assert f"with {name} in it" in str(refused.value)
    assert str(refused.value).isprintable()
    assert not (tmp_path / "run").exists()


def test_a_job_whose_code_is_gone_altogether_says_so(tmp_path):
    run = RunPaths(tmp_path / ODD)
    done = subprocess.run(["bash", "-c", sbatch_scripts.guard(run)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert f"error: {run.code}/slurm/task.sh is missing" in done.stderr
    assert done.stderr.endswith(f"python jobs/launch_cv.py --resume {shlex.quote(str(run.root))} puts it back\n")
    (run.code / "slurm").mkdir(parents=True)
    (run.code / "slurm" / "task.sh").touch()
    assert subprocess.run(["bash", "-c", sbatch_scripts.guard(run)], timeout=20).returncode == 0
