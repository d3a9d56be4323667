"""Stage aggregate: the folds' predictions in, the report out, complete or marked PARTIAL or PROVISIONAL."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cac_hpc.evaluation import inputs, report_json
from cac_hpc.evaluation.evaluate import evaluate
from cac_hpc.machine import processes
from cac_hpc.report import absence, anonymous, manifest, pages, pictures, publishing, rendering, wording
from cac_hpc.run import ledger, paths, settings, stages
from cac_hpc.run.logs import log
from cac_hpc.run.paths import FoldPaths, RunPaths
from cac_hpc.statistics import results
from cac_hpc.statistics.results import Absent, MissingFold, Report
from cac_hpc.train import heartbeat


def aggregate(root: Path) -> bool:
    """Write the report of a run from the folds that are there.

    Started by hand while folds are surely at work, it makes a `provisional` one. A launcher or SLURM starts it when
    they have ended, whatever the ledger knows of their end.

    Returns: whether all folds are there.
    Raises: InputError if the dataset is not sealed, so that not even the folds are known, its tables are not as they
    were sealed, or a patient is on both sides of a fold.
    """
    run = RunPaths(root)
    if processes.supervisor() is None and (seen := absence.look(run)).surely:
        return provisional(root, seen.at_work)
    with ledger.stage(run.ledger, "aggregate", None), publishing.elsewhere(run) as made:
        report = _make(made, None)
        publishing.publish(made, run)
    if missing := report.missing_folds:
        reason = f"PARTIAL report: no valid result of fold {', '.join(str(fold.fold) for fold in missing)}"
        ledger.record(run.ledger, "aggregate", None, "ended", ok=False, reason=reason)
    _log_result(root, report)
    return not missing


def provisional(root: Path, at_work: Mapping[int, str] | None = None) -> bool:
    """Write a report from the folds that are there now, outside of the stages: it is no result of theirs, leaves ledger
    and folds as they are. A final report that comes meanwhile stays.

    Args:
        at_work: what folds are doing, if that is known already.
    Returns and raises as `aggregate`.
    """
    run = RunPaths(root)
    at_work = absence.look(run).at_work if at_work is None else at_work
    with publishing.elsewhere(run) as made:
        keeps = publishing.stays(run)
        report = _make(made, at_work)
        published = publishing.publish(made, run, keeps)
    if published:
        _log_result(root, report)
        return False
    log.info("the final report has come meanwhile and stays: %s", run.report)
    return bool(paths.read_json(run.report_json)["status"] == "COMPLETE")


def _make(run: RunPaths, at_work: Mapping[int, str] | None) -> Report:
    """Write all files of the report.

    Args:
        at_work: what folds are doing, for a provisional report; None for the final one.
    """
    cfg, found = settings.load(run.config), inputs.load(run)
    for fold in (fold for fold, fault in found.faults.items() if fault and at_work is None):
        invalid = run.fold(fold).predictions  # out of the way, so that the fold is run again; nothing is lost
        invalid.replace(invalid.with_suffix(".csv.invalid"))
    status = "PROVISIONAL" if at_work is not None else "PARTIAL" if found.faults else "COMPLETE"
    missing = _missing(run, found.faults, at_work or {})
    report = evaluate(found, status, missing, *headline(cfg.report.title, cfg.split.unit))
    if isinstance(report.inflation, Absent):
        report = replace(report, inflation=_without_places(report.inflation, run.root, cfg.split.contrast_to))
    summary = results.to_json(report)
    pictures.draw(run, cfg, summary)
    rendering.write_tables(run.report, summary)
    pages.write(run, cfg, summary)
    manifest.write(run.report)
    report_json.write(run.report_json, report)
    return report


def headline(title: str, unit: str) -> tuple[str, str | None]:
    """Title and banner of a report, by the unit that was divided into folds."""
    return (title, None) if unit == "patient" else (f"{title} ({wording.MARK})", wording.LEAKS)


def _missing(run: RunPaths, faults: Mapping[int, str | None], at_work: Mapping[int, str]) -> list[MissingFold]:
    """What folds without a valid result are doing, or why they have none."""
    nodes = _nodes(run) if faults else set()
    reasons = {fold: fault or absence.cause(run, fold) for fold, fault in faults.items()}
    return [
        MissingFold(fold, fold in at_work, at_work.get(fold, anonymous.told(reason, [str(run.root)], nodes)))
        for fold, reason in reasons.items()
    ]


def _nodes(run: RunPaths) -> set[str]:
    """The nodes that the run is known to have been on."""
    events = [*ledger.read(run.ledger), *stages.bad_nodes(run)]
    pulses = [pulse for files in map(FoldPaths, run.fold(0).root.parent.glob("fold-*"))
              for pulse in heartbeat.read_pulses(files)]  # fmt: skip
    return {str(event["node"]) for event in events if event.get("node")} | {str(pulse.node) for pulse in pulses}


def _without_places(inflation: Absent, root: Path, reference: str | None) -> Absent:
    """Why there is no inflation, as a report may say it."""
    again = "python jobs/launch_cv.py --resume RUN --split.contrast_to FOLDER names another, jobs/aggregate.py --run"
    log.warning("no inflation: %s; %s RUN makes the report again", inflation.note, again)
    return Absent(anonymous.told(inflation.note, [*filter(None, [reference]), str(root)]))


def _log_result(root: Path, report: Report) -> None:
    absent, found = report.missing_folds, report.folds_found
    log.info("%s report of %d of %d folds: %s", report.status, found, found + len(absent), RunPaths(root).report)
    for fold in absent:
        if fold.at_work:
            log.info("fold %d is not done yet: %s", fold.fold, fold.reason)
        else:
            again = f"python jobs/launch_cv.py --resume {shlex.quote(str(root))}"
            log.error("fold %d is missing: %s; to run it: %s", fold.fold, fold.reason, again)
