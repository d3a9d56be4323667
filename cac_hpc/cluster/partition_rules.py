"""Who may use a partition, by its own rules: groups, hosts, accounts, qualities of service."""

from __future__ import annotations

import grp
import os
import platform
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType

from cac_hpc.cluster.accounting import Accounting
from cac_hpc.settings.checks import shown
from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.slurm_notation import in_hostlist

PARTITIONS = ["scontrol", "--oneliner", "--all", "show", "partition"]
EVERYBODY = ("ALL", "")
Rules = Mapping[str, str]


def read(said: str) -> dict[str, Rules]:
    """The answer to `PARTITIONS`: the fields of each partition."""
    lines = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in said.splitlines()]
    return {rules["PartitionName"]: rules for rules in lines if rules.get("PartitionName")}


def names_accounts(rules: Rules) -> bool:
    """Whether some accounts may use it and others may not."""
    return rules.get("AllowAccounts", "ALL") not in EVERYBODY or bool(rules.get("DenyAccounts"))


def without_accounts(rules: Rules) -> Rules:
    """The rules but for who may use it by account."""
    return {key: value for key, value in rules.items() if not key.endswith("Accounts")}


def faults(
    rules: Rules, accounting: Accounting, cluster: ClusterConfig, others: Mapping[str, Rules] = MappingProxyType({})
) -> Iterator[str]:
    """Why jobs of these settings, submitted by who asks and from here, never start in a partition.

    Args:
        others: the rules of the cluster's other partitions, by name; those that take the jobs are named.
    Source: man slurm.conf, PARTITION CONFIGURATION. Root may use a partition whatever AllowGroups and RootOnly say.
    """
    partition = f"cluster.partition is {rules.get('PartitionName')!r}, which"
    groups, hosts, root = rules.get("AllowGroups", "ALL"), rules.get("AllocNodes", "ALL"), os.getuid() == 0
    mine, here = _groups(), platform.node().split(".")[0]
    if groups not in EVERYBODY and not root and not {*groups.split(",")} & {*mine}:
        yield f"{partition} takes jobs of group {groups} (AllowGroups), found {', '.join(mine)}; wanted another one"
    if hosts not in EVERYBODY and not in_hostlist(here, hosts):
        yield f"{partition} takes jobs submitted on {hosts} (AllocNodes), found {here}; submit there, or choose another"
    if rules.get("RootOnly") == "YES" and not root:
        yield f"{partition} takes jobs of root only (RootOnly); wanted another one"
    if rules.get("DisableRootJobs") == "YES" and root:
        yield f"{partition} takes no jobs of root (DisableRootJobs); submit as another user"
    if rules.get("ReqResv") == "YES" and cluster.reservation is None:
        yield f"cluster.reservation is not set, but partition {rules.get('PartitionName')} asks for one (ReqResv)"
    another = _another(others, accounting, cluster)
    yield from _account_faults(rules, accounting, cluster, another)
    yield from _qos_faults(rules, accounting, cluster, another)


def _another(others: Mapping[str, Rules], accounting: Accounting, cluster: ClusterConfig) -> str:
    """Another partition; those that take the jobs by their names."""
    fit = [name for name, rules in others.items()
           if rules.get("State", "UP") == "UP" and not any(faults(rules, accounting, cluster))]  # fmt: skip
    return (
        f"another cluster.partition ({', '.join(fit)} take{'s' if len(fit) == 1 else ''} it)"
        if fit
        else "another cluster.partition"
    )


def _account_faults(rules: Rules, accounting: Accounting, cluster: ClusterConfig, another: str) -> Iterator[str]:
    account = cluster.account or accounting.default_account
    takes = _judge(rules, "Accounts")
    if account is None or takes is None:
        return

    def fits(name: str) -> bool:
        return takes(_ancestry(name.lower(), accounting.parents or {}))

    if not fits(account):
        mine = [each.account for each in accounting.associations or () if fits(each.account)]
        found = f"cluster.account is {shown(cluster.account)}" + ("" if cluster.account else f", so {account!r}")
        yield f"{found}, {_refusal(rules, 'Accounts')}; wanted {_one_of(mine, another)}"


def _qos_faults(rules: Rules, accounting: Accounting, cluster: ClusterConfig, another: str) -> Iterator[str]:
    account = (cluster.account or accounting.default_account or "").lower()
    own = [each for each in accounting.associations or () if each.account.lower() == account]
    default = next((each.default_qos or (each.qos[0] if len(each.qos) == 1 else None) for each in own), None)
    qos, takes = cluster.qos or default, _judge(rules, "Qos")
    if qos is None or takes is None or takes({qos.lower()}):
        return
    mine = list(dict.fromkeys(name for each in own for name in each.qos if takes({name.lower()})))
    found = f"cluster.qos is {shown(cluster.qos)}" + ("" if cluster.qos else f", so {qos!r}")
    yield f"{found}, {_refusal(rules, 'Qos')}; wanted {_one_of(mine, another)}"


def _judge(rules: Rules, what: str) -> Callable[[set[str]], bool] | None:
    """Whether any of some names is let in, by the list of the allowed, else of the denied; None without a list."""
    allowed, denied = rules.get(f"Allow{what}", "ALL"), rules.get(f"Deny{what}", "")
    if allowed not in EVERYBODY:
        return lambda names: bool(names & {*allowed.lower().split(",")})
    if denied:
        return lambda names: not names & {*denied.lower().split(",")}
    return None


def _refusal(rules: Rules, what: str) -> str:
    kind = f"Allow{what}" if rules.get(f"Allow{what}", "ALL") not in EVERYBODY else f"Deny{what}"
    return f"which partition {rules.get('PartitionName')} does not take ({kind}={rules[kind]})"


def _one_of(names: list[str], another: str) -> str:
    return f"{' or '.join(names)}, or {another}" if names else another


def _ancestry(account: str, parents: Mapping[str, str]) -> set[str]:
    """An account and those above it."""
    found = {account}
    while (account := parents.get(account, account)) not in found:
        found.add(account)
    return found


def _groups() -> list[str]:
    """The names of the groups of who asks."""
    names = []
    for group in dict.fromkeys([os.getegid(), *os.getgroups()]):
        with suppress(KeyError):
            names.append(grp.getgrgid(group).gr_name)
    return names
