"""What the cluster allows, by its own commands, and which settings cannot work there. What nobody says is None."""

from __future__ import annotations

import math
import os
import pwd
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cac_hpc.cluster import accounting, scheduler
from cac_hpc.cluster.accounting import Accounting
from cac_hpc.run.config import ClusterConfig, Config, Resources
from cac_hpc.run.notation import ENDLESS, gpus, megabytes, minutes, number, rows, widest

OUT_OF_SERVICE = re.compile(r"down|drain|fail|inval|unk|maint|\*", re.I)
NODES = ["sinfo", "--noheader", "--exact", "--all", "--format=%P|%a|%l|%s|%D|%c|%m|%T|%G"]
SETTINGS = ["scontrol", "show", "config"]
NOTHING = Accounting()
PARTITIONS = ["scontrol", "--oneliner", "--all", "show", "partition"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """partition: the one that jobs go to, by its name or several by theirs; cpus, mem_mb, gpus: of its largest node.

    time_min: the most that a job may ask, infinite if there is no limit. nodes: in service; nodes_at_most: of a job.
    """

    partitions: tuple[str, ...] | None = None
    default: str | None = None
    partition: str | None = None
    state: str | None = None
    time_min: float | None = None
    nodes: int | None = None
    nodes_at_most: float | None = None
    cpus: int | None = None
    mem_mb: int | None = None
    gpus: int | None = None
    array_size: int | None = None
    accounting: Accounting = NOTHING


@dataclass(frozen=True)
class _Group:
    """Nodes of one partition that are alike: a line of sinfo."""

    partition: str
    default: bool
    state: str
    time_min: float | None
    job_nodes: float | None
    nodes: int
    cpus: int | None
    mem_mb: int | None
    in_service: bool
    gpus: int | None


def read(partition: str | None) -> Limits:
    """Ask the cluster; what is absent, fails or answers strangely is left out.

    Args:
        partition: cluster.partition, one or several with commas; None asks for the default one.
    """
    questions = (NODES, SETTINGS, PARTITIONS, accounting.associations_of(_user()), accounting.QOS)
    with ThreadPoolExecutor() as pool:
        said = [answer or "" for answer in pool.map(scheduler.ask, questions)]
    groups = [group for line in said[0].splitlines() if (group := _group(line))]
    names = tuple(dict.fromkeys(group.partition for group in groups))
    default = next((group.partition for group in groups if group.default), None)
    wanted = (partition or default or "").split(",")
    mine = [group for group in groups if group.partition in wanted]
    states = [group.state for group in mine]
    settings = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", said[1], re.M))
    return Limits(
        partitions=names or None,
        default=default,
        partition=partition or default,
        state="up" if "up" in states else next(iter(states), None),
        time_min=widest(group.time_min for group in mine),
        nodes=sum(group.nodes for group in mine if group.in_service) if mine else None,
        nodes_at_most=_nodes_at_most(mine),
        cpus=widest(group.cpus for group in mine),
        mem_mb=widest(group.mem_mb for group in mine),
        gpus=widest(group.gpus for group in mine),
        array_size=number(settings.get("MaxArraySize", "")),
        accounting=Accounting(
            enforced=tuple(re.findall(r"\w+", settings.get("AccountingStorageEnforce", "").lower())),
            associations=accounting.read_associations(said[3], settings.get("ClusterName")),
            qos=accounting.read_qos(said[4]),
            partition_qos=_partition_qos(said[2], wanted),
        ),
    )


def faults(limits: Limits, cfg: Config) -> list[str]:
    """One line for each setting that cannot work: it names the setting, what was found and what is wanted.

    What may only have to wait (nodes that are down, a full queue) is none; nor is what nobody knows a limit of.
    """
    cluster = cfg.cluster
    return [
        *_partition_faults(limits, cluster),
        *_time_faults(limits, cluster),
        *_node_faults(limits, cfg),
        *accounting.faults(limits.accounting, cluster),
        *_count_faults(limits, cfg),
    ]


def num_fold_jobs(cfg: Config) -> int:
    """Tasks of the array of folds."""
    return -(-cfg.split.folds // cfg.cluster.folds_per_node)


def most_pack_tasks(limits: Limits, cfg: Config) -> int | None:
    """How many tasks the array of shards may have, all stages submitted at once; None: no limit is known."""
    jobs = submit_jobs(limits, cfg.cluster)
    room = None if jobs is None else jobs - num_fold_jobs(cfg) - 2  # the seal and the report
    known = [limit for limit in (limits.array_size, room) if limit is not None]
    return max(1, min(known)) if known else None


def submit_jobs(limits: Limits, cluster: ClusterConfig) -> int | None:
    """How many jobs and array tasks the user may have in the queue."""
    return accounting.allowance(limits.accounting, cluster).submit_jobs


def cpus_asked(cfg: Config) -> int:
    """CPUs that a job of folds asks for on each node."""
    return cfg.cluster.folds_per_node * cfg.cluster.ranks_per_node * cfg.cluster.cpus_per_rank


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an id without a name, as in some containers
        return str(os.getuid())


def _group(line: str) -> _Group | None:
    cells = next(rows(line, 9), None)
    if cells is None or not re.fullmatch(r"[^\s,|*]+\*?", cells[0]) or number(cells[4]) is None:
        return None
    name, state, time, job_nodes, nodes, cpus, mem, node_state, gres = cells
    most = job_nodes.rsplit("-", 1)[-1]
    return _Group(
        partition=name.rstrip("*"),
        default=name.endswith("*"),
        state=state,
        time_min=minutes(time),
        job_nodes=math.inf if most.upper() in ENDLESS else number(most),
        nodes=number(nodes) or 0,
        cpus=number(cpus),
        mem_mb=megabytes(mem),
        in_service=not OUT_OF_SERVICE.search(node_state),
        gpus=gpus(gres) or 0,
    )


def _nodes_at_most(groups: Sequence[_Group]) -> float | None:
    """Nodes that the largest job may have: as many as one of the partitions has, or its limit."""
    there: dict[str, float] = {}
    for group in groups:
        there[group.partition] = there.get(group.partition, 0) + group.nodes
    return widest(min(there[group.partition], group.job_nodes or math.inf) for group in groups)


def _partition_qos(text: str, wanted: Sequence[str]) -> str | None:
    """The QOS that a partition brings along; of several partitions, nobody knows which it will be."""
    found = re.search(rf"^PartitionName={re.escape(wanted[0])} .*?\bQoS=(\S+)", text, re.M)
    return found[1] if found and len(wanted) == 1 and found[1] != "N/A" else None


def _partition_faults(limits: Limits, cluster: ClusterConfig) -> Iterator[str]:
    if limits.partitions is None:
        return
    wanted = f"one of {', '.join(limits.partitions)}"
    if cluster.partition is None and limits.default is None:
        yield f"cluster.partition is None, but this cluster has no default partition; wanted {wanted}"
    for name in (cluster.partition or "").split(","):
        if name and name not in limits.partitions:
            yield f"cluster.partition is {name!r}, which this cluster does not have; wanted {wanted}"
    if limits.state in ("drain", "inact"):  # of one that is down, jobs are taken and wait
        yield f"cluster.partition is {limits.partition!r}, which takes no jobs now ({limits.state}); wanted another one"


def _time_faults(limits: Limits, cluster: ClusterConfig) -> Iterator[str]:
    user = accounting.allowance(limits.accounting, cluster)
    by = {"your account or QOS": user.time_min}
    if not user.lifts_time:
        by[f"partition {limits.partition}"] = limits.time_min
    for stage in ("pack", "fold", "aggregate"):
        asked: Resources = getattr(cluster, stage)
        for who, most in by.items():
            if most is not None and asked.time_min > most:
                yield f"cluster.{stage}.time_min is {asked.time_min}, wanted at most {most:.0f}: the limit of {who}"


def _node_faults(limits: Limits, cfg: Config) -> Iterator[str]:
    """What no node of the partition has."""
    cluster, name = cfg.cluster, limits.partition
    folds = "folds_per_node x " if cluster.folds_per_node > 1 else ""
    asked = [(f"cluster.{folds}ranks_per_node x cpus_per_rank", "CPUs", cpus_asked(cfg), limits.cpus)]
    for stage in ("pack", "aggregate"):
        asked.append((f"cluster.{stage}.cpus", "CPUs", getattr(cluster, stage).cpus, limits.cpus))
    for stage in ("pack", "fold", "aggregate"):
        mem_mb = round(getattr(cluster, stage).mem_gb * 1024)
        asked.append((f"cluster.{stage}.mem_gb", "MB", mem_mb, limits.mem_mb))
    gpu_key = "gres" if cluster.gres else "gpus_per_node" if cluster.gpus_per_node else f"{folds}ranks_per_node"
    if gpus(cluster.gres or "gpu") is not None:  # a site may give them another name, which only SLURM can judge
        asked.append((f"cluster.{gpu_key}", "GPUs", cfg.gpus_asked, limits.gpus))
    for key, unit, number_asked, most in asked:
        if most is not None and number_asked > most:
            yield f"{key} asks {number_asked} {unit} of a node, wanted at most {most}: no more has partition {name}"
    nodes, most_nodes = cluster.nodes_per_fold, limits.nodes_at_most
    if most_nodes is not None and nodes > most_nodes:
        yield f"cluster.nodes_per_fold is {nodes}, wanted at most {most_nodes:.0f}: no more gives partition {name}"


def _count_faults(limits: Limits, cfg: Config) -> Iterator[str]:
    """Folds that are too many at once, as an array or in the queue."""
    jobs, allowed = num_fold_jobs(cfg), submit_jobs(limits, cfg.cluster)
    by = {
        "MaxArraySize": limits.array_size,
        "MaxSubmitJobs, one shard, seal and report beside": allowed and max(0, allowed - 3),
    }
    for name, most in by.items():
        if most is not None and jobs > most:
            yield f"split.folds gives {jobs} array tasks, wanted at most {most} ({name}): raise cluster.folds_per_node"
