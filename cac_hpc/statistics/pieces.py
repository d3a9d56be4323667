"""Arrays of millions of units, so many at a time as fit into a processor's memory: what is made of them is the same.

Axes: N unit, G whatever units are numbered by.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

AT_ONCE = 2**15  # units


def pieces(count: int, at_once: int = AT_ONCE) -> Iterator[slice]:
    """Neighbouring parts of so many units, in their order."""
    return (slice(first, min(first + at_once, count)) for first in range(0, count, at_once))


def take(value_G: np.ndarray, number_N: np.ndarray) -> np.ndarray:
    """The value of each unit's number, (N,) of the values' type; numpy would make 64-bit numbers of all at once."""
    found_N = np.empty(len(number_N), value_G.dtype)
    for part in pieces(len(number_N)):
        found_N[part] = value_G[number_N[part]]
    return found_N


def combine(by: np.ufunc, found_G: np.ndarray, number_N: np.ndarray, value_N: np.ndarray | int) -> np.ndarray:
    """Each unit's value added to what its number has, or its maximum with that, one after the other as in bincount.

    Args:
        by: np.add or np.maximum.
        found_G: what there is before; changed in place.
        value_N: (N,), or the same of all.
    """
    for part in pieces(len(number_N)):
        value = value_N if isinstance(value_N, int) else value_N[part].astype(found_G.dtype)
        by.at(found_G, number_N[part].astype(np.intp), value)
    return found_G


def count(number_N: np.ndarray, size: int) -> np.ndarray:
    """How many units have each number, (G,)."""
    return combine(np.add, np.zeros(size, int), number_N, 1)
