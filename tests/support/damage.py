"""Damage to the bytes of a file, as a bad disk, a cut transfer or a wrong program leaves it."""

from __future__ import annotations

import random

import numpy as np

MUTANTS, SLOWEST_S, LONGEST = 500, 10.0, 700  # of a format; seconds for all of them, characters of a line
WORDS = (
    b"\xff" * 8,
    bytes(8),
    np.float32(np.nan).tobytes() * 2,
    np.float64(np.inf).tobytes(),
    b"\x7f" * 8,
    b"99999999",
)


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """A few bits, bytes or numbers changed, some of it lost, copied or random; mostly near the beginning."""
    data, start = bytearray(whole), min(len(whole), 400)
    at, kind = int(rng.integers(rng.choice([start, len(whole)]))), rng.integers(6)
    if kind == 0:
        for place in rng.integers(len(data), size=rng.integers(1, 8)):
            data[place] ^= 1 << rng.integers(8)
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        data[at : at + rng.integers(1, 40)] = rng.bytes(rng.integers(40))
    elif kind == 3:
        for place in rng.integers(start, size=rng.integers(1, 6)):
            data[place] = rng.integers(256)
    elif kind == 4:
        data[at : at + 8] = WORDS[rng.integers(len(WORDS))]
    else:
        other = rng.integers(len(data))
        data[at : at + 20] = data[other : other + 20]
    return bytes(data)


def random_byte(rng: random.Random, data: bytearray, at: int, end: int) -> None:
    data[at] = rng.randrange(256)


def flipped_bit(rng: random.Random, data: bytearray, at: int, end: int) -> None:
    data[at] ^= 1 << rng.randrange(8)


def other_digit(rng: random.Random, data: bytearray, at: int, end: int) -> None:
    """The next digit that follows before the end becomes another: the damage that reads best."""
    digit = next((place for place in range(at, min(at + 40, end)) if 48 <= data[place] < 58), at)
    data[digit] = rng.choice(b"0123456789")


def swapped(rng: random.Random, data: bytearray, at: int, end: int) -> None:
    data[at : at + 2] = data[at : at + 2][::-1]


def deleted(rng: random.Random, data: bytearray, at: int, end: int) -> None:
    del data[at : at + rng.choice([1, 2, 4, 8])]


def inserted(rng: random.Random, data: bytearray, at: int, end: int) -> None:
    data[at:at] = rng.randbytes(rng.choice([1, 2, 4, 8]))


def zeroed(rng: random.Random, data: bytearray, at: int, end: int) -> None:
    count = len(data[at : at + rng.choice([2, 8, 64])])
    data[at : at + count] = bytes(count)


def truncated(rng: random.Random, data: bytearray, at: int, end: int) -> None:
    del data[at:]


MUTATIONS = (random_byte, flipped_bit, flipped_bit, other_digit, swapped, deleted, inserted, zeroed, truncated)
