"""Stage pack: study folders in, verified shards and the facts of each out."""

from __future__ import annotations

import contextlib
import fcntl
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cac_hpc.dataset import intake, integrity, plan, regions, shards, study_folders
from cac_hpc.machine import workers
from cac_hpc.machine.workers import GIB, Lost, Say, Worker
from cac_hpc.run import causes, digests, disk, ledger, logs
from cac_hpc.run.paths import DatasetPaths, RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.data import Format
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import PackConfig
from cac_hpc.volumes import files
from cac_hpc.volumes.study import Study


@dataclass(frozen=True)
class ShardTask:
    """All that a worker needs to write one shard.

    studies: key, folder and digest of the files it was planned with. lost: reason and detail of the studies on which
    a worker was lost before.
    """

    scratch: Path
    studies: list[tuple[str, Path, str]]
    pack: PackConfig
    lost: dict[str, tuple[str, str]] = field(default_factory=dict)
    format: Format = "auto"
    subgroups: tuple[str, ...] = ()


def pack_shards(root: Path, indices: Sequence[int] | None = None) -> None:
    """Write shards, as many at once as cluster.pack.cpus says; a shard that is whole is left as it is.

    Args:
        indices: of the shards, all of them if None.
    Raises: InputError if the plan has no such shard, or a sealed one cannot be made again; OSError naming the shard
    if the disk is full or cannot be written.
    """
    run = RunPaths(root)
    cfg = stored_settings.load(run.config)
    dataset = run.dataset(cfg.data.packed_dir)
    with causes.in_run(root):
        tasks = _tasks(cfg, plan.read_plan(dataset), indices)
    waiting, give_up = iter(tasks.items()), threading.Event()
    imports = intake.IMPORTS if intake.needs_volume(cfg.pack, cfg.data.subgroups) else ()  # half of a worker's start

    def pack() -> None:
        limits = cfg.pack.limits
        worker = Worker(write_shard, limits.minutes * 60, int(limits.memory_gb * GIB), give_up, imports)
        with contextlib.closing(worker):
            while not give_up.is_set() and (item := next(waiting, None)):
                index, task = item
                with ledger.stage(run.ledger, "pack", index), disk.named(dataset.shard(index)):
                    _pack_shard(worker, dataset, index, task, advance)

    num_workers = min(cfg.cluster.pack.cpus, len(tasks))
    num_studies = sum(len(task.studies) for task in tasks.values())
    with logs.progress("studies packed", num_studies) as advance:
        workers.share(pack, num_workers, give_up)


def _tasks(cfg: Config, planned: dict[str, Any], indices: Sequence[int] | None) -> dict[int, ShardTask]:
    """What is to be written into each shard, by its index; a study whose folder is gone has no files.

    Raises: InputError if the plan has no such shard.
    """
    last = len(planned["shards"]) - 1
    wanted = range(last + 1) if indices is None else indices
    for index in wanted:
        if not 0 <= index <= last:
            raise InputError(f"--shard {index}: the plan has {last + 1} shards, wanted 0 to {last}")
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
    worker: Worker, dataset: DatasetPaths, index: int, task: ShardTask, advance: Callable[[], None]
) -> None:
    """Write one shard and, after it, its facts, unless both are there."""
    shard, facts = dataset.shard(index), dataset.shard_facts(index)
    if (fault := integrity.packed_fault(dataset, index)) is None:
        logs.log.info("shard %d is there already", index)
        for _ in task.studies:
            advance()
        return
    if facts.exists():
        logs.log.warning("%s: %s; packing it again", shard, fault)
        facts.unlink(missing_ok=True)
    with _scratch(shard) as scratch:
        found = _written(worker, replace(task, scratch=scratch), advance)
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
    """What a worker does: read study after study into a shard at the scratch path.

    Args:
        say: is told the study's key before it is read, and "" when all are.
    Returns: number of rows, the file's digest, and of the studies: facts, refused files, number of files, identity.
    """
    facts: list[dict[str, Any]] = []
    rejected: list[dict[str, Any]] = []
    counts: dict[str, dict[str, Any]] = {}
    by_study: dict[str, dict[str, str]] = {}
    with shards.create(task.scratch, task.pack.size, task.pack.slices) as shard:
        for key, folder, listing in task.studies:
            say(key)
            study = _read(key, folder, listing, task, shard)
            check_clean(key, study)
            rejected += [{"study": key, **asdict(refusal)} for refusal in study.refusals]
            facts += [{"study": key, **study.facts}] if study.facts else []
            by_study |= {key: dict(study.groups)} if study.facts and study.groups else {}
            names = {key, files.study_name(folder)}
            counts[key] = {
                "files": study.num_files,
                "used": study.num_files - len(study.refusals),
                "identity": bool(study.identity),
                "private": study.private,
                "key_is_identity": bool(names & study.identity),
            }
        say("")
        rows = len(shard)
    return {
        "rows": rows,
        "digest": digests.of_file(task.scratch),
        "bytes": task.scratch.stat().st_size,
        "studies": facts,
        "rejected": rejected,
        "counts": counts,
        **({"groups": by_study} if task.subgroups else {}),
    }


class _Void(Exception):
    """The study has no series to be used: what the shard took of it goes."""


def _read(key: str, folder: Path, listing: str, task: ShardTask, shard: shards.ShardWriter) -> Study:
    entries = files.list_files(folder, task.format)
    if key in task.lost:
        return intake.refuse_study(entries, *task.lost[key])
    if regions.listing(entries, files.study_name(folder), task.pack) != listing:
        return intake.refuse_study(entries, "changed_while_read", "not the files that the plan has seen")
    with contextlib.suppress(_Void), shard.study(key) as keep:
        study = intake.read_study(
            entries, task.pack, keep, keep.lesions, regions.reader(folder, task.pack), task.subgroups
        )
        if study.facts is None:
            raise _Void
    return study


def check_clean(key: str, study: Study) -> None:
    """Nothing that may identify the patient is in the texts that will be written, whatever else went wrong.

    Raises: AssertionError naming the study.
    """
    texts = [refusal.detail for refusal in study.refusals]  # facts are numbers and codes of fixed lists, groups too
    for value in study.identity:
        telling = len(value) >= 4 and value != key and not (value.isnumeric() or value.islower())  # our own words are
        found = telling and any(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text) for text in texts)
        assert not found, f"study {key!r}: identity in what would be written; please report this"
