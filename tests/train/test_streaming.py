"""Streaming: the slices that were packed or a named fault, in bounded memory, with no thread left over."""

import pickle
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cac_hpc.dataset import shards
from cac_hpc.settings.errors import InputError
from cac_hpc.train import slices, streaming
from cac_hpc.train.streaming import Places, Reader

REPO = Path(__file__).resolve().parents[2]
SIZE = 16


def write_shards(folder, rows_of, size=SIZE):
    """Shards of random slices; returns their places and all slices."""
    rng, found, images = np.random.default_rng(0), [], []
    for index, count in enumerate(rows_of):
        with shards.create(folder / f"shard-{index:05d}.h5", size) as writer, writer.study(f"{index}") as keep:
            for z in range(count):
                images.append(rng.integers(-1000, 1000, (size, size), dtype=np.int16))
                keep(images[-1], float(z))
        found.append(shards.read_places(folder / f"shard-{index:05d}.h5"))
    places = Places(
        files=[folder / f"shard-{index:05d}.h5" for index in range(len(rows_of))],
        shard=np.repeat(np.arange(len(rows_of)), rows_of),
        offset=np.concatenate([offset for _, offset in found]),
        digest=np.concatenate([columns.digest for columns, _ in found]),
    )
    return places, np.stack(images)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_shards(tmp_path_factory.mktemp("shards"), [70, 1, 130])


def readers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def check(reader, images, rows):
    """A pass yields the slices of the rows, batch by batch."""
    count = 0
    for wanted, found in zip(rows, reader.batches(rows), strict=True):
        assert np.array_equal(found.numpy(), images[wanted])
        count += len(wanted)
    return count


@pytest.mark.parametrize("block", [1, 7, 64, 10_000])
def test_batches_are_the_packed_slices_whatever_the_block(written, block):
    places, images = written
    reader, rng = Reader(places, SIZE, block), np.random.default_rng(block)
    order = rng.permutation(len(images))
    assert check(reader, images, list(slices.split(order, 8))) == len(images)
    assert check(reader, images, [order[:0], order[:3], order[3:3], order[5:50], order[:0]]) == 48
    assert check(reader, images, [order[:0]]) == 0
    assert check(reader, images, []) == 0
    assert check(reader, images, [np.array([5, 5, 4, 6, 5])]) == 5
    assert not readers()


def test_offsets_are_those_of_the_slices(written):
    places, images = written
    for shard, path in enumerate(places.files):
        content, mine = path.read_bytes(), places.shard == shard
        for offset, image in zip(places.offset[mine].tolist(), images[mine], strict=True):
            assert content[offset : offset + image.nbytes] == image.tobytes()


def test_a_byte_flipped_after_the_start_is_found_and_its_shard_and_row_are_named(tmp_path):
    places, images = write_shards(tmp_path, [20, 20])
    reader = Reader(places, SIZE, 4)
    assert check(reader, images, [np.arange(40)]) == 40
    content = bytearray(places.files[1].read_bytes())
    content[int(places.offset[27]) + 11] ^= 4
    places.files[1].write_bytes(content)
    with pytest.raises(InputError, match=r"shard-00001\.h5: row 7 is not as it was packed.* --shard 1"):
        check(reader, images, list(slices.split(np.arange(40), 4)))
    assert not readers()
    assert check(reader, images, [np.arange(20)]) == 20  # the reader goes on with what is whole


def test_a_shard_cut_short_or_gone_after_the_start_is_named(tmp_path):
    places, images = write_shards(tmp_path, [20])
    reader = Reader(places, SIZE, 4)
    places.files[0].write_bytes(places.files[0].read_bytes()[: int(places.offset[10]) + 5])
    with pytest.raises(InputError, match=r"shard-00000\.h5: row \d+ is not as it was packed"):
        check(reader, images, [np.arange(20)])
    places.files[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"shard-00000\.h5"):
        check(reader, images, [np.arange(20)])
    assert not readers()


def test_a_pass_that_is_closed_early_leaves_no_thread(written):
    places, images = written
    reader = Reader(places, SIZE, 8)
    batches = reader.batches(list(slices.split(np.arange(len(images)), 8)))
    next(batches)
    assert readers()
    batches.close()
    assert not readers()
    assert check(reader, images, [np.arange(10)]) == 10


def test_an_error_of_who_computes_leaves_no_thread(written):
    places, images = written

    def fail():
        for _ in Reader(places, SIZE, 8).batches(list(slices.split(np.arange(len(images)), 8))):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not readers()


def test_a_slow_disk_is_not_waited_for_when_a_pass_is_closed(written, monkeypatch):
    """Closing waits for the read under way, not for the rest of the block."""
    places, _ = written
    reads, stuck, go = [], threading.Event(), threading.Event()
    real = streaming._read

    def slow(fd, into, offset):
        reads.append(offset)
        if len(reads) == 2:
            stuck.set()
            assert go.wait(10)
        return real(fd, into, offset)

    monkeypatch.setattr(streaming, "_read", slow)
    monkeypatch.setattr(streaming, "CALL_BYTES", 1)
    batches = Reader(places, SIZE, 1).batches([np.arange(1), np.arange(100)])
    next(batches)
    assert stuck.wait(10)
    threading.Timer(0.2, go.set).start()
    batches.close()
    assert len(reads) == 2


def test_reads_that_come_in_parts_are_put_together(written, monkeypatch):
    places, images = written
    real = streaming.os.preadv
    monkeypatch.setattr(streaming.os, "preadv", lambda fd, into, offset: real(fd, [memoryview(into[0])[:700]], offset))
    assert check(Reader(places, SIZE, 64), images, [np.arange(len(images))]) == len(images)


@given(
    rows=st.lists(st.integers(0, 5000), unique=True, max_size=400).map(lambda rows: np.array(rows, np.int64)),
    batch_size=st.integers(1, 40),
    window=st.none() | st.integers(1, 500),
    epoch=st.integers(1, 5),
)
def test_every_row_is_taken_once_and_the_order_follows_from_the_seed(rows, batch_size, window, epoch):
    one, two = (list(slices.training_batches(rows, batch_size, 0, 1, epoch, window)) for _ in range(2))
    taken = np.concatenate([rows[:0], *one])
    assert np.array_equal(taken, np.concatenate([rows[:0], *two]))
    assert sorted(taken.tolist()) == sorted(rows.tolist())
    assert {len(batch) for batch in one[:-1]} <= {batch_size}
    place = {row: index // slices.RUN for index, row in enumerate(sorted(rows.tolist()))}
    for part in slices.split(taken, window or len(rows) or 1):  # a window lies in few runs of neighbouring rows
        assert len({place[row] for row in part.tolist()}) <= (window or len(rows)) // slices.RUN + 2


def test_another_epoch_or_window_is_another_order():
    rows = np.arange(1000)
    orders = {
        tuple(np.concatenate(list(slices.training_batches(rows, 32, 0, 0, epoch, window))).tolist())
        for epoch in (1, 2)
        for window in (None, 128, 256)
    }
    assert len(orders) == 6


def test_without_a_window_the_order_is_one_permutation():
    rows = np.arange(100, 200)
    order = np.concatenate(list(slices.training_batches(rows, 32, 3, 1, 2)))
    assert np.array_equal(order, np.random.default_rng([3, 1, 2]).permutation(rows))


BOUNDED = """
import pickle, resource, sys
from pathlib import Path
import numpy as np
from cac_hpc.run import digests
from cac_hpc.train import slices
from cac_hpc.train.streaming import Reader

def own():  # what counts against RLIMIT_DATA
    return int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) << 10

places = pickle.loads(Path(sys.argv[1]).read_bytes())
allowed = 64 << 20
resource.setrlimit(resource.RLIMIT_DATA, (own() + allowed, own() + allowed))
reader, taken = Reader(places, 256, int(sys.argv[2])), 0
for epoch in (1, 2):
    rows = list(slices.training_batches(np.arange(len(places.shard)), 32, 0, 0, epoch, 128))
    for wanted, found in zip(rows, reader.batches(rows), strict=True):
        assert digests.of_bytes(found[0].numpy().data) == places.digest[wanted[0]].tobytes()
        taken += len(found)
print(taken)
"""


def run_bounded(folder, block):
    command = [sys.executable, "-c", BOUNDED, str(folder / "places"), str(block)]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=120)


def test_a_dataset_of_four_times_the_memory_that_is_allowed_is_streamed(tmp_path):
    places, _ = write_shards(tmp_path, [512] * 4, size=256)  # 256 MiB
    (tmp_path / "places").write_bytes(pickle.dumps(places))
    done = run_bounded(tmp_path, 128)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 2 * 2048
    done = run_bounded(tmp_path, 512)  # two blocks of 64 MiB: the limit is one
    assert done.returncode != 0
    assert "memory" in done.stderr


def test_the_block_is_bounded_whatever_the_window(written, monkeypatch):
    places, images = written
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 10 * 2 * SIZE * SIZE)
    reader = Reader(places, SIZE, 1_000_000)
    assert check(reader, images, list(slices.split(np.arange(len(images)), 3))) == len(images)
    assert [len(buffer) for buffer in reader._buffers] == [9, 9]


def test_a_shard_of_any_length_has_a_place_for_every_slice(tmp_path):
    for count in (1, 63, 64, 65, 200):
        path = tmp_path / f"{count}.h5"
        with shards.create(path, 8) as writer, writer.study("a") as keep:
            for z in range(count):
                keep(np.full((8, 8), z, np.int16), float(z))
        _, offset = shards.read_places(path)
        content = path.read_bytes()
        values = [np.frombuffer(content[at : at + 128], np.int16) for at in offset.tolist()]
        assert np.array_equal(values, np.repeat(np.arange(count), 64).reshape(count, 64))
        with h5py.File(path) as file:
            assert len(file["images"]) == count
