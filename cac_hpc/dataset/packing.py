"""Stage pack: study folders in, verified shards and the facts of each out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

from cac_hpc.dataset import integrity, kept_plan, study_folders, whole_volumes
from cac_hpc.dataset.shard_task import ShardTask
from cac_hpc.machine import workers
from cac_hpc.machine.workers import GIB, Lost, Say, Worker
from cac_hpc.run import causes, digests, disk, ledger, logs
from cac_hpc.run.digests import OfFile
from cac_hpc.run.logs import amount
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError

IMPORTS = ("cac_hpc.dataset.shard_writing",)  # of workers, before their first task


def pack(root: Path, shard: int | None = None, only_seal: bool = False) -> None:
    """Stages pack and seal, or a task of one: write all shards and seal them, write one, or seal what is written.

    Errors are those of `pack_shards` and of `sealing.seal`.
    """
    of_file = digests.Remembered().of_file  # a shard that was read when it was packed is not read again for the seal
    if not only_seal:
        pack_shards(root, None if shard is None else [shard], _sealing if shard is None else workers.nothing, of_file)
    if shard is None:
        _sealing().seal(root, of_file)


def _sealing() -> ModuleType:
    """What seals, loaded while workers write; a task of one shard does without."""
    from cac_hpc.dataset import sealing

    return sealing


def pack_shards(
    root: Path,
    indices: Sequence[int] | None = None,
    meanwhile: Callable[[], object] = workers.nothing,
    of_file: OfFile = digests.of_file,
) -> None:
    """Write shards, as many at once as cluster.pack.cpus says; a shard that is whole is left as it is.

    While a shard is brought to the disk, its worker writes the next one.

    Args:
        indices: of the shards, all of them if None. meanwhile: what the caller does while workers write.
        of_file: takes the digest of a shard.
    Raises: InputError if the plan has no such shard, or a sealed one cannot be made again; OSError naming the shard
    if the disk is full or cannot be written.
    """
    run = RunPaths(root)
    cfg = stored_settings.load(run.config)
    dataset = run.dataset(cfg.data.packed_dir)
    with causes.in_run(root):
        tasks = _tasks(cfg, kept_plan.read_plan(dataset), indices)
    waiting, give_up, idle = iter(tasks.items()), threading.Event(), SimpleQueue[Worker]()

    def pack() -> None:
        while True:
            with ExitStack() as turn:  # with a worker
                turn.callback(idle.put, worker := idle.get())
                if give_up.is_set() or (item := next(waiting, None)) is None:
                    return
                index, task = item
                with ledger.stage(run.ledger, "pack", index), disk.named(dataset.shard(index)):
                    _pack_shard(worker, dataset, index, task, advance, turn.close, of_file)

    num_workers = min(cfg.cluster.pack.cpus, len(tasks))
    num_studies = sum(len(task.studies) for task in tasks.values())
    with ExitStack() as ending:
        for worker in _workers(cfg, num_workers, give_up):
            ending.callback(worker.close)
            idle.put(worker)
        advance = ending.enter_context(logs.progress("studies packed", num_studies))
        workers.share(pack, 2 * num_workers, give_up, meanwhile)


def _workers(cfg: Config, count: int, give_up: threading.Event) -> Iterator[Worker]:
    """Workers that have what they need, as long as there are no threads: forks of this process."""
    limits = cfg.pack.limits
    of_volumes = whole_volumes.IMPORTS if whole_volumes.are_needed(cfg.pack, cfg.data.subgroups) else ()
    for _ in range(count):
        imports = (*IMPORTS, *of_volumes)
        worker = Worker(write_shard, limits.minutes * 60, int(limits.memory_gb * GIB), give_up, imports)
        worker.fork()
        yield worker


def _tasks(cfg: Config, planned: dict[str, Any], indices: Sequence[int] | None) -> dict[int, ShardTask]:
    """What is to be written into each shard, by its index; a study whose folder is gone has no files.

    Raises: InputError if the plan has no such shard.
    """
    last = len(planned["shards"]) - 1
    wanted = range(last + 1) if indices is None else indices
    for index in wanted:
        if not 0 <= index <= last:
            raise InputError(f"--shard {index}: the plan has {amount(last + 1, 'shard')}, wanted 0 to {last}")
    folders, cohorts = study_folders.by_key(cfg), {cohort.name: cohort.cfg for cohort in cfg.by_cohort()}
    tasks = {}
    for index in wanted:
        keys = planned["shards"][index]  # of one cohort
        site = planned["labels"][keys[0]].get("site", "")
        own, root = cohorts[site], Path(cohorts[site].data.dicom_root)
        studies = [(key, folders[site].get(key, root / key), planned["listings"][key]) for key in keys]
        tasks[index] = ShardTask(Path(), studies, own.pack, format=own.data.format, subgroups=cfg.data.subgroups)
    return tasks


def _pack_shard(
    worker: Worker,
    dataset: DatasetPaths,
    index: int,
    task: ShardTask,
    advance: Callable[[], None],
    written: Callable[[], None] = workers.nothing,
    of_file: OfFile = digests.of_file,
) -> None:
    """Write one shard and, after it, its facts, unless both are there.

    Args:
        written: called when the worker has written it, before its digest is taken and it is on the disk.
        of_file: takes the digest.
    """
    shard, facts = dataset.shard(index), dataset.shard_facts(index)
    if (fault := integrity.packed_fault(dataset, index, of_file)) is None:
        logs.log.info("shard %d is there already", index)
        for _ in task.studies:
            advance()
        return
    if facts.exists():
        logs.log.warning("%s: %s; packing it again", shard, fault)
        facts.unlink(missing_ok=True)
    with _scratch(shard) as scratch:
        found = _written(worker, replace(task, scratch=scratch), advance)
        written()
        whole = {"digest": of_file(scratch), "bytes": scratch.stat().st_size}
        found = {"rows": found["rows"], **whole, **found}
        if integrity.sealed_digest(dataset, index) not in (None, found["digest"]):
            raise InputError(
                f"{shard}: {fault}; packed anew it differs from the sealed one, so the DICOM files, the settings or "
                "the code have changed since: put them back, or pack into another data.packed_dir"
            )
    integrity.write_checked(facts, found)


@contextmanager
def _scratch(shard: Path) -> Iterator[Path]:
    """Yield where to write a shard, locked as long as we live; what killed attempts have left, unlocked, goes."""
    for left in shard.parent.glob(f".{shard.name}.*.tmp"):
        with contextlib.suppress(OSError), left.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
    with disk.atomic(shard) as scratch, scratch.open("wb") as file:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield scratch
        os.fsync(file)  # opened before anything was written: it is told of all that went wrong since


def _written(worker: Worker, task: ShardTask, advance: Callable[[], None]) -> dict[str, Any]:
    """Have the worker write the shard; without a study on which it was lost twice: once may be the machine's fault."""
    at_work, counted, losses = "", set[str](), Counter[str]()  # "" as long as it is with no study

    def heard(study: str) -> None:
        nonlocal at_work
        at_work = study
        if study and study not in counted:
            counted.add(study)
            advance()

    while True:
        at_work = ""
        try:
            facts: dict[str, Any] = worker.run(task, heard)
            return facts
        except Lost as why:
            if not at_work or at_work in task.lost:
                raise ChildProcessError(f"cannot be written: {why}") from why
            losses[at_work] += 1
            again = "trying once more" if losses[at_work] == 1 else "packing its shard without it"
            logs.log.warning("study %r: reading it failed (%s); %s", at_work, why, again)
            if losses[at_work] > 1:
                task = replace(task, lost={**task.lost, at_work: (why.reason, why.detail)})


def write_shard(task: ShardTask, say: Say) -> dict[str, Any]:
    """What a worker does; see `shard_writing`, which it has imported before."""
    from cac_hpc.dataset import shard_writing

    return shard_writing.write_shard(task, say)
