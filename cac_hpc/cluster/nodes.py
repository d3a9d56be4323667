"""The nodes of each partition, as sinfo prints them, and those that a run excludes because they failed their check.

What cannot be read is None.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from cac_hpc.cluster import slurm_commands
from cac_hpc.run import disk, ledger, task_states
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.slurm_notation import ENDLESS, gpus, megabytes, minutes, number, rows, widest

if TYPE_CHECKING:
    from cac_hpc.settings.cluster import ClusterConfig
    from cac_hpc.settings.config import Config

OUT_OF_SERVICE = re.compile(r"down|drain|fail|inval|unk|maint|\*", re.I)
NODES = ["sinfo", "--noheader", "--exact", "--all", "--format=%P|%a|%l|%s|%D|%c|%m|%T|%G"]
SHARE = 4  # one node in so many of a partition's nodes in service may be left out, one at least, never all
LAPSE_H = 24  # then a node may have been repaired


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


@dataclass(frozen=True)
class Excluded:
    """A node that failed its check. since: as the run's files write times."""

    node: str
    since: str
    why: str


def read_excluded(run: RunPaths) -> list[Excluded]:
    """The nodes that are left out now, in the order in which they came; of each the newest word."""
    now = datetime.now(timezone.utc)
    found: dict[str, Excluded] = {}
    for bad in task_states.bad_nodes(run):
        if not _has_lapsed(bad, now):
            since = found[bad["node"]].since if bad["node"] in found else str(bad.get("time"))
            found[bad["node"]] = Excluded(bad["node"], since, str(bad.get("why")))
    return list(found.values())


def excluded_names(run: RunPaths, cfg: Config) -> list[str]:
    """What sbatch is to leave out: the nodes of the settings, as they are written there, and those that failed."""
    return list(dict.fromkeys([*filter(None, [cfg.cluster.exclude]), *(bad.node for bad in read_excluded(run))]))


def exclude(run: RunPaths, cluster: ClusterConfig, node: str, why: str, job: str | None) -> str | None:
    """Leave a node out, too; returns why not, if that would be too many: what stops on so many is not their fault."""
    partition = os.environ.get("SLURM_JOB_PARTITION") or cluster.partition
    total = len(_usable(cluster, partition) or ())
    most = min(max(1, total // SHARE), total - 1) if total else 1
    with disk.open_own(run.excluded, "ab") as file:
        with contextlib.suppress(OSError):  # a file system without locks: several jobs at once may add one each
            fcntl.flock(file, fcntl.LOCK_EX)
        others = sorted({bad.node for bad in read_excluded(run)} - {node})
        if len(others) < most:
            ledger.append(run.excluded, node=node, why=why, job=job)
            return None
    return (
        f"not left out for another: of {total or 'an unknown number of'} nodes that the job can use in partition "
        f"{partition or 'default'} at most {most} may be, left out are {', '.join(others) or 'none'}"
    )


def check_excluded(run: RunPaths, cfg: Config) -> None:
    """Some node of the partition is not left out.

    Raises: InputError naming those that are, why, and how to use them again.
    """
    if not read_excluded(run):
        return
    serving = in_service(cfg.cluster.partition)
    left_out = set(
        (slurm_commands.ask(["scontrol", "show", "hostnames", ",".join(excluded_names(run, cfg))]) or "").split()
    )
    if serving and serving <= left_out:
        where = f"partition {cfg.cluster.partition}" if cfg.cluster.partition else "the default partition"
        raise InputError(
            "\n".join([f"every node in service of {where} is left out: no job could start", *exclusion_notes(run)])
        )


def exclusion_notes(run: RunPaths) -> list[str]:
    """A line for each node that is left out, and how to use them again."""
    found = read_excluded(run)
    lines = [f"node {bad.node} is left out since {bad.since}, for {LAPSE_H} h: it {bad.why}" for bad in found]
    again = f"    to use {'it' if len(found) == 1 else 'them'} again: rm {shlex.quote(str(run.excluded))}"
    return [*lines, again] if found else []


def in_service(partition: str | None) -> set[str] | None:
    """The nodes of a partition that jobs can start on; None if SLURM does not say."""
    asked = [f"--partition={partition}"] if partition else []
    answer = slurm_commands.ask(["sinfo", "--noheader", "--Node", "--format=%P|%N|%T", *asked])
    if answer is None:
        return None
    rows = [line.split("|") for line in answer.splitlines() if line.count("|") == 2]
    mine = [(node, state) for name, node, state in rows if partition or name.endswith("*")]
    return {node for node, state in mine if not OUT_OF_SERVICE.search(state)}


def _usable(cluster: ClusterConfig, partition: str | None) -> set[str] | None:
    """The nodes that jobs of these settings can start on, as far as the settings name nodes."""
    serving = in_service(partition)
    if serving is None:
        return None
    named = [str(cluster.sbatch[key]) for key in ("nodelist", "w") if key in cluster.sbatch]
    usable = serving - _expanded(cluster.exclude) - _expanded(cluster.sbatch.get("exclude"))
    return usable & _expanded(",".join(named)) if named else usable


def _expanded(hosts: object) -> set[str]:
    """The nodes that a list such as n[1-4] names."""
    return set((slurm_commands.ask(["scontrol", "show", "hostnames", str(hosts)]) or "").split()) if hosts else set()


def _has_lapsed(bad: dict[str, Any], now: datetime) -> bool:
    """Whether a node was left out long enough; one without a time that can be read stays."""
    try:
        return now - datetime.fromisoformat(bad["time"]) > timedelta(hours=LAPSE_H)
    except (KeyError, TypeError, ValueError):
        return False
