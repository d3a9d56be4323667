"""Every number of a finished report once more: from the predictions, from its own matrices, from its tables.

The figures of a report come from scikit-learn; here they come from ``agreement``, so that two ways must agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.dataset import splits
from cac_hpc.dataset.splits import Fold
from cac_hpc.report import circumstances, examples, wording, writing
from cac_hpc.report.circumstances import Circumstances
from cac_hpc.run import config, logs, paths, settings
from cac_hpc.run.config import Config, InputError
from cac_hpc.run.paths import RunPaths
from cac_hpc.statistics import agreement, assessment, beside, intervals, metrics, published, report_json, tested
from cac_hpc.statistics.results import Report, from_json
from cac_hpc.train import predictions

TOLERANCE = 1e-9


def check(path: Path) -> int:
    """Print what a published table, or the report.json of a finished run, contradicts.

    Returns: 0 if nothing, else 1. Raises: InputError if it is neither.
    """
    if path.name != "report.json":
        return published.show(path, published.read(path))
    run = RunPaths(settings.run_folder(str(path.absolute().parent.parent)))
    try:
        summary = report_json.load(path)
        if (version := summary["format_version"]) != report_json.FORMAT_VERSION:
            raise InputError(f"{path}: found format version {version}, wanted {report_json.FORMAT_VERSION}")
        found = contradictions(run, settings.load(run.config), summary)
    except report_json.FAULTS as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a report that can be checked ({type(error).__name__}: {error})") from None
    for line in found:
        logs.say(line)
    logs.say(f"{path}: {len(found) or 'no'} contradiction{'s' if len(found) != 1 else ''}")
    return 1 if found else 0


def contradictions(run: RunPaths, cfg: Config, summary: Mapping[str, Any]) -> list[str]:
    """Where a report contradicts its predictions, its matrices, its tables or its text; empty if nowhere.

    Args:
        summary: what report.json holds, or will hold.
    """
    dataset = run.dataset(cfg.data.packed_dir)
    columns = {"study": str, "patient": str}
    studies = pd.read_csv(dataset.studies, dtype=columns, keep_default_na=False, na_values=[""])
    return [
        *_against_predictions(run, cfg, summary, studies),
        *_against_matrices(summary),
        *_against_inflation(summary),
        *_against_beside(summary),
        *_against_cohort(summary, studies, paths.read_json(dataset.intake), splits.read_splits(run.splits)),
        *_against_folds(summary),
        *_against_settings(cfg, summary),
        *_against_files(run, cfg, summary),
    ]


def _against_predictions(
    run: RunPaths, cfg: Config, summary: Mapping[str, Any], studies: pd.DataFrame
) -> Iterator[str]:
    """Everything of both levels anew, the drawn intervals too."""
    folds, num_categories = [fold["fold"] for fold in summary["training"]], len(cfg.labels.names)
    found = {fold: predictions.read_predictions(run.fold(fold).predictions, fold, num_categories) for fold in folds}
    facts = [paths.read_json(run.fold(fold).metrics) for fold in folds]
    yield from differences(summary["training"], facts, "training")
    slices = tested.slices(found, studies, num_categories)
    yield from differences(summary["examples"], examples.pick(found, slices, studies, cfg), "examples")
    yield from differences(summary["levels"], assessment.levels(slices, cfg.report, cfg.labels.edges), "levels")
    yield from differences(summary["rule"], beside.of_rule(found, studies, cfg), "rule")
    yield from differences(summary["occlusion"], beside.of_views(run, found, studies, cfg), "occlusion")


def _against_matrices(summary: Mapping[str, Any]) -> Iterator[str]:
    for level, results in summary["levels"].items():
        pooled, folds = results["pooled"], results["folds"]
        yield from against_matrix(pooled, f"levels.{level}.pooled")
        for fold in folds:
            yield from against_matrix(fold, f"levels.{level}.fold {fold['fold']}")
        if folds:
            together = np.sum([fold["confusion_matrix"] for fold in folds], axis=0)
            yield from differences(pooled["confusion_matrix"], together.tolist(), f"levels.{level}: sum of the folds")
        over = assessment.over_folds(folds)
        yield from differences(results["over_folds"], over, f"levels.{level}.over_folds")
        for scheme in results["collapsed"]:
            if scheme["pooled"]:
                where = f"levels.{level}.collapsed.{scheme['key']}"
                coarser = agreement.collapse(np.array(pooled["confusion_matrix"]), np.array(scheme["groups"]))
                yield from differences(scheme["pooled"]["confusion_matrix"], coarser.tolist(), f"{where}: matrix")
                yield from against_matrix(scheme["pooled"], where)


def _against_inflation(summary: Mapping[str, Any]) -> Iterator[str]:
    """Of a contrast run: its own figures, and that the differences are theirs to the others."""
    for level, results in (summary.get("inflation") or {}).get("levels", {}).items():
        own = summary["levels"][level]["pooled"]["figures"]
        for name, figure in results["figures"].items():
            where = f"inflation.levels.{level}.{name}"
            if name in own:
                yield from differences(figure["other"], own[name]["value"], f"{where}.other")
            if figure["difference"] is not None:
                yield from differences(figure["difference"], figure["other"] - figure["reference"], where)


def _against_beside(summary: Mapping[str, Any]) -> Iterator[str]:
    """Of what stands beside the network: each from its matrix; differences are the network's, or the view's, less."""
    views = summary["occlusion"].get("views", {})
    for name, found in {"rule": summary["rule"], **{f"occlusion.{view}": one for view, one in views.items()}}.items():
        for level, results in found.get("levels", {}).items():
            where, matrices = f"{name}.levels.{level}", results["matrices"]
            for role, part in matrices.items():
                yield from against_matrix(part, f"{where}.{role}")
            for figure, values in results["figures"].items():
                wanted = {role: part["figures"][figure]["value"] for role, part in matrices.items()}
                yield from differences({role: values[role] for role in wanted}, wanted, f"{where}.{figure}")
                if values["difference"] is not None:
                    less = wanted["other"] - wanted["reference"]
                    yield from differences(values["difference"], less, f"{where}.{figure}.difference")


def against_matrix(part: Mapping[str, Any], where: str) -> Iterator[str]:
    """What does not follow from the confusion matrix that stands beside it."""
    matrix = np.array(part["confusion_matrix"])
    counts = {
        "n": int(matrix.sum()),
        "errors": int(matrix.sum() - np.trace(matrix)),
        "over_estimated": int(np.triu(matrix, 1).sum()),
        "under_estimated": int(np.tril(matrix, -1).sum()),
        "support": matrix.sum(axis=1).tolist(),
        "predicted": matrix.sum(axis=0).tolist(),
    }
    for name, value in counts.items():
        yield from differences(part[name], value, f"{where}.{name}")
    for name, value in metrics.forms(matrix[None]).items():
        wanted = [None if math.isnan(one) else float(one) for one in value[0]]
        if name in part["figures"]:
            found = [part["figures"][name]["value"]]
        else:
            found = [category[name]["value"] for category in part["categories"]]
        yield from differences(found, wanted, f"{where}.{name}")


def _against_cohort(
    summary: Mapping[str, Any], studies: pd.DataFrame, intake: Mapping[str, Any], folds: Sequence[Fold]
) -> Iterator[str]:
    cohort = summary["cohort"]
    counts = {
        "studies_found": intake["studies"]["found"],
        "studies": len(studies),
        "patients": int(studies["patient"].nunique()),
        "slices": int(studies["slices"].sum()),
        "rejected_files": sum(intake["files"]["rejected"].values()),
        "studies_per_category": [int((studies["category"] == number).sum()) for number in range(_num(summary))],
        "folds": [_patients_of(fold, studies, _num(summary)) for fold in folds],
        "intake": intake,
    }
    yield from differences(cohort, counts, "cohort")
    if summary["status"] == "COMPLETE" and summary["split"]["scheme"] == "kfold":
        for level, count in (("slice", cohort["slices"]), ("patient", cohort["patients"])):
            results = summary["levels"][level]
            yield from differences(results["distinct"], count, f"levels.{level}.distinct, cohort")
            if level == "slice" or not summary.get("banner"):  # else every fold tests slices of every patient
                yield from differences(results["pooled"]["n"], count, f"levels.{level}.pooled.n, cohort")


def _patients_of(fold: Fold, studies: pd.DataFrame, num_categories: int) -> list[list[int]]:
    """Of each category, the patients in the three parts of a fold; by the highest category of their studies there."""
    highest = [
        studies[studies["study"].isin(list(part))].groupby("patient")["category"].max() for part in fold.parts.values()
    ]
    return [[int((of_part == number).sum()) for of_part in highest] for number in range(num_categories)]


def _against_folds(summary: Mapping[str, Any]) -> Iterator[str]:
    """Each fold is there or named as missing, and the status says which."""
    there = [fold["fold"] for fold in summary["training"]]
    missing = [fold["fold"] for fold in summary["missing_folds"]]
    yield from differences(summary["folds_found"], len(there), "folds_found")
    yield from differences(sorted(there + missing), list(range(len(there) + len(missing))), "training, missing_folds")
    if summary["status"] != "PROVISIONAL":
        yield from differences(summary["status"], "PARTIAL" if missing else "COMPLETE", "status")


def _against_settings(cfg: Config, summary: Mapping[str, Any]) -> Iterator[str]:
    """What the report says of its settings, and of the table that is named there."""
    shown = {section: config.plain(getattr(cfg, section)) for section in summary["settings"]}
    for section, key in (("labels", "sheet"), ("split", "contrast_to")):
        shown[section].pop(key)  # paths
    mark = f" ({wording.MARK})" if cfg.split.unit == "slice" else ""
    statistics = {key: getattr(cfg.report, key) for key in ("patient_rule", "top_k", "draws", "seed")}
    yield from differences(summary["title"], cfg.report.title + mark, "title")
    yield from differences(summary["settings"], shown, "settings")
    yield from differences(summary["split"], shown["split"], "split")
    yield from differences(summary["statistics"], statistics | {"confidence": intervals.CONFIDENCE}, "statistics")
    if cfg.report.published and (found := summary["published"]) and found.get("categories"):
        table = published.beside(Path(cfg.report.published), cfg.labels.names)
        yield from differences(found["confusion_matrix"], table.matrix.tolist(), "published.confusion_matrix")
        yield from against_matrix(found, "published")


def _num(summary: Mapping[str, Any]) -> int:
    return len(summary["categories"])


def _against_files(run: RunPaths, cfg: Config, summary: Mapping[str, Any]) -> Iterator[str]:
    found = from_json(paths.read_json(run.report / circumstances.FILE), Circumstances)
    wanted = writing.texts(run.report, from_json(summary, Report), found, cfg.report.window_hu)
    statuses = [status for status in paths.STATUSES if status != summary["status"]]
    others = [paths.page_name(status, *kind) for status in statuses for kind in paths.PAGES]
    yield from (f"{name}: of a report of another status" for name in others if (run.report / name).exists())
    for name, text in wanted.items():
        path = run.report / name
        there = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        pairs = zip_longest(there, text.splitlines())
        if number := next((at for at, (one, other) in enumerate(pairs, start=1) if one != other), None):
            yield f"{name}, line {number}: not what report.json says"


def differences(found: Any, wanted: Any, where: str) -> Iterator[str]:
    """Name every place in which plain values differ, numbers by more than rounding."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for key in [*wanted, *(key for key in found if key not in wanted)]:
            yield from differences(found.get(key), wanted.get(key), f"{where}.{key}")
    elif isinstance(found, Sequence) and not isinstance(found, str) and isinstance(wanted, Sequence):
        if len(found) != len(wanted):
            yield f"{where}: found {len(found)} values, wanted {len(wanted)}"
        for index, (one, other) in enumerate(zip(found, wanted, strict=False)):
            yield from differences(one, other, f"{where}[{index}]")
    elif isinstance(found, float) and isinstance(wanted, float | int):
        if not math.isclose(found, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{where}: found {found:.10g}, recomputed {wanted:.10g}"
    elif found != wanted:
        yield f"{where}: found {found!r}, recomputed {wanted!r}"
