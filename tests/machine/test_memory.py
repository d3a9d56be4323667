"""What looks for circles of references waits while very many objects are made, and works as ever afterwards."""

import gc

import pytest

from cac_hpc.machine import memory


def test_nothing_looks_for_circles_while_many_objects_are_made():
    runs = []
    gc.callbacks.append(lambda phase, _: runs.append(phase))
    try:
        with memory.many_objects():
            kept = [[] for _ in range(100_000)]
            during = list(runs)
        more = [[] for _ in range(100_000)]
    finally:
        gc.callbacks.pop()
        gc.unfreeze()
    assert not during
    assert runs
    assert len(kept) == len(more)


def test_circles_are_looked_for_again_after_an_error():
    with pytest.raises(ValueError, match="any"), memory.many_objects():
        raise ValueError("any")
    gc.unfreeze()
    assert gc.isenabled()
