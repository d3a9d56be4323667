"""The nodes of each partition, as sinfo prints them. What cannot be read is None."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cac_hpc.run.notation import ENDLESS, gpus, megabytes, minutes, number, rows, widest

OUT_OF_SERVICE = re.compile(r"down|drain|fail|inval|unk|maint|\*", re.I)
NODES = ["sinfo", "--noheader", "--exact", "--all", "--format=%P|%a|%l|%s|%D|%c|%m|%T|%G"]


@dataclass(frozen=True)
class Group:
    """Nodes of one partition that are alike: a line of sinfo."""

    partition: str
    default: bool
    state: str
    time_min: float | None
    job_nodes: float | None
    nodes: int
    cpus: int | None
    mem_mb: int | None
    node_state: str
    gpus: int | None

    @property
    def in_service(self) -> bool:
        return not OUT_OF_SERVICE.search(self.node_state)


def read(said: str) -> list[Group]:
    """The answer to `NODES`."""
    return [group for line in said.splitlines() if (group := _group(line))]


def most_of_a_job(groups: Sequence[Group]) -> float | None:
    """Nodes that the largest job may have: as many as one of the partitions has, or its limit."""
    there: dict[str, float] = {}
    for group in groups:
        there[group.partition] = there.get(group.partition, 0) + group.nodes
    return widest(min(there[group.partition], group.job_nodes or math.inf) for group in groups)


def _group(line: str) -> Group | None:
    cells = next(rows(line, 9), None)
    if cells is None or not re.fullmatch(r"[^\s,|*]+\*?", cells[0]) or number(cells[4]) is None:
        return None
    name, state, time, job_nodes, nodes, cpus, mem, node_state, gres = cells
    most = job_nodes.rsplit("-", 1)[-1]
    return Group(
        partition=name.rstrip("*"),
        default=name.endswith("*"),
        state=state,
        time_min=minutes(time),
        job_nodes=math.inf if most.upper() in ENDLESS else number(most),
        nodes=number(nodes) or 0,
        cpus=number(cpus),
        mem_mb=megabytes(mem),
        node_state=node_state,
        gpus=gpus(gres) or 0,
    )
