"""Stage aggregate: the folds' predictions in, the report out, complete or marked PARTIAL or PROVISIONAL."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.dataset import shards, splits
from cac_hpc.dataset.splits import Fold
from cac_hpc.machine import processes
from cac_hpc.report import (
    absence,
    anonymous,
    circumstances,
    consistency,
    examples,
    manifest,
    pictures,
    publishing,
    wording,
    writing,
)
from cac_hpc.run import config, digests, ledger, paths, settings, stages
from cac_hpc.run.config import Config, InputError, WorkError
from cac_hpc.run.logs import log
from cac_hpc.run.paths import DatasetPaths, FoldPaths, RunPaths
from cac_hpc.statistics import (
    assessment,
    audit,
    beside,
    comparison,
    contrast,
    intervals,
    published,
    report_json,
    results,
    tested,
)
from cac_hpc.statistics.pairing import Finished
from cac_hpc.statistics.results import Report
from cac_hpc.train import heartbeat, predictions
from cac_hpc.train.predictions import Predictions


def aggregate(root: Path) -> bool:
    """Write the report of a run from the folds that are there.

    Started by hand while folds are surely at work, it makes a `provisional` one. A launcher or SLURM starts it when
    they have ended, whatever the ledger knows of their end.

    Returns: whether all folds are there.
    Raises: InputError if the dataset is not sealed, so that not even the folds are known, its tables are not as they
    were sealed, or a patient is on both sides of a fold; WorkError if the finished report contradicts itself.
    """
    run = RunPaths(root)
    if processes.supervisor() is None and (seen := absence.look(run)).surely:
        return _provisional(run, seen.at_work)
    with ledger.stage(run.ledger, "aggregate", None), publishing.elsewhere(run.report) as made:
        summary = _make(replace(run, report_in=made), None)
        publishing.publish(made, run.report)
    if missing := summary["missing_folds"]:
        reason = f"PARTIAL report: no valid result of fold {', '.join(str(fold['fold']) for fold in missing)}"
        ledger.record(run.ledger, "aggregate", None, "ended", ok=False, reason=reason)
    _tell(run, summary)
    return not missing


def provisional(root: Path) -> bool:
    """Write a report from the folds that are there now, beside the stages: it is no result of theirs, and leaves ledger
    and folds as they are. A final report that comes meanwhile stays.

    Returns and raises as `aggregate`.
    """
    run = RunPaths(root)
    return _provisional(run, absence.look(run).at_work)


def _provisional(run: RunPaths, at_work: Mapping[int, str]) -> bool:
    with publishing.elsewhere(run.report) as made:
        keeps = publishing.stays(run.report)
        summary = _make(replace(run, report_in=made), at_work)
        published = publishing.publish(made, run.report, keeps)
    if published:
        _tell(run, summary)
        return False
    log.info("the final report has come meanwhile and stays: %s", run.report)
    return bool(paths.read_json(run.report_json)["status"] == "COMPLETE")


def _make(run: RunPaths, at_work: Mapping[int, str] | None) -> dict[str, Any]:
    """Write all files of the report and check them; returns its summary.

    Args:
        at_work: what folds are doing, for a provisional report; None for the final one.
    """
    cfg = settings.load(run.config)
    folds = splits.read_splits(run.splits)
    studies = _read_studies(run.dataset(cfg.data.packed_dir))
    audits = audit.check_cohort(run, cfg, folds, studies)
    found, missing = _read_folds(run, folds, studies, len(cfg.labels.names), at_work)
    status = "PROVISIONAL" if at_work is not None else "PARTIAL" if missing else "COMPLETE"
    summary = _summarise(run, cfg, folds, studies, found, missing) | {"status": status, "audits": audits}
    summary["inflation"] = _inflation(run, cfg, summary, studies, found)
    summary["rule"] = beside.of_rule(found, studies, cfg)
    summary["occlusion"] = beside.of_views(run, found, studies, cfg)
    report, histories = results.from_json(summary, Report), {fold: run.fold(fold).history for fold in found}
    pictures.draw(run.report / "figures", report, histories, run.dataset(cfg.data.packed_dir), cfg.report)
    writing.write(run.report, report, circumstances.collect(run, cfg), cfg.report.window_hu)
    if found_wrong := consistency.contradictions(run, cfg, summary):
        raise WorkError(f"the report contradicts itself, please tell its authors: {'; '.join(found_wrong[:5])}")
    manifest.write(run.report)
    report_json.write(run, summary)
    return summary


def _tell(run: RunPaths, summary: Mapping[str, Any]) -> None:
    absent, found = summary["missing_folds"], summary["folds_found"]
    log.info("%s report of %d of %d folds: %s", summary["status"], found, found + len(absent), run.report)
    for fold in absent:
        if fold["at_work"]:
            log.info("fold %d is not done yet: %s", fold["fold"], fold["reason"])
        else:
            again = f"python jobs/launch_cv.py --resume {shlex.quote(str(run.root))}"
            log.error("fold %d is missing: %s; to run it: %s", fold["fold"], fold["reason"], again)


def _read_studies(dataset: DatasetPaths) -> pd.DataFrame:
    if not dataset.seal.exists():
        raise InputError(f"{dataset.seal}: not there, wanted a sealed dataset; run jobs/pack.py first")
    sealed = shards.read_checked(dataset.seal)
    for path in (dataset.studies, dataset.intake):
        if fault := shards.table_fault(path, sealed):
            raise InputError(f"{path}: {fault}; python jobs/pack.py --run RUN --seal mends it")
    return pd.read_csv(dataset.studies, dtype={"study": str, "patient": str}, keep_default_na=False, na_values=[""])


def _read_folds(
    run: RunPaths,
    folds: Sequence[Fold],
    studies: pd.DataFrame,
    num_categories: int,
    at_work: Mapping[int, str] | None,
) -> tuple[dict[int, Predictions], list[dict[str, Any]]]:
    """Predictions of every fold with a valid result; what others are doing, or what is wrong with them."""
    by_study, splits_sha256 = studies.set_index("study"), digests.file_sha256(run.splits)

    def read(index: int) -> Predictions | str:
        files = run.fold(index)
        try:
            if not files.predictions.is_file():
                return absence.cause(run, index)
            audit.check_result(files, index, splits_sha256)
            found = predictions.read_predictions(files.predictions, index, num_categories)
            audit.check_rows(found, folds[index], by_study)
            return found
        except ValueError as error:
            if at_work is None:  # out of the way, so that the fold is run again; nothing is lost
                files.predictions.replace(files.predictions.with_suffix(".csv.invalid"))
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        results = dict(enumerate(pool.map(read, range(len(folds)))))
    doing = at_work or {}
    nodes = _nodes(run) if any(isinstance(result, str) for result in results.values()) else set()
    missing = [
        {
            "fold": index,
            "at_work": index in doing,
            "reason": doing.get(index, anonymous.told(result, [str(run.root)], nodes)),
        }
        for index, result in results.items()
        if isinstance(result, str)
    ]
    return {index: result for index, result in results.items() if not isinstance(result, str)}, missing


def _nodes(run: RunPaths) -> set[str]:
    """The nodes that the run is known to have been on."""
    told = [*ledger.read(run.ledger), *stages.bad_nodes(run)]
    pulses = [pulse for files in map(FoldPaths, run.fold(0).root.parent.glob("fold-*"))
              for pulse in heartbeat.read_pulses(files)]  # fmt: skip
    return {str(event["node"]) for event in told if event.get("node")} | {str(pulse.node) for pulse in pulses}


def _summarise(
    run: RunPaths,
    cfg: Config,
    folds: Sequence[Fold],
    studies: pd.DataFrame,
    found: dict[int, Predictions],
    missing: list[dict[str, Any]],
) -> dict[str, Any]:
    of_slices = tested.slices(found, studies, len(cfg.labels.names))
    seal = paths.read_json(run.dataset(cfg.data.packed_dir).seal)
    shown = ("labels", "pack", "split", "model", "train")
    settings_shown = {name: config.plain(getattr(cfg, name)) for name in shown}
    for section, key in (("labels", "sheet"), ("split", "contrast_to")):
        del settings_shown[section][key]  # a path of the place where the run was made
    leaks = cfg.split.unit == "slice"
    return {
        "format_version": report_json.FORMAT_VERSION,
        "title": cfg.report.title + (f" ({wording.MARK})" if leaks else ""),
        "folds_found": len(found),
        "missing_folds": missing,
        "banner": wording.LEAKS if leaks else None,
        "categories": _categories(cfg),
        "cohort": _cohort(run, cfg, folds, studies),
        "split": settings_shown["split"],
        "statistics": {
            **{key: getattr(cfg.report, key) for key in ("patient_rule", "top_k", "draws", "seed")},
            "confidence": intervals.CONFIDENCE,
        },
        "published": _published(cfg),
        "examples": examples.pick(found, of_slices, studies, cfg),
        "levels": assessment.levels(of_slices, cfg.report, cfg.labels.edges),
        "training": [paths.read_json(run.fold(fold).metrics) for fold in found],
        "settings": settings_shown,
        "digests": {
            "studies_sha256": seal["studies_sha256"],
            "plan_sha256": seal["plan_sha256"],
            "splits_sha256": digests.file_sha256(run.splits),
        },
    }


def _inflation(
    run: RunPaths, cfg: Config, summary: dict[str, Any], studies: pd.DataFrame, found: dict[int, Predictions]
) -> dict[str, Any] | None:
    """Of a complete contrast run, its figures beside those of the run by patient; a note why there are none if that
    run is not what it was when this one was planned."""
    if cfg.split.contrast_to is None or summary["status"] != "COMPLETE":
        return None
    finished = Finished(run.root.name, summary, studies.set_index("study"), found)
    try:
        contrast.check(cfg)
        return comparison.compare_with(RunPaths(Path(cfg.split.contrast_to)), finished)
    except (InputError, OSError) as error:
        again = (
            "python jobs/launch_cv.py --resume RUN --split.contrast_to FOLDER names another, jobs/aggregate.py --run"
        )
        log.warning("no inflation: %s; %s RUN makes the report again", error, again)
        return {"note": anonymous.told(str(error), [cfg.split.contrast_to, str(run.root)])}


def _categories(cfg: Config) -> list[dict[str, Any]]:
    """Name and score range of each category: above one edge, up to and with the next."""
    edges = [None, *cfg.labels.edges, None]
    return [
        {"category": index, "name": name, "score_above": edges[index], "score_up_to": edges[index + 1]}
        for index, name in enumerate(cfg.labels.names)
    ]


def _published(cfg: Config) -> dict[str, Any] | None:
    """The figures of the table that stands beside the results."""
    if cfg.report.published is None:
        return None
    try:
        table = published.beside(Path(cfg.report.published), cfg.labels.names)
    except (InputError, OSError) as error:  # it was there when the run was planned
        log.warning("report.published: %s", error)
        return {"note": f"The published table {Path(cfg.report.published).name} could not be read any more."}
    figures = assessment.summary_of_matrix(table.matrix, assessment.PUBLISHED)
    return {"title": table.title, "level": table.level, "note": None, **figures}


def _cohort(run: RunPaths, cfg: Config, folds: Sequence[Fold], studies: pd.DataFrame) -> dict[str, Any]:
    num_categories = len(cfg.labels.names)
    intake = paths.read_json(run.dataset(cfg.data.packed_dir).intake)
    patient, category = (dict(zip(studies["study"], studies[name], strict=True)) for name in ("patient", "category"))
    return {
        "studies_found": intake["studies"]["found"],
        "studies": len(studies),
        "patients": int(studies["patient"].nunique()),
        "slices": int(studies["slices"].astype(int).sum()),
        "rejected_files": sum(intake["files"]["rejected"].values()),
        "studies_per_category": np.bincount(studies["category"].astype(int), minlength=num_categories).tolist(),
        "folds": [
            [list(counts) for counts in splits.count_patients(fold, patient, category, num_categories)]
            for fold in folds
        ],
        "intake": intake,
    }
