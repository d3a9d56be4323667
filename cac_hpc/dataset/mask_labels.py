"""Labels from masks: the Agatston score of a scan inside of what people drew on it; kept once it is computed."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cac_hpc.calcium import agatston
from cac_hpc.dataset import intake, scoring, whole_volumes
from cac_hpc.labels.label_rows import Row
from cac_hpc.labels.sheets import Cell
from cac_hpc.machine import workers
from cac_hpc.machine.workers import GIB, Lost, Say, Worker
from cac_hpc.masks import mask_formats
from cac_hpc.masks.masks import WARNINGS
from cac_hpc.run import digests, disk, logs, result_files
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings.config import Config, plain
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.pack import PackConfig
from cac_hpc.settings.score_command import RuleConfig
from cac_hpc.volumes import files
from cac_hpc.volumes.files import Entry

VERSION = 1  # of what is kept: another one is computed anew
DIGITS = 4  # of a score
DECISIVE = (  # of the settings in pack: which series is read, and how it is scored
    "min_slices", "max_slices", "spacing_tolerance_mm", "several_studies", "series", "checks", "spacing_factor",
)  # fmt: skip
ARTERIES = {  # as they are called here, and words by which masks name them; any other name stays in the mask
    "LM": ("left coronary", "left main", "lm", "lca", "lmca"),
    "LAD": ("left anterior descending", "lad"),
    "LCX": ("circumflex", "lcx", "cx"),
    "RCA": ("right coronary", "rca"),
}
BROKEN = "its mask is a link that leads nowhere, wanted a file: copy the files themselves, or correct the link"
WITHOUT = "no mask: taken as score 0 (labels.without_mask: zero)"


@dataclass(frozen=True)
class MaskTask:
    """All that a worker needs to score one study. chosen: parts of the mask; () for all."""

    entries: Sequence[Entry]
    mask: Path
    chosen: tuple[str, ...]
    pack: PackConfig


@dataclass(frozen=True)
class MaskScore:
    """A study's score, and of each artery that parts are named for, codes of `masks.WARNINGS`; or why there is none."""

    score: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    fault: str = ""


def read_rows(cfg: Config, folders: Mapping[str, Path]) -> list[Row]:
    """The score of each study from its mask, as labels.masks says where it is.

    Args:
        folders: of the studies, by the names that masks go by.
    Raises: InputError if no study has a mask, which is a wrong path rather than a cohort without calcium.
    """
    where = cfg.labels.masks or ""
    tasks = dict[str, MaskTask]()
    for name, folder in folders.items():
        if not mask_formats.is_missing(where, name):
            path, chosen = mask_formats.find(where, name)
            tasks[name] = MaskTask(files.list_files(folder, cfg.data.format), path, chosen, cfg.pack)
    if not tasks:
        first = next(iter(folders))
        raise InputError(f"labels.masks is {where!r}: found no mask of any of {len(folders)} studies, wanted a folder "
                         f"of masks, called as studies are, as {first!r}, or a path with {{study}} in it")  # fmt: skip
    kept = RunPaths(Path(cfg.run)).mask_scores
    found = _scored(tasks, kept, cfg.cluster.pack.cpus)
    refused = cfg.labels.without_mask == "refuse"
    broken = {name for name in folders if name not in tasks and mask_formats.is_broken_link(where, name)}
    found |= {name: MaskScore(fault=BROKEN) for name in broken}
    return [_row(name, found[name] if name in tasks or name in broken else None, refused) for name in folders]


def score_mask(task: MaskTask, say: Say) -> MaskScore:
    """What a worker does: read the scan as packing does, bring the mask to it, score each part."""
    volume = intake.read_chest(task.entries, task.pack)
    if volume.study.facts is None:
        return MaskScore(fault=scoring.main_fault(volume.study))
    try:
        mask = mask_formats.read(task.mask, volume.target(), task.chosen)
    except InputError as why:
        return MaskScore(fault=str(why))
    rule = RuleConfig(spacing_factor=task.pack.spacing_factor)
    score = agatston.score_study(volume.hu_ZHW, mask.part_ZHW, volume.study.spacing_mm, rule)
    by_part = score.lesions.groupby("region")["agatston"].sum()
    parts = dict[str, float]()
    for number, name in enumerate(mask.names, start=1):
        if artery := artery_of(name):
            parts[artery] = round(parts.get(artery, 0.0) + float(by_part.get(number, 0.0)), DIGITS)
    return MaskScore(round(score.agatston, DIGITS), parts, mask.warnings)


def artery_of(name: str) -> str | None:
    """The artery that a part of a mask is named for; None if its name says none, or two."""
    words = f" {' '.join(re.findall('[a-z]+', name.lower()))} "
    named = [artery for artery, ways in ARTERIES.items() if any(f" {way} " in words for way in ways)]
    return named[0] if len(named) == 1 else None


def _scored(tasks: Mapping[str, MaskTask], kept: Path, num_cpus: int) -> dict[str, MaskScore]:
    """The scores of all tasks; those that were computed before, of the same files by the same settings, are read."""
    known = result_files.read_kept(kept, []) if kept.is_file() else {}
    keys = {name: _digest(task) for name, task in tasks.items()}
    found = {name: _of_json(known[key]) for name, key in keys.items() if key in known}
    waiting = {name: task for name, task in tasks.items() if name not in found}
    if not waiting:
        return found
    try:
        _score_all(waiting, min(num_cpus, len(os.sched_getaffinity(0))), found)
    finally:  # whoever stops it goes on from there
        content = {keys[name]: _to_json(score) for name, score in found.items() if not score.fault}
        kept.parent.mkdir(parents=True, exist_ok=True)
        disk.write_json(kept, known | content)
    return found


def _score_all(tasks: Mapping[str, MaskTask], num_workers: int, found: dict[str, MaskScore]) -> None:
    """Score all studies, several at a time, each where it can break nothing else."""
    waiting, give_up = iter(tasks.items()), threading.Event()
    limits = next(iter(tasks.values())).pack.limits

    def work() -> None:
        worker = Worker(score_mask, limits.minutes * 60, int(limits.memory_gb * GIB), give_up, whole_volumes.IMPORTS)
        with contextlib.closing(worker):
            while not give_up.is_set() and (item := next(waiting, None)):
                name, task = item
                try:
                    found[name] = worker.run(task, lambda _: None)
                except (Lost, OSError) as why:
                    found[name] = MaskScore(fault=str(why))
                advance()

    with logs.progress("masks scored", len(tasks)) as advance:
        workers.share(work, num_workers, give_up)


def _row(name: str, found: MaskScore | None, refused: bool) -> Row:
    """A study's score as a row of labels."""
    study = Cell(name, "its folder")
    if found is None:
        fault = "no mask (labels.without_mask: zero takes studies without one as score 0)"
        return Row(study, Cell("0", "no mask"), fault=fault if refused else "", remarks=() if refused else (WITHOUT,))
    if found.fault:
        return Row(study, Cell("", "its mask"), fault=found.fault)
    remarks = tuple(f"{code}: {WARNINGS[code]}" for code in found.warnings if code in WARNINGS)
    text = f"{found.score:.{DIGITS}f}".rstrip("0").rstrip(".")
    return Row(study, Cell(text, "its mask"), checked=found.parts, remarks=remarks)


def _digest(task: MaskTask) -> str:
    pack = {name: value for name, value in plain(task.pack).items() if name in DECISIVE}
    masks = map(digests.file_sha256, mask_formats.files_of(task.mask))
    content = [VERSION, files.digest(list(task.entries)), *masks, list(task.chosen), pack]
    return digests.content_sha256(content)


def _to_json(score: MaskScore) -> dict[str, Any]:
    return {"score": score.score, "parts": score.parts, "warnings": list(score.warnings)}


def _of_json(content: Mapping[str, Any]) -> MaskScore:
    return MaskScore(float(content["score"]), dict(content["parts"]), tuple(content["warnings"]))
