"""How SLURM writes tables, times, sizes, counts and GPUs; what is none of them is None."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T", int, float)
ENDLESS = ("UNLIMITED", "INFINITE", "NONE")
UNITS = {unit: 1024**power for power, unit in enumerate(("", *"KMGTPE"))}


def minutes(text: str) -> float | None:
    """A time limit as SLURM writes it: ``1-00:00:00``, ``30:00``, ``90``, ``infinite``; None for what is none.

    Source: man sbatch, --time: minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes and
    days-hours:minutes:seconds.
    """
    if text.strip().upper() in ENDLESS:
        return math.inf
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if not found:
        return None
    days, first, second, third = (int(part or 0) for part in found.groups())
    if found[1] is not None:
        return days * 1440 + first * 60 + second + third / 60
    if found[4] is not None:
        return first * 60 + second + third / 60
    return first + second / 60


def megabytes(text: str) -> int | None:
    """A memory size as SLURM writes it, in MB where it has no unit: ``6000``, ``2T``, ``187.5G``, ``4000+``."""
    found = num_bytes(text, "M")
    return None if found is None else int(found / UNITS["M"])


def num_bytes(text: str, unit: str = "") -> float | None:
    """A memory size in bytes: ``100M``, ``1.5G``, ``4Gn``, ``10648K``.

    Args:
        unit: of a size without one.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTPE]?)B?[+nc]?", text.strip(), re.I)
    return float(found[1]) * UNITS[found[2].upper() or unit] if found else None


def number(text: str) -> int | None:
    """A count; None for what is none, as UNLIMITED."""
    found = re.fullmatch(r"(\d+)\+?", text.strip())
    return int(found[1]) if found else None


def gpus(gres: str) -> int | None:
    """GPUs among generic resources, as ``gpu:2``, ``gpu:a100:4(S:0-1),shard:8``; None without any, as ``(null)``."""
    parts = [entry.strip().split(":") for entry in re.sub(r"\(.*?\)", "", gres).split(",")]
    counts = [int(part[-1]) if part[-1].isdigit() else 1 for part in parts if part[0] == "gpu"]
    return sum(counts) if counts else None


def gpu_types(gres: str) -> list[str]:
    """The models among GPUs that are asked for, as accounting calls them: ``gres/gpu:a100`` of ``gpu:a100:4``."""
    return [f"gres/gpu:{found}" for found in re.findall(r"\bgpu:([A-Za-z]\w*)", gres)]


def in_hostlist(name: str, hosts: str) -> bool:
    """Whether a host is in a list such as ``login[1-3,07],n1``."""
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", hosts):
        texts = re.split(r"\[([^\]]*)\]", part)
        pattern = r"(\d+)".join(map(re.escape, texts[::2]))
        found = re.fullmatch(pattern, name)
        if found and all(_in_ranges(*pair) for pair in zip(found.groups(), texts[1::2], strict=True)):
            return True
    return False


def _in_ranges(number: str, ranges: str) -> bool:
    ends = [part.split("-") for part in ranges.split(",")]
    padded = [len(end[0]) for end in ends if end[0].isdecimal() and end[-1].isdecimal()
              and int(end[0]) <= int(number) <= int(end[-1])]  # fmt: skip
    return any(len(number) >= width for width in padded)


def ranges(numbers: Iterable[int]) -> list[str]:
    """Numbers as ``0-3``, ``7``."""
    known = {*numbers}
    starts = (number for number in sorted(known) if number - 1 not in known)
    ends = (number for number in sorted(known) if number + 1 not in known)
    return [f"{low}-{high}" if low < high else f"{low}" for low, high in zip(starts, ends, strict=True)]


def rows(said: str, num_columns: int) -> Iterator[list[str]]:
    """The lines that have as many cells between ``|`` as were asked for."""
    for line in said.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == num_columns:
            yield cells


def widest(values: Iterable[T | None]) -> T | None:
    """The largest of those that are known."""
    return max((value for value in values if value is not None), default=None)
