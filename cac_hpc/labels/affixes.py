"""What stands before or behind the same study number in a sheet and in the names of folders: dropped where the settings
say so, and proposed, never guessed, where numbers would be the same without it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from cac_hpc.labels.spelling import folded, normalised

PREFIX, SUFFIX = "id_prefix", "id_suffix"
FEWEST = 2  # pairs that a proposal needs: one may be by chance


@dataclass(frozen=True)
class Proposal:
    """A setting that would bring names together."""

    setting: str  # id_prefix or id_suffix
    text: str
    pairs: list[tuple[str, str]]  # names of row and folder


def compared(name: str, prefix: str | None, suffix: str | None) -> str:
    """A name as `normalised`, without a prefix and a suffix that it may have; a name that is no more is left alone."""
    text = folded(name)
    if prefix and (start := folded(prefix)) and text.startswith(start) and text != start:
        text = text.removeprefix(start)
    if suffix and (end := folded(suffix)) and text.endswith(end) and text != end:
        text = text.removesuffix(end)
    return normalised(text)


def propose(rows: Collection[str], studies: Collection[str]) -> Proposal | None:
    """The prefix or suffix without which most of the names that have no counterpart would have one.

    Args:
        rows, studies: names as `compared`.
    Returns: None unless it brings together two pairs, and half of those that could be.
    """
    found: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for row in rows:
        for setting, text, rest in _parts(row):
            if rest in studies:
                found.setdefault((setting, text), set()).add((row, rest))
    for study in studies:
        for setting, text, rest in _parts(study):
            if rest in rows:
                found.setdefault((setting, text), set()).add((rest, study))
    if not found:
        return None
    (setting, text), pairs = max(found.items(), key=lambda item: (len(item[1]), -len(item[0][1])))
    enough = len(pairs) >= max(FEWEST, min(len(rows), len(studies)) / 2)
    return Proposal(setting, text, sorted(pairs)) if enough else None


def _parts(name: str) -> Iterator[tuple[str, str, str]]:
    """Each prefix and suffix of a name, and the rest of it; no number is cut in two."""
    for cut in range(1, len(name)):
        head, tail = name[:cut], name[cut:]
        if not (head[-1].isdigit() and tail[0].isdigit()):
            yield PREFIX, head, normalised(tail)
            yield SUFFIX, tail, normalised(head)
