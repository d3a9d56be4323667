"""The rules by which a report answers items of checklists, by their names."""

from __future__ import annotations

from cac_hpc.appendix import model_rules, result_rules, study_rules
from cac_hpc.appendix.evidence import Evidence, Lacking, Rule
from cac_hpc.results.report import Report

RULES: dict[str, Rule] = study_rules.RULES | model_rules.RULES | result_rules.RULES


def find(rule: str, report: Report) -> Evidence:
    """What shows an item by a rule of `RULES`; of results nothing does where they must not be believed."""
    if rule in result_rules.RULES and (doubt := _doubt(report)):
        return Lacking(doubt)
    return RULES[rule](report)


def _doubt(report: Report) -> str | None:
    """Why results must not be believed, if so."""
    if report.banner:
        return "the report leaks by design: its figures must not be reported as performance"
    if report.status not in ("COMPLETE", "EXTERNAL"):
        missing = ", ".join(str(fold.fold) for fold in report.missing_folds)
        return f"the report is {report.status}: it lacks fold {missing}"
    failed = [audit.name for audit in report.audits if audit.passed is False]
    return f"the check of {', '.join(failed)} did not pass" if failed else None
