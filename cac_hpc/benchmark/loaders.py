"""What feeds a network, ours and others': programs that are measured beside each other.

``python -m cac_hpc.benchmark.loaders NAME RUN DEVICE SECONDS`` feeds slices of a packed run to nobody, then to the
run's network, each for so many seconds, and prints slices per second as JSON. Everybody hands over int16 HU on the
device, and the same step goes on from there. Axes: N slice, H row, W column.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cac_hpc.dataset import integrity, sealed
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.train import models, networks, residency, slices, steps
from cac_hpc.train.checkpoint import TrainingState, new_state
from cac_hpc.train.distributed import World

WARM_UP = 2  # steps that are not counted
MATRIX = {"cpu": 2048, "cuda": 8192}  # rows and columns of the matrices that show what the device reaches

Batches = Iterator[tuple[np.ndarray, Tensor]]  # row numbers, and their slices (N, H, W) int16 on the device


@dataclass(frozen=True)
class Job:
    """What a loader is to feed from. category: of each study."""

    cfg: Config
    dataset: DatasetPaths
    category: dict[str, int]
    world: World

    @property
    def batch_size(self) -> int:
        return self.cfg.train.batch_size


def only_compute(job: Job) -> Callable[[int], Batches]:
    """The same slices on the device again and again: what no loader can beat."""
    feed = ours("host", job)
    batch = next(feed(0))
    return lambda epoch: itertools.repeat(batch, 100)


def ours(kind: str, job: Job) -> Callable[[int], Batches]:
    """Kept as train.residency says; ``host`` is the GPU's memory where there is a GPU."""
    kind = "device" if (kind, job.world.device.type) == ("host", "cuda") else kind
    train = dataclasses.replace(job.cfg.train, residency=kind)  # type: ignore[arg-type]
    loaded = residency.load(job.dataset, job.category, dataclasses.replace(job.cfg, train=train), job.world)
    rows = np.arange(len(loaded.table.study))

    def feed(epoch: int) -> Batches:
        batches = list(slices.training_batches(rows, job.batch_size, 0, 0, epoch, loaded.window))
        return zip(batches, loaded.rows.batches(batches), strict=True)

    return feed


class H5pyDataset(Dataset[tuple[int, Tensor]]):
    """One slice at a time from open files."""

    def __init__(self, dataset: DatasetPaths) -> None:
        facts = integrity.read_checked(dataset.seal)["shards"]
        self._paths = [str(dataset.root / shard["file"]) for shard in facts]
        self._starts = np.cumsum([0, *(shard["rows"] for shard in facts)])
        self._images: list[h5py.Dataset] = []

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: int) -> tuple[int, Tensor]:
        if not self._images:  # in the process that reads
            self._images = [h5py.File(path, "r", locking=False)["images"] for path in self._paths]
        shard = int(np.searchsorted(self._starts, row, "right")) - 1
        return row, torch.from_numpy(self._images[shard][row - self._starts[shard]])


def torch_loader(workers: int, job: Job) -> Callable[[int], Batches]:
    return _through(DataLoader(H5pyDataset(job.dataset), job.batch_size, shuffle=True, num_workers=workers), job)


def monai_cache(job: Job) -> Callable[[int], Batches]:
    from monai.data import CacheDataset

    dataset = H5pyDataset(job.dataset)
    cached = CacheDataset(list(range(len(dataset))), transform=dataset.__getitem__, num_workers=1, progress=False)
    return _through(DataLoader(cached, job.batch_size, shuffle=True), job)


def _through(loader: DataLoader[Any], job: Job) -> Callable[[int], Batches]:
    return lambda epoch: ((rows.numpy(), hu_NHW.to(job.world.device)) for rows, hu_NHW in loader)


LOADERS: dict[str, tuple[Callable[[Job], Callable[[int], Batches]], str]] = {  # and the distribution it needs
    "compute only": (only_compute, "torch"),
    "cac_hpc resident": (lambda job: ours("host", job), "torch"),
    "cac_hpc stream": (lambda job: ours("stream", job), "torch"),
    "DataLoader over h5py": (lambda job: torch_loader(0, job), "h5py"),
    "DataLoader, 2 workers": (lambda job: torch_loader(2, job), "h5py"),
    "MONAI CacheDataset": (monai_cache, "monai"),
}


def installed(name: str) -> bool:
    try:
        return bool(metadata.version(LOADERS[name][1]))
    except metadata.PackageNotFoundError:
        return False


def rate(feed: Callable[[int], Batches], use: Callable[[np.ndarray, Tensor], None], seconds: float) -> float:
    """Slices per second, epoch after epoch until the time is over; what comes first is not counted."""
    count, started = 0, 0.0
    batches = itertools.chain.from_iterable(map(feed, itertools.count(1)))
    for step, (rows, hu_NHW) in enumerate(batches, start=-WARM_UP):
        if step == 0:
            wait()
            started = time.perf_counter()
        if step > 0 and time.perf_counter() - started > seconds:
            break
        use(rows, hu_NHW)
        count += len(rows) if step >= 0 else 0
    wait()
    return count / (time.perf_counter() - started)


def trained(job: Job) -> Callable[[np.ndarray, Tensor], None]:
    """The step of a training, with all that it takes."""
    state = new_state(job.cfg, job.world)
    step, num_categories = stepper(job.cfg, state, state.model, job.world.device), len(job.cfg.labels.names)

    def use(rows: np.ndarray, hu_NHW: Tensor) -> None:
        step(hu_NHW, torch.from_numpy(rows % num_categories).to(job.world.device))

    return use


def stepper(
    cfg: Config, state: TrainingState, model: nn.Module, device: torch.device
) -> Callable[[Tensor, Tensor], None]:
    """A step of training on slices (N, H, W) and their labels (N,).

    Args:
        model: that of the state, or a compiled form of it.
    """
    weight_K, chance = torch.ones(len(cfg.labels.names), device=device), torch.Generator(device)
    count = networks.num_features(state.model)

    def step(hu_NHW: Tensor, label_N: Tensor) -> None:
        keep_NF = networks.dropout_factors(chance, len(hu_NHW), count, cfg.model.dropout)
        share = steps.Share(hu_NHW, label_N, keep_NF, weight_K[label_N].sum())
        steps.train_step(model, state.optimizer, state.scaler, share, weight_K, 1, cfg.train)

    return step


def matrix_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second that the device reaches on large matrices of this type."""
    size = MATRIX[device.type]
    a, b = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    best = 0.0
    for _ in range(4):
        wait()
        started = time.perf_counter()
        torch.mm(a, b)
        wait()
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def wait() -> None:
    """Until the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main(name: str, root: str, device_type: str, seconds: str) -> None:
    run = RunPaths(Path(root))
    cfg = stored_settings.load(run.config)
    dataset = run.dataset(cfg.data.packed_dir)
    studies = sealed.read_studies(dataset)
    steps.fix_arithmetic(cfg)
    world = World(0, 1, torch.device(device_type))
    job = Job(cfg, dataset, dict(zip(studies["study"], studies["category"].astype(int), strict=True)), world)
    feed = LOADERS[name][0](job)
    found = {"feeding": rate(feed, lambda rows, hu_NHW: None, float(seconds))}
    found["training"] = rate(feed, trained(job), float(seconds))
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    if name == "compute only":
        found["matrix_flops"] = matrix_flops(world.device, networks.DTYPES[cfg.train.precision])
        once = models.chosen(cfg).flops(cfg.model, cfg.pack.size, len(cfg.labels.names))
        found["flops"] = 3 * once * found["training"]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
