"""Residency: the same slices wherever they are kept, one copy for a node's ranks, and a choice that is said."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cac_hpc.dataset import shards
from cac_hpc.machine import memory
from cac_hpc.machine.memory import GIB, Limit
from cac_hpc.run.paths import DatasetPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.train import TrainConfig
from cac_hpc.train import residency, slices, streaming
from cac_hpc.train.capacity import Room, choose, effective_window
from cac_hpc.train.distributed import World
from tests.support.runs import NUM_SLICES, REPO, SIZE, pack, prepare

CATEGORY = {f"{index:03d}": index % 6 for index in range(18)}
ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def sealed(tmp_path_factory, scans):
    """A run whose dataset of six shards is sealed, read-only."""
    run = prepare(tmp_path_factory.mktemp("sealed"), scans, pack={"studies_per_shard": 3})
    pack(run)
    return run


def load(run, kind, **train):
    cfg = stored_settings.load(run / "config.yaml")
    cfg = dataclasses.replace(cfg, train=dataclasses.replace(cfg.train, residency=kind, **train))
    return residency.load(DatasetPaths(run / "dataset"), CATEGORY, cfg, ALONE)


def torchrun(num_ranks, run, out):
    """Every rank loads the dataset; returns what each saw."""
    out.mkdir()
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_ranks}"]
    command = [*ranks, f"--log-dir={out}/torchrun", "-m", "tests.support.sharing", str(run), str(out)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=120)
    return done, [json.loads((out / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(num_ranks)]


def with_residency(run, folder, kind):
    copy = shutil.copytree(run, folder / "run")
    config = copy / "config.yaml"
    text = config.read_text(encoding="utf-8").replace("residency: auto", f"residency: {kind}")
    config.write_text(text.replace(str(run), str(copy)), encoding="utf-8")
    return copy


def kept(run):
    """All slices as the shards hold them."""
    paths = sorted((run / "dataset" / "shards").glob("*.h5"))
    images = np.empty((len(paths), 3 * NUM_SLICES, SIZE, SIZE), np.int16)
    columns = [shards.read_shard(path, into) for path, into in zip(paths, images, strict=True)]
    return images.reshape(-1, SIZE, SIZE), np.concatenate([shard.study for shard in columns])


@pytest.mark.parametrize("kind", ["auto", "device", "host", "stream"])
def test_slices_are_the_same_wherever_they_are_kept(sealed, kind):
    loaded = load(sealed, kind, shuffle_window=32)
    images, study = kept(sealed)
    assert loaded.kind == {"stream": "stream"}.get(kind, "host")
    assert np.array_equal(loaded.table.study, study)
    assert loaded.table.label.tolist() == [CATEGORY[name] for name in study]
    order = np.random.default_rng(0).permutation(len(images))
    for rows in ([order[:0]], [], [order[:0], order[:1], order[5:5], order[1:60]], list(slices.split(order, 7))):
        found = [hu_NHW.numpy().copy() for hu_NHW in loaded.rows.batches(rows)]
        assert [len(batch) for batch in found] == [len(part) for part in rows]
        assert all(np.array_equal(images[part], batch) for part, batch in zip(rows, found, strict=True))


def test_slices_on_the_device_are_gathered_there():
    images = torch.randint(-1000, 1000, (50, 8, 8), dtype=torch.int16)
    rows = [np.array([3, 1, 1]), np.zeros(0, np.int64), np.arange(50)]
    found = [hu_NHW.clone() for hu_NHW in residency.OnDevice(images).batches(rows)]
    assert all(torch.equal(images[torch.from_numpy(part)], batch) for part, batch in zip(rows, found, strict=True))
    assert list(residency.OnDevice(images).batches([])) == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_batches_reach_a_gpu_whole_whatever_is_computed_meanwhile():
    device = torch.device("cuda", 0)
    images = torch.randint(-1000, 1000, (512, 64, 64), dtype=torch.int16)
    rows = [np.random.default_rng(index).permutation(512)[: 32 - index % 3] for index in range(200)]
    rows[5] = rows[5][:0]
    kept_NHW, busy = [], torch.rand(2048, 2048, device=device)
    for hu_NHW in residency.InHost(images, device).batches(rows):
        busy = busy @ busy / 1000  # the GPU lags behind
        kept_NHW.append(hu_NHW.clone())
    for part, found in zip(rows, kept_NHW, strict=True):
        assert torch.equal(images[torch.from_numpy(part)], found.cpu())


def test_batches_for_the_cpu_are_handed_on():
    batches = (torch.zeros(n, 4, 4, dtype=torch.int16) for n in (3, 0, 2))
    assert [len(batch) for batch in streaming.on_device(batches, torch.device("cpu"))] == [3, 0, 2]


@pytest.mark.parametrize("kind", ["host", "stream"])
def test_two_ranks_share_one_memory_and_leave_nothing_behind(tmp_path, sealed, kind):
    run = with_residency(sealed, tmp_path, kind)
    shm = set(Path("/dev/shm").iterdir())
    done, (one, two) = torchrun(2, run, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert one == two
    assert one["kind"] == kind
    assert len(one["inodes"]) == (kind == "host")  # the ranks map the same one
    assert one["studies"] == kept(run)[1].tolist()
    assert {entry.name for entry in set(Path("/dev/shm").iterdir()) - shm if "cac" in entry.name} == set()
    assert not list(Path("/tmp").glob("*cac_hpc slices*"))


@pytest.mark.parametrize("kind", ["host", "stream"])
def test_a_damaged_shard_is_named_by_every_rank(tmp_path, sealed, kind):
    run = with_residency(sealed, tmp_path, kind)
    shard = run / "dataset" / "shards" / "shard-00003.h5"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    _, (one, two) = torchrun(2, run, tmp_path / "out")
    assert one == two
    assert f"{shard}: does not match its xxh3_128" in one["refused"]
    assert "python jobs/pack.py --run RUN --shard 3" in one["refused"]


def test_damage_after_the_start_is_found_when_the_slice_is_read(tmp_path, sealed):
    run = with_residency(sealed, tmp_path, "stream")
    loaded = load(run, "stream")
    shard = run / "dataset" / "shards" / "shard-00002.h5"
    images, _ = kept(run)
    content = shard.read_bytes()
    at = content.index(images[2 * 3 * NUM_SLICES + 5].tobytes())
    shard.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(InputError, match=r"shard-00002\.h5: row 5 is not as it was packed.* --shard 2"):
        list(loaded.rows.batches(list(slices.split(np.arange(len(images)), 8))))


ROOM = Room(slices=10 * GIB, ranks=2, host=Limit(12 * GIB, "cluster.fold.mem_gb"), gpu=None)
GPU = dataclasses.replace(ROOM, gpu=20 * GIB)
TIGHT = Limit(12 * GIB - 1, "MemAvailable")
NEEDED = r"10 GiB of slices and 2 x 1 GiB for ranks"


@pytest.mark.parametrize(
    ("asked", "room", "kind", "why"),
    [
        ("auto", ROOM, "host", rf"{NEEDED} fit in 12 GiB \(cluster\.fold\.mem_gb\)"),
        ("host", ROOM, "host", rf"{NEEDED} fit in 12 GiB"),
        ("device", ROOM, "host", rf"{NEEDED} fit in 12 GiB"),  # without a GPU the device is the host
        ("stream", ROOM, "stream", r"10 GiB of slices stay in their files, as train\.residency says"),
        ("auto", dataclasses.replace(ROOM, host=TIGHT), "stream", rf"{NEEDED} do not fit in 12 GiB \(MemAvailable\)"),
        ("auto", dataclasses.replace(ROOM, ranks=3), "stream", r"3 x 1 GiB for ranks do not fit in 12 GiB"),
        ("auto", GPU, "device", r"10 GiB of slices fit in half of the 20 GiB that are free on the GPU"),
        ("device", GPU, "device", r"10 GiB of slices fit in half of the 20 GiB"),
        ("host", GPU, "host", rf"{NEEDED} fit in 12 GiB"),
        ("stream", GPU, "stream", r"stay in their files"),
        ("auto", dataclasses.replace(GPU, gpu=20 * GIB - 1), "host", rf"{NEEDED} fit in 12 GiB"),
        ("auto", dataclasses.replace(GPU, host=TIGHT), "stream", r"do not fit in 12 GiB \(MemAvailable\)"),
    ],
)
def test_the_choice_follows_from_sizes_and_says_them(asked, room, kind, why):
    chosen, said = choose(asked, room)
    assert chosen == kind
    assert re.search(why, said), said


@pytest.mark.parametrize(
    ("asked", "room", "refusal"),
    [
        ("host", dataclasses.replace(ROOM, host=TIGHT), rf"train\.residency is 'host', but {NEEDED} do not fit"),
        ("device", dataclasses.replace(GPU, host=TIGHT), rf"train\.residency is 'device', but {NEEDED} do not fit"),
        (
            "device",
            dataclasses.replace(GPU, gpu=20 * GIB - 1),
            r"'device', but 10 GiB of slices do not fit in half of the 20 GiB that are free on the GPU; wanted auto",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_arithmetic(asked, room, refusal):
    with pytest.raises(InputError, match=refusal):
        choose(asked, room)


def test_the_choice_is_logged_in_one_line(sealed, caplog):
    caplog.set_level("INFO")
    load(sealed, "auto")
    load(sealed, "stream")
    said = [record.message for record in caplog.records if record.message.startswith("residency")]
    assert len(said) == 2
    assert "of slices and 2 x 1 GiB" not in said[0]  # one rank is here, whatever the settings plan
    assert " of slices and 1 x 1 GiB for ranks fit in " in said[0]
    assert "slices are shuffled within windows of 2048 (train.shuffle_window)" in caplog.text


@pytest.mark.parametrize(
    ("window", "kind", "expected"),
    [(None, "host", None), (None, "device", None), (None, "stream", 2048), (64, "host", 64), (64, "stream", 64)],
)
def test_the_window_is_what_was_asked_or_2048_where_slices_are_streamed(window, kind, expected):
    assert effective_window(TrainConfig(epochs=1, shuffle_window=window), kind) == expected


def test_a_dataset_too_large_for_the_asked_memory_is_refused_or_streamed(tmp_path, sealed):
    run = with_residency(sealed, tmp_path, "auto")
    config = run / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("mem_gb: 32.0", "mem_gb: 1.0"), encoding="utf-8")
    assert load(run, "auto").kind == "stream"
    with pytest.raises(InputError, match=r"'host', but .* do not fit in 1 GiB \(cluster\.fold\.mem_gb\)"):
        load(run, "host")


def proc(tmp_path, groups):
    (tmp_path / "self").mkdir()
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:       8 kB\n", encoding="utf-8")
    (tmp_path / "self" / "cgroup").write_text(groups, encoding="utf-8")
    return tmp_path


def test_limits_are_those_of_the_control_group_and_all_above_it(tmp_path):
    mount = tmp_path / "cgroup"
    (mount / "slurm" / "job_7" / "step_0").mkdir(parents=True)
    (mount / "slurm" / "job_7" / "step_0" / "memory.max").write_text("max\n", encoding="ascii")
    (mount / "slurm" / "job_7" / "memory.max").write_text("4096\n", encoding="ascii")
    found = memory.limits(proc(tmp_path, "0::/slurm/job_7/step_0\n"), mount)
    assert sorted(limit.bytes for limit in found) == [4096, 8192]
    assert min(found).says == "the control group of this job"


def test_limits_of_older_control_groups_count_and_hidden_ones_do_not(tmp_path):
    mount = tmp_path / "cgroup"
    (mount / "memory" / "a").mkdir(parents=True)
    (mount / "memory" / "a" / "memory.limit_in_bytes").write_text("2048\n", encoding="ascii")
    (mount / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n", encoding="ascii")
    lines = "9:cpu,cpuacct:/x\n4:memory:/a/b/c\n0::/\n"
    assert min(memory.limits(proc(tmp_path, lines), mount)) == Limit(2048, "the control group of this job")


def of_slurm(mount, controlled):
    """Control groups (version 2) as slurmd 26.05 makes them for a step with 100 MiB; those with a memory controller."""
    job = mount / "system.slice" / "slurmstepd.scope" / "job_7"
    task = job / "step_0" / "user" / "task_0"
    task.mkdir(parents=True)
    limits = {task: "max", task.parent: "104857600", job / "step_0": "max", job: "104857600", job.parent: "max"}
    for group, limit in limits.items():
        if group != task or controlled == "task":
            (group / "memory.max").write_text(f"{limit}\n", encoding="ascii")
            kills = 41 if group == job.parent else 2  # 39 of other jobs
            events = f"low 0\nhigh 0\nmax 9\noom 2\noom_kill {kills}\noom_group_kill 0\n"
            (group / "memory.events").write_text(events, encoding="ascii")
    return f"0::/{task.relative_to(mount)}\n"


@pytest.mark.parametrize("controlled", ["task", "step"])
def test_memory_and_its_kills_are_those_of_the_job_under_control_groups_of_version_2(tmp_path, controlled):
    mount = tmp_path / "cgroup"
    root = proc(tmp_path, of_slurm(mount, controlled))
    assert sorted(limit.bytes for limit in memory.limits(root, mount)) == [8192, 104857600, 104857600]
    assert memory.oom_kills(root, mount) == 2


def test_kills_of_other_jobs_are_not_counted_where_a_job_has_no_memory_controller(tmp_path):
    mount = tmp_path / "cgroup"
    root = proc(tmp_path, of_slurm(mount, "task"))
    for file in (mount / "system.slice" / "slurmstepd.scope" / "job_7").rglob("memory.events"):
        file.unlink()
    assert memory.oom_kills(root, mount) == 0


def test_this_machine_has_a_limit():
    assert min(memory.limits()).bytes > 1 << 20
