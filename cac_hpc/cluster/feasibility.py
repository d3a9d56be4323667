"""What the cluster allows, by its own commands, and which settings cannot work there. What nobody says is None."""

from __future__ import annotations

import functools
import math
import os
import pwd
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from cac_hpc.cluster import accounting, nodes, scheduler
from cac_hpc.cluster.accounting import Accounting, Allowance, Cap, Rules
from cac_hpc.cluster.nodes import Group
from cac_hpc.settings.cluster import ClusterConfig, Resources
from cac_hpc.settings.config import Config
from cac_hpc.settings.slurm_notation import gpu_types, gpus, megabytes, number, widest

SETTINGS = ["scontrol", "show", "config"]
NOTHING = Accounting()
FindCap = Callable[[ClusterConfig], Cap | None]
WITH_SUBACCOUNTS = (24, 5)  # from here on a partition's accounts stand for those below them, and need associations


@dataclass(frozen=True, kw_only=True)
class Limits:
    """partition: the one that jobs go to, by its name or several by theirs; cpus, mem_mb, gpus: of its largest node.

    time_min: the most that a job may ask, infinite if there is no limit. nodes: in service; nodes_at_most: of a job.
    out_of_service: the other nodes, as "4 drained".
    mem_per_cpu_mb: a job that asks for more gets more CPUs. rules: who may use the partition; others: who may use the
    cluster's other ones, by name. each: of several
    partitions, each alone; all_must_fit: whether a job must fit all of them.
    """

    partitions: tuple[str, ...] | None = None
    default: str | None = None
    partition: str | None = None
    state: str | None = None
    time_min: float | None = None
    nodes: int | None = None
    out_of_service: str | None = None
    nodes_at_most: float | None = None
    cpus: int | None = None
    mem_mb: int | None = None
    gpus: int | None = None
    nodes_at_least: int | None = None
    cpus_per_node: int | None = None
    mem_per_node_mb: int | None = None
    mem_per_cpu_mb: int | None = None
    array_size: int | None = None
    accounting: Accounting = NOTHING
    rules: Rules = field(default_factory=dict)
    others: Mapping[str, Rules] = field(default_factory=dict)
    each: tuple[Limits, ...] = ()
    all_must_fit: bool = False


@dataclass(frozen=True)
class Jobs:
    """What a command without a run asks for: tasks of an array with cluster.pack's resources and GPUs of their own, and
    a job with cluster.aggregate's."""

    cluster: ClusterConfig
    gpus: int = 0  # of a task


Asked = Config | Jobs


def _stages(cfg: Asked) -> tuple[str, ...]:
    """The fields of the cluster settings that the jobs take their resources from."""
    return ("pack", "fold", "aggregate") if isinstance(cfg, Config) else ("pack", "aggregate")


def read(partition: str | None) -> Limits:
    """Ask the cluster; what is absent, fails or answers strangely is left out.

    Args:
        partition: cluster.partition, one or several with commas; None asks for the default one.
    """
    user = _user()
    questions = (nodes.NODES, SETTINGS, accounting.PARTITIONS, accounting.associations_of(user), accounting.QOS,
                 accounting.default_account_of(user))  # fmt: skip
    with ThreadPoolExecutor() as pool:
        said = [answer or "" for answer in pool.map(scheduler.ask, questions)]
    groups = nodes.read(said[0])
    settings = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", said[1], re.M))
    default = next((group.partition for group in groups if group.default), None)
    wanted = [name for name in (partition or default or "").split(",") if name]
    rules = accounting.read_partitions(said[2])
    known = Accounting(
        enforced=tuple(re.findall(r"\w+", settings.get("AccountingStorageEnforce", "").lower())),
        associations=accounting.read_associations(said[3], settings.get("ClusterName")),
        qos=accounting.read_qos(said[4]),
        default_account=accounting.read_default_account(said[5]),
        parents=_parents([rules.get(name, {}) for name in wanted], settings),
    )
    judged = {name: _sure(one, known, settings) for name, one in rules.items()}
    others = {name: one for name, one in judged.items() if name not in wanted}
    each = tuple(replace(_limits_of(groups, [name], judged.get(name, {}), settings, known), others=others)
                 for name in wanted)  # fmt: skip
    return replace(
        each[0] if len(each) == 1 else _limits_of(groups, wanted, {}, settings, known),
        each=each,
        partitions=tuple(dict.fromkeys(group.partition for group in groups)) or None,
        default=default,
        all_must_fit=settings.get("EnforcePartLimits", "").upper() in ("ALL", "YES"),
    )


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
    yield from accounting.partition_faults(limits.rules, limits.accounting, cfg.cluster, limits.others)
    yield from _time_faults(limits, cfg)
    yield from _node_faults(limits, cfg)
    yield from map(str, excesses(limits, cfg))


def notes(limits: Limits, cfg: Asked) -> list[str]:
    """What jobs will wait for; and what they take from others without need: more CPUs, as they ask for more memory than
    goes with those that were asked for; GPUs that nothing is computed on."""
    found = {stage: max(cpus_for_memory(one, cfg, stage) for one in limits.each or (limits,)) for stage in _stages(cfg)}
    unused = "cluster.gres is {!r}, but train.device is cpu: no GPU is asked for; train.device cuda trains on them"
    idle = isinstance(cfg, Config) and cfg.train.device == "cpu" and cfg.cluster.gres is not None
    return [
        *_waits(limits),
        *[unused.format(cfg.cluster.gres)] * idle,
        *(
            f"cluster.{stage}.mem_gb is {getattr(cfg.cluster, stage).mem_gb:g}, more than goes with {asked} CPUs "
            f"(MaxMemPerCPU): SLURM gives, and counts, {given} CPUs of a node; ask for less memory, or use them with "
            f"{_cpus_setting(cfg, stage, given)}"
            for stage, given in found.items()
            if given > (asked := _cpus_of(cfg, stage))
        ),
    ]


def has_no_node(limits: Limits) -> bool:
    """Whether all nodes are out of service: then SLURM takes jobs, and `sbatch --test-only` says that it would not."""
    return limits.nodes == 0 and limits.out_of_service is not None


def _waits(limits: Limits) -> Iterator[str]:
    name = f"partition {limits.partition}"
    if limits.state == "down":
        yield f"{name} is down: jobs are taken, and wait until it is up again (sinfo -s)"
    if has_no_node(limits):
        yield f"no node of {name} is in service ({limits.out_of_service}): jobs are taken, and wait; sinfo -R says why"


def cpus_for_memory(limits: Limits, cfg: Asked, stage: str) -> int:
    """CPUs of a node that a stage's job gets: what it asks for, or as many as go with its memory.

    Args:
        stage: its field of the cluster settings: pack, fold or aggregate.
    Source: man slurm.conf, MaxMemPerCPU; on 22.05.8 seen for --mem as well.
    """
    resources: Resources = getattr(cfg.cluster, stage)
    cpus, most, mem_mb = _cpus_of(cfg, stage), limits.mem_per_cpu_mb, round(resources.mem_gb * 1024)
    if not most:
        return cpus
    per_cpu_mb = math.ceil(mem_mb / cpus)
    enough = cpus * math.ceil(per_cpu_mb / most) if cfg.cluster.mem_per_cpu else math.ceil(mem_mb / most)
    return max(cpus, enough)


def cpu_difference(granted: Mapping[str, str], cfg: Config, stage: str) -> str | None:
    """What to say of a submitted job that SLURM has given more CPUs than were asked for; None where it has not.

    Args:
        granted: fields of ``scontrol show job``. stage: as for `cpus_for_memory`.
    """
    asked, given = _cpus_of(cfg, stage), number(granted.get("MinCPUsNode", "")) or 0
    if given <= asked:
        return None
    return (
        f"{given} CPUs of a node, {asked} were asked for: cluster.{stage}.mem_gb is more than goes with them "
        f"(MaxMemPerCPU); ask for less memory, or use them with {_cpus_setting(cfg, stage, given)}"
    )


def _cpus_of(cfg: Asked, stage: str) -> int:
    asked: Resources = getattr(cfg.cluster, stage)
    return cpus_asked(cfg) if stage == "fold" else asked.cpus


def _cpus_setting(cfg: Asked, stage: str, cpus: int) -> str:
    """The setting with which a stage uses so many CPUs."""
    ranks = cfg.cluster.folds_per_node * cfg.cluster.ranks_per_node
    return f"cluster.cpus_per_rank {cpus // ranks}" if stage == "fold" else f"cluster.{stage}.cpus {cpus}"


def num_fold_jobs(cfg: Config) -> int:
    """Tasks of the array of folds."""
    return -(-cfg.split.folds // cfg.cluster.folds_per_node)


def num_trial_jobs(cfg: Config) -> int:
    """Tasks of the array of workers that train trials."""
    return -(-cfg.num_workers // cfg.cluster.folds_per_node)


def most_pack_tasks(limits: Limits, cfg: Config) -> int | None:
    """How many tasks the array of shards may have, all stages submitted at once; None: no limit is known."""
    jobs = submit_jobs(limits, cfg.cluster)
    room = None if jobs is None else jobs - num_fold_jobs(cfg) - num_trial_jobs(cfg) - 2  # the seal and the report
    known = [limit for limit in (limits.array_size, room) if limit is not None]
    return max(1, min(known)) if known else None


def most_command_tasks(limits: Limits, cluster: ClusterConfig) -> int | None:
    """How many tasks the array of a command may have, beside the job that gathers; None: no limit is known."""
    jobs = submit_jobs(limits, cluster)
    known = [limit for limit in (limits.array_size, None if jobs is None else jobs - 1) if limit is not None]
    return max(1, min(known)) if known else None


def submit_jobs(limits: Limits, cluster: ClusterConfig) -> int | None:
    """How many jobs and array tasks the user may have in the queue."""
    found = accounting.cap(limits.accounting, cluster, lambda one: one.submit_jobs)
    return None if found is None else int(found.most)


def cpus_asked(cfg: Asked) -> int:
    """CPUs that a job of folds asks for on each node."""
    return cfg.cluster.folds_per_node * cfg.cluster.ranks_per_node * cfg.cluster.cpus_per_rank


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # an id without a name, as in some containers
        return str(os.getuid())


def _limits_of(
    groups: Sequence[Group], names: Sequence[str], rules: Rules, settings: Mapping[str, str], known: Accounting
) -> Limits:
    """Of one partition, or the widest of several, which have no rules in common."""
    groups = [group for group in groups if group.partition in names]
    states = [group.state for group in groups]
    qos = rules.get("QoS", "N/A")
    per_cpu, per_node = (_memory_limit(rules, settings, key) for key in ("MaxMemPerCPU", "MaxMemPerNode"))
    return Limits(
        partition=",".join(names) or None,
        state="up" if "up" in states else next(iter(states), None),
        time_min=widest(group.time_min for group in groups),
        nodes=sum(group.nodes for group in groups if group.in_service) if groups else None,
        out_of_service=", ".join(f"{one.nodes} {one.node_state}" for one in groups if not one.in_service) or None,
        nodes_at_most=nodes.most_of_a_job(groups),
        cpus=widest(group.cpus for group in groups),
        mem_mb=widest(group.mem_mb for group in groups),
        gpus=widest(group.gpus for group in groups),
        nodes_at_least=number(rules.get("MinNodes", "")),
        cpus_per_node=number(rules.get("MaxCPUsPerNode", "")),
        mem_per_node_mb=per_node,
        mem_per_cpu_mb=per_cpu,
        array_size=number(settings.get("MaxArraySize", "")),
        accounting=replace(known, partition_qos=None if qos == "N/A" else qos),
        rules=rules,
    )


def _memory_limit(rules: Rules, settings: Mapping[str, str], key: str) -> int | None:
    """Of the partition, else of the whole cluster; 0 and UNLIMITED are none. Only one of the two keys counts."""
    own = [rules[name] for name in ("MaxMemPerCPU", "MaxMemPerNode") if name in rules]
    says = rules.get(key, "") if any(megabytes(value) for value in own) else settings.get(key, "")
    return megabytes(says) or None


def _parents(rules: Sequence[Rules], settings: Mapping[str, str]) -> dict[str, str] | None:
    """The tree of accounts, asked for where it decides who may use a partition."""
    if not any(map(accounting.names_accounts, rules)) or _version(settings) < WITH_SUBACCOUNTS:
        return None
    return accounting.read_parents(scheduler.ask(accounting.TREE) or "", settings.get("ClusterName"))


def _sure(rules: Rules, known: Accounting, settings: Mapping[str, str]) -> Rules:
    """The rules that count and can be judged: of accounts not those that newer versions do not enforce, or where nobody
    says which account is part of which. Seen on 22.05.8 and 26.05.5."""
    old = _version(settings) < WITH_SUBACCOUNTS
    judged = old or (known.parents is not None and accounting.holds_to_associations(known))
    return rules if judged else accounting.without_accounts(rules)


def _version(settings: Mapping[str, str]) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", settings.get("SLURM_VERSION", ""))[:2])


def _partition_faults(limits: Limits, cluster: ClusterConfig) -> Iterator[str]:
    if limits.partitions is None:
        return
    wanted = f"one of {', '.join(limits.partitions)}"
    if cluster.partition is None and limits.default is None:
        yield f"cluster.partition is None, but this cluster has no default partition; wanted {wanted}"
    for name in (cluster.partition or "").split(","):
        if name and name not in limits.partitions:
            yield f"cluster.partition is {name!r}, which this cluster does not have; wanted {wanted}"


def longest_min(limits: Limits, cluster: ClusterConfig) -> float | None:
    """The most minutes that a job may ask here; None where nobody says."""
    return min((one.most for one in _times(limits, cluster)), default=None)


def _times(limits: Limits, cluster: ClusterConfig) -> list[Cap]:
    """The most minutes that a job may ask, by whose limit it is."""
    user = accounting.cap(limits.accounting, cluster, _time)
    lifted = limits.time_min is None or accounting.lifts_time(limits.accounting, cluster)
    of_partition = None if lifted else Cap(limits.time_min or 0, f"partition {limits.partition}")
    return [one for one in (user, of_partition) if one is not None]


def _time(allows: Allowance) -> float | None:
    return allows.time_min


def _time_faults(limits: Limits, cfg: Asked) -> Iterator[str]:
    for stage in _stages(cfg):
        asked = getattr(cfg.cluster, stage).time_min
        for one in _times(limits, cfg.cluster):
            if asked > one.most:
                fits = functools.partial(_has_time, limits, asked)
                limit = f"the limit of {one.owner}{_others(limits, cfg, fits)}"
                yield f"cluster.{stage}.time_min is {asked}, wanted at most {one.most:.0f}: {limit}"


def _has_time(limits: Limits, asked: int, cluster: ClusterConfig) -> bool:
    return all(asked <= one.most for one in _times(limits, cluster))


def _others(limits: Limits, cfg: Asked, fits: Callable[[ClusterConfig], bool]) -> str:
    """Which other QOS of the user would do, to be put after a limit; empty if none is known.

    Those without any limit that is too low go before those that have one.
    """
    names = accounting.other_qos(limits.accounting, cfg.cluster, fits)
    best = [name for name in names if _is_within(limits, replace(cfg, cluster=replace(cfg.cluster, qos=name)))]
    return f"; or cluster.qos {' or '.join(best or names)}" if names else ""


def _is_within(limits: Limits, cfg: Asked) -> bool:
    """Whether no job asks for more time, or more of a resource, than account, QOS and partition allow."""
    longest = max(getattr(cfg.cluster, stage).time_min for stage in _stages(cfg))
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
    for need in _needs(limits, cfg):
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
class Need:
    """What the jobs of a stage ask for of one resource, by the setting that asks for it."""

    stage: str
    key: str
    resource: str  # cpu, mem in MB, gres/gpu, node
    of_node: int
    nodes: int = 1

    def over(self, of: str, most: int, why: str) -> str:
        """That it asks for more than there may be.

        Args:
            of: node or job. most: in the resource's unit. why: whose limit it is.
        """
        asked = self.of_node * (self.nodes if of == "job" else 1)
        key = f"{self.key} x nodes_per_fold" if of == "job" and self.nodes > 1 and self.resource != "node" else self.key
        if self.resource == "mem":
            return f"{key} is {asked / 1024:g}, wanted at most {math.floor(most / 102.4) / 10:g} for a {of}: {why}"
        unit = {"cpu": "CPUs", "node": "nodes"}.get(self.resource, "GPUs")
        return f"{key} asks {asked} {unit} of a {of}, wanted at most {most}: {why}"


def _needs(limits: Limits, cfg: Asked) -> Iterator[Need]:
    """What each stage asks for."""
    cluster, nodes_per_fold = cfg.cluster, cfg.cluster.nodes_per_fold
    folds = "folds_per_node x " if cluster.folds_per_node > 1 else ""
    if isinstance(cfg, Config):
        yield Need("fold", f"cluster.{folds}ranks_per_node x cpus_per_rank", "cpu", cpus_asked(cfg), nodes_per_fold)
    for stage in ("pack", "aggregate"):
        yield Need(stage, f"cluster.{stage}.cpus", "cpu", getattr(cluster, stage).cpus)
    for stage in _stages(cfg):
        num_nodes, mem_mb = nodes_per_fold if stage == "fold" else 1, round(getattr(cluster, stage).mem_gb * 1024)
        yield Need(stage, f"cluster.{stage}.mem_gb", "mem", mem_mb, num_nodes)
        given = cpus_for_memory(limits, cfg, stage)
        if given > _cpus_of(cfg, stage):
            key = f"cluster.{stage}.mem_gb, with MaxMemPerCPU {limits.mem_per_cpu_mb},"
            yield Need(stage, key, "cpu", given, num_nodes)
    if not isinstance(cfg, Config):
        if cfg.gpus and gpus(cluster.gres or "gpu") is not None:
            yield Need("pack", "cluster.gres" if cluster.gres else "--device cuda", "gres/gpu", cfg.gpus)
        return
    gpu_key = "gres" if cluster.gres else "gpus_per_node" if cluster.gpus_per_node else f"{folds}ranks_per_node"
    if gpus(cluster.gres or "gpu") is not None:  # a site may give them another name, which only SLURM can judge
        for resource in ("gres/gpu", *gpu_types(cluster.gres or "")):
            yield Need("fold", f"cluster.{gpu_key}", resource, cfg.gpus_asked, nodes_per_fold)
    yield Need("fold", "cluster.nodes_per_fold", "node", 1, nodes_per_fold)


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
        find = functools.partial(_tres_cap, limits, (limit, need.resource))

        def fits(cluster: ClusterConfig, find: FindCap = find, asked: int = asked) -> bool:
            other = find(cluster)
            return other is None or asked <= other.most

        yield Excess(need, limit, int(found.most), found.owner, _others(limits, cfg, fits))


def _over(limits: Limits, cfg: Asked) -> Iterator[tuple[Need, str, int, Cap]]:
    """What a job asks for, the limit that it is over, how much it asks, and how much there may be."""
    for need in _needs(limits, cfg):
        for limit in accounting.OF_QOS:
            asked = need.of_node * (1 if limit.endswith("PerNode") else need.nodes)
            found = _tres_cap(limits, (limit, need.resource), cfg.cluster)
            if found and asked > found.most:
                yield need, limit, asked, found


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
