"""Pack and seal: real series, studies that break their reader, kills, full disks, reuse."""

import contextlib
import csv
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pydicom
import pytest

from cac_hpc.dataset import kept_plan, packing, plan, sealing
from cac_hpc.machine.workers import Worker
from cac_hpc.run import digests
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from tests.support import risky_studies
from tests.support.runs import NUM_SLICES, REPO, SUPPORT, job, job_here, pack, prepare, write_scans
from tests.support.slurm import unavailable
from tests.support.waiting import wait_for


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def start_packer(run, *arguments):
    """jobs/pack.py as a process group of its own."""
    command = [sys.executable, REPO / "jobs" / "pack.py", "--run", run, *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def alive(group):
    """Processes of a group, those left out that are dead and not asked about."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            state, _, of, *_ = path.read_text(encoding="utf-8").rpartition(")")[2].split()
            found += [path.parent.name] if int(of) == group and state != "Z" else []
    return found


def content(run):
    """Digest of every file of the dataset that has its final name."""
    files = [path for path in (run / "dataset").rglob("*") if path.is_file() and path.suffix != ".tmp"]
    return {path.relative_to(run).as_posix(): digests.file_sha256(path) for path in files}


def names(run):
    return {path.name for path in (run / "dataset" / "shards").glob("*")}


def leftovers(run):
    """Unfinished shards; what is left of a small file, once in a thousand kills, is in nobody's way."""
    return [name for name in names(run) if ".h5." in name]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, scans):
    """What nobody disturbed has packed."""
    run = prepare(tmp_path_factory.mktemp("undisturbed"), scans)
    pack(run)
    return content(run)


@pytest.fixture(scope="module")
def long_run(tmp_path_factory, scans):
    """A run of six larger shards before it is packed, and what packing makes of it."""
    prepared = prepare(tmp_path_factory.mktemp("long"), scans, pack={"size": 256, "studies_per_shard": 3})
    run = shutil.copytree(prepared, prepared.with_name("packed"))
    pack(run)
    return prepared, content(run)


@pytest.fixture
def small_disk(tmp_path):
    """16 MB of their own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if done.returncode:
        unavailable(f"no small disk for this test: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_real_series_pack_beside_others_in_ascending_z_with_their_hu(tmp_path, shared_data):
    scans = write_scans(tmp_path / "scans", num_studies=6)
    shutil.copytree(shared_data / "qrm_phantom" / "study_001", scans / "qrm")
    shutil.copytree(shared_data / "philips_cd" / "S21570", scans / "philips")
    with (scans / "labels.csv").open("a", encoding="utf-8") as sheet:
        sheet.write("qrm,957.8\nphilips,0\n")
    run = prepare(tmp_path, scans, pack={"size": 512, "studies_per_shard": 100}, split={"folds": 2})
    pack(run)
    studies = {row["study"]: row for row in rows(run / "dataset" / "studies.csv")}
    assert (studies["qrm"]["slices"], studies["qrm"]["category"]) == ("47", "4")
    assert (studies["philips"]["slices"], studies["philips"]["slice_spacing_mm"]) == ("28", "5.0")
    with h5py.File(run / "dataset" / "shards" / "shard-00000.h5") as shard:
        study = shard["study"].asstr()[:]
        for name, lowest in (("qrm", -1024), ("philips", -1024)):
            mine = study == name
            assert shard["images"][mine].min() == lowest
            assert (np.diff(shard["position_mm"][mine]) > 0).all()
            assert shard["slice"][mine].tolist() == list(range(int(studies[name]["slices"])))
        assert shard.attrs["units"] == "HU"
    reasons = [row["reason"] for row in rows(run / "dataset" / "rejected.csv") if row["study"] == "philips"]
    assert sorted(reasons) == ["localizer"] + 10 * ["not_ct_image"]


def test_every_file_is_either_packed_or_rejected_with_a_reason(tmp_path):
    scans = write_scans(tmp_path / "scans")
    (scans / "004" / "notes.txt").write_text("read me", encoding="utf-8")
    shutil.copy(scans / "005" / "IM0001.dcm", scans / "005" / "copy.dcm")  # two slices at one position
    run = prepare(tmp_path, scans)
    pack(run)
    studies, rejected = rows(run / "dataset" / "studies.csv"), rows(run / "dataset" / "rejected.csv")
    assert len(studies) == 18
    assert {(row["study"], row["file"], row["reason"]) for row in rejected} == {
        ("004", "7", "not_dicom"),
        ("005", "7", "duplicate"),
    }
    num_files = sum(1 for path in scans.glob("*/*"))
    assert num_files == sum(int(row["slices"]) for row in studies) + len(rejected)


def test_the_tables_and_shards_hold_no_uid_date_or_path(prepared_run, scans):
    pack(prepared_run)
    for path in (prepared_run / "dataset").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert str(scans).encode() not in content, path
            assert b"1.2.826.0.1.3680043" not in content, path  # pydicom's UID root


def test_a_sheet_that_changes_before_the_seal_does_not_change_the_labels(tmp_path):
    scans = write_scans(tmp_path / "scans")
    run = prepare(tmp_path, scans)
    sheet = scans / "labels.csv"
    sheet.write_text(sheet.read_text(encoding="utf-8").replace("000,0\n", "000,2000\n"), encoding="utf-8")
    pack(run)
    assert {row["study"]: row["category"] for row in rows(run / "dataset" / "studies.csv")}["000"] == "0"


def test_a_file_name_that_is_not_utf_8_is_rejected_by_its_number(tmp_path):
    scans = write_scans(tmp_path / "scans")
    (scans / "003" / os.fsdecode(b"\xfcbersicht.txt")).write_text("read me", encoding="utf-8")
    run = prepare(tmp_path, scans)
    pack(run)
    assert [row["file"] for row in rows(run / "dataset" / "rejected.csv")] == ["7"]


def test_a_damaged_shard_is_named_and_not_sealed(prepared_run):
    of_file = digests.Remembered().of_file  # as `pack` has it, which does not read again what is still the same
    packing.pack_shards(prepared_run, [0], of_file=of_file)
    packing.pack_shards(prepared_run, [1], of_file=of_file)
    shard = prepared_run / "dataset" / "shards" / "shard-00001.h5"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    for taken in (digests.of_file, of_file):
        with pytest.raises(InputError, match=r"shard-00001.h5: does not match its xxh3_128"):
            sealing.seal(prepared_run, taken)
    assert not (prepared_run / "dataset" / "dataset.json").exists()


def test_a_missing_shard_is_named(prepared_run):
    packing.pack_shards(prepared_run, [0])
    with pytest.raises(InputError, match=r"shard-00001.h5: not packed yet"):
        sealing.seal(prepared_run)


def test_a_shard_that_does_not_exist_is_refused(prepared_run):
    with pytest.raises(InputError, match="the plan has 2 shards, wanted 0 to 1"):
        packing.pack_shards(prepared_run, [2])


def test_the_leftover_of_a_killed_attempt_is_not_in_the_way(prepared_run):
    leftover = prepared_run / "dataset" / "shards" / ".shard-00000.h5.1-dead.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half a shard")
    pack(prepared_run)
    assert len(rows(prepared_run / "dataset" / "studies.csv")) == 18


def test_a_sealed_dataset_is_used_by_another_run_and_never_packed_again(tmp_path, scans):
    packed = {"packed_dir": str(tmp_path / "packed")}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    pack(prepare(tmp_path / "one", scans, data=packed))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "packed").rglob("*")}
    second = prepare(tmp_path / "two", scans, data=packed, split={"seed": 7})
    pack(second)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "packed").rglob("*")} == before
    assert (second / "splits.json").exists()


def test_a_dataset_of_other_settings_is_refused(tmp_path, scans):
    packed = {"packed_dir": str(tmp_path / "packed")}
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    prepare(tmp_path / "one", scans, data=packed)
    with pytest.raises(InputError, match="holds a dataset packed from other files, labels or settings"):
        prepare(tmp_path / "two", scans, data=packed, pack={"size": 16})
    assert not (tmp_path / "two" / "run").exists()


def test_a_file_that_changes_its_size_makes_another_dataset(tmp_path):
    scans = write_scans(tmp_path / "scans")
    cfg = stored_settings.load(prepare(tmp_path, scans) / "config.yaml")
    before = plan.make_plan(cfg).sha256
    with (scans / "000" / "IM0001.dcm").open("ab") as file:
        file.write(b"\0\0")
    assert plan.make_plan(cfg).sha256 != before


def test_packing_twice_gives_the_same_bytes(tmp_path, scans):
    found = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        run = prepare(tmp_path / name, scans)
        pack(run)
        found.append([digests.file_sha256(path) for path in sorted((run / "dataset").rglob("*")) if path.is_file()])
    assert found[0] == found[1]


def test_a_slice_holds_the_area_mean_of_its_file(tmp_path, scans):
    run = prepare(tmp_path, scans, pack={"size": 8})
    pack(run)
    with h5py.File(run / "dataset" / "shards" / "shard-00000.h5") as shard:
        stored = shard["images"][NUM_SLICES + 2]  # study 001, slice 2
    pixels = pydicom.dcmread(scans / "001" / "IM0003.dcm").pixel_array.astype(float) - 1024
    expected = pixels.reshape(8, 4, 8, 4).mean(axis=(1, 3))
    assert np.abs(stored - expected).max() <= 0.5


@pytest.mark.timeout(120)
def test_a_study_that_breaks_its_reader_is_refused_and_the_others_packed_right(tmp_path, scans):
    run = prepare(tmp_path, scans, pack={"limits": {"minutes": 0.05, "memory_gb": 0.5, "rejected_studies": 0.5}})
    cfg, dataset = stored_settings.load(run / "config.yaml"), DatasetPaths(run / "dataset")
    tasks = packing._tasks(cfg, kept_plan.read_plan(dataset), None)
    worker = Worker(risky_studies.write_shard, 2, 1 << 29, threading.Event())
    try:
        for index, task in tasks.items():
            packing._pack_shard(worker, dataset, index, task, lambda: None)
    finally:
        worker.close()
    sealing.seal(run)
    rejected = rows(dataset.rejected)
    assert Counter((row["study"], row["reason"]) for row in rejected) == {
        ("001", "crashed"): NUM_SLICES,
        ("003", "over_time"): NUM_SLICES,
        ("010", "over_memory"): NUM_SLICES,
        ("012", "crashed"): NUM_SLICES,
    }
    assert {row["detail"] for row in rejected if row["study"] == "001"} == {"ended by SIGSEGV"}
    assert "DOE" not in dataset.rejected.read_text(encoding="utf-8")
    assert {row["study"] for row in rows(dataset.studies)} == {f"{n:03d}" for n in range(18)} - set(
        risky_studies.STUDIES
    )
    for index, task in tasks.items():
        good = [study for study in task.studies if study[0] not in risky_studies.STUDIES]
        without = packing.ShardTask(tmp_path / "without.h5", good, task.pack)
        packing.write_shard(without, lambda study: None)
        assert without.scratch.read_bytes() == dataset.shard(index).read_bytes()


def test_a_study_that_changed_or_went_since_the_plan_is_refused(tmp_path):
    scans = write_scans(tmp_path / "scans")
    run = prepare(tmp_path, scans, pack={"limits": {"rejected_studies": 0.2}})
    (scans / "002" / "IM0007.dcm").write_bytes(b"late")
    shutil.rmtree(scans / "004")
    pack(run)
    reasons = Counter((row["study"], row["reason"]) for row in rows(run / "dataset" / "rejected.csv"))
    assert reasons == {("002", "changed_while_read"): NUM_SLICES + 1, ("004", "unreadable_file"): 1}


def test_too_many_refused_studies_stop_the_run_until_the_limit_is_raised(tmp_path):
    scans, dataset = write_scans(tmp_path / "scans"), tmp_path / "packed"
    for study in ("003", "007", "011"):
        (scans / study / "IM0003.dcm").unlink()
    sections = {"data": {"packed_dir": str(dataset)}, "pack": {"min_slices": 5, "limits": {"rejected_studies": 0.2}}}
    run = prepare(tmp_path, scans, **sections)
    settings = (run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(settings.replace("rejected_studies: 0.2", "rejected_studies: 0.1"), "utf-8")
    done = job("pack.py", "--run", run)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: 3 of 18 studies cannot be used (3 missing_slices), pack.limits.rejected_studies allows 10%; "
        f"{dataset}/rejected.csv names every file: fix them, or set pack.checks.missing_slices: warn, and start a new "
        f"run, or go on without them; to go on: python jobs/launch_cv.py --resume {run} "
        "--pack.limits.rejected_studies 0.17"
    )
    assert {row["study"] for row in rows(dataset / "rejected.csv")} == {"003", "007", "011"}
    assert not (dataset / "studies.csv").exists()
    assert not (dataset / "dataset.json").exists()
    before = {path: path.stat().st_mtime_ns for path in dataset.glob("shards/*")}
    again = job("launch_cv.py", "--resume", run)
    assert again.returncode == 2
    assert again.stderr.startswith("error: 3 of 18 studies cannot be used (3 missing_slices)")
    resumed = job_here("launch_cv.py", "--resume", run, "--pack.limits.rejected_studies", 0.17, "--dry_run")
    assert resumed.returncode == 0, resumed.stderr
    pack(run)
    assert (dataset / "dataset.json").exists()
    assert {path: path.stat().st_mtime_ns for path in dataset.glob("shards/*")} == before


def test_two_processors_pack_the_same_bytes_as_one(tmp_path, scans, undisturbed):
    run = prepare(tmp_path, scans, cluster={"pack": {"time_min": 10, "mem_gb": 2, "cpus": 2}})
    pack(run)
    assert content(run) == undisturbed


@pytest.mark.timeout(120)
def test_a_worker_writes_the_next_shard_while_one_comes_to_the_disk(tmp_path, scans, undisturbed, monkeypatch):
    run = RunPaths(prepare(tmp_path, scans, cluster={"pack": {"cpus": 1}}))
    first, second = (run.dataset(None).shard(index).name for index in range(2))
    is_written, write, sync = threading.Event(), packing._written, os.fsync

    def written(worker, task, advance):
        found = write(worker, task, advance)
        if second in task.scratch.name:
            is_written.set()
        return found

    def wait(file):
        number = file if isinstance(file, int) else file.fileno()
        if first in Path(f"/proc/self/fd/{number}").readlink().name:
            assert is_written.wait(30), "the second shard was not written while the first came to the disk"
        sync(file)

    monkeypatch.setattr(packing, "_written", written)
    monkeypatch.setattr(os, "fsync", wait)
    packing.pack(run.root)
    assert content(run.root) == undisturbed


@pytest.mark.timeout(120)
def test_two_packers_of_one_shard_leave_one_whole_shard(prepared_run, undisturbed):
    packers = [start_packer(prepared_run, "--shard", "0") for _ in range(2)]
    said = [packer.communicate()[1] for packer in packers]
    assert [packer.returncode for packer in packers] == [0, 0], said
    assert leftovers(prepared_run) == []
    shard = "dataset/shards/shard-00000.h5"
    assert content(prepared_run)[shard] == undisturbed[shard]


@pytest.mark.timeout(120)
def test_ctrl_c_stops_a_packer_at_once_and_leaves_nothing(tmp_path, long_run):
    run = shutil.copytree(long_run[0], tmp_path / "run")
    with start_packer(run) as packer:
        assert "1 of 18" in packer.stderr.readline()
        os.killpg(packer.pid, signal.SIGINT)
        assert packer.wait(20) == 130
        assert "Traceback" not in packer.stderr.read()
    assert leftovers(run) == []
    assert "shard-00005.h5" not in names(run)
    wait_for(lambda: not alive(packer.pid), 10, "the end of all that the packer started")


@pytest.mark.timeout(120)
def test_ctrl_c_before_the_reader_has_started_is_no_traceback_either(prepared_run):
    with start_packer(prepared_run) as packer:
        wait_for(lambda: leftovers(prepared_run), 60, "the start")
        os.killpg(packer.pid, signal.SIGINT)
        assert packer.wait(20) in (0, 130)
        assert "Traceback" not in packer.stderr.read()
    wait_for(lambda: not alive(packer.pid), 10, "the end of all that the packer started")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [pytest.param(n, marks=[pytest.mark.drill] if n > 3 else []) for n in range(30)])
def test_a_packer_killed_at_any_instant_leaves_nothing_wrong(tmp_path, long_run, seed):
    prepared, expected = long_run
    run, rng = shutil.copytree(prepared, tmp_path / "run"), np.random.default_rng(seed)
    with start_packer(run) as packer:
        for _ in range(rng.integers(1, 19)):
            assert "studies packed" in packer.stderr.readline()  # when it begins with a study
        try:
            packer.communicate(timeout=rng.uniform(0, 0.1))
        except subprocess.TimeoutExpired:
            packer.kill()
    assert content(run).items() <= expected.items()
    pack(run)
    assert content(run) == expected
    assert leftovers(run) == []
    shutil.rmtree(run)


@pytest.mark.drill
@pytest.mark.timeout(900)
def test_a_packer_killed_before_any_use_of_a_file_leaves_nothing_wrong(tmp_path, scans, undisturbed):
    prepared = prepare(tmp_path, scans)
    for number in itertools.count(1):
        run = shutil.copytree(prepared, tmp_path / "copy" / "run")
        doomed = [sys.executable, SUPPORT / "doomed.py", str(number), run]
        done = subprocess.run([*doomed, REPO / "jobs" / "pack.py", "--run", run], capture_output=True, check=False)
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert content(run).items() <= undisturbed.items()
        pack(run)
        assert content(run) == undisturbed
        assert leftovers(run) == []
        shutil.rmtree(run)
    assert number > 30


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("room_kb", "named"),
    [
        (0, r"shard-00000\.(h5|json)"),
        pytest.param(60, r"shard-00000\.(h5|json)", marks=pytest.mark.drill),
        pytest.param(122, r"shard-00000\.(h5|json)", marks=pytest.mark.drill),  # its columns
        pytest.param(129, r"shard-00000\.(h5|json)", marks=pytest.mark.drill),  # its facts
        pytest.param(190, r"shard-00001\.(h5|json)", marks=pytest.mark.drill),
        (282, r"dataset/\w+\.\w+"),  # the seal
    ],
)
def test_a_full_disk_is_told_in_one_line_and_with_room_packing_goes_on(small_disk, scans, undisturbed, room_kb, named):
    run, filler = prepare(small_disk, scans), small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - room_kb * 1024))
    done = job("pack.py", "--run", run)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(rf"/{named}: No space left on device; make room there", done.stderr.splitlines()[-1])
    assert content(run).items() <= undisturbed.items()
    assert leftovers(run) == []
    filler.unlink()
    assert job("pack.py", "--run", run).returncode == 0
    assert content(run) == undisturbed
