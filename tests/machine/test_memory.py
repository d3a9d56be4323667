"""What looks for circles of references waits while very many objects are made; free memory goes back to the system."""

import gc
import subprocess
import sys

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


def test_free_memory_goes_back_to_the_system():
    """Of pieces so small that the C library keeps them, as the last of them is still there."""
    program = (
        "import resource\n"
        "from cac_hpc.machine import memory\n"
        "def mb(): return int(open('/proc/self/statm').read().split()[1]) * resource.getpagesize() >> 20\n"
        "kept = [bytearray(100_000) for _ in range(1000)]\n"
        "full, last = mb(), kept.pop()\n"
        "del kept\n"
        "free = mb()\n"
        "memory.give_back()\n"
        "print(full, free, mb())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    full, free, given_back = map(int, done.stdout.split())
    assert full >= free > 90
    assert given_back < 50
