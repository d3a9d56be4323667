"""Section cluster: the scheduler, and what each stage asks of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from cac_hpc.settings import slurm_notation
from cac_hpc.settings.checks import require, within

OWN_OPTIONS = ("job-name", "array", "dependency", "clusters", "parsable", "wait")  # of sbatch, by which jobs are known


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one task of a stage asks of SLURM, per node."""

    time_min: int  # time limit
    mem_gb: float  # per node
    cpus: int = 1  # of a task; those of a fold follow from its ranks


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """The scheduler, the shape of a fold on its nodes, and what each stage asks for."""

    kind: str = "auto"  # a scheduler, by its name in cluster/schedulers; auto: SLURM if one answers, else local
    partition: str | None = None  # this and the next four as for sbatch; null: the site's default
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    reservation: str | None = None
    exclude: str | None = None  # nodes that are never used; a run adds those that failed its check
    exclusive: bool = False  # whole nodes; pair it with folds_per_node
    nodes_per_fold: int = 1  # over which the ranks of a fold are spread
    ranks_per_node: int = 1  # torchrun processes of a fold; with train.device cuda each has one GPU
    cpus_per_rank: int = 1  # also the number of threads that a rank computes with
    # folds, or workers of trials, that one job trains side by side; small networks are faster so than with more ranks
    folds_per_node: int = 1
    gpus_per_node: int | None = None  # null: one per rank; fewer are shared by the folds of a job
    gres: str | None = None  # how this site names GPUs, as gpu:a100:2; null asks with --gpus-per-node
    array_parallelism: int = 256  # tasks of one array that run at the same time
    warning_s: int = 90  # SLURM asks a job to save so long before its time is over
    attempts: int = 5  # starts of a fold without a new checkpoint, until it is given up
    pack: Resources = Resources(time_min=120, mem_gb=8.0)
    # its cpus are folds_per_node x ranks_per_node x cpus_per_rank; workers of trials ask the same, for one rank each
    fold: Resources = Resources(time_min=480, mem_gb=32.0)
    aggregate: Resources = Resources(time_min=30, mem_gb=4.0)  # the seal asks the same
    mem_per_cpu: bool = False  # ask for memory with --mem-per-cpu, where a site refuses --mem
    mail_user: str | None = None  # gets mail when the report is there or a stage has failed
    setup: tuple[str, ...] = ()  # lines of shell at the start of every job; slurm/env.sh follows, on every node
    srun: tuple[str, ...] = ()  # further arguments of srun, as --container-image=...
    sbatch: dict[str, int | float | bool | str] = field(default_factory=dict)  # options by long names

    def __post_init__(self) -> None:
        within(self, "cluster.", nodes_per_fold=(1, None), ranks_per_node=(1, None), cpus_per_rank=(1, None))
        within(self, "cluster.", folds_per_node=(1, None), array_parallelism=(1, None), attempts=(1, None))
        for key in sorted({*OWN_OPTIONS} & {*self.sbatch}):
            require(False, f"cluster.sbatch.{key}", self.sbatch[key], "left out: the launcher sets it itself")
        for stage in ("pack", "fold", "aggregate"):
            asked: Resources = getattr(self, stage)
            within(asked, f"cluster.{stage}.", time_min=(1, None), cpus=(1, None))
            require(asked.mem_gb > 0, f"cluster.{stage}.mem_gb", asked.mem_gb, "above 0")
        gpus = self.gpus_per_node
        require(gpus is None or gpus >= self.ranks_per_node, "cluster.gpus_per_node", gpus, "ranks_per_node or more")
        require(self.gpus_asked >= self.ranks_per_node, "cluster.gres", self.gres, "a GPU for each of ranks_per_node")
        shortest = 60 * min(self.pack.time_min, self.fold.time_min, self.aggregate.time_min)
        wanted = f"1 to 65535, and less than the shortest time_min, {shortest} s"
        require(0 < self.warning_s <= min(65535, shortest - 1), "cluster.warning_s", self.warning_s, wanted)
        alone = self.folds_per_node == 1 or self.nodes_per_fold == 1
        require(alone, "cluster.folds_per_node", self.folds_per_node, "1 where cluster.nodes_per_fold is above 1")

    @property
    def ranks(self) -> int:
        """World size of one fold."""
        return self.nodes_per_fold * self.ranks_per_node

    @property
    def gpus_asked(self) -> int:
        """GPUs per node of a job that trains on GPUs."""
        counted = slurm_notation.gpus(self.gres or "")  # a site may give GPUs another name
        return (self.gpus_per_node or self.ranks_per_node * self.folds_per_node) if counted is None else counted
