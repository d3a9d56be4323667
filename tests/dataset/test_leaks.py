"""Which slices of a dataset are the same, found without an order of all of them."""

import numpy as np
import pytest

from cac_hpc.dataset import leaks


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
@pytest.mark.parametrize("seed", range(20))
def test_equal_rows_are_those_that_comparing_each_with_each_finds(seed, dtype):
    rng = np.random.default_rng(seed)
    number = rng.integers(0, 30)
    first_N, second_N = rng.integers(0, 6, number).astype(dtype), rng.integers(0, 4, number).astype(dtype)
    wanted = {}
    for row, pair in enumerate(zip(first_N.tolist(), second_N.tolist(), strict=True)):
        wanted.setdefault(pair, []).append(row)
    found = [sorted(rows.tolist()) for rows in leaks._equal_rows(first_N, second_N)]
    assert sorted(found) == sorted(rows for rows in wanted.values() if len(rows) > 1)
