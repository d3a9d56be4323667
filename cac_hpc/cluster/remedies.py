"""What helps a job that waits and never starts: changes of the settings, tried against what the cluster allows."""

from __future__ import annotations

import functools
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from cac_hpc.cluster import feasibility, site_limits
from cac_hpc.cluster.feasibility import Excess
from cac_hpc.cluster.needs import gib_below
from cac_hpc.cluster.pending import asks_for, reason_for
from cac_hpc.cluster.site_limits import Limits
from cac_hpc.run.causes import CANCEL_AND_RESUME, SECTIONS
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError

Change = Mapping[str, Any]  # settings of the cluster section
MOST_PARTITIONS = 5  # that are asked for their limits
RESOURCES = {"CPU": "cpu", "Cpu": "cpu", "Mem": "mem", "Memory": "mem", "GRES": "gres/gpu", "Node": "node"}


class Remedy(NamedTuple):
    """excess: what the job asks for beyond a limit; None where no limit is known. help: the command; None as before."""

    excess: Excess | None
    help: str | None


class Remedies:
    """Of one run: the cluster is asked once for what it allows."""

    def __init__(self, run: RunPaths) -> None:
        self._run = run
        self._read = functools.cache(site_limits.read)
        self._known: dict[tuple[str, str], Remedy | None] = {}

    def find(self, stage: str, reason: str) -> Remedy | None:
        """What helps a job of a stage that waits for this reason of SLURM's; None if nothing more is known of it."""
        if (stage, reason) not in self._known:
            self._known[stage, reason] = self._find(SECTIONS.get(stage, "aggregate"), reason)
        return self._known[stage, reason]

    def _find(self, section: str, reason: str) -> Remedy | None:
        (limit, asks), meaning = asks_for(reason), reason_for(reason)
        if not limit and not asks:
            return None
        try:
            cfg = stored_settings.load(self._run.config)
        except InputError:
            return None
        allowed = self._read(cfg.cluster.partition)
        excess = limit and _excess(allowed, cfg, section, limit)
        if not excess and (not asks or (meaning and meaning.kind != "never starts")):
            return None
        wanted = asks[1].replace("{section}", section) if asks else ""
        changes = [*(_smaller(cfg, section, excess) if excess else ()), *_others(allowed, cfg, section, wanted)]
        fits = next((change for change in changes if self._helps(cfg, change)), None)
        options = " ".join(f"--cluster.{key} {shlex.quote(str(value))}" for key, value in (fits or {}).items())
        return Remedy(excess or None, f"{CANCEL_AND_RESUME} {options}" if fits else None)

    def _helps(self, cfg: Config, change: Change) -> bool:
        """Whether no faults are left with a change; of a number, fewer are enough."""
        try:
            changed = _changed(cfg, change)
        except InputError:
            return False
        left = set(feasibility.faults(self._read(changed.cluster.partition), changed))
        of_number = not {*change} & {"account", "qos", "partition"}
        return not left or (of_number and left < set(feasibility.faults(self._read(cfg.cluster.partition), cfg)))


def _excess(allowed: Limits, cfg: Config, section: str, limit: re.Match[str]) -> Excess | None:
    """What the jobs of a stage ask for beyond the limit that SLURM names."""
    resource = RESOURCES.get(limit["what"], "?")
    name = "GrpTRES" if limit["kind"] == "Grp" else f"MaxTRESPer{limit['each']}"
    found = [
        excess
        for excess in feasibility.excesses(allowed, cfg)
        if excess.need.stage == section and excess.need.resource.startswith(resource)
    ]
    return next((excess for excess in found if excess.limit == name), next(iter(found), None))


def _smaller(cfg: Config, section: str, excess: Excess) -> Iterator[Change]:
    """Settings that ask for no more than a limit."""
    cluster, resource = cfg.cluster, excess.need.resource
    most = excess.most if excess.limit.endswith("PerNode") else excess.most // excess.need.nodes
    folds, ranks = cluster.folds_per_node, cluster.folds_per_node * cluster.ranks_per_node
    if resource == "mem":
        yield {f"{section}.mem_gb": gib_below(most)}
    elif resource == "node":
        yield {"nodes_per_fold": excess.most}
    elif section != "fold":
        yield {f"{section}.cpus": most}
    elif resource == "cpu":
        yield {"cpus_per_rank": most // ranks}
        yield {"ranks_per_node": most // folds} | ({"cpus_per_rank": 1} if cluster.cpus_per_rank > 1 else {})
    else:
        gres = {"gres": re.sub(r":\d+$", f":{most}", cluster.gres)} if cluster.gres else {}
        yield {"ranks_per_node": most // folds} | ({"gpus_per_node": most} if cluster.gpus_per_node else gres)
    if section == "fold" and folds > 1:
        yield {"folds_per_node": 1}


def _others(allowed: Limits, cfg: Config, section: str, wanted: str) -> Iterator[Change]:
    """Less time or memory where that is wanted; other accounts, QOS, partitions, of the kind that is wanted first."""
    cluster, mine = cfg.cluster, allowed.accounting.associations or ()
    longest = site_limits.longest_min(allowed, cluster)
    if wanted.endswith("time_min") and longest is not None and longest < math.inf:
        yield {f"{section}.time_min": int(longest)}
    if wanted.endswith("mem_gb") and (most := allowed.mem_per_node_mb or allowed.mem_mb):
        yield {wanted: gib_below(most)}
    account = cluster.account or allowed.accounting.default_account
    names = {
        "account": [each.account for each in mine],
        "qos": [name for each in mine if each.account == account for name in each.qos],
        "partition": list(allowed.partitions or ())[:MOST_PARTITIONS],
    }
    for key in sorted(names, key=lambda key: key != wanted):
        yield from ({key: name} for name in dict.fromkeys(names[key]) if name != getattr(cluster, key))


def _changed(cfg: Config, change: Change) -> Config:
    """Settings with changes of the cluster section.

    Raises: InputError if they cannot be.
    """
    cluster = cfg.cluster
    for key, value in change.items():
        section, _, name = key.rpartition(".")
        new = replace(getattr(cluster, section), **{name: value}) if section else value
        cluster = replace(cluster, **{section or name: new})
    return replace(cfg, cluster=cluster)
