"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from cac_hpc.report import rows, wording
from cac_hpc.run import escaping, logs
from cac_hpc.statistics.results import Absent, Comparison, Level, Report, ShownLesions


def page(report: Report) -> str:
    """The report as text."""
    report = _escaped(report)
    parts = [f"# {wording.title(report)}"]
    parts += [f"**{line}**" for line in [report.banner] if line]
    parts += [wording.verdict(report), *wording.trusted(report), *(f"**{line}**" for line in wording.inflation(report))]
    parts += [table(rows.INFLATION, found)] if (found := rows.inflation(report)) else []
    parts += [*wording.missing_lines(report), wording.cohort(report), *wording.crop(report.cohort.intake)]
    if report.lesions is not None:
        parts += [f"## {wording.LESIONS}", *wording.lesions(report), *_patients(report)]
    for level, results in wording.tested(report):
        parts += _level(level, results, report)
    for section in rows.compared(report):
        parts += [f"## {section.heading}", *section.lines]
        parts += [part for one in section.tables for part in (f"{one.caption}:", table(one.columns, one.rows))]
    parts += ["## How it was counted", *wording.methods(report), "## What this does not say", *wording.limits(report)]
    return logs.harmless("\n\n".join(parts) + "\n")


def table(columns: Sequence[str], found: Iterable[Sequence[str]]) -> str:
    """A table of these rows; all columns but the first are aligned to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *found]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _patients(report: Report) -> list[str]:
    """What was decided of the patients that are shown."""
    names, found = wording.category_names(report), report.lesions
    patients = found.patients if isinstance(found, ShownLesions) else []
    return [
        f"- Patient {escaping.markdown(one.patient)}, fold {one.fold}: {wording.decided(one, names)} "
        f"{wording.reported(one, names)}"
        for one in patients
    ]


def _level(level: str, results: Level, report: Report) -> list[str]:
    pooled, names, published = results.pooled, wording.category_names(report), wording.published_at(level, report)
    columns, cells, notes = rows.collapsed(results)
    return [
        f"## {level.capitalize()} level",
        f"Unit: {results.unit}; {results.counting}. In brackets 95 % intervals; sd over the folds.",
        table(["", *rows.fold_columns(results)], rows.figures(results)),
        wording.sign_test(pooled),
        "Confusion matrix, pooled over the folds, rows true, columns predicted:",
        table(["true \\ predicted", *names], rows.matrix(names, pooled)),
        table(rows.category_columns(level, pooled), rows.categories(names, pooled)),
        *(
            part
            for found in [published] if found
            for part in (
                f"For comparison {escaping.markdown(wording.published_title(found))}:",
                table(rows.category_columns(level, found), rows.categories(names, found)),
            )
        ),
        *([table(columns, cells)] if cells else []),
        *notes,
        wording.calibration(results),
        table(["highest probability", "n", "its mean", "accuracy"], rows.reliability(results)),
        *wording.other_rules(results),
    ]  # fmt: skip


def _escaped(report: Report) -> Report:
    """The same report; what others have written in it means nothing in Markdown."""
    inflation = report.inflation
    if isinstance(inflation, Absent):
        inflation = Absent(escaping.markdown(inflation.note))
    elif isinstance(inflation, Comparison):
        reference = replace(inflation.reference, run=escaping.markdown(inflation.reference.run))
        inflation = replace(inflation, reference=reference)
    return replace(
        report,
        title=escaping.markdown(report.title),
        categories=[replace(one, name=escaping.markdown(one.name)) for one in report.categories],
        missing_folds=[replace(one, reason=escaping.markdown(one.reason)) for one in report.missing_folds],
        audits=[replace(one, note=escaping.markdown(one.note)) for one in report.audits],
        inflation=inflation,
    )
