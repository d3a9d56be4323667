"""Stage aggregate: the folds' predictions in, the report out, complete or marked PARTIAL or PROVISIONAL."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cac_hpc.appendix import checklists, methods_text
from cac_hpc.cluster import circumstances
from cac_hpc.cluster.circumstances import Circumstances
from cac_hpc.evaluation import inputs, report_json
from cac_hpc.evaluation.evaluate import evaluate
from cac_hpc.machine import memory, processes, workers
from cac_hpc.report import checksums, markdown, pages, pictures, publishing, tables
from cac_hpc.report.pages import Appendix
from cac_hpc.results.report import MissingFold, Report, Status
from cac_hpc.results.serialization import to_json
from cac_hpc.run import causes, disk, escaping, ledger, paths, task_states
from cac_hpc.run.causes import Cause
from cac_hpc.run.logs import log
from cac_hpc.run.paths import RunPaths
from cac_hpc.sections import contrast_parts, wording
from cac_hpc.settings import stored_settings


def aggregate(root: Path) -> bool:
    """Write the report of a run from the folds that are there.

    Started by hand while folds are surely at work, it makes a `provisional` one. A launcher or SLURM starts it when
    they have ended, whatever the ledger knows of their end.

    Returns: whether all folds are there.
    Raises: InputError if the dataset is not sealed, so that not even the folds are known, its tables are not as they
    were sealed, or a patient is on both sides of a fold.
    """
    run = RunPaths(root)
    if processes.supervisor() is None and (seen := publishing.find_expected(run)).surely:
        return provisional(root, seen.at_work)
    with ledger.stage(run.ledger, "aggregate", None), publishing.elsewhere(run.report) as made:
        report = _make(replace(run, report_in=made), None)
        publishing.publish(made, run.report)
    if missing := report.missing_folds:
        cause = Cause("partial_report", words=", ".join(str(fold.fold) for fold in missing))
        ledger.record(run.ledger, "aggregate", None, "ended", cause, ok=False)
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
    at_work = publishing.find_expected(run).at_work if at_work is None else at_work
    with publishing.elsewhere(run.report) as made:
        keeps = publishing.stays(run.report)
        report = _make(replace(run, report_in=made), at_work)
        published = publishing.publish(made, run.report, keeps)
    if published:
        _log_result(root, report)
        return False
    log.info("the final report has come meanwhile and stays: %s", run.report)
    return bool(disk.read_json(run.report_json)["status"] == "COMPLETE")


def _make(run: RunPaths, at_work: Mapping[int, str] | None) -> Report:
    """Write all files of the report.

    Args:
        at_work: what folds are doing, for a provisional report; None for the final one.
    """
    cfg, found = stored_settings.load(run.config), inputs.load(run)
    memory.give_back()
    for fold in (fold for fold, fault in found.faults.items() if fault and at_work is None):
        invalid = run.fold(fold).predictions  # out of the way, so that the fold is run again; nothing is lost
        invalid.replace(invalid.with_suffix(".csv.invalid"))
    status: Status = "PROVISIONAL" if at_work is not None else "PARTIAL" if found.faults else "COMPLETE"
    missing = _missing(run, found.faults, at_work or {})
    figures, named = run.report / "figures", headline(cfg.report.title, cfg.split.unit, cfg.trials.select_on)
    histories, lesions = {fold: run.fold(fold).history for fold in found.results}, found.lesions
    scans = run.dataset(cfg.data.packed_dir)
    with contextlib.ExitStack() as drawn:

        def begun(report: Report) -> None:
            pieces = pictures.before_counting(figures, report, histories, scans, cfg.report)
            drawn.enter_context(workers.meanwhile(pieces, most=1))

        report = evaluate(found, status, missing, *named, begun)
        del found  # so that the processes that draw do not have it, too
        memory.give_back()
        pictures.draw(figures, report, cfg.report.figure_dpi)
    write(run.report, report, circumstances.collect(run, cfg), cfg.report.window_hu, lesions)
    checksums.write(run.report)
    report_json.write(run.report_json, report)
    return report


def headline(title: str, unit: str, select_on: str) -> tuple[str, str | None]:
    """Title and banner of a report, by the unit that was divided into folds and by whom trials were chosen."""
    banner = contrast_parts.LEAKS if unit == "slice" else contrast_parts.LEAKS_CHOICE if select_on == "test" else None
    return (f"{title} ({wording.MARK})", banner) if banner else (title, None)


def _missing(run: RunPaths, faults: Mapping[int, str | None], at_work: Mapping[int, str]) -> list[MissingFold]:
    """What folds without a valid result are doing, or why they have none."""
    states = task_states.survey(run) if faults else []

    def reason(fold: int, fault: str | None) -> str:
        invalid = fault and Cause("predictions_invalid", words=_without_places(fault, run.root, run.fold(fold).root))
        return causes.sentence(causes.shareable(invalid or publishing.cause_of_fold(states, fold), run.root))

    return [
        MissingFold(fold, fold in at_work, at_work.get(fold) or reason(fold, fault)) for fold, fault in faults.items()
    ]


def _without_places(fault: str, run: Path, fold: Path) -> str:
    """What is wrong with the files in a fold's folder, without the run's; what looks like another path is left out."""
    text = fault.replace(f"{run}/", "")
    if not {"/", "\\"} & set(text.replace(f"{fold.relative_to(run)}/", "")):
        return text
    log.error("%s", fault)
    return "its predictions are not as a fold writes them; the log of the stage aggregate says where"


def _log_result(root: Path, report: Report) -> None:
    absent, found = report.missing_folds, report.folds_found
    log.info("%s report of %d of %d folds: %s", report.status, found, found + len(absent), RunPaths(root).report)
    for fold in absent:
        if fold.at_work:
            log.info("fold %d is not done yet: %s", fold.fold, fold.reason)
        else:
            again = f"python jobs/launch_cv.py --resume {shlex.quote(str(root))}"
            log.error("fold %d is missing: %s; to run it: %s", fold.fold, fold.reason, again)


def write(
    folder: Path,
    report: Report,
    found: Circumstances,
    window_hu: Sequence[float],
    lesions: pd.DataFrame | None = None,
) -> None:
    """Write them, and circumstances.json; arguments are those of `texts`."""
    disk.write_json(folder / circumstances.FILE, to_json(found))
    for name, text in texts(folder, report, found, window_hu, lesions).items():
        disk.write_text(folder / name, text)


def texts(
    folder: Path,
    report: Report,
    found: Circumstances,
    window_hu: Sequence[float],
    lesions: pd.DataFrame | None = None,
) -> dict[str, str]:
    """Their contents by their names, relative to the report's folder.

    Args:
        folder: of the report, with its pictures. window_hu: in which slices are shown. lesions: lesions.csv of
            all folds with the patients, of a lesion model.
    """
    frames = {f"tables/{name}": table for name, table in tables.csv(report).items()}
    frames |= {} if lesions is None else {"tables/lesions.csv": tables.lesions(lesions)}
    documents = {"report.json": report, circumstances.FILE: found}
    filled = checklists.fill(report, documents, {name for name, table in frames.items() if len(table)})
    methods = methods_text.paragraphs(report, found)
    return {
        **pages.of_report(folder, report, found, window_hu, Appendix(filled, methods)),
        paths.page_name(report.status, "md"): markdown.text(report),
        **{name: escaping.csv_text(table) for name, table in frames.items()},
        **{f"tables/{name}": text for name, text in tables.latex(report).items()},
        checklists.PAGE: pages.checklist(report, filled),
        checklists.MARKDOWN: checklists.markdown(filled, report),
        checklists.CSV: checklists.csv(filled, report),
        methods_text.MARKDOWN: methods_text.markdown(methods, report),
        f"tables/{methods_text.LATEX}": methods_text.latex(methods, report),
    }
