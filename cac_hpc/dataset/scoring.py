"""Calcium scores of study folders: read as they are packed, scored at the scanner's own resolution, one table."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.calcium import agatston, candidates, views
from cac_hpc.calcium.agatston import Score
from cac_hpc.calcium.candidates import Candidates
from cac_hpc.calcium.views import Views
from cac_hpc.dataset import intake, study_folders, summary, whole_volumes
from cac_hpc.dataset.intake import Volume
from cac_hpc.labels import labels
from cac_hpc.machine.workers import GIB, Lost, Say, Worker
from cac_hpc.masks import mask_formats, shapes
from cac_hpc.masks.masks import Mask
from cac_hpc.run import disk, escaping, logs
from cac_hpc.run.rejections import Refused
from cac_hpc.settings import given_paths
from cac_hpc.settings.data import Format
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.settings.pack import Checks, Frame, PackConfig
from cac_hpc.settings.score_command import RuleConfig, ScoreConfig
from cac_hpc.volumes import files
from cac_hpc.volumes.study import Study

SCORES = ("study", "agatston", "category", "volume_mm3", "mass_mg", "lesions", "slices_with_lesions", "slices",
          "empty_slices", "region", "warnings", "fault")  # fmt: skip
COUNTS = ("lesions", "slices_with_lesions", "slices")
LESIONS = ("study", "lesion", "slice", "row", "column", "region", "pixels", "area_mm2", "max_hu", "mean_hu", "weight",
           "agatston", "volume_mm3", "mass_mg")  # fmt: skip


@dataclass(frozen=True)
class ScoreTask:
    """All that a worker needs to score one study."""

    folder: Path
    region: str  # heart, all, or the file to be used; "" where the study has none
    frame: Frame | None  # of the file, if it does not say so itself
    pack: PackConfig
    rule: RuleConfig
    seen: bool = False  # whether candidates and views are wanted, too
    format: Format = "auto"
    parts: tuple[str, ...] = ()  # of the file that are used, by name or number; () for all


@dataclass(frozen=True)
class Masked:
    """Candidates beside a mask."""

    share_C: np.ndarray  # of each candidate, how much of it is in the mask
    voxels: int  # of the mask, at the threshold
    missed: int  # of these, in no candidate


@dataclass(frozen=True)
class Scored:
    """A study's score; parts: names of the region's values from 1 on. Or the fault why there is none."""

    score: Score | None
    parts: tuple[str, ...] = ()
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    fault: str = ""
    candidates: Candidates | None = None
    views: Views | None = None
    masked: Masked | None = None  # how candidates and a mask are to each other


Judge = Callable[[str, Scored], dict[str, Any]]  # takes a study's name and score, gives further columns of scores.csv


def score_studies(
    cfg: ScoreConfig,
    judge: Judge = lambda study, scored: {},
    edges: Sequence[float] = LabelsConfig.edges,
    names: Sequence[str] = LabelsConfig.names,
) -> int:
    """Score every study, print a table, and write scores.csv and lesions.csv where cfg.out says.

    Args:
        judge: is given each study that has a score.
        edges: of the categories, as in labels.edges.
        names: of the categories.
    Returns: exit code, 1 if a study could not be scored.
    Raises: InputError if there is no study, the region cannot be used or out cannot be written.
    """
    out = given_paths.out_folder(cfg.out) if cfg.out else None
    studies = study_folders.below(cfg.folder, cfg.single, cfg.format)
    _require_masks(cfg.region, list(studies))
    tasks = [replace(_task(cfg, name, folder), format=cfg.format) for name, folder in studies.items()]
    found, judged = dict[str, Scored](), dict[str, dict[str, Any]]()
    for name, scored in zip(studies, _all_scored(tasks), strict=True):
        judged[name] = judge(name, scored) if scored.score is not None else {}
        found[name] = replace(scored, candidates=None, views=None)
    more = list(dict.fromkeys(key for one in judged.values() for key in one))
    rows = [_row(task.region, name, found[name], edges, names) | judged[name]
            for name, task in zip(studies, tasks, strict=True)]  # fmt: skip
    scores = pd.DataFrame(rows, columns=[*SCORES[:3], *more, *SCORES[3:]])
    scores = scores.astype(dict.fromkeys(COUNTS, "Int64"))  # whole numbers also where some are missing
    _show(scores, found, cfg.rule)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        disk.write_text(out / "scores.csv", escaping.csv_text(scores))
        disk.write_text(out / "lesions.csv", escaping.csv_text(_lesions(found)))
    return int(any(scored.score is None for scored in found.values()))


def score_folder(task: ScoreTask, say: Say) -> Scored:
    """What a worker does: read, find the region, score."""
    if not task.region:
        return Scored(None, fault="no_mask: the study has none where --region looks for it")
    volume = intake.read_chest(files.list_files(task.folder, task.format), task.pack)
    if volume.study.facts is None:
        return Scored(None, fault=main_fault(volume.study))
    if math.isnan(volume.study.spacing_mm[0]):
        return Scored(None, fault="too_few_slices: a single one has no spacing")
    try:
        if task.seen and volume.heart is None:
            raise volume.no_heart or Refused("no_heart", "not looked for")
        mask = _region(task, volume)
    except (Refused, InputError) as why:
        return Scored(None, fault=str(why))
    within_ZHW = volume.heart.hull_ZHW if task.region == "heart" and volume.heart else None
    score = agatston.score_study(volume.hu_ZHW, mask.part_ZHW, volume.study.spacing_mm, task.rule, within_ZHW)
    facts = {"slices": volume.study.facts["slices"], "warnings": _warnings(mask, volume, task)}
    scored = Scored(score, mask.names, facts)
    return _with_candidates(scored, volume, None if task.region == "heart" else mask) if task.seen else scored


def _warnings(mask: Mask, volume: Volume, task: ScoreTask) -> str:
    """The codes of what is odd about the series, then about the mask."""
    assert volume.study.facts, "without them there is no score"
    found = [*volume.study.facts["warnings"].split(), *mask.warnings]
    bright = set(np.unique(mask.part_ZHW[(volume.hu_ZHW >= task.rule.threshold_hu) & (mask.part_ZHW > 0)]).tolist())
    if task.parts and bright < set(range(1, len(mask.names) + 1)):
        found.append("part_without_calcium")
    return " ".join(dict.fromkeys(found))


def _with_candidates(scored: Scored, volume: Volume, mask: Mask | None) -> Scored:
    """The same with the candidates of the study, views of its heart, and how they are to the mask, if there is one."""
    assert volume.heart, "without it there is no score"
    spacing_mm = volume.study.spacing_mm
    found = candidates.find(volume.hu_ZHW, spacing_mm, volume.heart)
    masked = None if mask is None else _masked(found, mask.part_ZHW > 0, volume.hu_ZHW >= candidates.RULE.threshold_hu)
    seen = views.make(volume.hu_ZHW, spacing_mm, volume.heart, found)
    return replace(scored, candidates=found, views=seen, masked=masked)


def _masked(found: Candidates, inside_ZHW: np.ndarray, bright_ZHW: np.ndarray) -> Masked:
    """How candidates are to a mask, whose voxels at the threshold they should hold."""
    inside_V, start_C1 = inside_ZHW[tuple(found.voxel_V3.T)], found.start_C1
    share_C = np.add.reduceat(inside_V, start_C1[:-1], dtype=float) / np.diff(start_C1) if len(found) else np.zeros(0)
    voxels = int((inside_ZHW & bright_ZHW).sum())
    return Masked(share_C, voxels, voxels - int(inside_V.sum()))


def _region(task: ScoreTask, volume: Volume) -> Mask:
    """The region in the patient frame.

    Raises: Refused if no heart is found; InputError for what is wrong with a file.
    """
    if task.region == "heart":
        if volume.heart is None:
            raise volume.no_heart or Refused("no_heart", "not looked for")
        return Mask(volume.heart.region_ZHW, ("heart",), (1,))
    if task.region == "all":
        return Mask(np.ones(volume.hu_ZHW.shape, bool), ("all",), (1,))
    return mask_formats.read(Path(task.region), volume.target(task.frame), task.parts)


def main_fault(study: Study) -> str:
    """The reason of the file that spoils a study, else of most of its files."""
    by_reason = Counter(refusal.reason for refusal in study.refusals)
    if "study_refused" in by_reason:
        culprit = next(refusal for refusal in study.refusals if refusal.reason == "study_refused")
        return f"study_refused: {culprit.detail}"
    if not by_reason:
        return "no_files: the folder is empty"
    reason, count = by_reason.most_common(1)[0]
    detail = next(refusal.detail for refusal in study.refusals if refusal.reason == reason)
    return f"{reason}: {detail} ({count} of {study.num_files} files)"


def _task(cfg: ScoreConfig, name: str, folder: Path) -> ScoreTask:
    """A study's task, its region looked up.

    Raises: InputError if a region by file is not there, or is wrong whatever the study is.
    """
    pack = PackConfig(checks=Checks(**dict.fromkeys(cfg.warn, "warn")))  # type: ignore[arg-type]
    if cfg.region in ("heart", "all"):
        return ScoreTask(folder, cfg.region, None, pack, cfg.rule, cfg.of_candidates)
    if mask_formats.is_missing(cfg.region, name):
        return ScoreTask(folder, "", None, pack, cfg.rule)
    try:
        path, parts = mask_formats.find(cfg.region, name)
    except InputError as why:
        raise InputError(f"--region {why}; or heart, or all") from None
    if path.suffix.lower() in (".yaml", ".yml"):
        shapes.read_shapes(path)
    return ScoreTask(folder, str(path), cfg.region_frame, pack, cfg.rule, cfg.of_candidates, parts=parts)


def _require_masks(region: str, studies: Sequence[str]) -> None:
    """Some study has a mask, if masks are asked for.

    Raises: InputError for the first study if none has.
    """
    if region in ("heart", "all") or not all(mask_formats.is_missing(region, name) for name in studies):
        return
    try:
        mask_formats.find(region, studies[0])
    except InputError as why:
        raise InputError(f"--region {why}; or heart, or all") from None


def _all_scored(tasks: list[ScoreTask]) -> Iterator[Scored]:
    """The studies' scores in their order, each read where it can break nothing else."""
    limits = tasks[0].pack.limits
    worker = Worker(
        score_folder, limits.minutes * 60, int(limits.memory_gb * GIB), threading.Event(), whole_volumes.IMPORTS
    )
    with contextlib.closing(worker):
        for task in logs.track(tasks, "studies scored"):
            try:
                yield worker.run(task, lambda _: None)
            except (Lost, OSError) as why:
                yield Scored(None, fault=str(why))


def _row(region: str, study: str, scored: Scored, edges: Sequence[float], names: Sequence[str]) -> dict[str, Any]:
    """A row of scores.csv."""
    if (score := scored.score) is None:
        return {"study": study, "region": _shown(region), "fault": _without_paths(scored.fault, region)}
    category = int(labels.categories([score.agatston], edges)[0])
    return {
        "study": study,
        "agatston": round(score.agatston, 4),
        "category": names[category],
        "volume_mm3": round(score.volume_mm3, 4),
        "mass_mg": None if score.mass_mg is None else round(score.mass_mg, 4),
        "lesions": len(score.lesions),
        "slices_with_lesions": int((score.slices > 0).sum()),
        "slices": scored.facts["slices"],
        "empty_slices": round(score.empty_slices, 4),
        "region": _shown(region),
        "warnings": scored.facts["warnings"],
        "fault": "",
    }


def _without_paths(fault: str, region: str) -> str:
    """A fault as it may be written: where a mask lies, and what its file is called, may name a patient."""
    if region in ("", "heart", "all"):
        return fault
    for path in sorted(map(str, mask_formats.files_of(Path(region))), key=len, reverse=True):
        fault = fault.replace(path, "its mask")
    return fault.replace(f"{Path(region).parent}{os.sep}", "") if Path(region).parent.name else fault


def _shown(region: str) -> str:
    return region if region in ("heart", "all") else "file"


def _lesions(found: dict[str, Scored]) -> pd.DataFrame:
    """lesions.csv: the lesions of all studies, numbered from 1 within each."""
    tables = []
    for study, scored in found.items():
        if scored.score is not None:
            lesions = scored.score.lesions.assign(study=study, lesion=range(1, len(scored.score.lesions) + 1))
            lesions["region"] = [scored.parts[value - 1] for value in lesions["region"]]
            tables.append(lesions.round(4))
    return pd.concat(tables)[list(LESIONS)] if tables else pd.DataFrame(columns=list(LESIONS))


def _show(scores: pd.DataFrame, found: Mapping[str, Scored], rule: RuleConfig) -> None:
    """The table on the terminal, then what went wrong, a line for each study."""
    columns = ["study", "Agatston", "category", "mm3", "mg", "lesions", "on slices", "of"]
    names = ["study", "agatston", "category", "volume_mm3", "mass_mg", "lesions", "slices_with_lesions", "slices"]
    if "model_agatston" in scores:
        columns[3:3], names[3:3] = ["model", "its category"], ["model_agatston", "model_category"]
    rows = [[_cell(row[name]) for name in names] for _, row in scores.iterrows()]
    factor = "x slice spacing / 3 mm" if rule.spacing_factor else "no factor for the slice spacing"
    title = f"Calcium of {rule.threshold_hu} HU or more, {rule.min_area_mm2:g} mm2 or more, {factor}"
    screen = logs.console()
    screen.print(logs.table(title, columns, rows, numbers=True, tight=True))
    for study, scored in found.items():
        if scored.fault:
            screen.print(f"{study}: {scored.fault}", markup=False, soft_wrap=True)
    faults = Counter(scored.fault.partition(":")[0] for scored in found.values() if scored.fault)
    if check := summary.forgiven_by(faults, PackConfig()):
        logs.say(f"--warn {check.rpartition('.')[2]} scores studies that fail this check, with a warning")
    for study, scored in found.items():
        if said := scored.facts.get("warnings"):
            screen.print(f"{study}: used with a warning: {said}", markup=False, soft_wrap=True)


def _cell(value: Any) -> object:
    if isinstance(value, str):
        return value
    return None if pd.isna(value) else f"{value:.1f}".removesuffix(".0")
