"""Checkpoints: whatever happens to their bytes, a damaged one is never used and the newest whole one is."""

import errno
import os
import random
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from cac_hpc.settings.errors import InputError
from cac_hpc.train import checkpoint

MINE = {"fold": 0, "splits": "x"}
STATE = {"weights": {"layer": torch.arange(3000.0)}, "history": [{"epoch": 1, "val_loss": 0.5}], "belongs_to": MINE}


@pytest.fixture
def generations(tmp_path):
    """Two checkpoints, oldest first."""
    paths = [tmp_path / f"epoch-0001-step-{step:06d}.pt" for step in (1, 2)]
    for step, path in enumerate(paths):
        checkpoint.save(path, STATE | {"step": step})
    return paths


def newest(paths):
    return checkpoint.load_newest(paths, MINE)[1]["step"]


def test_what_was_saved_comes_back_and_the_same_state_gives_the_same_bytes(tmp_path, generations):
    state = checkpoint.load(generations[1])
    torch.testing.assert_close(state["weights"]["layer"], STATE["weights"]["layer"], rtol=0, atol=0)
    assert state["history"] == STATE["history"]
    checkpoint.save(tmp_path / "another-name.pt", STATE | {"step": 1})
    assert (tmp_path / "another-name.pt").read_bytes() == generations[1].read_bytes()
    assert newest(generations) == 1
    assert checkpoint.load_newest([], MINE) is None


@pytest.mark.parametrize(
    ("flips", "cuts"), [(40, 10), pytest.param(500, 100, marks=[pytest.mark.drill, pytest.mark.timeout(300)])]
)
def test_every_flipped_bit_and_every_cut_is_found(generations, caplog, flips, cuts):
    """The seed is fixed: damage number 17 is the same everywhere."""
    path, dice = generations[1], random.Random(0)
    whole = path.read_bytes()
    for _ in range(flips):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        path.write_bytes(damaged)
        assert newest(generations) == 0
    for _ in range(cuts):
        path.write_bytes(whole[: dice.randrange(len(whole))])
        assert newest(generations) == 0
    assert caplog.text.count("epoch-0001-step-000002.pt: does not match its sha256") == flips + cuts


def test_no_checkpoint_is_used_without_its_digest_and_nothing_starts_from_zero_unasked(generations):
    generations[1].with_suffix(".sha256").unlink()
    assert newest(generations) == 0
    generations[0].write_bytes(b"")
    with pytest.raises(InputError, match=r"found 2 checkpoints, none of which can be used .* delete the folder"):
        newest(generations)


def test_a_checkpoint_of_another_fold_or_a_later_format_is_passed_over(generations, caplog, monkeypatch):
    checkpoint.save(generations[1], STATE | {"belongs_to": {"fold": 3, "splits": "x"}, "step": 1})
    assert newest(generations) == 0
    assert "belongs to {'fold': 3, 'splits': 'x'}, wanted {'fold': 0, 'splits': 'x'}" in caplog.text
    monkeypatch.setattr(checkpoint, "FORMAT_VERSION", 99)
    checkpoint.save(generations[1], STATE | {"step": 1})
    monkeypatch.undo()
    assert newest(generations) == 0
    assert "found format version 99, wanted 1" in caplog.text


class Payload:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.system, (f"touch {self.canary}",)


@pytest.mark.parametrize("value", [Payload, lambda _: np.float64(1), lambda path: path], ids=["code", "numpy", "path"])
def test_what_is_no_plain_value_is_not_loaded_and_not_executed(generations, tmp_path, caplog, value):
    canary = tmp_path / "canary"
    checkpoint.save(generations[1], STATE | {"step": value(canary)})
    assert newest(generations) == 0
    assert "holds other things than tensors and plain values" in caplog.text
    assert not canary.exists()


@pytest.mark.parametrize("kilobytes", [4, 8, 12, 16, 20])
def test_a_full_disk_is_told_and_costs_no_older_checkpoint(tmp_path, kilobytes):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = 4096 * 5 + (1 << 10) * kilobytes
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can make a small disk")
    try:
        old, new = (disk / f"epoch-0001-step-{step:06d}.pt" for step in (1, 2))
        checkpoint.save(old, STATE | {"step": 0})
        (disk / "others").write_bytes(bytes(size - 4096 * 5 - 1024 * kilobytes // 2))
        with pytest.raises(OSError, match="No space left on device; make room there") as told:
            checkpoint.save(new, STATE | {"step": 1})
        assert told.value.errno == errno.ENOSPC
        assert Path(told.value.filename).parent == disk
        assert sorted(path.name for path in disk.glob(".*")) == []
        assert checkpoint.load_newest([old], MINE)[1]["step"] == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)
