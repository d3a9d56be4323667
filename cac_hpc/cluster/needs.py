"""What the jobs of each stage ask for, and by which setting; how many CPUs they get, and how many jobs there are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cac_hpc.cluster.site_limits import Limits, most_tasks
from cac_hpc.settings.cluster import ClusterConfig, Resources
from cac_hpc.settings.config import Config
from cac_hpc.settings.slurm_notation import gpu_types, gpus, number


@dataclass(frozen=True)
class Jobs:
    """What a command without a run asks for: tasks of an array with cluster.pack's resources and GPUs of their own, and
    a job with cluster.aggregate's."""

    cluster: ClusterConfig
    gpus: int = 0  # of a task


Asked = Config | Jobs


def stages_of(cfg: Asked) -> tuple[str, ...]:
    """The fields of the cluster settings that the jobs take their resources from."""
    return ("pack", "fold", "aggregate") if isinstance(cfg, Config) else ("pack", "aggregate")


def cpus_asked(cfg: Asked) -> int:
    """CPUs that a job of folds asks for on each node."""
    return cfg.cluster.folds_per_node * cfg.cluster.ranks_per_node * cfg.cluster.cpus_per_rank


def cpus_of(cfg: Asked, stage: str) -> int:
    asked: Resources = getattr(cfg.cluster, stage)
    return cpus_asked(cfg) if stage == "fold" else asked.cpus


def cpus_setting(cfg: Asked, stage: str, cpus: int) -> str:
    """The setting with which a stage uses so many CPUs."""
    ranks = cfg.cluster.folds_per_node * cfg.cluster.ranks_per_node
    return f"cluster.cpus_per_rank {cpus // ranks}" if stage == "fold" else f"cluster.{stage}.cpus {cpus}"


def cpus_for_memory(limits: Limits, cfg: Asked, stage: str) -> int:
    """CPUs of a node that a stage's job gets: what it asks for, or as many as go with its memory.

    Args:
        stage: its field of the cluster settings: pack, fold or aggregate.
    Source: man slurm.conf, MaxMemPerCPU; on 22.05.8 seen for --mem as well.
    """
    resources: Resources = getattr(cfg.cluster, stage)
    cpus, most, mem_mb = cpus_of(cfg, stage), limits.mem_per_cpu_mb, round(resources.mem_gb * 1024)
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
    asked, given = cpus_of(cfg, stage), number(granted.get("MinCPUsNode", "")) or 0
    if given <= asked:
        return None
    return (
        f"{given} CPUs of a node, {asked} were asked for: cluster.{stage}.mem_gb is more than goes with them "
        f"(MaxMemPerCPU); ask for less memory, or use them with {cpus_setting(cfg, stage, given)}"
    )


def num_fold_jobs(cfg: Config) -> int:
    """Tasks of the array of folds."""
    return -(-cfg.split.folds // cfg.cluster.folds_per_node)


def num_trial_jobs(cfg: Config) -> int:
    """Tasks of the array of workers that train trials."""
    return -(-cfg.num_workers // cfg.cluster.folds_per_node)


def most_pack_tasks(limits: Limits, cfg: Config) -> int | None:
    """How many tasks the array of shards may have, all stages submitted at once; None: no limit is known."""
    return most_tasks(limits, cfg.cluster, num_fold_jobs(cfg) + num_trial_jobs(cfg) + 2)  # the seal and the report


def gib_below(mem_mb: int) -> float:
    """A memory size as a setting has it, at most so much."""
    return math.floor(mem_mb / 102.4) / 10


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
            return f"{key} is {asked / 1024:g}, wanted at most {gib_below(most):g} for a {of}: {why}"
        unit = {"cpu": "CPUs", "node": "nodes"}.get(self.resource, "GPUs")
        return f"{key} asks {asked} {unit} of a {of}, wanted at most {most}: {why}"


def all_needs(limits: Limits, cfg: Asked) -> Iterator[Need]:
    """What each stage asks for."""
    cluster, nodes_per_fold = cfg.cluster, cfg.cluster.nodes_per_fold
    folds = "folds_per_node x " if cluster.folds_per_node > 1 else ""
    if isinstance(cfg, Config):
        yield Need("fold", f"cluster.{folds}ranks_per_node x cpus_per_rank", "cpu", cpus_asked(cfg), nodes_per_fold)
    for stage in ("pack", "aggregate"):
        yield Need(stage, f"cluster.{stage}.cpus", "cpu", getattr(cluster, stage).cpus)
    for stage in stages_of(cfg):
        num_nodes, mem_mb = nodes_per_fold if stage == "fold" else 1, round(getattr(cluster, stage).mem_gb * 1024)
        yield Need(stage, f"cluster.{stage}.mem_gb", "mem", mem_mb, num_nodes)
        given = cpus_for_memory(limits, cfg, stage)
        if given > cpus_of(cfg, stage):
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
