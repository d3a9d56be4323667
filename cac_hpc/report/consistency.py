"""Every number of a finished report once more: from the predictions, from its own matrices, from its tables.

Where a report is made nothing of it runs: jobs/check_table.py does, and tests do. The figures of a report come from
scikit-learn; here they come from ``agreement``, too, so that two ways must agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cac_hpc.appendix import checklists
from cac_hpc.cluster import circumstances
from cac_hpc.cluster.circumstances import Circumstances
from cac_hpc.evaluation import external, external_files, inputs, published, report_json
from cac_hpc.evaluation.evaluate import evaluate
from cac_hpc.report import aggregation
from cac_hpc.results.comparison import Comparison
from cac_hpc.results.groups import Drops
from cac_hpc.results.report import FORMAT_VERSION, Report
from cac_hpc.results.serialization import from_json, to_json
from cac_hpc.run import causes, disk, logs, paths
from cac_hpc.run.paths import RunPaths
from cac_hpc.settings import stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.report import ReportConfig
from cac_hpc.statistics import metrics

TOLERANCE = 1e-9
NOT_AGAIN = ("audits", "inflation", "drops")  # they are of files that may have gone since


def check(path: Path) -> int:
    """Print what a published table, or the report.json of a finished run or an external test, contradicts.

    Returns: 0 if nothing, else 1.
    Raises: InputError if it is neither.
    """
    if path.name != "report.json":
        return published.show(path, published.read(path))
    out = path.absolute().parent.parent
    if (out / external_files.SETTINGS).is_file():
        with _readable(path, "evaluate the predictions again") as summary:
            found = external_contradictions(out, summary)
    else:
        run = RunPaths(stored_settings.run_folder(str(out)))
        with _readable(path, f"{report_json.remake(run.root)} makes it again") as summary, causes.in_run(run.root):
            found = contradictions(run, stored_settings.load(run.config), summary)
    for line in found:
        logs.say(line)
    logs.say(f"{path}: {len(found) or 'no'} contradiction{'s' if len(found) != 1 else ''}")
    return 1 if found else 0


@contextmanager
def _readable(path: Path, again: str) -> Iterator[Mapping[str, Any]]:
    """Yield what a report.json of this version holds; what cannot be read of it, or of its files, is an InputError.

    Args:
        again: how another one is made.
    """
    try:
        summary = report_json.load(path)
        if version := report_json.other_version(summary):
            raise InputError(f"{path}: found {version}, wanted {FORMAT_VERSION}; {again}")
        yield summary
    except report_json.FAULTS as error:
        if isinstance(error, InputError):
            raise
        why = f"({type(error).__name__}: {str(error)[:200]}); {again}"
        raise InputError(f"{path}: not a report that can be checked {why}") from None


def external_contradictions(out: Path, summary: Mapping[str, Any]) -> list[str]:
    """Where the report of an external test contradicts tested.csv, its matrices, its tables or its text.

    Args:
        out: the folder that holds the report's. summary: what report.json holds.
    """
    report = from_json(summary, Report)
    again = to_json(external.report(*external_files.read(out)))
    return [
        *(line for key in again for line in differences(summary[key], again[key], key)),
        *(line for where, part in _objects(summary, "") for line in _within(part, where)),
        *_against_files(out / "report", ReportConfig.window_hu, report, None),
    ]


def contradictions(run: RunPaths, cfg: Config, summary: Mapping[str, Any]) -> list[str]:
    """Where a report contradicts its predictions, its matrices, its tables or its text; empty if nowhere.

    Args:
        summary: what report.json holds.
    """
    report, found = from_json(summary, Report), inputs.load(run, alone=True)
    tested = {facts["fold"] for facts in report.training}
    found = replace(found, results={fold: one for fold, one in found.results.items() if fold in tested})
    headline = aggregation.headline(cfg.report.title, cfg.split.unit, cfg.trials.select_on)
    again = to_json(evaluate(found, report.status, report.missing_folds, *headline))
    return [
        *(line for key in again if key not in NOT_AGAIN for line in differences(summary[key], again[key], key)),
        *(line for where, part in _objects(summary, "") for line in _within(part, where)),
        *_against_inflation(report),
        *_against_drops(report),
        *_against_folds(report),
        *_against_files(run.report, cfg.report.window_hu, report, found.lesions),
    ]


def _objects(content: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Every object in plain values, and where it is."""
    if isinstance(content, Mapping):
        yield where, content
        for key, value in content.items():
            yield from _objects(value, f"{where}.{key}".lstrip("."))
    elif isinstance(content, Sequence) and not isinstance(content, str):
        for index, value in enumerate(content):
            yield from _objects(value, f"{where}[{index}]")


def _within(part: Any, where: str) -> Iterator[str]:
    """What does not follow from the matrix, or the two values, in the same object."""
    if "confusion_matrix" in part:
        yield from against_matrix(part, where)
    if part.get("difference") is not None:
        yield from differences(part["difference"], part["other"] - part["reference"], f"{where}.difference")


def _against_inflation(report: Report) -> Iterator[str]:
    """The figures of the run in its own comparison."""
    for level, compared in report.inflation.levels.items() if isinstance(report.inflation, Comparison) else ():
        own = report.levels[level].pooled.figures
        for name in (name for name in compared.figures if name in own):
            where = f"inflation.levels.{level}.figures.{name}.other"
            yield from differences(compared.figures[name].other, own[name].value, where)


def _against_drops(report: Report) -> Iterator[str]:
    """The figures of groups beside their differences."""
    own = {group.name: group.figures for group in report.unseen.groups} if report.unseen else {}
    for at, group in enumerate(report.drops.groups if isinstance(report.drops, Drops) else ()):
        for name, figure in group.differences.items():
            where = f"drops.groups[{at}].differences.{name}"
            yield from differences(figure.reference, group.seen[name].value, f"{where}.reference")
            yield from differences(figure.other, group.unseen[name].value, f"{where}.other")
            if group.name is not None:
                yield from differences(figure.other, own[group.name][name].value, f"{where}.other")


def against_matrix(part: Any, where: str) -> Iterator[str]:
    """What does not follow from the confusion matrix in the same object."""
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


def _against_folds(report: Report) -> Iterator[str]:
    """Each fold is there or named as missing, and the status says which."""
    there = [facts["fold"] for facts in report.training]
    missing = [fold.fold for fold in report.missing_folds]
    yield from differences(sorted(there + missing), list(range(len(there) + len(missing))), "training, missing_folds")
    if report.status != "PROVISIONAL":
        yield from differences(report.status, "PARTIAL" if missing else "COMPLETE", "status")


def _against_files(
    folder: Path, window_hu: Sequence[float], report: Report, lesions: pd.DataFrame | None
) -> Iterator[str]:
    made_in = from_json(disk.read_json(folder / circumstances.FILE), Circumstances)
    wanted = aggregation.texts(folder, report, made_in, window_hu, lesions)
    statuses = [status for status in paths.STATUSES if status != report.status]
    others = [paths.page_name(status, *kind) for status in statuses for kind in paths.PAGES]
    yield from (f"{name}: of a report of another status" for name in others if (folder / name).exists())
    yield from checklists.contradictions(folder)
    for name, text in wanted.items():
        path = folder / name
        found = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        pairs = zip_longest(found, text.splitlines())
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
