"""What a run will take: numbers worked by hand, what is said of them, and what is refused."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cac_hpc.calcium import candidates
from cac_hpc.cluster import estimate
from cac_hpc.cluster.estimate import CPU_FLOPS, GPU_FLOPS
from cac_hpc.cluster.site_limits import Limits
from cac_hpc.dataset import plan, stratification
from cac_hpc.machine.memory import GIB
from cac_hpc.settings import stored_settings
from cac_hpc.settings.cluster import Resources
from cac_hpc.settings.errors import InputError
from cac_hpc.train import models
from tests.support.runs import NUM_SLICES, REPO, SIZE, pack, prepare, write_config
from tests.support.settings import changed

NET = (8 * 32 * 32 * 9 + 8 * 16 * 16 * 16 * 9 + 16 * 16 * 8 * 8 * 9 + 16 * 4 * 4 * 32 + 32 * 6) * 2  # flops of a slice
LESIONS = 18 * 2**19  # candidates and views
WEIGHTS = (8 * 9 + 8) + (16 * 8 * 9 + 16) + (16 * 16 * 9 + 16) + (16 * 4 * 4 * 32 + 32) + (32 * 6 + 6)


def folds_of(cfg, found):
    labels = found.labels
    patient = {study: label.patient for study, label in labels.items()}
    return stratification.make_folds(patient, {study: label.category for study, label in labels.items()}, cfg.split)


def of(cfg, kind="slurm", **facts):
    """The estimate for the small cohort; ``facts`` are other facts of the plan."""
    found = dataclasses.replace(plan.make_plan(cfg), **facts)
    return estimate.estimate(cfg, found, folds_of(cfg, found), kind)


def shown(cfg, found, allowed=None):
    """The table in a terminal of 80 columns."""
    from rich.console import Console

    screen = Console(width=80, record=True, file=Path("/dev/null").open("w", encoding="utf-8"))  # noqa: SIM115
    screen.print(estimate.table(cfg, found, allowed))
    screen.file.close()
    return screen.export_text()


def test_the_small_cohort_worked_by_hand(cfg):
    found = of(cfg)
    assert (found.studies, found.files, found.shards) == (18, 18 * NUM_SLICES, 2)
    assert (found.slices, found.exact) == (108, False)
    assert found.packed_bytes == 2 * 108 * SIZE * SIZE + LESIONS
    of_lesions = changed(cfg, "model", kind="lesions")
    assert of(changed(of_lesions, "pack", slices=False)).packed_bytes == LESIONS
    assert of(changed(cfg, "pack", candidates=False)).packed_bytes == 2 * 108 * SIZE * SIZE
    assert models.flops(cfg.model, SIZE, 6) == NET
    assert models.num_parameters(cfg.model, SIZE, 6) == WEIGHTS
    # 18 patients: 6 are tested, 21 % of 18 validate, the rest trains
    assert found.train_slices == 8 * NUM_SLICES
    flops = NET * (4 * (3 * 8 + 4) + 3 * 6) * NUM_SLICES  # tested whole, with the heart blank and with the rest blank
    assert found.fold_min == pytest.approx(0.5 + flops / (2 * CPU_FLOPS) / 60)  # two ranks of a thread
    assert found.hours == pytest.approx(3 * 2 * found.fold_min / 60)
    assert found.pack_min == pytest.approx(0.5 + 9 * NUM_SLICES / 60 / 60)
    # three checkpoints of weights, best weights and two means at a time, and the tested weights
    assert [disk.needed for disk in found.disks] == [3 * (3 * 16 + 4) * WEIGHTS + found.packed_bytes]


def test_every_category_is_counted_in_every_part(cfg):
    found = of(cfg)
    assert len(found.patients) == 3
    for fold in found.patients:
        assert [sum(category) for category in fold] == [3] * 6
        assert [sum(part) for part in zip(*fold, strict=True)] == [8, 4, 6]
        assert [test for _, _, test in fold] == [1] * 6


def test_a_patient_counts_once_with_the_highest_category(cfg):
    found = plan.make_plan(cfg)
    labels = {study: dataclasses.replace(label, patient=f"P{int(study) // 3}") for study, label in found.labels.items()}
    found = of(cfg, labels=labels)  # six patients: three with categories 0, 1, 2, three with 3, 4, 5
    for fold in found.patients:
        assert [sum(category) for category in fold] == [0, 0, 3, 0, 0, 3]
        assert [sum(part) for part in zip(*fold, strict=True)] == [3, 1, 2]
    said = estimate.notes(cfg, found)
    assert "no patient of category 'Very Low' in the test part of fold 0, 1, 2" in said
    assert "no patient of category 'High' in the training part of fold 0, 1, 2" not in said


def test_gpus_are_counted_as_they_are_shared(cfg):
    cfg = changed(cfg, "train", device="cuda")
    two = of(cfg)
    flops = (two.fold_min - 0.5) * 60 * 2 * GPU_FLOPS
    assert two.hours == pytest.approx(3 * 2 * two.fold_min / 60)
    shared = changed(cfg, "cluster", ranks_per_node=1, folds_per_node=3, gpus_per_node=1)
    found = of(shared)  # one job, one GPU, a third of it for each fold
    assert found.fold_min == pytest.approx(0.5 + flops / (GPU_FLOPS / 3) / 60)
    assert found.hours == pytest.approx(found.fold_min / 60)
    several = of(changed(cfg, "cluster", nodes_per_fold=2))
    assert several.fold_min == pytest.approx(0.5 + flops / (4 * GPU_FLOPS) / 60)
    assert several.hours == pytest.approx(3 * 4 * several.fold_min / 60)


def test_memory_follows_the_rule_of_the_folds(cfg):
    cfg = changed(cfg, "cluster", fold=Resources(time_min=60, mem_gb=12.0))
    slices = 8 * GIB // (2 * SIZE * SIZE)  # 8 GiB, and two ranks of 1 GiB
    found = of(changed(cfg, "pack", max_slices=slices), num_files=slices)
    assert (found.memory.needed, found.memory.kind) == (10 * GIB, "host")
    assert "10 GiB for a fold, 12 GiB asked; slices in memory" in shown(cfg, found)
    beside = changed(changed(cfg, "pack", max_slices=slices), "cluster", folds_per_node=2)  # 6 GiB each
    found = of(beside, num_files=slices)
    assert (found.memory.needed, found.memory.resident, found.memory.kind) == (4 * GIB, 20 * GIB, "stream")
    (note,) = [note for note in estimate.notes(beside, found) if "streamed" in note]
    assert "do not fit in 6 GiB (cluster.fold.mem_gb / cluster.folds_per_node)" in note
    wish = changed(beside, "train", residency="host")
    found = of(wish, num_files=slices)  # an upper bound: said, not refused
    assert "cluster.fold.mem_gb is 12, where 20 GiB are needed" in estimate.notes(wish, found)


def test_a_sealed_dataset_is_counted_exactly_and_needs_no_more_room(tmp_path, scans):
    run = prepare(tmp_path, scans)
    pack(run)
    cfg = stored_settings.load(run / "config.yaml")
    found = of(cfg, num_files=10_000)
    assert (found.slices, found.exact) == (18 * NUM_SLICES, True)
    assert found.packed_bytes == sum(path.stat().st_size for path in run.glob("dataset/shards/*.h5"))
    assert [disk.needed for disk in found.disks] == [3 * (3 * 16 + 4) * WEIGHTS]
    small = changed(cfg, "cluster", fold=Resources(time_min=60, mem_gb=1.0))
    with pytest.raises(InputError, match=r"train\.residency is 'host', but .* do not fit in 1 GiB"):
        of(changed(small, "train", residency="host"))


def test_files_are_slices_at_most_as_the_settings_allow(cfg):
    assert of(cfg, unlabelled={"x": 8}).slices == 100
    assert of(changed(cfg, "pack", max_slices=10, min_slices=1), num_files=10_000).slices == 180
    assert of(cfg, num_files=18, num_bytes=18 * 64 << 20).slices == 18 * 32  # multi-frame files


def test_a_disk_with_far_too_little_room_is_refused_and_with_hardly_enough_noted(cfg, tmp_path, monkeypatch):
    needed = of(cfg).disks[0].needed
    monkeypatch.setattr(estimate, "free_bytes", lambda folder: (tmp_path, needed - 1))
    assert "free" in estimate.notes(cfg, of(cfg))[0]
    monkeypatch.setattr(estimate, "free_bytes", lambda folder: (tmp_path, needed // 2 - 1))
    with pytest.raises(
        InputError, match=r"run is '.*run', where 5 MiB are free, but about 11 MiB will be written; make"
    ):
        of(cfg)


def test_two_disks_are_told_apart(cfg, tmp_path, monkeypatch):
    cfg = changed(cfg, "data", packed_dir="/dev/shm/cac_hpc_nowhere")
    run, packed = of(cfg).disks
    assert (run.setting, packed.setting, packed.needed) == ("run", "data.packed_dir", 2 * 108 * SIZE * SIZE + LESIONS)
    assert estimate.free_bytes(Path("/dev/shm/cac_hpc_nowhere/deep"))[0] == Path("/dev/shm")


def test_a_file_system_that_tells_no_size_is_nobodys_lack(cfg):
    assert estimate.free_bytes(Path("/proc/nowhere")) is None
    assert of(dataclasses.replace(cfg, run="/proc/nowhere")).disks == ()


@pytest.mark.parametrize(
    ("asked", "fragments"),
    [
        (Resources(time_min=20, mem_gb=4), []),
        (Resources(time_min=31, mem_gb=4), ["cluster.fold.time_min is 31, where about 0.5 min are needed; who asks"]),
        (Resources(time_min=20, mem_gb=21), ["cluster.fold.mem_gb is 21, where 2 GiB are needed; who asks so much"]),
        (Resources(time_min=20, mem_gb=1), ["slices will be streamed", "cluster.fold.mem_gb is 1, where 2 GiB are"]),
    ],
)
def test_what_is_asked_is_compared_with_what_is_needed(cfg, asked, fragments):
    cfg = changed(cfg, "cluster", fold=asked, pack=asked.__class__(time_min=20, mem_gb=4))
    said = estimate.notes(cfg, of(cfg))
    assert len(said) == len(fragments), said
    for note, fragment in zip(said, fragments, strict=True):
        assert fragment in note
    assert [
        note for note in estimate.notes(cfg, of(cfg, "local"), "local") if "cluster" in note and "min" in note
    ] == []


def test_too_little_time_is_said(cfg):
    large = changed(changed(cfg, "train", epochs=10_000_000), "cluster", fold=Resources(time_min=30, mem_gb=4))
    found = of(large)
    assert f"cluster.fold.time_min is 30, where about {found.fold_min:.0f} min are needed" in estimate.notes(
        large, found
    )


def test_the_table_has_everything_within_80_columns(cfg):
    text = shown(cfg, of(cfg), Limits(partition="dev", nodes=4, cpus=4, mem_mb=6000, gpus=2, array_size=1001))
    assert max(map(len, text.splitlines())) <= 80
    for expected in (
        "18 in 2 shards, 108 files", "108 (at most, taken for one a file)", "8/4/6:", "480 min asked",
        "dev: 4 nodes in service, at most 4 CPUs, 5.86 GiB, 2 GPUs", "MaxArraySize 1001, MaxSubmitJobs ?",
        "core hours", "train/val/test, of Very Low, Low, Low/Moderate",
    ):  # fmt: skip
        assert expected in text


@pytest.mark.timed
def test_planning_takes_a_second_and_never_imports_torch(tmp_path, scans):
    config = write_config(tmp_path / "settings.yaml", scans, tmp_path / "run")
    code = (
        "import sys; from cac_hpc.cluster import estimate, site_limits\n"
        "from cac_hpc.dataset import plan, stratification as divided\n"
        "from cac_hpc.run import logs; from cac_hpc.settings import stored_settings\n"
        f"cfg = stored_settings.load(__import__('pathlib').Path({str(config)!r})); found = plan.make_plan(cfg)\n"
        "labels = found.labels.items()\n"
        "folds = divided.make_folds({k: v.patient for k, v in labels}, {k: v.category for k, v in labels}, cfg.split)\n"
        "result = estimate.estimate(cfg, found, folds)\n"
        "logs.console().print(estimate.table(cfg, result, site_limits.read(None)))\n"
        "assert 'torch' not in sys.modules\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started < 3
    assert "GPU hours" in done.stdout or "core hours" in done.stdout


def test_a_budget_of_steps_is_what_a_fold_of_lesions_takes(cfg):
    of_lesions = changed(cfg, "model", kind="lesions", hidden=(4,), members=2)
    found = of(changed(of_lesions, "train", steps=40, batch_size=5))
    once = 2 * 2 * (len(candidates.NAMES) * 4 + 4)
    flops = once * (3 * 40 * 5 + 4 * 4 + 6) * NUM_SLICES  # four epochs validate 4 studies, 6 are tested
    assert found.fold_min == pytest.approx(0.5 + flops / (2 * CPU_FLOPS) / 60)
    assert found.memory.resident < of(cfg).memory.resident  # no slice is held
    text = " ".join(shown(of_lesions, found).split())
    assert f"trained on the candidates of {8 * NUM_SLICES} slices" in text
    assert "candidates in memory" in text
