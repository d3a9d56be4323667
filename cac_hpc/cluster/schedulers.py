"""What can run the stages of a run, by cluster.kind; a further one is a module and a line of the table."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Protocol

from cac_hpc.cluster import local, submission
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import Stage, Task
from cac_hpc.settings.cluster import ClusterConfig
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError


class Scheduler(Protocol):
    """What can run the stages of a run, as the launcher uses it; a module serves."""

    @property
    def RUNS_HERE(self) -> bool:
        """Whether the tasks are children of the launcher, which then follows them, and have no queue."""

    def unavailable(self) -> str | None:
        """Why it cannot be used on this machine; None if it can."""

    def check(self, cfg: Config) -> None:
        """Raises: InputError if it cannot run what the settings ask for."""

    def in_queue(self, run: RunPaths) -> dict[str, str]:
        """The run's stages that are in its queue, by the names of their jobs."""

    def require_own(self, run: RunPaths, jobs: Sequence[str]) -> None:
        """Raises: InputError if one of the jobs, which the ledger names, is not known to be the run's."""

    def start(
        self, run: RunPaths, cfg: Config, waiting: Sequence[Task], queued: Mapping[str, str]
    ) -> Generator[None, None, None] | None:
        """Submit the waiting tasks, but those of stages that are queued; or run them here while one iterates."""

    def try_out(self, run: RunPaths, cfg: Config, stage: Stage, tasks: Sequence[Task]) -> tuple[str, bool]:
        """How a stage would be started, in words, and whether that would be refused; starts nothing."""


SCHEDULERS: dict[str, Scheduler] = {  # by cluster.kind; auto takes the first that is available
    "slurm": submission,
    "local": local,
}


def choose(cfg: Config) -> tuple[str, str]:
    """The name of the scheduler, and why it is that one.

    Raises: InputError if the choice cannot work.
    """
    kind, why = available_kind(cfg.cluster)
    SCHEDULERS[kind].check(cfg)
    return kind, why


def available_kind(cluster: ClusterConfig) -> tuple[str, str]:
    """The name of the scheduler that is used, and why it is that one.

    Raises: InputError if the one that is asked for is not there.
    """
    asked = [name for name in SCHEDULERS if cluster.kind in ("auto", name)]
    absent = {name: why for name in asked if (why := SCHEDULERS[name].unavailable())}
    if cluster.kind in absent:
        why = f"{absent[cluster.kind]}; log in to the cluster or set cluster.kind local"
        raise InputError(f"cluster.kind is {cluster.kind}: {why}")
    kind = next(name for name in asked if name not in absent)
    found = "; ".join(absent.values()) or "a SLURM controller answers"
    return kind, found if cluster.kind == "auto" else "as set"
