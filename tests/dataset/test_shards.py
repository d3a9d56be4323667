"""Shards: whatever happens to one is found before a slice of it is used, and only that one is made again."""

import errno
import functools
import json
import shutil
import subprocess
import threading

import h5py
import numpy as np
import pytest
import torch

from cac_hpc.dataset import integrity, kept_plan, packing, sealing, shards
from cac_hpc.machine.workers import Worker
from cac_hpc.run import digests
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.errors import InputError
from cac_hpc.train import residency, setup
from cac_hpc.train.distributed import World
from tests.support.runs import NUM_SLICES, SIZE, pack, prepare, write_scans
from tests.support.slurm import unavailable

CATEGORY = {f"{index:03d}": index % 6 for index in range(18)}


@pytest.fixture(scope="module")
def sealed_once(tmp_path_factory, scans):
    """A run whose dataset of two shards is sealed, read-only."""
    run = prepare(tmp_path_factory.mktemp("sealed"), scans)
    pack(run)
    return run


@pytest.fixture
def sealed(tmp_path, sealed_once):
    """The same, to be damaged."""
    return shutil.copytree(sealed_once, tmp_path / "run")


@pytest.fixture
def shard(sealed):
    return sealed / "dataset" / "shards" / "shard-00000.h5"


@pytest.fixture
def worker():
    made = Worker(packing.write_shard, 60, 1 << 30, threading.Event())
    yield made
    made.close()


config_of = functools.cache(lambda run: stored_settings.load(run / "config.yaml"))  # a test does not change it


def load(run):
    cfg = config_of(run)
    return residency.load(DatasetPaths(run / "dataset"), CATEGORY, cfg, World(0, 1, torch.device("cpu")))


def pack_again(run, worker):
    """What jobs/pack.py does, with a worker that is there already."""
    cfg, dataset = config_of(run), DatasetPaths(run / "dataset")
    for index, task in packing._tasks(cfg, kept_plan.read_plan(dataset), None).items():
        packing._pack_shard(worker, dataset, index, task, lambda: None)


def stamps(run):
    files = [path for path in (run / "dataset").rglob("*") if path.is_file()]
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damages(shard, flips, truncations):
    """Damaged contents of a shard: bits flipped in pixels and, as many, elsewhere; cut short. Always the same."""
    content, rng = shard.read_bytes(), np.random.default_rng(flips)
    with h5py.File(shard) as file:
        images = file["images"].id
        chunks = [images.get_chunk_info(index) for index in range(images.get_num_chunks())]
    is_pixel = np.zeros(len(content), bool)
    for chunk in chunks:
        is_pixel[chunk.byte_offset : chunk.byte_offset + chunk.size] = True
    for kind in (is_pixel, ~is_pixel):
        for byte in rng.choice(np.flatnonzero(kind), flips // 2):
            yield flipped(content, 8 * int(byte) + int(rng.integers(8)))
    for length in rng.integers(0, len(content), truncations):
        yield content[:length]


def test_200_flipped_bits_and_50_truncations_are_found_before_hdf5_opens_the_shard(sealed, shard, monkeypatch):
    damaged = list(damages(shard, 200, 50))
    monkeypatch.setattr(shards.h5py, "File", lambda *_, **__: pytest.fail("a damaged shard was opened"))
    for content in damaged:
        shard.write_bytes(content)
        with pytest.raises(InputError, match=r"shard-00000\.h5: does not match its xxh3_128.* --shard 0"):
            load(sealed)
        assert integrity.packed_fault(DatasetPaths(sealed / "dataset"), 0)
    assert len(damaged) == 250


@pytest.mark.parametrize(
    ("flips", "truncations"), [(10, 4), pytest.param(200, 50, marks=[pytest.mark.drill, pytest.mark.timeout(600)])]
)
def test_packing_again_makes_just_the_damaged_shard_as_it_was(sealed, shard, worker, flips, truncations):
    before, content = stamps(sealed), shard.read_bytes()
    for damaged in damages(shard, flips, truncations):
        shard.write_bytes(damaged)
        pack_again(sealed, worker)
        assert shard.read_bytes() == content
    load(sealed)
    assert {name for name, stamp in stamps(sealed).items() if before[name] != stamp} == {
        "shard-00000.h5",
        "shard-00000.json",
    }


def test_the_shard_of_another_dataset_is_found_and_made_again(tmp_path, sealed, shard, worker):
    (tmp_path / "other").mkdir()
    other = prepare(tmp_path / "other", write_scans(tmp_path / "scans", num_studies=6), pack={"size": 64})
    packing.pack_shards(other)
    content = shard.read_bytes()
    shutil.copytree(other / "dataset" / "shards", shard.parent, dirs_exist_ok=True)  # with what was noted of it
    with pytest.raises(InputError, match=r"shard-00000\.h5: does not match"):
        load(sealed)
    pack_again(sealed, worker)
    assert shard.read_bytes() == content
    load(sealed)


def test_a_shard_that_is_gone_or_cannot_be_read_is_found_and_made_again(sealed, shard, worker):
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(InputError, match=r"shard-00000\.h5: missing"):
        load(sealed)
    shard.symlink_to("/proc/self/mem")  # reading it is an input/output error
    with pytest.raises(InputError, match=r"shard-00000\.h5: cannot be read \(Input/output error\)"):
        load(sealed)
    pack_again(sealed, worker)
    assert shard.read_bytes() == content


def test_a_shard_that_cannot_be_made_again_as_it_was_sealed_is_refused(tmp_path, worker):
    scans = write_scans(tmp_path / "scans")
    run = prepare(tmp_path, scans)
    pack(run)
    shard, image = run / "dataset" / "shards" / "shard-00001.h5", scans / "012" / "IM0003.dcm"
    content, original = shard.read_bytes(), image.read_bytes()
    image.write_bytes(original[:-2] + bytes(2))  # of the same size, so the plan knows nothing of it
    shard.write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"shard-00001\.h5: .* differs from the sealed one"):
        pack_again(run, worker)
    with pytest.raises(InputError, match=r"shard-00001\.h5: does not match"):
        load(run)
    image.write_bytes(original)
    pack_again(run, worker)
    assert shard.read_bytes() == content


@pytest.mark.parametrize(
    "name", ["dataset.json", "shards/shard-00000.json", "studies.csv", "rejected.csv", "intake.json"]
)
def test_a_flipped_bit_in_what_stands_beside_the_shards_is_found(sealed, worker, name):
    path = sealed / "dataset" / name
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for bit in rng.integers(0, 8 * len(content), 4).tolist():
        path.write_bytes(flipped(content, bit))
        if name == "dataset.json":
            for use in (load, lambda run: pack_again(run, worker), sealing.seal):
                with pytest.raises(InputError, match=r"dataset\.json"):
                    use(sealed)
            path.unlink()
        elif name == "studies.csv":
            with pytest.raises(InputError, match=r"studies\.csv: not as it was sealed; .* --seal"):
                setup.load_fold(RunPaths(sealed), 0, config_of(sealed), World(0, 1, torch.device("cpu")))
        pack_again(sealed, worker)
        sealing.seal(sealed)
        assert path.read_bytes() == content


def test_an_older_format_is_refused_with_what_was_found(sealed, shard):
    with h5py.File(shard, "r+") as file:
        file.attrs["format_version"] = 1
    with pytest.raises(InputError, match=r"shard-00000\.h5: found format version 1, wanted 4"):
        shards.read_shard(shard, np.empty((9 * NUM_SLICES, SIZE, SIZE), np.int16))
    seal = sealed / "dataset" / "dataset.json"
    seal.write_text(json.dumps({"format_version": 1, "shards": []}), encoding="utf-8")
    with pytest.raises(InputError, match=r"dataset\.json: found format version 1, wanted 4"):
        load(sealed)


def outside(path, shape):
    """Another file with slices, and one of their bytes alone."""
    with h5py.File(path / "other.h5", "w") as file:
        file.create_dataset("images", shape, "<i2")
    (path / "secret.bin").write_bytes(bytes(2 * int(np.prod(shape))))


def virtual(file, shape):
    layout = h5py.VirtualLayout(shape, "<i2")
    layout[:] = h5py.VirtualSource("other.h5", "images", shape)
    file.create_virtual_dataset("images", layout)


ELSEWHERE = {
    "external storage": (
        lambda file, shape: file.create_dataset(
            "images", shape, "<i2", external=[("secret.bin", 0, h5py.h5f.UNLIMITED)]
        ),
        r"'images' lies in 'secret\.bin' \(external storage\)",
    ),
    "an external link": (
        lambda file, shape: file.__setitem__("images", h5py.ExternalLink("other.h5", "/images")),
        r"'images' is a link to 'other\.h5', '/images'",
    ),
    "a soft link": (
        lambda file, shape: file.__setitem__("images", h5py.SoftLink("/digest")),
        "'images' is a link to '/digest'",
    ),
    "a virtual dataset": (virtual, r"'images' is put together of others \(virtual\), in 'other\.h5'"),
    "a group": (lambda file, shape: file.create_group("images"), "'images' is not there, or no dataset"),
    "nothing": (lambda file, shape: None, "'images' is not there, or no dataset"),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_a_shard_whose_data_lie_elsewhere_is_refused_with_file_and_dataset(case, shard):
    make, message = ELSEWHERE[case]
    with h5py.File(shard, "r+") as file:
        shape = file["images"].shape
        del file["images"]
        outside(shard.parent, shape)
        make(file, shape)
    read = (
        lambda: shards.read_shard(shard, np.empty(shape, np.int16)),
        lambda: shards.read_places(shard),
        lambda: shards.read_digests(shard),
        lambda: shards.read_slices(shard, [("000", 0)]),
        lambda: shards.is_blank(shard, 0),
    )
    for one in read:
        with pytest.raises(InputError, match=rf"shard-00000\.h5: dataset {message}, wanted one whose data are in"):
            one()


def test_a_link_beside_the_datasets_of_a_shard_is_refused_too(shard):
    with h5py.File(shard, "r+") as file:
        file["more"] = h5py.ExternalLink("/etc/hostname", "/x")
    with pytest.raises(InputError, match=r"dataset 'more' is a link to '/etc/hostname', '/x'"):
        shards.read_digests(shard)


def test_a_slice_has_the_digest_that_its_shard_says(shard):
    images = np.empty((9 * NUM_SLICES, SIZE, SIZE), np.int16)
    columns = shards.read_shard(shard, images)
    assert [digests.of_bytes(image.data) for image in images] == [row.tobytes() for row in columns.digest]


def test_shards_open_with_the_h5dump_of_debian(tmp_path, shard):
    if shutil.which("h5dump") is None:
        unavailable("no h5dump for this test: apt-get install hdf5-tools")
    images = np.empty((9 * NUM_SLICES, SIZE, SIZE), np.int16)
    columns = shards.read_shard(shard, images)
    for name, expected in {"images": images, "slice": columns.slice, "position_mm": columns.position_mm}.items():
        subprocess.run(["h5dump", "-d", name, "-b", "LE", "-o", "found", shard], cwd=tmp_path, check=True, timeout=60)
        assert np.array_equal(np.fromfile(tmp_path / "found", expected.dtype), expected.ravel())
    text = subprocess.run(
        ["h5dump", "-d", "study", "-a", "units", shard], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert text.count('"008"') == NUM_SLICES
    assert '"HU"' in text


def test_what_is_written_is_in_the_file_before_it_is_closed(tmp_path, monkeypatch):
    """HDF5 does not always tell of what goes wrong when it closes a file; only the mark of an open file may be left."""
    path, seen = tmp_path / "shard.h5", []
    monkeypatch.setattr(h5py.File, "close", lambda file: seen.append(path.read_bytes()))
    with shards.create(path, 8) as writer, writer.study("000") as keep:
        for z in range(100):
            keep(np.full((8, 8), z, np.int16), float(z))
    monkeypatch.undo()
    writer._file.close()
    assert seen[0][48:] == path.read_bytes()[48:]  # the superblock has 48 bytes


def test_an_error_of_hdf5_is_one_of_the_operating_system(tmp_path):
    with pytest.raises(OSError, match="No such file") as refused, shards.create(tmp_path / "gone" / "shard.h5", 8):
        pass
    assert refused.value.errno == errno.ENOENT
