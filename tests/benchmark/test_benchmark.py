"""The benchmark measures what it says: the same work by everybody, the memory of all processes."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pydicom
import pytest
import torch

from cac_hpc.benchmark import costs, gpu_speed, lesion_speed, loaders, peers, scans, trials_efficiency, trials_speed
from cac_hpc.benchmark.targets import MEASUREMENTS
from cac_hpc.dataset import integrity, sealing, shards
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.train.distributed import World
from tests.support import bags
from tests.support.runs import REPO, job, prepare
from tests.support.trial_runs import trials_run

SLICES, MATRIX = 10, 64
COPIERS = ["copy only", "floor", "floor, two"]
PACKERS = sorted(set(peers.PROGRAMS) - {"read only", *COPIERS, "pydicom, rescaled"})


@pytest.fixture(scope="module")
def long_headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("long_headers")
    scans.write_studies(root, 2, SLICES, MATRIX)
    return root


def test_headers_are_as_long_as_a_scanners(long_headers):
    ds = pydicom.dcmread(long_headers / "001" / "IM0010.dcm")
    assert 130 <= len(ds) + len(ds.file_meta) <= 180
    assert sum(element.tag.is_private for element in ds) == 40
    assert ds.pixel_array.shape == (MATRIX, MATRIX)


@pytest.mark.parametrize("name", PACKERS)
def test_every_program_packs_the_same_hu(long_headers, tmp_path, name):
    if peers.version(name) is None:
        pytest.skip(f"{name} is not installed")
    stored = [pydicom.dcmread(path).pixel_array.astype(int) - 1024 for path in long_headers.rglob("*.dcm")]
    command = [sys.executable, "-m", "cac_hpc.benchmark.peers", name, str(long_headers), str(tmp_path)]
    subprocess.run(command, cwd=REPO, check=True, capture_output=True, timeout=120)
    assert peers.contents(tmp_path) == (2 * SLICES * MATRIX**2, sum(hu.sum() for hu in stored))


@pytest.mark.parametrize("name", COPIERS)
def test_what_copies_writes_all_that_it_reads(long_headers, tmp_path, name):
    command = [sys.executable, "-m", "cac_hpc.benchmark.peers", name, str(long_headers), str(tmp_path)]
    subprocess.run(command, cwd=REPO, check=True, capture_output=True, timeout=120)
    sizes = {study.name: sum(path.stat().st_size for path in study.iterdir()) for study in long_headers.iterdir()}
    assert {path.name: path.stat().st_size for path in tmp_path.iterdir()} == sizes


@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_everything_is_measured_beside_everybody(tmp_path):
    """Of the same commit, so that the ratios to an earlier one are there, too."""
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    options = ("--tiny", "--rounds", 1, "--against", "HEAD", "--out", tmp_path / "out")
    done = job("benchmark.py", "rows", *options, env=env, timeout_s=1700)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "out" / "rows.md").read_text()
    assert table.count("\n| ") == sum(len(one.goals) for one in MEASUREMENTS)
    missing = [name for name in peers.PROGRAMS if peers.version(name) is None]
    unknown = [name for name in re.findall(r"not measured: (.*) is not there", table) if name not in missing]
    assert not unknown
    assert "needs --against" not in table
    left = [path.name for path in tmp_path.iterdir() if not path.name.startswith("torchinductor_")]  # the user's
    assert left == ["out"]


def test_memory_is_that_of_all_processes(tmp_path):
    child = "import time; kept = bytearray(100 << 20); time.sleep(2)"
    parent = f"import subprocess, sys; kept = bytearray(100 << 20); subprocess.run([sys.executable, '-c', {child!r}])"
    threaded = f"import threading; one = threading.Thread(target=exec, args=[{parent!r}]); one.start(); one.join()"
    cost = costs.run([sys.executable, "-c", threaded], tmp_path / "log", {})
    assert 200 << 20 <= cost.peak_bytes <= 250 << 20
    assert cost.seconds >= 2 > cost.cpu_seconds


@pytest.mark.parametrize(("own", "wanted"), [(0, 100), (50, 200)])
def test_memory_that_forks_share_counts_once(tmp_path, own, wanted):
    program = (
        "import os, time\n"
        "kept = bytearray(100 << 20)\n"
        "for _ in range(2):\n"
        "    if not os.fork():\n"
        f"        own = bytearray({own} << 20)\n"
        "        time.sleep(1)\n"
        "        os._exit(0)\n"
        "os.wait()\n"
        "os.wait()"
    )
    cost = costs.run([sys.executable, "-c", program], tmp_path / "log", {})
    assert wanted << 20 <= cost.peak_bytes <= (wanted + 40) << 20


def test_memory_of_one_process_is_what_the_kernel_has_seen_at_most(tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "FIRST_LOOK_S", 0.5)
    monkeypatch.setattr(costs, "LOOK_S", 0.5)
    program = "import time; bytearray(100 << 20); print(open('/proc/self/status').read()); time.sleep(1)"
    cost = costs.run([sys.executable, "-c", program], tmp_path / "log", {})
    assert cost.peak_bytes >= 100 << 20
    told = int(re.findall(r"VmHWM:\s*(\d+) kB", (tmp_path / "log").read_text())[0]) << 10
    assert cost.peak_bytes == pytest.approx(told, rel=0.02)


def test_peaks_of_different_times_are_not_added_up(tmp_path):
    child = "import time; kept = bytearray(100 << 20); time.sleep(1)"
    parent = f"import subprocess, sys; bytearray(200 << 20); subprocess.run([sys.executable, '-c', {child!r}])"
    cost = costs.run([sys.executable, "-c", parent], tmp_path / "log", {})
    assert 200 << 20 <= cost.peak_bytes <= 250 << 20


def test_a_program_that_fails_is_told_with_its_words(tmp_path):
    with pytest.raises(RuntimeError, match="no such thing"):
        costs.run([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path / "log", {})


TINY = ("--device", "cpu", "--studies", 12, "--slices", 10, "--size", 32, "--seconds", 0.2, "--repeats", 1)


@pytest.mark.drill
@pytest.mark.timeout(240)
def test_training_is_measured_beside_others_and_beside_the_product(tmp_path, tmp_path_factory):
    cache = tmp_path_factory.mktemp("torch")  # which torch keeps for each user
    env = {**os.environ, "COLUMNS": "80", "TMPDIR": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(cache)}
    done = job("benchmark.py", "train", *TINY, env=env)
    assert done.returncode == 0, done.stderr
    names = [name for name in loaders.LOADERS if loaders.installed(name)]
    folds = ["fold, 1 rank", "fold, 2 ranks"][: len(os.sched_getaffinity(0))]
    rows = [line.split("  ")[1].strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [row for row in rows if row.strip("─ ")][-len(names + folds) :] == names + folds, done.stdout
    assert len(re.findall(r"^(yes|no )  ", done.stdout, re.M)) == 3
    assert not list(tmp_path.iterdir())  # nothing stays


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_lesions_are_measured_beside_slice_networks(tmp_path):
    env = {**os.environ, "COLUMNS": "80", "TMPDIR": str(tmp_path)}
    size = ("--studies", 12, "--repeats", 1, "--steps", 1, "--batch", 2)
    done = job("benchmark.py", "lesions", *size, env=env, timeout_s=800)
    assert done.returncode == 0, done.stderr
    rows = [line.split("  ")[1].strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert [row.partition(",")[0] for row in rows if row.strip("─ ")][-6:] == [
        "lesion model", "demo.yaml", "paper.yaml", "exams: heart", "exams: candidates", "exams: views"
    ]  # fmt: skip
    assert len(re.findall(r"^(yes|no )  ", done.stdout, re.M)) == 3
    assert not list(tmp_path.iterdir())  # nothing stays


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_workers_of_trials_are_busier_than_in_batches(tmp_path):
    env = {**os.environ, "COLUMNS": "80", "TMPDIR": str(tmp_path)}
    size = ("--studies", 12, "--trials", 1, "--whole", 0, "--lengths", 6)
    done = job("benchmark.py", "trials", *size, env=env, timeout_s=800)
    assert done.returncode == 0, done.stderr
    batches, free = map(int, re.search(r"in batches (\d+)%: (\d+)%", done.stdout).groups())
    assert batches < free
    assert max(map(len, done.stdout.splitlines())) <= 80
    left = [path for path in tmp_path.iterdir() if not path.name.startswith("torchinductor_")]  # the user's, for ever
    assert not left


def test_trials_of_a_batch_wait_for_all_of_the_batch_before():
    trials = [SimpleNamespace(number=number, final=number == 0, open=(0,)) for number in range(5)]
    server = SimpleNamespace(_trials=SimpleNamespace(trials=trials, look=lambda: None))
    trials_efficiency._in_batches(server)
    server._trials.look()
    assert [one.open for one in trials] == [(0,), (0,), (), (), ()]
    assert trials_efficiency.Efficiency(9.0, 5.0).share == pytest.approx(0.9)


def test_goals_of_lesions_are_told_from_medians_of_what_was_measured():
    times = {"heart": [0.4, 0.5, 0.6], "candidates": [0.1, 0.1, 0.6]}
    found = list(lesion_speed._goals(10.0, 1999.0, times))
    assert [value for _, value, _ in found] == ["10.0", "200", "0.60"]
    assert [met for _, _, met in found] == [True, False, True]


def test_epochs_of_trials_are_measured_apart_from_all_else(tmp_path, scans, bagged):
    run = trials_run(tmp_path, scans, bagged, {"configurations": [{}, {"model.hidden": [2]}]})
    before = time.perf_counter()
    found = trials_speed.one_fold(run.root)
    assert found["trials"] == 2
    assert 0 < found["epochs_s"] < time.perf_counter() - before
    assert run.trials(0).choice.exists()


def test_folds_of_lesions_are_measured_without_their_start(tmp_path, scans, bagged):
    run = prepare(tmp_path, scans, data={"packed_dir": str(bagged)}, model=bags.MODEL, train=bags.LEARN)
    sealing.seal(run)
    assert 0 < lesion_speed.folds(run)["seconds"] < 60
    assert all(RunPaths(run).fold(fold).scores.is_file() for fold in range(3))


@pytest.mark.drill
@pytest.mark.parametrize("name", [name for name in loaders.LOADERS if name != "compute only"])
def test_every_loader_hands_over_every_slice_once_and_whole(name, finished_run):
    if not loaders.installed(name):
        pytest.skip(f"{name} is not installed")
    run = RunPaths(finished_run)
    dataset = run.dataset(None)
    table = pd.read_csv(dataset.studies, dtype={"study": str})
    category = dict(zip(table["study"], table["category"], strict=True))
    world = World(0, 1, torch.device("cpu"))
    feed = loaders.LOADERS[name][0](loaders.Job(stored_settings.load(run.config), dataset, category, world))
    for epoch in (1, 2):
        found = {}
        for rows, hu_NHW in feed(epoch):
            assert hu_NHW.dtype == torch.int16
            found |= dict(zip(rows.tolist(), hu_NHW.sum(dim=(1, 2)).tolist(), strict=True))
        first = 0
        for index, shard in enumerate(integrity.read_checked(dataset.seal)["shards"]):
            images = np.empty((shard["rows"], 32, 32), np.int16)
            shards.read_shard(dataset.shard(index), images)
            assert [found[first + row] for row in range(len(images))] == images.sum(axis=(1, 2), dtype=int).tolist()
            first += len(images)
        assert len(found) == first


@pytest.mark.parametrize("syntax", peers.SYNTAXES)
def test_compressed_files_hold_the_same_pixels(long_headers, tmp_path, syntax):
    """As pydicom decodes them, and as dcm2niix does."""
    if syntax == "JPEG Lossless" and peers.version("SimpleITK") is None:
        pytest.skip("SimpleITK is not installed")
    shutil.copytree(long_headers / "001", tmp_path / "scans" / "001")
    before = pydicom.dcmread(long_headers / "001" / "IM0001.dcm")
    paths = sorted((tmp_path / "scans" / "001").iterdir())
    for path in paths:
        peers.compress(path, syntax)
    after = pydicom.dcmread(paths[0])
    assert after.file_meta.TransferSyntaxUID == peers.SYNTAXES[syntax]
    assert np.array_equal(after.pixel_array, before.pixel_array)
    assert after.SOPInstanceUID == before.SOPInstanceUID
    if peers.version("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed")
    hu = [pydicom.dcmread(path).pixel_array.astype(int) - 1024 for path in (long_headers / "001").iterdir()]
    (tmp_path / "out").mkdir()
    subprocess.run(peers.command("dcm2niix", tmp_path / "scans", tmp_path / "out"), check=True, capture_output=True)
    assert peers.contents(tmp_path / "out") == (SLICES * MATRIX**2, sum(one.sum() for one in hu))


@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_training_on_a_gpu_is_measured_part_by_part_as_far_as_the_time_goes(tmp_path):
    """On a CPU, where each part is the same but for the device."""
    env = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    options = ("--device", "cpu", "--tiny", "--minutes", 25, "--out", tmp_path)
    done = job("benchmark.py", "gpu", *options, env=env, timeout_s=1700)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [part.name for part in gpu_speed.PARTS] == [
        name for name in found if name not in ("tiny", "minutes", "began")
    ]
    assert not {name: said for name, said in found.items() if "failed" in str(said)}
    assert found["determinism"]["same_bytes"]
    assert found["resume"]["same_bytes"]
    assert found["resume"]["attempts"] == 2
    assert 0 <= found["waiting"]["stream"]["waiting"] < 1
    assert len(found["targets"]) == 5
    assert found["steps"]["32,4,fp32,eager,channels_last"]["share_of_matrix"] > 0


def test_a_part_that_no_longer_fits_into_the_time_is_named(tmp_path):
    done = job("benchmark.py", "gpu", "--device", "cpu", "--tiny", "--minutes", 0.001, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    *measured, last = gpu_speed.PARTS
    assert all("were left, it takes about" in found[part.name]["left_out"] for part in measured)
    assert set(found[last.name]) == {"seconds"}  # of no target is anything known


def test_targets_of_training_follow_from_what_was_measured(tmp_path):
    """A step of 32 slices in 8 ms, of which the convolutions alone take 2 and 3 ms."""
    found = {
        "steps": {"256,32,bf16,eager,channels_last": {"slices_per_s": 4000.0}},
        "layers": {"256,32": [{"seconds": 0.002}, {"seconds": 0.003}]},
        "waiting": {"device": {"slices_per_s": 3000.0}},
        "packed": {"left_out": "no time"},
        "whole": {"all_s": 50.0},
    }
    said = gpu_speed.targets(gpu_speed.Bench(gpu_speed.Asked(), tmp_path, REPO, 0.0, found))
    assert list(said.values()) == pytest.approx([0.75, 0.625, 50.0])
