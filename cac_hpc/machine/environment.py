"""Which variables reach SLURM's commands, jobs and tasks: the one list is environment.txt beside this file."""

from __future__ import annotations

import fnmatch
import functools
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path

LISTS = Path(__file__).with_suffix(".txt")
CARDS = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")  # variables that name the network cards which ranks talk over


def for_slurm() -> dict[str, str]:
    """The variables that every command of SLURM's gets; sbatch hands them on to the job."""
    return _listed(os.environ, "user", "slurm")


def for_tasks_here() -> dict[str, str]:
    """The variables that a task on this machine gets from the shell of its launcher."""
    return _listed(os.environ, "user", "here")


def for_task(variables: Mapping[str, str]) -> dict[str, str]:
    """These variables without what would mislead Python and torchrun, whoever has set it."""
    return {name: value for name, value in variables.items() if _is(name, "user") or not _is(name, "never")}


def not_for_jobs() -> list[str]:
    """Names of what SLURM's commands get and a job must not have."""
    lists = _lists()
    return [name for name in lists["slurm"] if name not in lists["job"]]


def missing_card(
    variables: Mapping[str, str], read: Collection[str] = CARDS, cards: Collection[str] | None = None
) -> str | None:
    """Which network card these variables name that this node does not have; None if it has all.

    Args:
        read: of CARDS, those that what is to run reads. cards: names of the node's cards; None for this machine's.
    Source: torch's ProcessGroupGloo.cpp for GLOO_SOCKET_IFNAME, names parted by commas; NCCL's environment variables
        for NCCL_SOCKET_IFNAME, prefixes, after = whole names, after ^ what is not taken.
    """
    import socket  # not for who asks nothing of the network

    found = sorted(cards if cards is not None else (name for _, name in socket.if_nameindex()))
    for variable in read:
        value = variables.get(variable, "")
        if not value or _serves(variable, value, found):
            continue
        return (
            f"{variable} is {value}, but there is no such network card: this node has {', '.join(found) or 'none'}; "
            "correct it in slurm/env.sh or cluster.setup"
        )
    return None


def _serves(variable: str, value: str, cards: Collection[str]) -> bool:
    """Whether what a variable says leaves cards to talk over."""
    if variable.startswith("GLOO"):
        return set(value.split(",")) <= set(cards)
    mark, names = re.fullmatch(r"(\^?=?)(.*)", value, re.S).groups()  # type: ignore[union-attr]
    wanted = [name.partition(":")[0] for name in names.split(",") if name]
    named = {card for card in cards for name in wanted if card == name or ("=" not in mark and card.startswith(name))}
    return bool(set(cards) - named if "^" in mark else named)


def _listed(variables: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in variables.items() if any(_is(name, each) for each in names)}


def _is(name: str, of: str) -> bool:
    """Whether a variable is in a list."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _lists()[of])


@functools.cache
def _lists() -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for line in LISTS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            of, *patterns = line.split()
            lists.setdefault(of, []).extend(patterns)
    return lists
