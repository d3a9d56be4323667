"""Labels out of the structured reports that lie in the study folders: of each study the newest complete report."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from cac_hpc.labels.label_rows import Row
from cac_hpc.labels.sheets import Cell
from cac_hpc.run import logs
from cac_hpc.run.rejections import Refused
from cac_hpc.settings.labels import LabelsConfig
from cac_hpc.volumes import files, images, structured_reports
from cac_hpc.volumes.files import Entry
from cac_hpc.volumes.structured_reports import CalciumReport, ReportError

UNVERIFIED = "nobody has verified the report"
OLDER = "an older report has another score"


def read_rows(cfg: LabelsConfig, studies: Sequence[str], root: Path) -> list[Row]:
    """What the reports in each study folder say, a row for each study.

    Args:
        studies: names of the folders.
        root: where they are.
    """
    return [_row(study, root / study) for study in logs.track(studies, "studies searched for reports")]


def _row(study: str, folder: Path) -> Row:
    """The row of one study. Addresses are the numbers of files as rejected.csv counts them."""
    entries = files.list_files(folder)
    named = Cell(study, "the folder")
    try:
        number, report, remarks = _newest(entries)
    except ReportError as error:
        return Row(named, None, fault=str(error))
    score = Cell(_text(report.score), f"the score of the report, file {number},")
    return Row(named, score, checked=report.vessels, remarks=remarks)


def _newest(entries: Sequence[Entry]) -> tuple[int, CalciumReport, tuple[str, ...]]:
    """The number and the content of the newest complete report with a score, and what is to be looked at in it.

    Raises: ReportError if there is none, or it is not certain which is the newest.
    """
    found, left_out, others = dict[int, CalciumReport](), list[str](), list[Entry]()
    for number, entry in enumerate(entries, start=1):
        if entry.refused or not structured_reports.is_report(entry.path):
            others.append(entry)
            continue
        try:
            report = structured_reports.read(entry.path)
        except ReportError as error:
            raise ReportError(f"file {number}: a structured report that {error}") from None
        if why := report and _unusable(report):
            left_out.append(f"file {number} {why}")
        elif report:
            found[number] = report
    if not found:
        why = f" ({'; '.join(left_out)})" if left_out else ""
        raise ReportError(f"no complete structured report with an Agatston score in the folder{why}")
    latest = max(report.made for report in found.values())
    newest = {number: report for number, report in found.items() if report.made == latest}
    scores = {report.score for report in found.values()}
    dated = all(report.made for report in found.values())
    if len({report.score for report in newest.values()}) > 1 or (len(scores) > 1 and not dated):
        said = ", ".join(f"{report.score:g} in file {number}" for number, report in found.items())
        raise ReportError(f"several reports and none is the newest: {said}; wanted one score")
    number = min(newest)
    _check_study(newest[number], number, others)
    remarks = [] if newest[number].verified else [UNVERIFIED]
    return number, newest[number], (*remarks, *([OLDER] if len(scores) > 1 else []))


def _unusable(report: CalciumReport) -> str | None:
    if report.own:
        return "is a prediction of this program"
    return None if report.complete else "is partial or preliminary"


def _check_study(report: CalciumReport, number: int, entries: Sequence[Entry]) -> None:
    """The report is of the patient and the study that the images in its folder are of, as far as both say so.

    Raises: ReportError if it is of others.
    """
    seen = set[str]()
    for entry in entries:
        try:
            if entry.refused:
                continue
            named = images.read_images(entry.path)[0].header.subject
        except Refused:
            continue
        own, patient = named.study[0], named.patient[0]
        if patient and report.patient and patient != report.patient:
            raise ReportError(f"file {number}: a structured report of another patient (PatientID) than the images in "
                              "the folder")  # fmt: skip
        if own == report.study or not own or not report.study:
            return
        seen.add(own)
    if seen:
        raise ReportError(f"file {number}: a structured report of another study than the images in the folder")


def _text(score: float) -> str:
    """A number in digits, as a sheet has it."""
    return format(Decimal(f"{score:.15g}"), "f")
