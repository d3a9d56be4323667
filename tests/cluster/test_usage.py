"""What a run took beside what it asked for: ledgers written by hand, numbers worked by hand."""

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from cac_hpc.cluster import usage
from cac_hpc.dataset import integrity
from cac_hpc.run import logs
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.cluster import Resources
from tests.support.runs import write_config
from tests.support.settings import changed

START = datetime(2026, 1, 5, 10, 0, tzinfo=timezone.utc)


@pytest.fixture
def cfg(tmp_path, scans):
    cfg = stored_settings.load(
        write_config(tmp_path / "settings.yaml", scans, tmp_path / "run", train={"device": "cuda"})
    )
    pack, small = Resources(time_min=120, mem_gb=8.0, cpus=4), Resources(time_min=5, mem_gb=1.0)
    return changed(cfg, "cluster", pack=pack, fold=Resources(time_min=480, mem_gb=32.0), aggregate=small)


@pytest.fixture
def run(tmp_path):
    """A ledger: two shards; the seal; two folds, the second stopped after its first start and requeued."""
    folder = tmp_path / "run"
    folder.mkdir()
    lines = [
        *(line(0, "pack", task, "planned") for task in (0, 1)),
        *(line(10, "pack", task, "submitted", job=f"1_{task}") for task in (0, 1)),
        line(12, "seal", None, "submitted", job="2"),
        *(line(14, "folds", task, "submitted", job=f"3_{task}") for task in (0, 1)),
        line(20, "pack", 0, "started", job="1_0", attempt=0, pid=7),
        line(50, "pack", 1, "started", job="1_1", attempt=0, pid=8),
        *ended(80, "pack", 0, 60.0, job="1_0", cpu_seconds=24.0, peak_mb=300.0, cpus=4),
        *ended(170, "pack", 1, 120.0, job="1_1", cpu_seconds=120.0, peak_mb=900.0, cpus=4),
        line(180, "seal", None, "started", job="2", attempt=0, pid=9),
        *ended(460, "seal", None, 280.0, job="2", cpu_seconds=200.0, peak_mb=1000.0, cpus=1),
        line(520, "folds", 0, "started", job="3_0", attempt=1, pid=10),
        line(580, "folds", 1, "started", job="3_1", attempt=1, pid=11),
        line(900, "folds", 0, "progress", epoch=1, val_loss=1.5),
        *ended(1240, "folds", 0, 720.0, job="3_0", cpu_seconds=700.0, peak_mb=4000.0, cpus=2, gpus=2),
        line(940, "folds", 1, "ended", ok=False, resumable=True),
        line(940, "folds", 1, "used", seconds=360.0, job="3_1", cpu_seconds=300.0, peak_mb=5000.0, cpus=2, gpus=2,
             node="n1"),
        line(940, "folds", 1, "requeued", job="3_1"),
        line(1060, "folds", 1, "started", job="3_1", attempt=2, pid=12),
        *ended(1420, "folds", 1, 360.0, job="3_1", cpu_seconds=300.0, peak_mb=5000.0, cpus=2, gpus=2),
    ]  # fmt: skip
    (folder / "ledger.jsonl").write_text("\n".join(lines) + '\n{"half": ', encoding="utf-8")
    return RunPaths(folder)


def line(second, stage, task, event, **facts):
    time = (START + timedelta(seconds=second)).isoformat(timespec="seconds")
    return json.dumps({"time": time, "stage": stage, "task": task, "event": event, **facts})


def ended(second, stage, task, seconds, **facts):
    """A good end, and what the attempt took."""
    facts = {"node": "n1", "gpus": 0, **facts}
    return line(second, stage, task, "ended", ok=True), line(second, stage, task, "used", seconds=seconds, **facts)


def by_stage(run, cfg):
    return {use.stage: use for use in usage.read(run, cfg)}


def test_every_stage_worked_by_hand(run, cfg):
    found = by_stage(run, cfg)
    assert list(found) == ["pack", "seal", "folds"]  # the report has not started
    pack, seal, folds = found.values()
    assert (pack.tasks, pack.starts, pack.seconds, pack.time_min, pack.mem_gb) == (2, 2, 120.0, 120, 8.0)
    assert pack.core_hours == pytest.approx((60 + 120) * 4 / 3600)
    assert pack.busy == pytest.approx((24 + 120) / ((60 + 120) * 4))
    assert pack.peak_gib == pytest.approx(900e6 / 2**30)
    assert pack.queue_s == 40  # the second shard
    assert (seal.tasks, seal.starts, seal.gpu_hours, seal.queue_s) == (1, 1, 0, 10)  # the packing before is no waiting
    assert (folds.tasks, folds.starts, folds.seconds) == (2, 3, 720.0)
    assert folds.gpu_hours == pytest.approx(2 * (720 + 360 + 360) / 3600)
    assert folds.queue_s == 120  # fold 0: 60 s after the seal; fold 1: 120 s after it, and 120 s after its requeue


def test_the_advice_is_what_a_person_would_set(run, cfg):
    assert usage.advice(usage.read(run, cfg), cfg) == [
        "cluster.pack.time_min 120 was asked, 2 used: 5 would do and start sooner",
        "cluster.pack.mem_gb 8 was asked, 0.84 used: 1.5 would do and start sooner",
        "cluster.aggregate.time_min 5 was asked, 4.7 used: 10 would be safer",
        "cluster.aggregate.mem_gb 1 was asked, 0.93 used: 1.5 would be safer",
        "cluster.fold.time_min 480 was asked, 12 used: 30 would do and start sooner",
        "cluster.fold.mem_gb 32 was asked, 4.7 used: 6 would do and start sooner",
        "cluster.pack.cpus 4 was asked, 0.8 kept busy by stage pack: 1 would do",
    ]


def test_a_run_on_this_machine_is_told_of_no_queue_and_no_unknown_hours(run, cfg):
    kept = [text for text in run.ledger.read_text(encoding="utf-8").splitlines() if '"submitted"' not in text]
    kept = [text for text in kept if '"requeued"' not in text and '"used"' not in text]
    run.ledger.write_text("\n".join(kept), encoding="utf-8")
    uses = usage.read(run, cfg)
    assert [use.seconds for use in uses] == [120, 280, 720]
    assert usage.advice(uses, cfg) == []
    console = logs.console()
    with console.capture() as shown:
        console.print(usage.table(uses))
    assert [line.split() for line in shown.get().splitlines() if "all" in line] == [["all", "5", "6", "-", "-"]]


def test_what_was_asked_well_needs_no_advice(run, cfg):
    well = changed(cfg, "cluster", pack=Resources(time_min=8, mem_gb=1.5), fold=Resources(time_min=40, mem_gb=8.0),
                   aggregate=Resources(time_min=10, mem_gb=1.5))  # fmt: skip
    assert usage.advice(usage.read(run, well), well) == []


def test_no_advice_makes_slices_that_were_in_memory_stream(run, cfg):
    """12,288 slices of 512 x 512 are 6 GiB, two ranks 2 GiB: 8 GiB, although only 4.7 were seen."""
    cfg = changed(cfg, "pack", size=512)
    integrity.write_checked(run.dataset(None).seal, {"slices": 12_288})
    said = usage.advice(usage.read(run, cfg), cfg)
    assert "cluster.fold.mem_gb 32 was asked, 4.7 used: 8 would do and start sooner" in said
    streamed = changed(cfg, "train", residency="stream")
    said = usage.advice(usage.read(run, streamed), streamed)
    assert "cluster.fold.mem_gb 32 was asked, 4.7 used: 6 would do and start sooner" in said


def test_the_memory_of_folds_side_by_side_is_that_of_their_job(run, cfg):
    beside = changed(cfg, "cluster", folds_per_node=2)
    assert by_stage(run, beside)["folds"].peak_gib == pytest.approx(2 * 5000e6 / 2**30)


def test_shards_that_one_job_does_one_after_the_other_count_together(run, cfg):
    more = [
        line(2000 + 60 * task, "pack", task, "used", job="9_0", node="n1", seconds=60.0, peak_mb=1.0, cpus=1, gpus=0)
        for task in range(3)
    ]
    later = [line(3000, "pack", 3, "used", job="9_0", node="n1", seconds=60.0, peak_mb=1.0, cpus=1, gpus=0)]
    with run.ledger.open("w", encoding="utf-8") as file:
        file.write("\n".join([*more, *later]) + "\n")
    found = by_stage(run, cfg)["pack"]
    assert (found.tasks, found.seconds, found.busy) == (4, 180.0, None)


def test_without_a_word_on_use_the_starts_and_ends_count(run, cfg):
    kept = [text for text in run.ledger.read_text(encoding="utf-8").splitlines() if '"used"' not in text]
    run.ledger.write_text("\n".join(kept), encoding="utf-8")
    found = by_stage(run, cfg)
    assert (found["folds"].starts, found["folds"].seconds, found["folds"].peak_gib) == (3, 720.0, None)
    assert (found["pack"].seconds, found["pack"].core_hours, found["pack"].busy) == (120.0, 0.0, None)
    said = usage.advice(list(found.values()), cfg)
    assert said[0] == "cluster.pack.time_min 120 was asked, 2 used: 5 would do and start sooner"
    assert not [text for text in said if "mem_gb" in text or "cpus" in text]


def test_a_run_that_has_not_started_has_used_nothing(tmp_path, cfg):
    assert usage.read(RunPaths(tmp_path / "nowhere"), cfg) == []
    assert usage.advice([], cfg) == []


def test_the_table_fits_80_columns_and_sums_the_hours(run, cfg):
    from rich.console import Console

    with Path("/dev/null").open("w", encoding="utf-8") as nowhere:
        screen = Console(width=80, record=True, file=nowhere)
        screen.print(usage.table(usage.read(run, cfg)))
        text = screen.export_text()
    rows = [row.split() for row in text.splitlines() if row.strip()]
    assert ["folds", "2", "3", "12/480", "4.7/32", "0.8", "45%", "0.8", "2"] in rows
    assert ["all", "5", "6", "1.1", "0.8"] in rows
