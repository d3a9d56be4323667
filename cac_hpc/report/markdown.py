"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cac_hpc.appendix import checklists, methods_text
from cac_hpc.results.comparison import Comparison
from cac_hpc.results.examples import ShownLesions
from cac_hpc.results.figures import Absent
from cac_hpc.results.levels import Level
from cac_hpc.results.matrices import Published
from cac_hpc.results.readers import Readers
from cac_hpc.results.report import Report
from cac_hpc.run import escaping, logs
from cac_hpc.sections import (
    cohort_parts,
    cut_parts,
    external_parts,
    group_parts,
    label_parts,
    lesion_parts,
    level_parts,
    method_parts,
    parts,
    subgroup_parts,
    wording,
)
from cac_hpc.sections.section import Section


def text(report: Report) -> str:
    """The report as text."""
    report = _escaped(report)
    said = [f"# {wording.title(report)}"]
    said += [f"**{line}**" for line in [report.banner] if line]
    said += [wording.design(report), *wording.missing_lines(report)]
    said += [part for answer in parts.answers(report) for part in _section(answer)]
    said += [cohort_parts.sentence(report)]
    said += cohort_parts.crop(report.cohort.intake)
    if report.lesions is not None:
        said += [f"## {lesion_parts.HEADING}", *lesion_parts.lines(report), *_patients(report)]
    said += [part for section in parts.first(report) for part in _section(section)]
    for level, results in wording.tested(report):
        said += _level(level, results, report)
    said += [part for section in parts.later(report) for part in _section(section)]
    said += [
        "## How it was counted",
        *method_parts.methods(report),
        *external_parts.methods(report),
        f"## {checklists.HEADING}",
        f"{checklists.MARKDOWN} has {checklists.NAMES}, item by item; {methods_text.MARKDOWN} has the methods for a "
        "paper.",
        "## What this does not say",
        *method_parts.limits(report),
    ]
    return logs.harmless("\n\n".join(said) + "\n")


def _section(section: Section) -> list[str]:
    tables = [part for one in section.tables for part in (f"{one.caption}:", table(one.columns, one.rows))]
    return [f"## {section.heading}", *section.lines, *tables]


def table(columns: Sequence[str], found: Iterable[Sequence[str]]) -> str:
    """A table of these rows; all columns but the first are aligned to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *found]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _patients(report: Report) -> list[str]:
    """What was decided of the patients that are shown."""
    names, found = wording.category_names(report), report.lesions
    patients = found.patients if isinstance(found, ShownLesions) else []
    return [
        f"- Patient {escaping.markdown(one.patient)}, fold {one.fold}: {lesion_parts.decided(one, names)} "
        f"{lesion_parts.reported(one, names)}"
        for one in patients
    ]


def _level(level: str, results: Level, report: Report) -> list[str]:
    pooled, names, published = results.pooled, wording.category_names(report), level_parts.published_at(level, report)
    columns, cells, notes = level_parts.collapsed(results)
    spread = "; sd over the folds" if results.folds else ""
    return [
        f"## {level.capitalize()} level",
        f"Unit: {results.unit}; {results.counting}. In brackets 95 % intervals{spread}.",
        *[level_parts.OWN_PART] * (level == "slice" and wording.of_lesions(report)),
        table(["", *level_parts.fold_columns(results)], level_parts.figures(results)),
        level_parts.sign_test(pooled),
        f"Confusion matrix{', pooled over the folds' * bool(results.folds)}, rows true, columns predicted:",
        table(["true \\ predicted", *names], level_parts.matrix(names, pooled)),
        table(level_parts.category_columns(level, pooled), level_parts.categories(names, pooled)),
        *(
            part
            for found in [published] if found
            for part in (
                f"For comparison {escaping.markdown(level_parts.published_title(found))}:",
                table(level_parts.category_columns(level, found), level_parts.categories(names, found)),
            )
        ),
        *([table(columns, cells)] if cells else []),
        *notes,
        level_parts.calibration(results),
        *(
            table(["highest probability", "n", "its mean", "accuracy"], found)
            for found in [level_parts.reliability(results)] if found
        ),
        *level_parts.other_rules(results),
    ]  # fmt: skip


def _escaped(report: Report) -> Report:
    """The same report; what others have written in it means nothing in Markdown."""
    report = group_parts.escaped(report)
    inflation = report.inflation
    if isinstance(inflation, Absent):
        inflation = Absent(escaping.markdown(inflation.note))
    elif isinstance(inflation, Comparison):
        reference = replace(inflation.reference, run=escaping.markdown(inflation.reference.run))
        inflation = replace(inflation, reference=reference)
    readers = report.readers
    if isinstance(readers, Readers):
        named = [replace(one, name=escaping.markdown(one.name)) for one in readers.readers]
        readers = replace(readers, readers=named, absent=list(map(escaping.markdown, readers.absent)))
    shown, published = report.shown_before, report.published
    if isinstance(published, Published):
        published = replace(published, title=escaping.markdown(published.title))
    return replace(
        report,
        published=published,
        shown_before=shown and replace(shown, runs=list(map(escaping.markdown, shown.runs))),
        readers=readers,
        second_look=label_parts.escaped(report.second_look),
        labels_to_check=label_parts.escaped_patients(report.labels_to_check),
        cuts=cut_parts.escaped(report.cuts),
        subgroups=subgroup_parts.escaped(report.subgroups),
        external=report.external and external_parts.escaped(report.external),
        title=escaping.markdown(report.title),
        categories=[replace(one, name=escaping.markdown(one.name)) for one in report.categories],
        missing_folds=[replace(one, reason=escaping.markdown(one.reason)) for one in report.missing_folds],
        audits=[replace(one, note=escaping.markdown(one.note)) for one in report.audits],
        inflation=inflation,
    )
