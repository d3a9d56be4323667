"""Which settings cannot work on this cluster, and what jobs will wait for there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from cac_hpc.cluster import accounting, partition_rules
from cac_hpc.cluster.accounting import Cap
from cac_hpc.cluster.needs import (
    Asked,
    Need,
    all_needs,
    cpus_for_memory,
    cpus_of,
    cpus_setting,
    num_fold_jobs,
    num_trial_jobs,
    stages_of,
)
from cac_hpc.cluster.site_limits import Limits, has_no_node, time_limits
from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.config import Config


def faults(limits: Limits, cfg: Asked) -> list[str]:
    """One line for each setting that cannot work: it names the setting, what was found and what is wanted.

    What may only have to wait (nodes that are down, a full queue) is none; nor is what nobody knows a limit of. Of
    several partitions one that takes the jobs is enough.
    """
    cluster = cfg.cluster
    of_each = [list(_faults_of_one(one, cfg)) for one in limits.each or (limits,)]
    shut_out = any(of_each) if limits.all_must_fit else all(of_each)
    return [
        *_partition_faults(limits, cluster),
        *(dict.fromkeys(line for lines in of_each for line in lines) if shut_out else ()),
        *accounting.faults(limits.accounting, cluster),
        *_count_faults(limits, cfg),
    ]


def _faults_of_one(limits: Limits, cfg: Asked) -> Iterator[str]:
    """Why one partition never starts the jobs."""
    if limits.state in ("drain", "inact"):  # of one that is down, jobs are taken and wait
        yield f"cluster.partition is {limits.partition!r}, which takes no jobs now ({limits.state}); wanted another one"
    yield from partition_rules.faults(limits.rules, limits.accounting, cfg.cluster, limits.others)
    yield from _time_faults(limits, cfg)
    yield from _node_faults(limits, cfg)
    yield from map(str, excesses(limits, cfg))


def notes(limits: Limits, cfg: Asked) -> list[str]:
    """What jobs will wait for; and what they take from others without need: more CPUs, as they ask for more memory than
    goes with those that were asked for; GPUs that nothing is computed on."""
    found = {
        stage: max(cpus_for_memory(one, cfg, stage) for one in limits.each or (limits,)) for stage in stages_of(cfg)
    }
    unused = "cluster.gres is {!r}, but train.device is cpu: no GPU is asked for; train.device cuda trains on them"
    idle = isinstance(cfg, Config) and cfg.train.device == "cpu" and cfg.cluster.gres is not None
    return [
        *_waits(limits),
        *[unused.format(cfg.cluster.gres)] * idle,
        *(
            f"cluster.{stage}.mem_gb is {getattr(cfg.cluster, stage).mem_gb:g}, more than goes with {asked} CPUs "
            f"(MaxMemPerCPU): SLURM gives, and counts, {given} CPUs of a node; ask for less memory, or use them with "
            f"{cpus_setting(cfg, stage, given)}"
            for stage, given in found.items()
            if given > (asked := cpus_of(cfg, stage))
        ),
    ]


def _waits(limits: Limits) -> Iterator[str]:
    name = f"partition {limits.partition}"
    if limits.state == "down":
        yield f"{name} is down: jobs are taken, and wait until it is up again (sinfo -s)"
    if has_no_node(limits):
        yield f"no node of {name} is in service ({limits.out_of_service}): jobs are taken, and wait; sinfo -R says why"


def _partition_faults(limits: Limits, cluster: ClusterConfig) -> Iterator[str]:
    if limits.partitions is None:
        return
    wanted = f"one of {', '.join(limits.partitions)}"
    if cluster.partition is None and limits.default is None:
        yield f"cluster.partition is not set, but this cluster has no default partition; wanted {wanted}"
    for name in (cluster.partition or "").split(","):
        if name and name not in limits.partitions:
            yield f"cluster.partition is {name!r}, which this cluster does not have; wanted {wanted}"


def _time_faults(limits: Limits, cfg: Asked) -> Iterator[str]:
    for stage in stages_of(cfg):
        asked = getattr(cfg.cluster, stage).time_min
        for one in time_limits(limits, cfg.cluster):
            if asked > one.most:
                fits = partial(_has_time, limits, asked)
                limit = f"the limit of {one.owner}{_others(limits, cfg, fits)}"
                yield f"cluster.{stage}.time_min is {asked}, wanted at most {one.most:.0f}: {limit}"


def _has_time(limits: Limits, asked: int, cluster: ClusterConfig) -> bool:
    return all(asked <= one.most for one in time_limits(limits, cluster))


def _others(limits: Limits, cfg: Asked, fits: Callable[[ClusterConfig], bool]) -> str:
    """Which other QOS of the user would do, to be put after a limit; empty if none is known.

    Those without any limit that is too low go before those that have one.
    """
    names = accounting.other_qos(limits.accounting, cfg.cluster, fits)
    best = [name for name in names if _is_within(limits, replace(cfg, cluster=replace(cfg.cluster, qos=name)))]
    return f"; or cluster.qos {' or '.join(best or names)}" if names else ""


def _is_within(limits: Limits, cfg: Asked) -> bool:
    """Whether no job asks for more time, or more of a resource, than account, QOS and partition allow."""
    longest = max(getattr(cfg.cluster, stage).time_min for stage in stages_of(cfg))
    return _has_time(limits, longest, cfg.cluster) and not any(_over(limits, cfg))


def _node_faults(limits: Limits, cfg: Asked) -> Iterator[str]:
    """What no node of the partition has, or the partition does not give of it."""
    name, rules = limits.partition, limits.rules
    has, gives = f"partition {name} has no more", f"of partition {name}"
    most = {
        "cpu": [(limits.cpus, has), (limits.cpus_per_node, f"MaxCPUsPerNode {gives}")],
        "mem": [(limits.mem_mb, has), (limits.mem_per_node_mb, f"MaxMemPerNode {gives}")],
        "gres/gpu": [(limits.gpus, has)],
    }
    for need in all_needs(limits, cfg):
        known = [(number, why) for number, why in most.get(need.resource, ()) if number is not None]
        if known and need.of_node > min(known)[0]:
            yield need.over("node", *min(known))
    num_nodes, most_nodes = cfg.cluster.nodes_per_fold if isinstance(cfg, Config) else 1, limits.nodes_at_most
    if most_nodes is not None and num_nodes > most_nodes:
        yield f"cluster.nodes_per_fold is {num_nodes}, wanted at most {most_nodes:.0f}: partition {name} gives no more"
    if (limits.nodes_at_least or 0) > 1:
        yield (
            f"cluster.partition is {name!r}, which gives no job fewer than {rules['MinNodes']} nodes (MinNodes), and "
            "packing, seal and report take one; wanted another one"
        )


@dataclass(frozen=True)
class Excess:
    """What one job alone asks for beyond a limit of its account or QOS: it would wait for ever."""

    need: Need
    limit: str  # as SLURM calls it
    most: int
    owner: str
    others: str  # which other QOS would do

    def __str__(self) -> str:
        unit = f"{self.most}M" if self.need.resource == "mem" else f"{self.most}"
        why = f"{self.limit} {self.need.resource}={unit} of {self.owner}{self.others}"
        return self.need.over("node" if self.limit.endswith("PerNode") else "job", self.most, why)


def excesses(limits: Limits, cfg: Asked) -> Iterator[Excess]:
    """What single jobs ask for beyond the limits of account, QOS and the partition's QOS."""
    for need, limit, asked, found in _over(limits, cfg):
        fits = partial(_may_have, limits, (limit, need.resource), asked)
        yield Excess(need, limit, int(found.most), found.owner, _others(limits, cfg, fits))


def _over(limits: Limits, cfg: Asked) -> Iterator[tuple[Need, str, int, Cap]]:
    """What a job asks for, the limit that it is over, how much it asks, and how much there may be."""
    for need in all_needs(limits, cfg):
        for limit in accounting.OF_QOS:
            asked = need.of_node * (1 if limit.endswith("PerNode") else need.nodes)
            found = _tres_cap(limits, (limit, need.resource), cfg.cluster)
            if found and asked > found.most:
                yield need, limit, asked, found


def _may_have(limits: Limits, key: tuple[str, str], asked: int, cluster: ClusterConfig) -> bool:
    found = _tres_cap(limits, key, cluster)
    return found is None or asked <= found.most


def _tres_cap(limits: Limits, key: tuple[str, str], cluster: ClusterConfig) -> Cap | None:
    return accounting.cap(limits.accounting, cluster, lambda allows: allows.tres.get(key))


def _count_faults(limits: Limits, cfg: Asked) -> Iterator[str]:
    """Folds or workers of trials that are too many at once, as an array or in the queue; a command takes as many tasks
    as there may be."""
    if not isinstance(cfg, Config):
        return
    jobs, workers = num_fold_jobs(cfg), num_trial_jobs(cfg)
    found = accounting.cap(limits.accounting, cfg.cluster, lambda one: one.submit_jobs)
    by = {"MaxArraySize": limits.array_size}
    if found:
        limit = f"MaxSubmitJobs {found.most:.0f} of {found.owner}, of which a shard, seal and report take 3"
        by[limit] = max(0, int(found.most) - 3)
    for name, most in by.items():
        if most is not None and jobs > most:
            yield f"split.folds gives {jobs} array tasks, wanted at most {most} ({name}): raise cluster.folds_per_node"
        elif most is not None and workers > (left := most if name == "MaxArraySize" else most - jobs):
            beside = "" if name == "MaxArraySize" else f" beside {jobs} of folds"
            yield (
                f"trials.workers gives {workers} array tasks, wanted at most {left}{beside} ({name}): lower it, or "
                "raise cluster.folds_per_node"
            )
