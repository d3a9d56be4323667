"""The user's environment: one list says what reaches SLURM's commands, jobs and tasks; everything else is shut out."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cac_hpc.cluster import ownership, sbatch_scripts, slurm_commands
from cac_hpc.machine import environment, processes
from cac_hpc.run import ledger, stages
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.train import distributed
from tests.support.drills import DEV, events, log, pace, submit, wait_for_end
from tests.support.folds import fold_run, results
from tests.support.runs import REPO, SUPPORT, job
from tests.support.standins import TOKEN, bare_run, queued
from tests.support.waiting import wait_for

NO_CARD = "nocard0"
MISLEADING = {  # Python, torchrun and the ranks
    "PET_NNODES": "2", "PET_MAX_RESTARTS": "3", "PET_MASTER_ADDR": "203.0.113.1", "TORCHELASTIC_RUN_ID": "other",
    "TORCHELASTIC_ERROR_FILE": "/nowhere/error", "RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "7",
    "MASTER_ADDR": "203.0.113.1", "MASTER_PORT": "1", "GROUP_RANK": "1", "LOGLEVEL": "none",
    "PYTHON_EXEC": "/bin/false",
    "PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error", "PYTHONINSPECT": "1",
}  # fmt: skip
OF_A_USER = {  # what a shell on a login node may hold besides
    "GLOO_SOCKET_IFNAME": NO_CARD, "NCCL_SOCKET_IFNAME": NO_CARD, "OMP_NUM_THREADS": "1000",
    "OMP_PROC_BIND": "nonsense",
    "KMP_AFFINITY": "nonsense", "MPLBACKEND": "nonsense", "TORCH_LOGS": "nonsense", "LD_PRELOAD": "",
    "FAVOURITE": "tea",
}  # fmt: skip
OF_SLURM = {
    "SLURM_CLUSTERS": "other", "SLURM_TIME_FORMAT": "relative", "SLURM_JOB_ID": "99", "SLURM_DEBUG": "3",
    "SCANCEL_STATE": "PENDING", "SCANCEL_USER": "nobody", "SCANCEL_NAME": "other", "SCANCEL_INTERACTIVE": "1",
    "SQUEUE_FORMAT": "%P", "SQUEUE_STATES": "SUSPENDED", "SQUEUE_PARTITION": "urgent", "SACCT_FORMAT": "user",
    "SINFO_FORMAT": "%P", "SCONTROL_ALL": "1", "SBATCH_PARTITION": "urgent", "SBATCH_EXPORT": "NONE",
    "SBATCH_PROPAGATE": "ALL", "SRUN_DEBUG": "9", "SALLOC_ACCOUNT": "nobody", "PMI_RANK": "5",
    "SLURM_CPU_BIND": "none,foo",
    "SLURM_KILL_BAD_EXIT": "1", "SLURM_EXPORT_ENV": "NONE", "SLURM_NETWORK": "ib", "SBATCH_NETWORK": "ib",
}  # fmt: skip
HOSTILE = MISLEADING | OF_A_USER | OF_SLURM
NEEDED = {"SLURM_CONF": "/etc/other/slurm.conf", "SLURM_JWT": "a.b.c", "SLURM_SACK_SOCKET": "/run/sack",
          "SLURM_CONF_SERVER": "head:6817"}  # fmt: skip
KEPT = {"MODULEPATH": "/modules", "LOADEDMODULES": "cuda/12", "LC_TIME": "C",
        "BASH_FUNC_module%%": "() { echo module; }",
        "VIRTUAL_ENV": "/venv", "CONDA_PREFIX": "/conda", "KRB5CCNAME": "FILE:/x", "SCRATCH": "/scratch",
        "LD_LIBRARY_PATH": "/lib", "CUDA_HOME": "/cuda", "TZ": "UTC"}  # fmt: skip
JOB_S = 120
OWNER = ownership.Owner(Path("/run"), TOKEN, frozenset({os.getuid()}))


def variables(text):
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """Every command of SLURM's as a stand-in that writes down its environment; returns what each had."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sbatch", "squeue", "scancel", "scontrol", "sacct", "sinfo", "srun"):
        answer = queued("RUNNING", job="7") if tool == "squeue" else ""
        script = f'#!/bin/sh\ncat /proc/$$/environ > "{tmp_path}/{tool}.env"\nprintf "%s" "{answer}"\n'
        (folder / tool).write_text(script, encoding="utf-8")
        (folder / tool).chmod(0o755)
    for name, value in (HOSTILE | NEEDED | KEPT).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return lambda tool: variables((tmp_path / f"{tool}.env").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("tool", "call"),
    [
        ("squeue", lambda: slurm_commands.ask(["squeue"])),
        ("sinfo", lambda: slurm_commands.ask(["sinfo"])),
        ("sacct", lambda: slurm_commands.Sacct().find(["7"], lambda *of: True)),
        ("scontrol", lambda: slurm_commands.state("7")),
        ("scontrol", lambda: slurm_commands.requeue("7", OWNER)),
        ("scontrol", lambda: slurm_commands.exclude("7", ["n1"], OWNER)),
        ("scancel", lambda: slurm_commands.cancel(["7"], OWNER)),
        ("scancel", lambda: slurm_commands.send_signal("7", "USR2", OWNER)),
        ("sbatch", lambda: slurm_commands.test_only(Path("x.sbatch"))),
    ],
)
def test_every_command_of_slurm_gets_what_it_needs_and_nothing_that_changes_its_answer(recorded, tool, call):
    call()
    found = recorded(tool)
    assert not set(found) & set(HOSTILE)
    assert {name: found[name] for name in NEEDED | KEPT} == NEEDED | KEPT
    assert found["LC_ALL"] == "C"


def test_what_is_submitted_takes_along_the_list_alone_and_the_launcher_keeps_its_own(recorded, monkeypatch):
    monkeypatch.delenv("LC_ALL", raising=False)
    before = dict(os.environ)
    assert slurm_commands.submit(Path("x.sbatch"))[0]
    assert dict(os.environ) == before
    found = recorded("sbatch")
    assert not set(found) & {*HOSTILE, "LC_ALL"}
    assert {name: found[name] for name in NEEDED | KEPT} == NEEDED | KEPT


def test_a_job_drops_the_proof_of_who_submitted_it_and_the_limits_of_the_login_node(recorded, tmp_path, scans, packed):
    """Source: slurm.schedmd.com/jwt.html: srun does not work with a token in its environment; seen on 22.05.8."""
    run = RunPaths(fold_run(tmp_path, scans, packed, "paced_fold.py", setup=["export SITE=here"]))
    cfg = stored_settings.load(run.config)
    tasks = stages.tasks_of(cfg, run, "folds")
    script = sbatch_scripts.write_script(run, cfg, tasks[0].stage, tasks).read_text(encoding="utf-8")
    assert "#SBATCH --propagate=NONE\n" in script
    dropped = "unset SLURM_JWT SLURM_SACK_SOCKET SLURM_SACK_KEY SLURM_SACK_JWKS\n"
    assert script.index(dropped) < script.index("export SITE=here") < script.index("\nsrun ")


def test_a_task_on_this_machine_gets_the_list_and_its_gpus_but_nothing_of_slurm(recorded, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    monkeypatch.setenv("TMPDIR", "/tmp")
    found = environment.for_tasks_here()
    assert not set(found) & {*HOSTILE, *NEEDED}
    assert (found["CUDA_VISIBLE_DEVICES"], found["TMPDIR"]) == ("1,3", "/tmp")
    assert "CUDA_VISIBLE_DEVICES" not in environment.for_slurm(), "of a login node"


def test_a_task_never_gets_what_misleads_torchrun_and_python_but_all_else_that_env_sh_sets():
    sites = {
        "NCCL_SOCKET_IFNAME": "ib0",
        "SLURM_JOB_ID": "7",
        "PYTHONPATH": "/site",
        "PYTHONNOUSERSITE": "1",
        "ANY": "x",
    }
    assert environment.for_task(MISLEADING | sites) == sites


@pytest.mark.parametrize(
    ("what", "gone", "stay"),
    [
        ("job", MISLEADING | OF_A_USER | {"SLURM_JWT": "a.b.c", "SLURM_CPU_BIND": "none", "a.b": "1"},
         KEPT | {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "1", "SLURM_CONF": "/c", "CUDA_VISIBLE_DEVICES": "0"}),
        ("task", MISLEADING, OF_A_USER | {"SLURM_JOB_ID": "7", "PYTHONPATH": "/site", "a.b": "two\nlines"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shell", [{}, {"POSIXLY_CORRECT": "1"}])
def test_the_shell_has_the_same_list(tmp_path, what, gone, stay, shell):
    done = subprocess.run(["bash", REPO / "slurm" / "clean.sh", what, "env", "-0"], capture_output=True, text=True,
                          env={"PATH": os.environ["PATH"], **shell, **gone, **stay}, check=True)  # fmt: skip
    found = variables(done.stdout)
    assert not set(found) & set(gone)
    assert found.pop("BASH_FUNC_module%%", "").split()[:3] in ([], ["()", "{", "echo"])  # as bash writes it
    assert {name: found.get(name) for name in stay if "%" not in name} == {
        name: value for name, value in stay.items() if "%" not in name
    }


def test_a_step_of_a_job_within_a_job_is_not_refused_for_two_kinds_of_memory(slurm):
    inner = f"exec bash {REPO}/slurm/clean.sh job srun printenv SLURM_JOB_ID"
    outside = slurm.env | {"SLURM_MEM_PER_CPU": "100", "SLURM_EXPORT_ENV": "NONE", "SLURM_CPU_BIND": "none,foo"}
    done = subprocess.run(
        ["sbatch", "--wait", "--parsable", "--mem=500M", "--output=%j.out", f"--wrap={inner}"], env=outside,
        cwd=slurm.folder, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    number = done.stdout.strip()
    assert (slurm.folder / f"{number}.out").read_text(encoding="utf-8").strip() == number


@pytest.mark.parametrize(
    ("variable", "value", "fits"),
    [
        ("GLOO_SOCKET_IFNAME", "eth0", True),
        ("GLOO_SOCKET_IFNAME", "eth0,ib0", True),
        ("GLOO_SOCKET_IFNAME", "eth", False),
        ("GLOO_SOCKET_IFNAME", "eth0,nocard0", False),
        ("NCCL_SOCKET_IFNAME", "eth", True),
        ("NCCL_SOCKET_IFNAME", "nocard,ib", True),
        ("NCCL_SOCKET_IFNAME", "nocard", False),
        ("NCCL_SOCKET_IFNAME", "=ib0", True),
        ("NCCL_SOCKET_IFNAME", "=ib", False),
        ("NCCL_SOCKET_IFNAME", "ib0:5000", True),
        ("NCCL_SOCKET_IFNAME", "^docker,lo", True),
        ("NCCL_SOCKET_IFNAME", "^=eth0", True),
        ("NCCL_SOCKET_IFNAME", "^lo,eth,ib", False),
        ("NCCL_SOCKET_IFNAME", "", True),
    ],
)
def test_a_network_card_that_a_node_lacks_is_named(variable, value, fits):
    found = environment.missing_card({variable: value}, cards=["lo", "eth0", "ib0"])
    assert (found is None) == fits
    assert fits or (f"{variable} is {value}, " in found and "has eth0, ib0, lo" in found)


def test_the_cards_of_this_machine_are_known():
    cards = [name for _, name in socket.if_nameindex()]
    assert environment.missing_card({"GLOO_SOCKET_IFNAME": cards[0]}) is None
    assert cards[0] in environment.missing_card({"GLOO_SOCKET_IFNAME": NO_CARD})


@pytest.mark.parametrize("number", [n for n in signal.Signals if n not in (signal.SIGSTOP, signal.SIGCONT)])
def test_a_signal_that_ended_a_process_is_named(number):
    assert re.match(rf"ended by {number.name}(, sent |$)", processes.how_it_ended(-number))


@pytest.mark.parametrize(
    ("failures", "rank"),
    [
        ([(1, -9, 0)], 1),
        ([(0, 1, 0), (1, -11, 0)], 1),  # both seen at once: rank 0 has only noticed it
        ([(0, 1, 0), (1, -9, 1)], 1),
        ([(0, 1, 0), (1, -15, 3)], None),  # by torchrun, when rank 0 had failed
        ([(0, 1, 0), (1, -9, 30)], None),  # the same, after its patience
        ([(0, -9, 0), (1, -15, 0)], 0),
        ([(1, -15, 0), (0, 1, 4)], 1),
        ([(0, 75, 0), (1, 1, 0)], None),
        ([], None),
    ],
)
def test_a_rank_that_torchrun_ended_itself_is_not_the_cause(failures, rank):
    found = distributed.killed([distributed.Failure(rank, 100 + rank, code, seen_s) for rank, code, seen_s in failures])
    assert (found.rank if found else None) == rank


def test_what_is_no_known_signal_is_still_a_sentence():
    assert processes.how_it_ended(-40) == "ended by signal 40"
    assert processes.how_it_ended(3) == "ended with exit code 3"


@pytest.mark.timeout(400)
def test_a_fold_on_this_machine_is_trained_the_same_whatever_the_shell_holds(tmp_path, scans, packed, undisturbed):
    run = fold_run(tmp_path, scans, packed, "paced_fold.py")
    hostile = hostile_to("the launcher")
    done = subprocess.run([sys.executable, SUPPORT / "supervise.py", run], capture_output=True, text=True,
                          env={**os.environ, **hostile, "PYTHONPATH": str(REPO)}, timeout=200)  # fmt: skip
    assert done.returncode == 0, done.stderr + (run / "slurm" / "folds-0.log").read_text(encoding="utf-8")
    assert results(run) == undisturbed


def seen(run, job_id):
    """The environment and the limits of a task of this run, as the run's env.sh has written them down."""
    found = run.parent / f"seen.{job_id}"
    wait_for(found.exists, JOB_S, f"a task of job {job_id}: {log(run)}")
    return variables(found.read_text(encoding="utf-8")), (run.parent / f"limits.{job_id}").read_text().split()


def hostile_to(whom):
    """All of it, but what keeps the command itself from starting."""
    own = ("PYTHON",) if whom == "the launcher" else ("SBATCH_", "SLURM_CLUSTERS", "SLURM_DEBUG")
    return {name: value for name, value in HOSTILE.items() if not name.startswith(own)}


WRITE_DOWN = """\
place=$(dirname "$(dirname "$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")")")
(ulimit -t; ulimit -v; ulimit -n; ulimit -c) > "$place/limits.$SLURM_JOB_ID"
env -0 > "$place/seen.new"; mv "$place/seen.new" "$place/seen.$SLURM_JOB_ID"
"""
LIMITS = "ulimit -St 1000; ulimit -Sv 30000000; ulimit -Sn 300; ulimit -Sc 7"


@pytest.mark.timeout(500)
@pytest.mark.parametrize("by", ["the launcher", "hand"])
def test_whatever_the_shell_holds_a_job_gets_the_list_and_the_nodes_limits_and_ends_well(slurm, run, undisturbed, by):
    pace(run, 0, WRITE_DOWN)
    if by == "the launcher":
        command = [sys.executable, REPO / "jobs" / "launch_cv.py", "--resume", run, "--cluster", DEV]
    else:
        options = ["--parsable", "--array=0", "--mem=1500M", f"--chdir={run.parent}"]
        command = ["sbatch", *options, REPO / "slurm" / "train_folds.sbatch", run]
    hostile = hostile_to(by)
    shell = ["bash", "-c", f'{LIMITS}; exec "$@"', "sh", *map(str, command)]
    done = subprocess.run(shell, env=slurm.env | hostile, capture_output=True, text=True, timeout=JOB_S)
    assert done.returncode == 0, done.stdout + done.stderr
    array = re.search(r"submitted folds +job (\d+)", done.stdout)[1] if by == "the launcher" else done.stdout.strip()
    assert wait_for_end(slurm, f"{array}_0", 2 * JOB_S) == {f"{array}_0": "COMPLETED"}, log(run)
    assert results(run) == undisturbed
    job("cancel.py", run, env=slurm.env)
    number = slurm.run("sacct", "-X", "-n", "-P", "-o", "jobidraw", "-j", f"{array}_0").strip()
    found, limits = seen(run, number)
    assert not (set(found) & set(HOSTILE)) - {"SLURM_JOB_ID", "SRUN_DEBUG"}, "which SLURM sets"
    assert found["SLURM_JOB_ID"] == number
    assert (limits[0], limits[1]) == ("unlimited", "unlimited")
    assert (limits[2], limits[3]) != ("300", "7")


def test_cancel_takes_the_jobs_out_of_the_queue_whatever_the_shell_holds(slurm, run):
    later = ("--cluster.sbatch", '{"begin": "now+1hour"}')
    launched = job(
        "launch_cv.py", "--resume", run, "--cluster", DEV, *later, env=slurm.env | hostile_to("the launcher")
    )
    assert launched.returncode == 0, launched.stderr
    jobs = dict(re.findall(r"submitted (\w+) +job (\d+)", launched.stdout))
    cancelled = job("cancel.py", run, env=slurm.env | hostile_to("the launcher"))
    assert cancelled.returncode == 0, cancelled.stderr
    listed = slurm.run("squeue", "--noheader", "--format=%F").split()
    assert len(jobs) == 2
    assert not set(jobs.values()) & set(listed)


@pytest.mark.timeout(200)
def test_a_fold_whose_network_card_is_not_there_says_so_before_training_and_blames_no_node(slurm, run):
    pace(run, 0, f"export GLOO_SOCKET_IFNAME={NO_CARD}")
    task = submit(slurm, run)
    assert wait_for_end(slurm, task) == {task: "FAILED"}
    (end,) = events(run, "ended")
    what = rf"node n\d: GLOO_SOCKET_IFNAME is {NO_CARD}, but there is no such network card: this node has .*lo"
    assert re.match(what, str(end["cause"]))
    assert not events(run, "started")
    assert not RunPaths(run).excluded.exists()


@pytest.mark.parametrize(("told", "last"), [({"resumable": True, "reason": "saved"}, "saved"), (None, "SIGTERM")])
def test_a_rank_that_is_asked_again_while_it_leaves_after_its_save_was_not_killed(tmp_path, monkeypatch, told, last):
    run = bare_run(tmp_path / "run")

    def torchrun(_):
        if told:
            ledger.record(run.ledger, "folds", 0, "ended", ok=False, **told)
        return [distributed.Failure(0, 1, -signal.SIGTERM, 0.0)]

    monkeypatch.setattr(distributed, "torchrun", torchrun)
    assert distributed.start_ranks(run.root, 0, "--standalone") == 1
    end = ledger.read(run.ledger)[-1]
    assert last in str(end["cause"])
    assert bool(end.get("resumable")) == bool(told)
