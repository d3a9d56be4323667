"""Calcium scores of study folders: read as they are packed, scored at the scanner's own resolution, one table."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.calcium import agatston, candidates, region_files, views
from cac_hpc.calcium.agatston import Score
from cac_hpc.calcium.candidates import Candidates
from cac_hpc.calcium.region_files import Drawn
from cac_hpc.calcium.views import Views
from cac_hpc.dataset import intake, labels
from cac_hpc.dataset.intake import Volume
from cac_hpc.machine.workers import GIB, Lost, Say, Worker
from cac_hpc.run import escaping, logs, paths, settings
from cac_hpc.run.commands import RuleConfig, ScoreConfig
from cac_hpc.run.config import Checks, Frame, InputError, LabelsConfig, PackConfig
from cac_hpc.run.logs import log
from cac_hpc.run.rejections import Refused
from cac_hpc.volumes import files, images
from cac_hpc.volumes.study import Study

SCORES = ("study", "agatston", "category", "volume_mm3", "mass_mg", "lesions", "slices_with_lesions", "slices",
          "empty_slices", "region", "warnings", "fault")  # fmt: skip
COUNTS = ("lesions", "slices_with_lesions", "slices")
LESIONS = ("study", "lesion", "slice", "row", "column", "region", "pixels", "area_mm2", "max_hu", "mean_hu", "weight",
           "agatston", "volume_mm3", "mass_mg")  # fmt: skip


@dataclass(frozen=True)
class ScoreTask:
    """All that a worker needs to score one study. region: heart, all, or the file to be used. frame: of the file, if it
    does not say so itself.
    """

    folder: Path
    region: str
    frame: Frame | None
    pack: PackConfig
    rule: RuleConfig
    seen: bool = False  # whether candidates and views are wanted, too


@dataclass(frozen=True)
class Scored:
    """A study's score; parts: names of the region's values from 1 on. Or the fault why there is none."""

    score: Score | None
    parts: tuple[str, ...] = ()
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    fault: str = ""
    candidates: Candidates | None = None
    views: Views | None = None


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
    out = settings.out_folder(cfg.out) if cfg.out else None
    studies = study_folders(cfg.folder, cfg.single)
    tasks = [_task(cfg, name, folder) for name, folder in studies.items()]
    found, judged = dict[str, Scored](), dict[str, dict[str, Any]]()
    for name, scored in zip(studies, _all_scored(tasks), strict=True):
        judged[name] = judge(name, scored) if scored.score is not None else {}
        found[name] = replace(scored, candidates=None, views=None)
    more = list(dict.fromkeys(key for one in judged.values() for key in one))
    rows = [_row(cfg.region, name, scored, edges, names) | judged[name] for name, scored in found.items()]
    scores = pd.DataFrame(rows, columns=[*SCORES[:3], *more, *SCORES[3:]])
    scores = scores.astype(dict.fromkeys(COUNTS, "Int64"))  # whole numbers also where some are missing
    _show(scores, cfg.rule)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        paths.write_text(out / "scores.csv", escaping.csv_text(scores))
        paths.write_text(out / "lesions.csv", escaping.csv_text(_lesions(found)))
    return int(any(scored.score is None for scored in found.values()))


def study_folders(folder: str, single: bool) -> dict[str, Path]:
    """The studies by name: the folder itself if a CT slice lies in it or it is single, else each folder in it.

    Raises: InputError if there is none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{folder}: found no folder there, wanted a study or a folder of studies")
    entries = sorted(root.iterdir())
    hidden = [path.name for path in entries if path.name.startswith(".") and path.is_dir()]
    entries = [path for path in entries if not path.name.startswith(".")]
    if hidden and not single:
        log.warning("%s: hidden folders are left out: %s", folder, ", ".join(map(repr, hidden)))
    if lost := [path.name for path in entries if path.is_symlink() and not path.exists()]:
        log.warning("%s: links that lead nowhere are left out: %s", folder, ", ".join(map(repr, lost)))
    if single or any(_has_slice(path) for path in entries if path.is_file()):
        return {root.absolute().name: root}
    folders = {path.name: path for path in entries if path.is_dir()}
    if not folders:
        raise InputError(f"{folder}: found neither CT slices nor folders in it, wanted a study or a folder of them")
    return folders


def score_folder(task: ScoreTask, say: Say) -> Scored:
    """What a worker does: read, find the region, score."""
    volume = intake.read_chest(files.list_files(task.folder), task.pack)
    if volume.study.facts is None:
        return Scored(None, fault=main_fault(volume.study))
    if math.isnan(volume.study.spacing_mm[0]):
        return Scored(None, fault="too_few_slices: a single one has no spacing")
    try:
        drawn = _region(task, volume)
    except (Refused, InputError) as why:
        return Scored(None, fault=str(why))
    within_ZHW = volume.heart.hull_ZHW if task.region == "heart" and volume.heart else None
    score = agatston.score_study(volume.hu_ZHW, drawn.region_ZHW, volume.study.spacing_mm, task.rule, within_ZHW)
    scored = Scored(score, drawn.names, {name: volume.study.facts[name] for name in ("slices", "warnings")})
    return _with_candidates(scored, volume) if task.seen else scored


def _with_candidates(scored: Scored, volume: Volume) -> Scored:
    """The same with the candidates of the study, and views of its heart."""
    assert volume.heart, "without it there is no score"
    spacing_mm = volume.study.spacing_mm
    found = candidates.find(volume.hu_ZHW, spacing_mm, volume.heart)
    return replace(scored, candidates=found, views=views.make(volume.hu_ZHW, spacing_mm, volume.heart, found))


def _region(task: ScoreTask, volume: Volume) -> Drawn:
    """The region in the patient frame.

    Raises: Refused if no heart is found; InputError for what is wrong with a file.
    """
    if task.region == "heart":
        if volume.heart is None:
            raise volume.no_heart or Refused("no_heart", "not looked for")
        return Drawn(volume.heart.region_ZHW, ("heart",))
    if task.region == "all":
        return Drawn(np.ones(volume.hu_ZHW.shape, bool), ("all",))
    return _drawn(Path(task.region), task.frame, volume)


def _drawn(path: Path, frame: Frame | None, volume: Volume) -> Drawn:
    """The region of a file, from the frame that it counts in to that of the patient."""
    turn, (num_slices, *size), (slice_mm, *pixel_mm) = volume.study.turn, volume.hu_ZHW.shape, volume.study.spacing_mm
    frame = region_files.stated_frame(path) or frame
    if frame is None and not turn.is_none:
        raise InputError(
            f"{path}: does not state its frame, and the rows and columns of this study are stored otherwise than from "
            "front to back and from the patient's right to his left; say --region_frame stored, as viewers show them, "
            "or --region_frame patient"
        )
    if frame != "stored":
        return region_files.draw(path, volume.hu_ZHW.shape, volume.study.spacing_mm)
    drawn = region_files.draw(path, (num_slices, *turn.pair(size)), (slice_mm, *turn.pair(pixel_mm)))
    return replace(drawn, region_ZHW=turn.of(drawn.region_ZHW))


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
    path = Path(cfg.region)
    if path.is_dir():
        found = [path / f"{name}{suffix}" for suffix in region_files.SUFFIXES if (path / f"{name}{suffix}").is_file()]
        if len(found) != 1:
            raise InputError(f"--region {cfg.region}: found {len(found)} files for study {name!r}, wanted one of "
                             f"{', '.join(name + suffix for suffix in region_files.SUFFIXES)}")  # fmt: skip
        path = found[0]
    if not path.is_file() or path.suffix.lower() not in region_files.SUFFIXES:
        raise InputError(f"--region {cfg.region}: found no such file, wanted heart, all, a folder, or a file that ends "
                         f"in {', '.join(region_files.SUFFIXES)}")  # fmt: skip
    if path.suffix.lower() in (".yaml", ".yml"):
        region_files.read_shapes(path)
    return ScoreTask(folder, str(path), cfg.region_frame, pack, cfg.rule)


def _all_scored(tasks: list[ScoreTask]) -> Iterator[Scored]:
    """The studies' scores in their order, each read where it can break nothing else."""
    limits = tasks[0].pack.limits
    worker = Worker(score_folder, limits.minutes * 60, int(limits.memory_gb * GIB), threading.Event())
    with contextlib.closing(worker):
        for task in logs.track(tasks, "studies scored"):
            try:
                yield worker.run(task, lambda _: None)
            except (Lost, OSError) as why:
                yield Scored(None, fault=str(why))


def _has_slice(path: Path) -> bool:
    """Whether a file is a CT slice, or is meant to be one."""
    try:
        images.read_images(path)
    except Refused as why:
        return why.reason not in ("not_dicom", "not_ct_image", "not_a_file", "symlink")
    return True


def _row(region: str, study: str, scored: Scored, edges: Sequence[float], names: Sequence[str]) -> dict[str, Any]:
    """A row of scores.csv."""
    if (score := scored.score) is None:
        return {"study": study, "region": _shown(region), "fault": scored.fault}
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


def _show(scores: pd.DataFrame, rule: RuleConfig) -> None:
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
    for _, row in scores[scores["fault"].fillna("") != ""].iterrows():
        screen.print(f"{row['study']}: {row['fault']}", markup=False, soft_wrap=True)
    for _, row in scores[scores["warnings"].fillna("") != ""].iterrows():
        screen.print(f"{row['study']}: used with a warning: {row['warnings']}", markup=False, soft_wrap=True)


def _cell(value: Any) -> object:
    if isinstance(value, str):
        return value
    return None if pd.isna(value) else f"{value:.1f}".removesuffix(".0")
