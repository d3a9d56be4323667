"""What the cluster's accounting lets a user do: accounts, qualities of service, limits. What nobody says is None."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cac_hpc.run.config import ClusterConfig
from cac_hpc.run.notation import minutes, number, rows, widest

SHOW = ["sacctmgr", "--noheader", "--parsable2", "show"]
QOS = [*SHOW, "qos", "format=Name,MaxWall,MaxSubmitJobsPerUser,Flags"]
TREE = [*SHOW, "associations", "format=Cluster,Account,ParentName"]


@dataclass(frozen=True)
class Allowance:
    """The most minutes that a job may ask, the most jobs and array tasks of a user in the queue.

    lifts_time: whether the partition's own time limit does not count.
    """

    time_min: float | None = None
    submit_jobs: int | None = None
    lifts_time: bool = False


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
    return [*SHOW, "associations", f"user={user}", "format=Cluster,Account,QOS,MaxSubmitJobs,MaxWall,DefaultQOS"]


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
            account, tuple(filter(None, qos.split(","))), Allowance(minutes(wall), number(jobs)), default or None
        )
        for name, account, qos, jobs, wall, default in rows(said, 6)
        if account and cluster in (None, name)
    ]
    return tuple(found) or None


def read_qos(said: str) -> dict[str, Allowance] | None:
    """The answer to `QOS`."""
    return {
        name: Allowance(minutes(wall), number(jobs), "PartitionTimeLimit" in flags)
        for name, wall, jobs, flags in rows(said, 4)
        if name
    } or None


def allowance(accounting: Accounting, cluster: ClusterConfig) -> Allowance:
    """What a job of these settings may ask at most, as far as the cluster enforces it."""
    if not _holds(accounting, "limits", "safe"):
        return Allowance()
    accounts, known = _accounts(accounting, cluster), accounting.qos or {}
    names = {cluster.qos} if cluster.qos else {name for each in accounts for name in each.qos}
    nothing = Allowance()
    of_job = [known.get(name or "", nothing) for name in names]
    of_partition = known.get(accounting.partition_qos or "", nothing)
    of_accounts = [each.allows for each in accounts]
    time_min, jobs = (
        _first(
            getattr(of_partition, key),
            [getattr(each, key) for each in of_job],
            [getattr(each, key) for each in of_accounts],
        )
        for key in ("time_min", "submit_jobs")
    )
    lifts = of_partition.lifts_time or any(each.lifts_time for each in of_job)
    return Allowance(time_min, None if jobs is None else int(jobs), lifts)


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


def _first(
    of_partition: float | None, of_job: Sequence[float | None], of_accounts: Sequence[float | None]
) -> float | None:
    """A limit: the partition's QOS, the job's and the association are asked in this order.

    Which QOS a job without cluster.qos gets, and whether the job's goes before the partition's, nobody was asked: of
    what may count it is the widest.

    Source: slurm.schedmd.com/resource_limits.html.
    """
    if of_partition is not None or (of_job and None not in of_job):
        return widest([of_partition, *of_job])
    return None if None in of_accounts else widest([*of_accounts, *of_job]) if of_accounts else None


def _holds(accounting: Accounting, *what: str) -> bool:
    """Whether the cluster enforces one of these."""
    return bool({*what, "all"} & set(accounting.enforced))


def _accounts(accounting: Accounting, cluster: ClusterConfig) -> list[Association]:
    """The associations that a job may run under; without cluster.account, the cluster picks one."""
    account = cluster.account and cluster.account.lower()
    return [each for each in accounting.associations or () if account in (None, each.account.lower())]
