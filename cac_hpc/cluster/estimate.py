"""What a run will take, worked out before anything is submitted: disk, memory, minutes, GPU hours. Rough by nature."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cac_hpc.cluster import needs, site_limits
from cac_hpc.cluster.site_limits import Limits
from cac_hpc.dataset import integrity, splits
from cac_hpc.dataset.plan import DatasetPlan
from cac_hpc.dataset.splits import Fold, Part
from cac_hpc.machine import memory
from cac_hpc.machine.memory import GIB
from cac_hpc.run import logs
from cac_hpc.run.logs import amount
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.cluster import Resources
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.train import capacity, models, optimizers
from cac_hpc.train.capacity import Kind, Room

if TYPE_CHECKING:
    from rich.table import Table

GPU_FLOPS = 8e12  # operations per second of a GPU while it trains: what cards with 16 GB reach, newer ones do more
CPU_FLOPS = 20e9  # of a thread: one of an AMD EPYC reached 27e9 with the network of the demo, 43e9 with the study's
PACKED_PER_S = 250  # slices per second and worker: docs/speed.md has 1,162 of 512 x 512; disks of clusters are slower
EXAMINED_PER_S = 60  # the same where the heart is looked for: half a second per study, twice that on a slow core
START_MIN = 0.5  # until a fold trains
LESIONS_BYTES = 512 << 10  # of a study's candidates and views: 0.3 to 0.5 MB were measured
LARGEST_SLICE = 2 << 20  # bytes of 1024 x 1024 pixels: a larger file holds several slices
CHECKPOINTS = 3  # at one time, the one that is being written among them
TOO_MUCH = 10  # times the estimate
FEW_MIN, FEW_BYTES = 30, 4 * GIB  # asking so little is never too much


@dataclass(frozen=True)
class Disk:
    """A file system: what will be written to it, and what is free. setting: the one that names the folder."""

    setting: str
    folder: Path
    needed: int
    free: int


@dataclass(frozen=True)
class Memory:
    """What a job of folds needs on a node for its ranks, with the slices beside them unless they are streamed."""

    needed: int
    resident: int
    kind: Kind
    why: str


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of the whole run; of folds what the largest takes.

    slices: one per file where not exact. fold_min: of a job of folds, pack_min: of a shard, hours: of GPUs or cores.
    patients: of each fold and category in the training, validation and test part; slices where these are divided.
    """

    studies: int
    files: int
    bytes: int
    slices: int
    exact: bool
    shards: int
    packed_bytes: int
    disks: tuple[Disk, ...]
    memory: Memory
    train_slices: int
    fold_min: float
    pack_min: float
    hours: float
    patients: tuple[tuple[tuple[int, int, int], ...], ...]


def estimate(cfg: Config, dataset_plan: DatasetPlan, folds: Sequence[Fold], kind: str = "slurm") -> Estimate:
    """Work it out.

    Args:
        folds: as `stratification.make_folds` gives them for the plan's labels. kind: slurm, or local for this machine.
    Raises: InputError if a disk has not half of what is needed, or train.residency wants what cannot be.
    """
    run = RunPaths(Path(cfg.run))
    slices, packed_bytes, exact = _dataset_size(cfg, run, dataset_plan)
    per_study = slices / max(1, len(dataset_plan.labels))
    train, val, test = (
        max(slices_in(fold.parts[name], per_study) for fold in folds) for name in ("train", "val", "test")
    )
    patient = {study: label.patient for study, label in dataset_plan.labels.items()}
    category = {study: label.category for study, label in dataset_plan.labels.items()}
    fold_min = START_MIN + fold_flops(cfg, train, val, test, per_study) / _fold_rate(cfg, kind) / 60
    of_shard = per_study * min(len(dataset_plan.labels), cfg.pack.studies_per_shard)
    examined = cfg.pack.baseline or cfg.pack.candidates or cfg.pack.crop == "heart"
    packed_per_s = EXAMINED_PER_S if examined else PACKED_PER_S
    devices = cfg.cluster.nodes_per_fold * (cfg.gpus_asked or needs.cpus_asked(cfg))
    return Estimate(
        studies=len(dataset_plan.labels),
        files=dataset_plan.num_files,
        bytes=dataset_plan.num_bytes,
        slices=slices,
        exact=exact,
        shards=len(dataset_plan.shards),
        packed_bytes=packed_bytes,
        disks=_disks(cfg, run, packed_bytes),
        memory=_memory(cfg, slices, exact, kind),
        train_slices=train,
        fold_min=fold_min,
        pack_min=START_MIN + of_shard / (packed_per_s * cfg.cluster.pack.cpus) / 60,
        hours=needs.num_fold_jobs(cfg) * devices * fold_min / 60,
        patients=tuple(
            splits.count_slices(fold, category, len(cfg.labels.names))
            if fold.by_slice
            else splits.count_patients(fold, patient, category, len(cfg.labels.names))
            for fold in folds
        ),
    )


def table(cfg: Config, found: Estimate, allowed: Limits | None = None, tried: Sequence[tuple[str, str]] = ()) -> Table:
    """All of it beside what is asked for.

    Args:
        allowed: where there is a cluster. tried: rows of the trials.
    """

    def said(resources: Resources) -> str:
        return f", {resources.time_min} min asked" if allowed else ""

    unit, rate = ("GPU", f"{GPU_FLOPS / 1e12:.0f} TFLOP/s") if cfg.train.device == "cuda" else (
        "core", f"{CPU_FLOPS / 1e9:.0f} GFLOP/s a thread")  # fmt: skip
    asked, sure = cfg.cluster.fold, "sealed" if found.exact else "at most, taken for one a file"
    held = "on the GPU or in memory" if cfg.train.device == "cuda" else "in memory"
    rows = f"{models.chosen(cfg).row}s"
    learned = amount(found.train_slices, "slice")
    learned = learned if rows == "slices" else f"the candidates of {learned}"
    fold = "a fold" if cfg.cluster.folds_per_node == 1 else f"{cfg.cluster.folds_per_node} folds"
    lines = [
        ("studies", f"{found.studies} in {amount(found.shards, 'shard')}, {amount(found.files, 'file')}, "
         f"{_size(found.bytes)}"),
        ("slices", f"{found.slices} ({sure}), {_size(found.packed_bytes)} packed"),
        *(("disk", f"{_size(disk.needed)} needed, {_size(disk.free)} free: {disk.folder}") for disk in found.disks),
        (f"{cfg.split.unit}s", f"train/val/test, of {', '.join(cfg.labels.names)}"),
        *((f"fold {index}", _patient_row(counts)) for index, counts in enumerate(found.patients)),
        ("packing", f"about {minutes_text(found.pack_min)} a shard" + said(cfg.cluster.pack)),
        ("memory", f"{_size(found.memory.needed)} for {fold}, {asked.mem_gb:g} GiB asked; "
         f"{rows} {'streamed' if found.memory.kind == 'stream' else held}"),
        ("time", f"about {minutes_text(found.fold_min)} for {fold}, trained on {learned}" + said(asked)),
        (f"{unit} hours", f"about {found.hours:.2g} for all folds, if {rate} (a rough guess)"),
        *tried,
        *(_limit_rows(allowed, cfg) if allowed else ()),
    ]  # fmt: skip
    return logs.table("plan", ("what", "found, needed and asked"), lines)


def notes(cfg: Config, found: Estimate, kind: str = "slurm") -> list[str]:
    """What a person should look at before going on."""
    said = [
        f"{disk.folder} has {_size(disk.free)} free, {_size(disk.needed)} may be needed"
        for disk in found.disks
        if disk.free < disk.needed
    ]
    said += _absent(cfg, found)
    if cfg.split.unit == "slice":
        said.append("a contrast run divides slices, not patients: it leaks by design, and its report says so")
    if found.memory.kind == "stream" and cfg.train.residency == "auto":
        said.append(f"slices will be streamed: {found.memory.why}")
    if kind != "slurm":
        return said
    asked = cfg.cluster.fold
    gib, needed = asked.mem_gb * GIB, found.memory.needed
    if gib < needed or gib > max(TOO_MUCH * found.memory.resident, FEW_BYTES):
        wanted = f"{_size(needed)} are needed" + ("; who asks so much may wait longer" if gib > needed else "")
        said.append(f"cluster.fold.mem_gb is {asked.mem_gb:g}, where {wanted}")
    for stage, minutes in (("pack", found.pack_min), ("fold", found.fold_min)):
        time_min = getattr(cfg.cluster, stage).time_min
        if time_min < minutes or time_min > max(TOO_MUCH * minutes, FEW_MIN):
            more = "; who asks so much may wait longer" if time_min > minutes else ""
            said.append(f"cluster.{stage}.time_min is {time_min}, where about {minutes_text(minutes)} are needed{more}")
    return said


def free_bytes(folder: Path) -> tuple[Path, int] | None:
    """The nearest folder that is there already, and how much a user may still write to it; None if nobody says."""
    for there in (folder, *folder.parents):
        try:
            found = os.statvfs(there)
        except OSError:
            continue
        return (there, found.f_bavail * found.f_frsize) if found.f_blocks else None
    return None


def _dataset_size(cfg: Config, run: RunPaths, dataset_plan: DatasetPlan) -> tuple[int, int, bool]:
    """Slices and bytes that the dataset has or will have at most, and whether that is sure."""
    seal, studies = run.dataset(cfg.data.packed_dir).seal, len(dataset_plan.labels)
    if seal.exists():
        sealed = integrity.read_checked(seal)
        return int(sealed["slices"]), sum(shard["bytes"] for shard in sealed["shards"]), True
    files = dataset_plan.num_files - sum(dataset_plan.unlabelled.values())
    slices = min(cfg.pack.max_slices * studies, max(files, dataset_plan.num_bytes // LARGEST_SLICE))
    images = capacity.slice_bytes(slices, cfg.pack.size) if cfg.pack.slices else 0
    return slices, images + (studies * LESIONS_BYTES if cfg.pack.candidates else 0), False


def slices_in(part: Part, per_study: float) -> int:
    """Slices in a part of a fold."""
    return sum(map(len, part.values())) if isinstance(part, Mapping) else round(len(part) * per_study)


def _disks(cfg: Config, run: RunPaths, packed_bytes: int) -> tuple[Disk, ...]:
    """What is still to be written, by file system.

    Args:
        packed_bytes: of all shards.
    Raises: InputError if one has not half of it.
    """
    dataset = run.dataset(cfg.data.packed_dir)
    weights = 4 * models.chosen(cfg).num_parameters(cfg.model, cfg.pack.size, len(cfg.labels.names))
    copies = 2 + optimizers.OPTIMIZERS[cfg.train.optimizer].numbers_per_weight  # the newest, the best, the optimizer's
    of_fold = (CHECKPOINTS * copies + 1) * weights
    checkpoints = (cfg.split.folds + cfg.num_workers) * of_fold - _bytes_of(run.root.glob("folds/*/**/*.pt"))
    packed = packed_bytes - _bytes_of(dataset.root.glob("shards/*.h5"))
    wanted = [
        ("run", run.root, checkpoints),
        ("data.packed_dir" if cfg.data.packed_dir else "run", dataset.root, packed),
    ]
    disks: dict[int, Disk] = {}
    for setting, folder, needed in wanted:
        if place := free_bytes(folder):
            there, free = place
            device = there.stat().st_dev
            disk = disks.get(device, Disk(setting, folder, 0, free))
            disks[device] = replace(disk, needed=disk.needed + max(0, needed))
    for disk in disks.values():
        if 2 * disk.free < disk.needed:
            raise InputError(
                f"{disk.setting} is {str(disk.folder)!r}, where {_size(disk.free)} are free, but about "
                f"{_size(disk.needed)} will be written; make room, or name another folder"
            )
    return tuple(disks.values())


def _bytes_of(files: Iterable[Path]) -> int:
    total = 0
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # a fold at work takes its older checkpoints away
            total += path.stat().st_size
    return total


def _memory(cfg: Config, slices: int, exact: bool, kind: str) -> Memory:
    """By the arithmetic of the folds themselves; what a GPU has free is not known before.

    Raises: InputError if the slices, whose number is sure, do not fit where train.residency wants them.
    """
    host = capacity.asked(cfg.cluster)
    host = host if kind == "slurm" else min(host, *memory.limits())
    held = slices if models.chosen(cfg).row == "slice" else 0  # candidates take next to nothing
    found = Room(capacity.slice_bytes(held, cfg.pack.size), cfg.cluster.ranks_per_node, host, None)
    resident = cfg.cluster.folds_per_node * found.needed
    streaming = resident - cfg.cluster.folds_per_node * found.slices
    try:
        residency, why = capacity.choose(cfg.train.residency, found)
    except InputError as error:
        if exact:
            raise
        return Memory(resident, resident, "host", str(error))
    return Memory(streaming if residency == "stream" else resident, resident, residency, why)


def fold_flops(cfg: Config, train: int, val: int, test: int, per_study: float) -> float:
    """Operations of a fold: a training slice takes three times what one that is only looked at takes.

    Candidates are counted as if there were one per slice.
    """
    spec = models.chosen(cfg)
    once = spec.flops(cfg.model, cfg.pack.size, len(cfg.labels.names))
    trained: float = cfg.train.epochs * train
    if cfg.train.steps is not None:
        trained = cfg.train.steps * cfg.train.batch_size * (per_study if spec.unit == "study" else 1)
    tests = 3 if cfg.train.occlusion and spec.row == "slice" else 1
    return once * (3 * trained + cfg.train.epochs * val + tests * test)


def _fold_rate(cfg: Config, kind: str) -> float:
    """Operations per second that a fold may count on."""
    cluster = cfg.cluster
    if cfg.train.device == "cuda":
        gpus = min(cluster.ranks_per_node, cfg.gpus_asked / cluster.folds_per_node)
        return GPU_FLOPS * gpus * cluster.nodes_per_fold
    threads = cluster.ranks * cluster.cpus_per_rank
    return CPU_FLOPS * (threads if kind == "slurm" else min(threads, len(os.sched_getaffinity(0))))


def _absent(cfg: Config, found: Estimate) -> list[str]:
    """Categories of which a part of a fold has nothing, as the figures of such a fold say nothing about them."""
    said = []
    for category, name in enumerate(cfg.labels.names):
        for part, where in ((0, "training"), (2, "test")):
            folds = [index for index, counts in enumerate(found.patients) if counts[category][part] == 0]
            if folds:
                numbers = ", ".join(map(str, folds))
                said.append(f"no {cfg.split.unit} of category {name!r} in the {where} part of fold {numbers}")
    return said


def _patient_row(counts: Sequence[tuple[int, int, int]]) -> str:
    total = "/".join(str(sum(part)) for part in zip(*counts, strict=True))
    return f"{total}: " + " ".join("/".join(map(str, category)) for category in counts)


def _limit_rows(allowed: Limits, cfg: Config) -> list[tuple[str, str]]:
    def said(value: float | None, unit: str = "") -> str:
        return "?" if value is None else "no limit" if value == float("inf") else f"{value:.0f}{unit}"

    size = "?" if allowed.mem_mb is None else _size(allowed.mem_mb << 20)
    time_min = site_limits.longest_min(allowed, cfg.cluster)
    node = f"{said(allowed.cpus)} CPUs, {size}, {said(allowed.gpus)} GPUs"
    return [
        ("partition", f"{allowed.partition or '?'}: {said(allowed.nodes)} nodes in service, at most {node}"),
        ("limits", f"time {said(time_min, ' min')}, MaxArraySize {said(allowed.array_size)}, "
         f"MaxSubmitJobs {said(site_limits.submit_jobs(allowed, cfg.cluster))}"),
    ]  # fmt: skip


def minutes_text(minutes: float) -> str:
    return f"{minutes:.2g} min" if minutes < 100 else f"{minutes:.0f} min"


def _size(num_bytes: int) -> str:
    return capacity.gib(num_bytes) if num_bytes >= GIB else f"{num_bytes / (1 << 20):.0f} MiB"
