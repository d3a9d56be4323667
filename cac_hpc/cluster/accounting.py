"""What accounting lets a user do: accounts, qualities of service, limits. What nobody says is None."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.slurm_notation import megabytes, minutes, number, rows

SHOW = ["sacctmgr", "--noheader", "--parsable2", "show"]
OF_QOS = ("MaxTRESPerJob", "MaxTRESPerNode", "MaxTRESPerUser", "MaxTRESPerAccount", "GrpTRES")  # on what one job asks
OF_ACCOUNT = {"MaxTRES": "MaxTRESPerJob", "MaxTRESPerNode": "MaxTRESPerNode", "GrpTRES": "GrpTRES"}
QOS = [*SHOW, "qos", f"format=Name,MaxWall,MaxSubmitJobsPerUser,Flags,{','.join(OF_QOS)}"]
TREE = [*SHOW, "associations", "format=Cluster,Account,ParentName"]


@dataclass(frozen=True)
class Allowance:
    """The most minutes that a job may ask, the most jobs and array tasks of a user in the queue.

    lifts_time: whether the partition's own time limit does not count. over_partition: whether it goes before the QOS of
    the partition. tres: by limit and resource (cpu, mem in MB, gres/gpu, node) the most that a job may ask for.
    """

    time_min: float | None = None
    submit_jobs: int | None = None
    lifts_time: bool = False
    over_partition: bool = False
    tres: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cap:
    """A limit, and whose it is."""

    most: float
    owner: str


Pick = Callable[[Allowance], "float | None"]
NOTHING = Allowance()


@dataclass(frozen=True)
class Association:
    """An account that the user may work for, and with which qualities of service; the one that jobs get unasked."""

    account: str
    qos: tuple[str, ...]
    allows: Allowance
    default_qos: str | None = None


@dataclass(frozen=True)
class Accounting:
    """enforced: what of it the cluster holds its users to. partition_qos: brought along by the partition.

    default_account: of the user. parents: of each account, where they matter and are known.
    """

    enforced: tuple[str, ...] = ()
    associations: tuple[Association, ...] | None = None
    qos: dict[str, Allowance] | None = None
    partition_qos: str | None = None
    default_account: str | None = None
    parents: dict[str, str] | None = None


def associations_of(user: str) -> list[str]:
    """The question for a user's associations."""
    return [*SHOW, "associations", f"user={user}",
            f"format=Cluster,Account,QOS,MaxSubmitJobs,MaxWall,DefaultQOS,{','.join(OF_ACCOUNT)}"]  # fmt: skip


def default_account_of(user: str) -> list[str]:
    """The question for the account that a user's jobs get unasked."""
    return [*SHOW, "user", user, "format=User,DefaultAccount"]


def read_default_account(said: str) -> str | None:
    """The answer to it."""
    return next((account for _, account in rows(said, 2) if account), None)


def read_parents(said: str, cluster: str | None) -> dict[str, str] | None:
    """The answer to `TREE`: of each account the one above it."""
    return {child: above for name, child, above in rows(said, 3) if above and cluster in (None, name)} or None


def read_associations(said: str, cluster: str | None) -> tuple[Association, ...] | None:
    """The answer to it, for this cluster where its name is known."""
    found = [
        Association(
            account,
            tuple(filter(None, qos.split(","))),
            Allowance(minutes(wall), number(jobs), tres=_tres(list(OF_ACCOUNT.values()), tres)),
            default or None,
        )
        for name, account, qos, jobs, wall, default, *tres in rows(said, 6 + len(OF_ACCOUNT))
        if account and cluster in (None, name)
    ]
    return tuple(found) or None


def read_qos(said: str) -> dict[str, Allowance] | None:
    """The answer to `QOS`."""
    return {
        name: Allowance(
            minutes(wall), number(jobs), "PartitionTimeLimit" in flags, "OverPartQOS" in flags, _tres(OF_QOS, tres)
        )
        for name, wall, jobs, flags, *tres in rows(said, 4 + len(OF_QOS))
        if name
    } or None


def _tres(limits: Sequence[str], cells: Sequence[str]) -> dict[tuple[str, str], int]:
    """Limits on resources, as ``cpu=1,gres/gpu=2,mem=1000M``."""
    found = {}
    for limit, cell in zip(limits, cells, strict=True):
        for part in cell.split(","):
            resource, _, text = part.partition("=")
            amount = megabytes(text) if resource == "mem" else number(text)
            if amount is not None:
                found[limit, resource] = amount
    return found


def cap(accounting: Accounting, cluster: ClusterConfig, pick: Pick) -> Cap | None:
    """The limit of a job of these settings, as far as the cluster enforces it; None where there is none.

    The QOS of the partition goes before the job's, and both before the association's. Which account or QOS a job gets
    that asks for none may not be known: of what may count it is the widest.

    Args:
        pick: the limit, of an account or a QOS.
    Source: slurm.schedmd.com/resource_limits.html.
    """
    if not _holds(accounting, "limits", "safe"):
        return None
    found = [_cap(accounting, account, qos, pick) for account, qos in _may_get(accounting, cluster)]
    known = [one for one in found if one is not None]
    return max(known, key=lambda one: one.most) if known and len(known) == len(found) else None


def _cap(accounting: Accounting, account: Association | None, qos: str | None, pick: Pick) -> Cap | None:
    """Of one account and QOS."""
    known = accounting.qos or {}
    of_job, of_partition = (known.get(name or "", NOTHING) for name in (qos, accounting.partition_qos))
    layers = [
        (of_partition, f"QOS {accounting.partition_qos} of the partition"),
        (of_job, f"QOS {qos}"),
        (account.allows if account else NOTHING, f"account {account.account if account else None}"),
    ]
    if of_job.over_partition:
        layers[:2] = layers[1::-1]
    return next((Cap(most, owner) for allows, owner in layers if (most := pick(allows)) is not None), None)


def _may_get(accounting: Accounting, cluster: ClusterConfig) -> list[tuple[Association | None, str | None]]:
    """The accounts and QOS that a job of these settings may run under."""
    mine = accounting.default_account if cluster.account is None else cluster.account
    accounts: Sequence[Association | None] = (
        _accounts(accounting, replace(cluster, account=mine)) or _accounts(accounting, cluster) or [None]
    )
    return [
        (account, qos)
        for account in accounts
        for qos in ([cluster.qos] if cluster.qos else _unasked(account) if account else [None])
    ]


def _unasked(account: Association) -> Sequence[str | None]:
    """The QOS that a job of an account may get without asking for one."""
    return [account.default_qos] if account.default_qos else account.qos or [None]


def lifts_time(accounting: Accounting, cluster: ClusterConfig) -> bool:
    """Whether a QOS lifts the time limit of the partition."""
    names = {accounting.partition_qos, *(qos for _, qos in _may_get(accounting, cluster))}
    known = accounting.qos or {}
    return _holds(accounting, "limits", "safe") and any(known.get(name or "", NOTHING).lifts_time for name in names)


def other_qos(accounting: Accounting, cluster: ClusterConfig, fits: Callable[[ClusterConfig], bool]) -> list[str]:
    """Those of the user's other QOS with which the settings of the cluster fit."""
    names = dict.fromkeys(name for each in _accounts(accounting, cluster) for name in each.qos if name != cluster.qos)
    return [name for name in names if fits(replace(cluster, qos=name))]


def faults(accounting: Accounting, cluster: ClusterConfig) -> Iterator[str]:
    """Accounts and qualities of service that the user does not have, where the cluster asks for them."""
    if accounting.associations is None or not holds_to_associations(accounting):
        return
    accounts = _accounts(accounting, cluster)
    if not accounts:
        known = ", ".join(dict.fromkeys(each.account for each in accounting.associations))
        yield f"cluster.account is {cluster.account!r}, wanted one that is yours: {known}"
    names = sorted({name for each in accounts for name in each.qos})
    if cluster.qos and names and _holds(accounting, "qos") and cluster.qos.lower() not in map(str.lower, names):
        yield f"cluster.qos is {cluster.qos!r}, wanted one that is yours: {', '.join(names)}"


def holds_to_associations(accounting: Accounting) -> bool:
    """Whether the cluster looks at which accounts a user has; limits and QOS need that."""
    return _holds(accounting, "associations", "limits", "qos", "safe")


def _holds(accounting: Accounting, *what: str) -> bool:
    """Whether the cluster enforces one of these."""
    return bool({*what, "all"} & set(accounting.enforced))


def _accounts(accounting: Accounting, cluster: ClusterConfig) -> list[Association]:
    """The associations that a job may run under; without cluster.account, the cluster picks one."""
    account = cluster.account and cluster.account.lower()
    return [each for each in accounting.associations or () if account in (None, each.account.lower())]
