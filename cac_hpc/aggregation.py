"""Stage aggregate: the folds' predictions in, the report out, complete or marked PARTIAL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc import (
    config,
    digests,
    figures,
    ledger,
    metrics,
    paths,
    predictions,
    report,
    settings,
    shards,
    splits,
    stages,
)
from cac_hpc.config import Config, InputError
from cac_hpc.logs import log
from cac_hpc.paths import DatasetPaths, RunPaths
from cac_hpc.splits import Fold


def aggregate(root: Path) -> bool:
    """Write the report of a run from the folds that are there.

    Returns: whether all folds are.
    Raises: InputError if the dataset is not sealed, so that not even the folds are known, or its tables are not as
    they were sealed.
    """
    run = RunPaths(root)
    cfg = settings.load(run.config)
    with ledger.stage(run.ledger, "aggregate", None):
        folds = splits.read_splits(run.splits)
        studies = _read_studies(run.dataset(cfg.data.packed_dir))
        found, missing = _read_folds(run, folds, studies, len(cfg.labels.names))
        summary = _summarise(run, cfg, studies, found, missing)
        _draw(run, cfg, summary, list(found))
        report.write_report(run.report, summary)
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
) -> tuple[dict[int, pd.DataFrame], list[dict[str, Any]]]:
    """Predictions of every fold with a valid result, and what is wrong with the others."""
    found, missing = {}, []
    for index, fold in enumerate(folds):
        path = run.fold(index).predictions
        try:
            if not path.is_file():
                raise ValueError(_last_reason(run, index))
            table = predictions.read_predictions(path, index, num_categories)
            _check_fold(table, fold, studies)
            found[index] = table.assign(
                patient=table["study"].map(dict(zip(studies["study"], studies["patient"], strict=True)))
            )
        except ValueError as error:
            if path.is_file():  # out of the way, so that the fold is run again; nothing is lost
                path.replace(path.with_suffix(".csv.invalid"))
            missing.append({"fold": index, "reason": _without_folders(str(error), run)})
    return found, missing


def _check_fold(table: pd.DataFrame, fold: Fold, studies: pd.DataFrame) -> None:
    """Every slice of every test study of the fold once, with the label it was given.

    Raises: ValueError naming the study.
    """
    if foreign := sorted(set(table["study"]) ^ set(fold.test)):
        raise ValueError(f"predictions and splits.json name different test studies: {foreign[:5]}")
    known = {row["study"]: row for row in studies.to_dict("records")}
    for study, rows in table.groupby("study"):
        num_slices, category = int(known[study]["slices"]), int(known[study]["category"])
        if sorted(rows["slice"]) != list(range(num_slices)):
            raise ValueError(f"study {study!r}: {len(rows)} slices predicted, the dataset has {num_slices}")
        if set(rows["label"]) != {category}:
            raise ValueError(f"study {study!r}: labels {sorted(set(rows['label']))}, the dataset says {category}")


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
    run: RunPaths, cfg: Config, studies: pd.DataFrame, found: dict[int, pd.DataFrame], missing: list[dict[str, Any]]
) -> dict[str, Any]:
    by_patient = {fold: predictions.by_patient(table) for fold, table in found.items()}
    num_categories = len(cfg.labels.names)
    seal = paths.read_json(run.dataset(cfg.data.packed_dir).seal)
    shown = ("labels", "pack", "split", "model", "train")
    settings_shown = {name: config.plain(getattr(cfg, name)) for name in shown}
    del settings_shown["labels"]["sheet"]  # a path of the place where the run was made
    return {
        "format_version": 1,
        "title": cfg.report.title,
        "status": "PARTIAL" if missing else "COMPLETE",
        "folds_found": len(found),
        "missing_folds": missing,
        "categories": _categories(cfg),
        "cohort": _cohort(run.dataset(cfg.data.packed_dir), studies, num_categories),
        "split": config.plain(cfg.split),
        "levels": {
            "slice": _level("slice", found, ["study", "slice"], num_categories),
            "patient": _level("patient, mean probability over the slices", by_patient, ["patient"], num_categories),
        },
        "training": [paths.read_json(run.fold(fold).metrics) for fold in found if run.fold(fold).metrics.is_file()],
        "settings": settings_shown,
        "digests": {
            "studies_sha256": seal["studies_sha256"],
            "plan_sha256": seal["plan_sha256"],
            "splits_sha256": digests.file_sha256(run.splits),
        },
    }


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


def _level(unit: str, tables: dict[int, pd.DataFrame], key: list[str], num_categories: int) -> dict[str, Any]:
    """Figures of one level: pooled over the folds, and of each fold.

    Args:
        key: the columns that name a unit; repeated draws test a unit more than once, so `distinct` may be below n.
    """
    matrices = {
        fold: metrics.confusion(table["label"].to_numpy(), predictions.predicted(table), num_categories)
        for fold, table in tables.items()
    }
    pooled = sum(matrices.values(), np.zeros((num_categories, num_categories), dtype=np.int64))
    units = pd.concat([table[key] for table in tables.values()]) if tables else pd.DataFrame()
    return {
        "unit": unit,
        "distinct": len(units.drop_duplicates()),
        "pooled": metrics.summary(pooled),
        "folds": [{"fold": fold, **metrics.summary(matrix)} for fold, matrix in matrices.items()],
    }


def _draw(run: RunPaths, cfg: Config, summary: dict[str, Any], folds: Sequence[int]) -> None:
    for level, results in summary["levels"].items():
        pooled = results["pooled"]
        title = f"{level.capitalize()} level, {summary['folds_found']} of {cfg.split.folds} folds, n = {pooled['n']}"
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
            cfg.report.figure_dpi,
        )
