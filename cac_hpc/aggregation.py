"""Stage aggregate: the folds' predictions in, the report out, complete or marked PARTIAL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc import (
    assessment,
    audit,
    comparison,
    config,
    consistency,
    contrast,
    digests,
    figures,
    intervals,
    ledger,
    paths,
    predictions,
    report,
    settings,
    shards,
    splits,
    stages,
    tested,
)
from cac_hpc.config import Config, InputError, WorkError
from cac_hpc.logs import log
from cac_hpc.pairing import Finished
from cac_hpc.paths import DatasetPaths, RunPaths
from cac_hpc.predictions import Predictions
from cac_hpc.splits import Fold


def aggregate(root: Path) -> bool:
    """Write the report of a run from the folds that are there.

    Returns: whether all folds are.
    Raises: InputError if the dataset is not sealed, so that not even the folds are known, its tables are not as they
    were sealed, or a patient is on both sides of a fold; WorkError if the finished report contradicts itself.
    """
    run = RunPaths(root)
    cfg = settings.load(run.config)
    with ledger.stage(run.ledger, "aggregate", None):
        folds = splits.read_splits(run.splits)
        studies = _read_studies(run.dataset(cfg.data.packed_dir))
        audits = audit.check_cohort(run, cfg, folds, studies)
        found, missing = _read_folds(run, folds, studies, len(cfg.labels.names))
        summary = _summarise(run, cfg, studies, found, missing) | {"audits": audits}
        summary["inflation"] = _inflation(run, cfg, summary, studies, found)
        _draw(run, cfg, summary, list(found))
        report.write_tables(run.report, summary)
        if found_wrong := consistency.contradictions(run, cfg, summary):
            (run.report / "report.json").unlink(missing_ok=True)
            raise WorkError(f"the report contradicts itself, please tell its authors: {'; '.join(found_wrong[:5])}")
        report.write_json(run.report, summary)
    if missing:
        reason = f"PARTIAL report: no valid result of fold {', '.join(str(fold['fold']) for fold in missing)}"
        ledger.record(run.ledger, "aggregate", None, "ended", ok=False, reason=reason)
    log.info("%s report of %d of %d folds: %s", summary["status"], len(found), len(folds), run.report)
    for fold in missing:
        log.error("fold %d is missing: %s", fold["fold"], fold["reason"])
    return not missing


def _read_studies(dataset: DatasetPaths) -> pd.DataFrame:
    if not dataset.seal.exists():
        raise InputError(f"{dataset.seal}: not there, wanted a sealed dataset; run jobs/pack.py first")
    sealed = shards.read_checked(dataset.seal)
    for path in (dataset.studies, dataset.intake):
        if fault := shards.table_fault(path, sealed):
            raise InputError(f"{path}: {fault}; python jobs/pack.py --run RUN --seal mends it")
    return pd.read_csv(dataset.studies, dtype={"study": str, "patient": str}, keep_default_na=False, na_values=[""])


def _read_folds(
    run: RunPaths, folds: Sequence[Fold], studies: pd.DataFrame, num_categories: int
) -> tuple[dict[int, Predictions], list[dict[str, Any]]]:
    """Predictions of every fold with a valid result, and what is wrong with the others."""
    by_study, splits_sha256 = studies.set_index("study"), digests.file_sha256(run.splits)

    def read(index: int) -> Predictions | str:
        files = run.fold(index)
        try:
            if not files.predictions.is_file():
                return _last_reason(run, index)
            audit.check_result(files, index, splits_sha256)
            found = predictions.read_predictions(files.predictions, index, num_categories)
            audit.check_rows(found, folds[index], by_study)
            return found
        except ValueError as error:
            # out of the way, so that the fold is run again; nothing is lost
            files.predictions.replace(files.predictions.with_suffix(".csv.invalid"))
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        results = dict(enumerate(pool.map(read, range(len(folds)))))
    missing = [
        {"fold": index, "reason": _without_folders(result, run)}
        for index, result in results.items()
        if isinstance(result, str)
    ]
    return {index: result for index, result in results.items() if not isinstance(result, str)}, missing


def _last_reason(run: RunPaths, fold: int) -> str:
    """Why the ledger says that a fold has no result."""
    told = next((state for state in stages.survey(run) if (state.stage, state.task) == ("folds", fold)), None)
    if told is None or told.state in ("planned", "submitted"):
        return (told and told.reason) or "it never started"
    if told.state == "running":
        return "it was stopped after " + (told.progress or "its start").partition(",")[0]
    return told.reason or "it ended without predictions"


def _without_folders(reason: str, run: RunPaths) -> str:
    """A reason as the report may tell it: paths below the run, of others the file's name alone."""
    return re.sub(r"(?<![\w.])/\S*/", "", reason.replace(f"{run.root}/", ""))


def _summarise(
    run: RunPaths, cfg: Config, studies: pd.DataFrame, found: dict[int, Predictions], missing: list[dict[str, Any]]
) -> dict[str, Any]:
    num_categories = len(cfg.labels.names)
    seal = paths.read_json(run.dataset(cfg.data.packed_dir).seal)
    shown = ("labels", "pack", "split", "model", "train")
    settings_shown = {name: config.plain(getattr(cfg, name)) for name in shown}
    for section, key in (("labels", "sheet"), ("split", "contrast_to")):
        del settings_shown[section][key]  # a path of the place where the run was made
    leaks = cfg.split.unit == "slice"
    return {
        "format_version": report.FORMAT_VERSION,
        "title": cfg.report.title + (f" ({report.MARK})" if leaks else ""),
        "banner": report.LEAKS if leaks else None,
        "status": "PARTIAL" if missing else "COMPLETE",
        "folds_found": len(found),
        "missing_folds": missing,
        "categories": _categories(cfg),
        "cohort": _cohort(run.dataset(cfg.data.packed_dir), studies, num_categories),
        "split": settings_shown["split"],
        "statistics": {
            **{key: getattr(cfg.report, key) for key in ("patient_rule", "top_k", "draws", "seed")},
            "confidence": intervals.CONFIDENCE,
        },
        "levels": assessment.levels(tested.slices(found, studies, num_categories), cfg.report, cfg.labels.edges),
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
    """Of a complete contrast run, its figures beside those of the run by patient.

    Raises: InputError if that run is not what it was when this one was planned.
    """
    if cfg.split.contrast_to is None or summary["status"] != "COMPLETE":
        return None
    contrast.check(cfg)
    finished = Finished(run.root.name, summary, studies.set_index("study"), found)
    return comparison.compare_with(RunPaths(Path(cfg.split.contrast_to)), finished)


def _categories(cfg: Config) -> list[dict[str, Any]]:
    """Name and score range of each category: above one edge, up to and with the next."""
    edges = [None, *cfg.labels.edges, None]
    return [
        {"category": index, "name": name, "score_above": edges[index], "score_up_to": edges[index + 1]}
        for index, name in enumerate(cfg.labels.names)
    ]


def _cohort(dataset: DatasetPaths, studies: pd.DataFrame, num_categories: int) -> dict[str, Any]:
    category, intake = studies["category"].astype(int).to_numpy(), paths.read_json(dataset.intake)
    return {
        "studies_found": intake["studies"]["found"],
        "studies": len(studies),
        "patients": int(studies["patient"].nunique()),
        "slices": int(studies["slices"].astype(int).sum()),
        "rejected_files": sum(intake["files"]["rejected"].values()),
        "studies_per_category": np.bincount(category, minlength=num_categories).tolist(),
        "intake": intake,
    }


def _draw(run: RunPaths, cfg: Config, summary: dict[str, Any], folds: Sequence[int]) -> None:
    mark = f"{report.MARK}\n" if summary["banner"] else ""
    for level, results in summary["levels"].items():
        pooled = results["pooled"]
        title = (
            f"{mark}{level.capitalize()} level, {summary['folds_found']} of {cfg.split.folds} folds, n = {pooled['n']}"
        )
        figures.draw_confusion(
            run.report / "figures" / f"confusion_{level}",
            np.array(pooled["confusion_matrix"]),
            cfg.labels.names,
            title,
            f"{level}s",
            cfg.report.figure_dpi,
        )
    histories = {fold: pd.read_csv(run.fold(fold).history) for fold in folds if run.fold(fold).history.is_file()}
    if histories:
        columns = ("epoch", "train_loss", "val_loss")
        figures.draw_history(
            run.report / "figures" / "history",
            {fold: {name: table[name].to_numpy() for name in columns} for fold, table in histories.items()},
            f"{mark}Validation loss (solid) and class-weighted training loss (dotted)",
            cfg.report.figure_dpi,
        )
