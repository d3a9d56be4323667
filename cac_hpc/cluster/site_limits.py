"""What the cluster allows, by its own commands. What nobody says is None."""

from __future__ import annotations

import functools
import os
import pwd
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from cac_hpc.cluster import accounting, nodes, partition_rules, slurm_commands
from cac_hpc.cluster.accounting import Accounting, Cap
from cac_hpc.cluster.nodes import Group
from cac_hpc.cluster.partition_rules import Rules
from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.slurm_notation import megabytes, number, widest

SETTINGS = ["scontrol", "show", "config"]
NOTHING = Accounting()
WITH_SUBACCOUNTS = (24, 5)  # from here on a partition's accounts stand for those below them, and need associations


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of the partition that jobs go to; of several the widest."""

    partitions: tuple[str, ...] | None = None  # of the cluster
    default: str | None = None
    partition: str | None = None  # its name, or several
    state: str | None = None
    time_min: float | None = None  # the most that a job may ask, infinite if there is no limit
    nodes: int | None = None  # in service
    out_of_service: str | None = None  # the other nodes, as "4 drained"
    nodes_at_most: float | None = None  # of a job, as the next one
    nodes_at_least: int | None = None
    cpus: int | None = None  # of its largest node, as the next two
    mem_mb: int | None = None
    gpus: int | None = None
    cpus_per_node: int | None = None
    mem_per_node_mb: int | None = None
    mem_per_cpu_mb: int | None = None  # a job that asks for more gets more CPUs
    array_size: int | None = None
    accounting: Accounting = NOTHING
    rules: Rules = field(default_factory=dict)  # who may use the partition
    others: Mapping[str, Rules] = field(default_factory=dict)  # who may use the cluster's other ones, by name
    each: tuple[Limits, ...] = ()  # of several partitions, each alone
    all_must_fit: bool = False  # whether a job must fit all of them


def read(partition: str | None) -> Limits:
    """Ask the cluster; what is absent, fails or answers strangely is left out.

    Args:
        partition: cluster.partition, one or several with commas; None asks for the default one.
    """
    user = _user()
    questions = (nodes.NODES, SETTINGS, partition_rules.PARTITIONS, accounting.associations_of(user), accounting.QOS,
                 accounting.default_account_of(user))  # fmt: skip
    with ThreadPoolExecutor() as pool:
        said = [answer or "" for answer in pool.map(slurm_commands.ask, questions)]
    groups = nodes.read(said[0])
    settings = dict(re.findall(r"^(\w+)\s*=\s*(.*?)\s*$", said[1], re.M))
    default = next((group.partition for group in groups if group.default), None)
    wanted = [name for name in (partition or default or "").split(",") if name]
    rules = partition_rules.read(said[2])
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


@functools.cache
def read_once(partition: str | None) -> Limits:
    """As `read`, asked once: a launch does not take as long as limits last."""
    return read(partition)


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
    if not any(map(partition_rules.names_accounts, rules)) or _version(settings) < WITH_SUBACCOUNTS:
        return None
    return accounting.read_parents(slurm_commands.ask(accounting.TREE) or "", settings.get("ClusterName"))


def _sure(rules: Rules, known: Accounting, settings: Mapping[str, str]) -> Rules:
    """The rules that count and can be judged: of accounts not those that newer versions do not enforce, or where nobody
    says which account is part of which. Seen on 22.05.8 and 26.05.5."""
    old = _version(settings) < WITH_SUBACCOUNTS
    judged = old or (known.parents is not None and accounting.holds_to_associations(known))
    return rules if judged else partition_rules.without_accounts(rules)


def _version(settings: Mapping[str, str]) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", settings.get("SLURM_VERSION", ""))[:2])


def has_no_node(limits: Limits) -> bool:
    """Whether all nodes are out of service: then SLURM takes jobs, and `sbatch --test-only` says that it would not."""
    return limits.nodes == 0 and limits.out_of_service is not None


def longest_min(limits: Limits, cluster: ClusterConfig) -> float | None:
    """The most minutes that a job may ask here; None where nobody says."""
    return min((one.most for one in time_limits(limits, cluster)), default=None)


def time_limits(limits: Limits, cluster: ClusterConfig) -> list[Cap]:
    """The most minutes that a job may ask, by whose limit it is."""
    user = accounting.cap(limits.accounting, cluster, lambda allows: allows.time_min)
    lifted = limits.time_min is None or accounting.lifts_time(limits.accounting, cluster)
    of_partition = None if lifted else Cap(limits.time_min or 0, f"partition {limits.partition}")
    return [one for one in (user, of_partition) if one is not None]


def submit_jobs(limits: Limits, cluster: ClusterConfig) -> int | None:
    """How many jobs and array tasks the user may have in the queue."""
    found = accounting.cap(limits.accounting, cluster, lambda allows: allows.submit_jobs)
    return None if found is None else int(found.most)


def most_tasks(limits: Limits, cluster: ClusterConfig, others: int) -> int | None:
    """How many tasks an array may have; None: no limit is known.

    Args:
        others: jobs and tasks that are in the queue with it.
    """
    jobs = submit_jobs(limits, cluster)
    known = [limit for limit in (limits.array_size, None if jobs is None else jobs - others) if limit is not None]
    return max(1, min(known)) if known else None
