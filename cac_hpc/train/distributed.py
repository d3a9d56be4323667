"""The process group of a fold: its ranks started by torchrun, rank, world size, device, exact gathers.

The only reader of torchrun's variables. torchrun's exit code hides which rank a signal has ended; this says it.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from signal import SIGTERM
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cac_hpc.run import ledger, logs, stages
from cac_hpc.run.causes import Cause
from cac_hpc.run.logs import amount, log
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.stages import STAGES, Task
from cac_hpc.train import fencing, heartbeat

T = TypeVar("T")

TIMEOUT = timedelta(minutes=30)  # the last resort; cac_hpc.train.heartbeat finds a lost rank long before
CLOSING_S = 25  # torchrun gives the others 30 s before it kills them


@dataclass(frozen=True)
class World:
    """This process among all, and among those of its node.

    control: the group for what is no tensor of the model, in host memory.
    """

    rank: int
    size: int
    device: torch.device
    local_rank: int = 0
    local_size: int = 1
    control: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def first_on_node(self) -> int:
        """The rank of the first process on this rank's node; torchrun counts them node by node."""
        return self.rank - self.local_rank


class Failure(NamedTuple):
    """A rank that has ended with an error. code: of a signal its negative number. seen_s: when torchrun saw it."""

    rank: int
    pid: int
    code: int
    seen_s: int


class NoDevice(RuntimeError):
    """The device that was asked for is not there: one line."""


def torchrun(arguments: Sequence[str]) -> list[Failure]:
    """Start ranks with torchrun and wait until they have ended; returns those of this node that failed.

    In the order in which torchrun saw it: the last may have been ended by torchrun itself, by SIGTERM and after 30 s
    by SIGKILL.
    """
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        run.main(list(arguments))
    except ChildFailedError as error:
        logs.say(error, sys.stderr)
        found = error.failures.items()
        return [Failure(rank, failed.pid, failed.exitcode, failed.timestamp) for rank, failed in found]
    return []


@contextmanager
def process_group(device_type: str) -> Iterator[World]:
    """Join the group torchrun describes; a plain ``python`` run is a world of one.

    Raises: NoDevice if CUDA was asked for and this rank has no GPU.
    """
    rank, local = (int(os.environ.get(key, "0")) for key in ("RANK", "LOCAL_RANK"))
    size, local_size = (int(os.environ.get(key, "1")) for key in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if device_type == "cuda":
        visible = torch.cuda.device_count()
        if local >= visible:
            raise NoDevice(
                f"rank {rank}: train.device is cuda, but the node shows {amount(visible, 'GPU')} and local rank "
                f"{local} needs one of its own; ask for more GPUs or set train.device cpu"
            )
        torch.cuda.set_device(local)  # else NCCL puts every rank on GPU 0
    device = torch.device(device_type, local) if device_type == "cuda" else torch.device("cpu")
    control = None
    if size > 1:
        dist.init_process_group("nccl" if device_type == "cuda" else "gloo", timeout=TIMEOUT)
        control = dist.new_group(backend="gloo", timeout=TIMEOUT)
    yield World(rank, size, device, local, local_size, control)
    if size > 1:  # on success only: after an error this could wait for lost ranks
        dist.destroy_process_group()


def data_parallel(model: nn.Module, world: World) -> nn.Module:
    """The model as every rank trains it: gradients averaged over the ranks."""
    if world.size == 1:
        return model
    return DistributedDataParallel(model, device_ids=[world.device] if world.device.type == "cuda" else None)


def gather(part: T, world: World) -> list[T]:
    """The parts of all ranks in rank order, on every rank; the parts may differ in size."""
    if world.size == 1:
        return [part]
    parts: list[Any] = [None] * world.size
    dist.all_gather_object(parts, part, group=world.control)
    return parts


class Agreement:
    """What all ranks do at a step boundary: the highest request of any of them, the same on all.

    The answer comes one step later, so that no step waits for it.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._asked: tuple[Tensor, Any] | None = None

    def later(self, request: int) -> int:
        """Send this step's request; returns the highest of the step before."""
        decided, tensor = self._take(), torch.tensor([request])
        work = None
        if self._world.size > 1:
            work = dist.all_reduce(tensor, dist.ReduceOp.MAX, group=self._world.control, async_op=True)
        self._asked = tensor, work
        return decided

    def now(self, request: int) -> int:
        """Send a request; returns the highest of it and of what was not answered yet."""
        before = self.later(request)
        return max(before, self._take())

    def _take(self) -> int:
        if self._asked is None:
            return 0
        (tensor, work), self._asked = self._asked, None
        if work is not None:
            work.wait()
        return int(tensor)


def start_ranks(root: Path, fold: int, options: str) -> int:
    """Train a fold by the ranks of this node; returns the exit code, 1 if a rank has failed.

    Args:
        options: of torchrun, quoted as for a shell.
    """
    run = RunPaths(root)
    files = run.fold(fold)
    task = Task(next(stage for stage in STAGES if stage.ranks), fold, files.predictions)
    told, before = len(ledger.read(run.ledger)), fencing.newest_number(files.attempts)
    failures = torchrun([*shlex.split(options), "--", *stages.script_command(task, run)])
    victim = killed(failures)
    since = [event for event in ledger.read(run.ledger)[told:] if event["task"] == fold]
    told_already = any(event.get("killed") == getattr(victim, "rank", None) for event in since)  # by another rank
    has_saved = any(event["event"] == "ended" and (event.get("ok") or event.get("resumable")) for event in since)
    if victim and not told_already and not has_saved:  # asked to stop again while it leaves, it ends at once
        cause, newest = cause_of_failure(run, fold, victim), fencing.newest_number(files.attempts)
        log.error("%s", cause)
        facts = {"lost": True, "final": True, "attempt": newest if newest > before else None}
        ledger.record(run.ledger, "folds", fold, "ended", cause, ok=False, **facts)
    return 1 if failures else 0


def killed(failures: Sequence[Failure]) -> Failure | None:
    """The first rank that a signal has ended and not torchrun, which ends the others once one has failed."""
    for place, failure in enumerate(failures):
        by_torchrun = -failure.code == SIGTERM or failure.seen_s - failures[0].seen_s >= CLOSING_S
        if failure.code < 0 and (place == 0 or not by_torchrun):
            return failure
    return None


def cause_of_failure(run: RunPaths, fold: int, victim: Failure) -> Cause:
    """Where a rank was when a signal ended it, and which signal."""
    pulses = [pulse for pulse in heartbeat.read_pulses(run.fold(fold)) if pulse.node == platform.node()]
    known = next((pulse for pulse in pulses if (pulse.rank, pulse.pid) == (victim.rank, victim.pid)), None)
    node, place = (known.node, known.place) if known else (ledger.whereabouts()["node"], None)
    return Cause("rank_killed", node=node, rank=victim.rank, place=place, exit_code=victim.code)
