"""The kill matrix: whatever is killed, and whenever, the fold ends with the same weights, history and predictions."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

from cac_hpc.dataset import integrity, shards
from cac_hpc.run import digests
from cac_hpc.run.paths import RunPaths
from cac_hpc.train import checkpoint
from tests.support import bags
from tests.support.folds import EPOCHS, STEPS, TRAIN, alive, fold_run, results
from tests.support.runs import REPO, SUPPORT, job, pack, prepare
from tests.support.waiting import wait_for

POINTS = {"start": 1, "step": 8, "save": 6, "validate": 2, "test": 1, "publish": 1}
DONE = {"start": 0, "step": 7, "save": 6, "validate": 2 * STEPS, "test": EPOCHS * STEPS, "publish": EPOCHS * STEPS}
VICTIMS = ["0 SIGKILL", "1 SIGKILL", "agent SIGKILL", "supervisor SIGKILL", "supervisor SIGTERM", "0 SIGTERM",
           "1 SIGTERM", "file stop"]  # fmt: skip
QUICK = {("step", "1 SIGKILL"), ("publish", "supervisor SIGKILL")}
GONE = r"on \S+ died in .*: its process \d+ is gone"
KILLED = r"on \S+ died in .*: ended by {}, sent by the kernel when .*"
RAISED = r"on \S+: ValueError: an accident \(train_fold.py:\d+\)"
SILENT = r"on \S+ gave no sign of life for 1\d s"


def doomed_run(folder, scans, packed, ranks=2, train=TRAIN, model=None):
    return fold_run(folder, scans, packed, "doomed_fold.py", ranks, train, model=model)


def attempt(run, doom="", timeout_s=120):
    """Run fold 0 until everybody who took part is gone; returns the supervisor's exit code.

    All have to be gone within a bounded time after the supervisor, whoever was killed or stopped.
    """
    env = {**os.environ, "PYTHONPATH": str(REPO)} | ({"CAC_DOOM": doom} if doom else {})
    done = subprocess.run([sys.executable, SUPPORT / "supervise.py", run], env=env, timeout=timeout_s,
                          capture_output=True, text=True)  # fmt: skip
    wait_for(lambda: not alive(run), 45, f"the end of {alive(run)}")
    return done.returncode


def log(run):
    return (run / "slurm" / "folds-0.log").read_text(encoding="utf-8")


def reason(run):
    """Why fold 0 ended, as the status view says."""
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    shown = subprocess.run([sys.executable, REPO / "jobs" / "status.py", run, "--json"], env=env, capture_output=True,
                           text=True, timeout=60)  # fmt: skip
    state = next(s for s in json.loads(shown.stdout) if (s["stage"], s["task"]) == ("folds", 0))
    return state["state"], state["reason"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("point", "victim"),
    [
        pytest.param(point, victim, marks=[] if (point, victim) in QUICK else pytest.mark.drill)
        for point in POINTS
        for victim in VICTIMS
    ],
)
def test_a_fold_killed_anywhere_ends_with_the_same_result(tmp_path, scans, packed, undisturbed, point, victim):
    killed_once(doomed_run(tmp_path, scans, packed), undisturbed, point, victim)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("point", "victim"),
    [
        pytest.param(point, victim, marks=[] if (point, victim) == ("step", "1 SIGKILL") else pytest.mark.drill)
        for point in POINTS
        for victim in VICTIMS
    ],
)
def test_a_fold_of_lesions_killed_anywhere_ends_with_the_same_result(
    tmp_path, scans, bagged, undisturbed_lesions, point, victim
):
    run = doomed_run(tmp_path, scans, bagged, train=bags.LEARN, model=bags.MODEL)
    killed_once(run, undisturbed_lesions, point, victim)


def killed_once(run, undisturbed, point, victim):
    """Kill a fold at a point, and let it go on: nothing of that shows in its results."""
    code = attempt(run, f"{point} {POINTS[point]} {victim}")
    files = RunPaths(run).fold(0)
    finished = files.predictions.exists()  # what came too late: a request to stop, the death of an idle rank
    assert finished or code != 0
    assert not (finished and "SIGKILL" in victim and (victim, point) != ("1 SIGKILL", "publish"))
    assert not list(files.root.glob("stop"))
    saved = len(files.checkpoints())
    assert attempt(run) == 0
    assert results(run) == undisturbed
    resumed = re.findall(r"resumed after epoch (\d+), step (\d+)", log(run))
    if saved and not finished:
        epoch, step = map(int, resumed[-1])
        assert epoch * STEPS + step >= DONE[point] - 2  # one was decided on a step later, one is saved by half
    assert not list(files.root.rglob(".*.tmp")) or "SIGKILL" in victim


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("victim", "found"),
    [
        pytest.param("1 SIGSTOP", rf"rank 1 {SILENT}", marks=pytest.mark.drill),
        pytest.param("0 SIGSTOP", rf"rank 0 {SILENT}", marks=pytest.mark.drill),
        pytest.param("1 raise", rf"rank 1 {RAISED}", marks=pytest.mark.drill),
        pytest.param("0 raise", rf"rank 0 {RAISED}", marks=pytest.mark.drill),
        pytest.param("1 exit", rf"rank 1 {GONE}", marks=pytest.mark.drill),
        pytest.param("0 exit", rf"rank 0 {GONE}", marks=pytest.mark.drill),
        pytest.param("1 SIGKILL", f"rank 1 {KILLED.format('SIGKILL')}memory is used up", marks=pytest.mark.drill),
        pytest.param("0 SIGXCPU", f"rank 0 {KILLED.format('SIGXCPU')}CPU time", marks=pytest.mark.drill),
        pytest.param("1 SIGBUS", f"rank 1 {KILLED.format('SIGBUS')}/dev/shm", marks=pytest.mark.drill),
        pytest.param("1 SIGSEGV", f"rank 1 {KILLED.format('SIGSEGV')}compiled code", marks=pytest.mark.drill),
        pytest.param("agent SIGKILL", r"ended by SIGKILL, sent by the kernel", marks=pytest.mark.drill),
    ],
)
def test_a_rank_that_is_lost_ends_the_fold_soon_and_is_named(tmp_path, scans, packed, victim, found):
    run = doomed_run(tmp_path, scans, packed)
    started = time.monotonic()
    assert attempt(run, f"step {POINTS['step']} {victim}") == 1
    assert time.monotonic() - started < 75  # starting took some of it, giving up on a silent rank 15 s
    state, why = reason(run)
    assert state == "failed"
    assert re.match(found, why), why
    assert attempt(run) == 0


@pytest.mark.timeout(300)
@pytest.mark.drill
@pytest.mark.parametrize(("kind", "ranks"), [("slices", 3), ("lesions", 1), ("lesions", 4)])
def test_other_numbers_of_ranks_resume_exactly_too(tmp_path, scans, packed, bagged, kind, ranks):
    """With two, the order of a sum does not show."""
    results_of, of_lesions = [], kind == "lesions"
    for name, doom in (("alone", ""), ("killed", f"step 8 {int(ranks > 1)} SIGKILL")):
        (tmp_path / name).mkdir()
        train, model = (bags.LEARN, bags.MODEL) if of_lesions else (TRAIN, None)
        run = doomed_run(tmp_path / name, scans, bagged if of_lesions else packed, ranks, train, model)
        if doom:
            assert attempt(run, doom) == 1
        assert attempt(run) == 0
        results_of.append(results(run))
    assert results_of[0] == results_of[1]


@pytest.mark.drill
@pytest.mark.timeout(240)
def test_streamed_and_augmented_slices_resume_exactly_too(tmp_path, scans, packed):
    train = TRAIN | {"residency": "stream", "shuffle_window": 16, "augment": {"rotation_deg": 5.0, "noise_hu": 10.0}}
    results_of = []
    for name, doom in (("alone", ""), ("killed", "step 8 1 SIGKILL")):
        (tmp_path / name).mkdir()
        run = doomed_run(tmp_path / name, scans, packed, train=train)
        if doom:
            assert attempt(run, doom) == 1
        assert attempt(run) == 0
        results_of.append(results(run))
    assert "residency stream: " in log(run)
    assert results_of[0] == results_of[1]


@pytest.mark.timeout(1200)
@pytest.mark.drill
def test_a_dataset_of_four_times_the_memory_is_streamed_within_it_and_resumes_exactly(tmp_path, scans):
    """1.25 GiB are allowed, of which a rank takes one; the slices take 5 GiB."""
    size, per_study, allowed_gib = 512, 570, 1.25
    train = {"epochs": 1, "batch_size": 32, "checkpoint_minutes": 0.0}
    model, cluster = (
        {"filters": [1] * 7, "dense": 4},
        {"ranks_per_node": 1, "fold": {"time_min": 9, "mem_gb": allowed_gib}},
    )
    results_of = []
    for name, doom in (("alone", ""), ("killed", "step 100 0 SIGKILL")):
        (tmp_path / name).mkdir()
        run = prepare(tmp_path / name, scans, pack={"size": size}, train=train, model=model, cluster=cluster)
        pack(run)
        if not results_of:
            large = grow(RunPaths(run).dataset(None), size, per_study)
        else:
            shutil.rmtree(run / "dataset")
            (run / "dataset").symlink_to(large.root)
        assert sum(path.stat().st_size for path in large.root.rglob("*.h5")) >= 4 * allowed_gib * (1 << 30)
        shutil.copy(SUPPORT / "doomed_fold.py", run / "code" / "jobs" / "train_fold.py")
        if doom:
            assert attempt(run, doom, timeout_s=400) == 1
        assert attempt(run, timeout_s=400) == 0
        assert "GiB of slices and 1 x 1 GiB for ranks do not fit in 1.25 GiB (cluster.fold.mem_gb)" in log(run)
        results_of.append(results(run))
        speed = pd.read_csv(RunPaths(run).fold(0).speed)
        assert speed["peak_memory_mb"].max() < allowed_gib * 1074
    assert re.search(r"resumed after epoch 0, step (9[89]|100) ", log(run))
    assert results_of[0] == results_of[1]


def grow(dataset, size, per_study):
    """Replace a small dataset's shards by some of the same studies with many more slices of noise."""
    sealed = integrity.read_checked(dataset.seal)
    dice = np.random.default_rng(0)
    pool = dice.integers(-1000, 1000, (64, size, size), dtype=np.int16)
    for index, facts in enumerate(sealed["shards"]):
        path = dataset.shard(index)
        studies = shards.read_places(path)[0].study
        path.unlink()
        with shards.create(path, size) as writer:
            for study in dict.fromkeys(studies.tolist()):
                with writer.study(study) as keep:
                    for z in range(per_study):
                        keep(pool[dice.integers(64)], float(z))
            facts["rows"] = len(writer)
        facts["digest"] = digests.of_file(path)
    sealed["slices"] = sum(facts["rows"] for facts in sealed["shards"])
    integrity.write_checked(dataset.seal, sealed)
    return dataset


@pytest.mark.timeout(300)
@pytest.mark.drill
def test_any_number_of_ranks_takes_the_same_steps_and_evaluates_every_slice_once(tmp_path, packed, scans):
    """48 training slices in batches of 5: uneven shares, and the last batch of 3 leaves the fourth rank none."""
    losses, tables = [], []
    for ranks in (1, 2, 3, 4):
        (tmp_path / str(ranks)).mkdir()
        train = {"epochs": 1, "batch_size": 5, "checkpoint_minutes": 0.0}
        run = doomed_run(tmp_path / str(ranks), scans, packed, ranks, train)
        assert attempt(run, "validate 1 0 SIGKILL") == 1
        newest = RunPaths(run).fold(0).checkpoints()[-1]
        losses.append(checkpoint.load(newest)["losses"])
        assert attempt(run) == 0
        tables.append(pd.read_csv(RunPaths(run).fold(0).predictions, dtype={"study": str}))
    assert len(losses[0]) == 10
    for found, table in zip(losses[1:], tables[1:], strict=True):
        np.testing.assert_allclose(found, losses[0], rtol=1e-5)
        pd.testing.assert_frame_equal(table[["study", "slice", "label"]], tables[0][["study", "slice", "label"]])
        np.testing.assert_allclose(table.filter(regex=r"^p\d"), tables[0].filter(regex=r"^p\d"), atol=1e-5)


@pytest.mark.timeout(240)
@pytest.mark.drill
def test_going_on_with_other_ranks_or_data_is_refused_unless_asked_for_and_then_recorded(tmp_path, scans, packed):
    run = doomed_run(tmp_path, scans, packed)
    assert attempt(run, "step 8 1 SIGKILL") == 1
    config = run / "config.yaml"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("ranks_per_node: 2", "ranks_per_node: 1"), encoding="utf-8")
    assert attempt(run) == 1
    _, why = reason(run)
    assert re.search(
        r"was made with another \(found / wanted\) ranks: 2 / 1; .* --train.allow_inexact_resume true", why
    )
    launched = job("launch_cv.py", "--resume", run, "--train.allow_inexact_resume", "true", "--dry_run")
    assert launched.returncode == 0, launched.stderr
    assert attempt(run) == 0
    facts = json.loads(RunPaths(run).fold(0).metrics.read_text(encoding="utf-8"))
    assert [line.split(": ", 1)[1] for line in facts["inexact"]] == ["ranks: 2 / 1"]
