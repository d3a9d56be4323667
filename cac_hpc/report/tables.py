"""Every table of the report: CSV, LaTeX for papers (package booktabs), Markdown; a new one goes here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from cac_hpc.report import (
    checklists,
    cut_parts,
    external_parts,
    group_parts,
    label_parts,
    methods_text,
    parts,
    rows,
    subgroup_parts,
    wording,
)
from cac_hpc.report.rows import Section
from cac_hpc.results.calibration import Calibration
from cac_hpc.results.comparison import ComparedLevel, Comparison
from cac_hpc.results.examples import ShownLesions
from cac_hpc.results.external import InternalTest
from cac_hpc.results.figures import Absent, Figure
from cac_hpc.results.levels import Level
from cac_hpc.results.matrices import Matrix, Published
from cac_hpc.results.occlusion import Occlusion
from cac_hpc.results.readers import Readers, ScoreAgreement
from cac_hpc.results.report import Report
from cac_hpc.run import escaping, logs

FIGURE_COLUMNS = ["level", "unit", "of", "figure", "category", "value", "n", "low", "high", "interval", "note"]
PRINTED = {  # what a paper's table of results has
    "accuracy": "accuracy",
    "majority_accuracy": "always the largest category",
    "balanced_accuracy": "balanced accuracy",
    "f1_macro": "F1, macro",
    "f1_weighted": "F1, weighted",
    "kappa_plain": "Cohen's kappa, unweighted",
    "kappa_linear": "Cohen's kappa, linear weights",
    "kappa_quadratic": "Cohen's kappa, quadratic weights",
    "icc": "ICC(2,1)",
    "two_or_more_off": "off by two categories or more",
    "spearman": "Spearman's correlation with the score",
}
Row = dict[str, str | int | float | None]


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """Every table by its file's name."""
    names = wording.category_names(report)
    found = {"figures.csv": pd.DataFrame(_all_figures(report), columns=FIGURE_COLUMNS)}
    if isinstance(report.published, Published):
        found["published.csv"] = _category_table(names, report.published)
    for level, results in report.levels.items():
        found |= {
            f"confusion_{level}.csv": _matrix_table(names, results.pooled),
            f"categories_{level}.csv": _category_table(names, results.pooled),
        }
        if not report.external:
            found[f"folds_{level}.csv"] = _fold_table(results)
        if isinstance(results.calibration, Calibration):
            found[f"reliability_{level}.csv"] = pd.DataFrame(map(vars, results.calibration.reliability))
        found |= {
            f"confusion_{level}_{scheme.key}.csv": _matrix_table(scheme.names, scheme.pooled)
            for scheme in results.collapsed
            if scheme.pooled
        }
    found |= _readers(names, report.readers)
    found |= _occlusion(report.occlusion)
    found |= parts.csv(report)
    if report.external and isinstance(report.external.internal, InternalTest):
        roles = {"reference": "internal", "other": "external"}
        found["external.csv"] = pd.DataFrame(_paired({"patient": report.external.internal.compared}, roles))
    if mark := wording.status_mark(report):  # a column of its own, in every table
        found = {name: table.assign(status=mark) for name, table in found.items()}
    return found


def latex(report: Report) -> dict[str, str]:
    """The tables of a paper by their files' names; ``\\input`` them, they need the package booktabs."""
    names = [logs.line(name) for name in wording.category_names(report)]
    mark = f"{wording.status_mark(report)}: " if wording.status_mark(report) else ""
    count = ", ".join(wording.counted(level, results) for level, results in report.levels.items())
    by_level = {
        f"{level} level": [_printed(results.pooled.figures[name]) for name in PRINTED]
        for level, results in report.levels.items()
    }
    found = {
        "results.tex": _tex(
            pd.DataFrame({"": list(PRINTED.values())} | by_level),
            f"{mark}{_tested(report)} ({count}); in brackets 95\\,\\% intervals.",
            "results",
        )
    }
    for level, results in report.levels.items():
        part, figures = results.pooled, rows.category_figures(results.pooled)
        about = f"{mark}{level.capitalize()} level, {wording.counted(level, results)}"
        cells = [
            [name, str(part.support[row.category]), *(_printed(row.figures[key]) for key in figures)]
            for name, row in zip(names, part.categories, strict=True)
        ]
        by_category = pd.DataFrame(cells, columns=["category", "n", *map(wording.heading, figures)])
        found[f"categories_{level}.tex"] = _tex(by_category, f"{about}: figures by category.", f"categories-{level}")
        matrix = _matrix_table(names, part).set_axis(["true / predicted", *names], axis=1).astype(str)
        caption = f"{about}: confusion matrix, rows true, columns predicted."
        found[f"confusion_{level}.tex"] = _tex(matrix, caption, f"confusion-{level}")
    for label, table, caption in parts.latex(report):
        found[f"{label}.tex"] = _tex(table, mark + caption, label)
    return found


def _tested(report: Report) -> str:
    extent = wording.extent(report)
    return "Results of an external test" if report.external else f"Pooled out-of-fold results of {extent}"


def _tex(table: pd.DataFrame, caption: str, label: str) -> str:
    columns = "l" + "r" * (table.shape[1] - 1)
    text = table.to_latex(
        index=False, escape=True, caption=caption, label=f"tab:{label}", position="htbp", column_format=columns
    )
    text = text.replace("<", r"\textless{}").replace(">", r"\textgreater{}")
    narrow = "\\centering\n\\footnotesize\n\\setlength{\\tabcolsep}{4pt}\n"  # no wider than a page
    text = text.replace(r"\begin{tabular}", narrow + r"\begin{tabular}", 1)
    return re.sub(r"(?m)^(?=[\[*])", "{}", logs.harmless(text))  # else the line before takes it for its option


def _printed(figure: Figure) -> str:
    return wording.interval(figure.value, figure.low, figure.high)


def _all_figures(report: Report) -> Iterator[Row]:
    """Every figure of the report, with all that it means."""
    for level, results in report.levels.items():
        parts: dict[str, Matrix] = {
            "pooled": results.pooled,
            **{f"fold {fold.fold}": fold for fold in results.folds},
            **{f"pooled, {scheme.key}": scheme.pooled for scheme in results.collapsed if scheme.pooled},
        }
        where: Row = {"level": level, "unit": results.unit}
        for of, part in parts.items():
            for name, figure in part.figures.items():
                yield {**where, "of": of, "figure": name, **vars(figure)}
            for category in part.categories:
                for name, figure in category.figures.items():
                    yield {**where, "of": of, "figure": name, "category": category.category, **vars(figure)}
        calibrated = results.calibration.figures if isinstance(results.calibration, Calibration) else {}
        for name, figure in calibrated.items():
            yield {**where, "of": "pooled", "figure": name, **vars(figure)}


def _readers(names: Sequence[str], found: Readers | Absent) -> dict[str, pd.DataFrame]:
    """Readers of the same units: their figures, their matrices, each patient, slices that show nothing."""
    if isinstance(found, Absent):
        return {}
    matrices = {
        f"confusion_{level}_{reader.key}.csv": _matrix_table(names, pooled)
        for reader in found.readers if reader.compared
        for level, pooled in reader.levels.items()
    }  # fmt: skip
    roles = {"reference": "of_reader", "other": "of_model"}
    paired = [
        {"reader": reader.key, **row}
        for reader in found.readers if reader.compared
        for row in _paired(reader.compared.levels, roles)
    ]  # fmt: skip
    agreements = [{"reader": reader.key, **_flat_scores(reader.scores)} for reader in found.readers if reader.scores]
    said = found.patients
    patients = {"patient": said.patient, "fold": said.fold, "score": said.score, "category": said.category}
    patients |= {f"{key}_score": column for key, column in said.scores_of.items()}
    patients |= {f"{key}_category": column for key, column in said.categories_of.items()}
    return matrices | {
        "readers.csv": pd.DataFrame(paired),
        "agreement.csv": pd.DataFrame(agreements),
        "patients.csv": pd.DataFrame(patients),
        **_empty_slices(names, found),
    }


def _empty_slices(names: Sequence[str], found: Readers) -> dict[str, pd.DataFrame]:
    table = pd.DataFrame(map(vars, found.empty_slices))
    return {"empty_slices.csv": table.assign(category=list(names))} if len(table) else {}


def _flat_scores(found: ScoreAgreement) -> Row:
    row: Row = {}
    for name, value in vars(found).items():
        if isinstance(value, Figure):
            row |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            row[name] = value
    return row


def lesions(found: pd.DataFrame) -> pd.DataFrame:
    """Every candidate of every patient that was tested, and whether it counted.

    Args:
        found: lesions.csv of all folds, with the patients.
    """
    if not len(found):
        return pd.DataFrame(columns=["patient"])
    first = ["patient", "study", "fold", "candidate"]
    ordered = found.sort_values(first, kind="stable")
    return ordered[[*first, *(name for name in ordered if name not in first)]]


def _occlusion(found: Occlusion | Absent) -> dict[str, pd.DataFrame]:
    """The network that sees a part of each slice, and all of it."""
    if isinstance(found, Absent):
        return {}
    roles = {"reference": "everything_seen", "other": "part_seen"}
    cells = [{"seen": view, **row} for view, one in found.views.items() for row in _paired(one.levels, roles)]
    return {"occlusion.csv": pd.DataFrame(cells)}


def _paired(levels: Mapping[str, ComparedLevel], roles: Mapping[str, str]) -> Iterator[Row]:
    """Every figure of two predictions of the same units, and its difference."""
    for level, results in levels.items():
        by_category = ((one.category, one.figures) for one in results.categories)
        for category, figures in ((None, results.figures), *by_category):
            for name, figure in figures.items():
                row: Row = {"level": level, "figure": name, "category": category, "n": results.n.other}
                yield row | {roles.get(key, key): value for key, value in vars(figure).items()}


def _matrix_table(names: Sequence[str], part: Matrix) -> pd.DataFrame:
    table = pd.DataFrame(part.confusion_matrix, columns=list(names))
    table.insert(0, "true", list(names), allow_duplicates=True)
    return table


def _category_table(names: Sequence[str], part: Matrix) -> pd.DataFrame:
    cells = []
    for name, category in zip(names, part.categories, strict=True):
        number = category.category
        row: Row = {"category": name, "support": part.support[number], "predicted": part.predicted[number]}
        for key, figure in category.figures.items():
            row |= {key: figure.value, f"{key}_low": figure.low, f"{key}_high": figure.high}
        cells.append(row)
    return pd.DataFrame(cells)


def _fold_table(results: Level) -> pd.DataFrame:
    """One row per fold, then mean and standard deviation over the folds, and in how many folds each is defined."""
    counts = ("n", "patients", "errors") if results.folds else ()
    cells: list[Row] = [
        {"fold": str(fold.fold), **{name: getattr(fold, name) for name in counts},
         **{name: figure.value for name, figure in fold.figures.items()}}
        for fold in results.folds
    ]  # fmt: skip
    for key in ("mean", "sd", "n"):
        cells.append({"fold": key, **{name: getattr(over, key) for name, over in results.over_folds.items()}})
    return pd.DataFrame(cells).astype(dict.fromkeys(counts, "Int64"))


def markdown(report: Report) -> str:
    """The report as text."""
    report = _escaped(report)
    said = [f"# {wording.title(report)}"]
    said += [f"**{line}**" for line in [report.banner] if line]
    said += [wording.design(report), *wording.missing_lines(report)]
    said += [part for answer in parts.answers(report) for part in _section(answer)]
    said += [wording.cohort(report)]
    said += wording.crop(report.cohort.intake)
    if report.lesions is not None:
        said += [f"## {wording.LESIONS}", *wording.lesions(report), *_patients(report)]
    said += [part for section in parts.first(report) for part in _section(section)]
    for level, results in wording.tested(report):
        said += _level(level, results, report)
    said += [part for section in parts.later(report) for part in _section(section)]
    said += [
        "## How it was counted",
        *wording.methods(report),
        *external_parts.methods(report),
        f"## {checklists.HEADING}",
        f"{checklists.MARKDOWN} has {checklists.NAMES}, item by item; {methods_text.MARKDOWN} has the methods for a "
        "paper.",
        "## What this does not say",
        *wording.limits(report),
    ]
    return logs.harmless("\n\n".join(said) + "\n")


def _section(section: Section) -> list[str]:
    tables = [part for one in section.tables for part in (f"{one.caption}:", markdown_table(one.columns, one.rows))]
    return [f"## {section.heading}", *section.lines, *tables]


def markdown_table(columns: Sequence[str], found: Iterable[Sequence[str]]) -> str:
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
    spread = "; sd over the folds" if results.folds else ""
    return [
        f"## {level.capitalize()} level",
        f"Unit: {results.unit}; {results.counting}. In brackets 95 % intervals{spread}.",
        *[wording.OWN_PART] * (level == "slice" and wording.of_lesions(report)),
        markdown_table(["", *rows.fold_columns(results)], rows.figures(results)),
        wording.sign_test(pooled),
        f"Confusion matrix{', pooled over the folds' * bool(results.folds)}, rows true, columns predicted:",
        markdown_table(["true \\ predicted", *names], rows.matrix(names, pooled)),
        markdown_table(rows.category_columns(level, pooled), rows.categories(names, pooled)),
        *(
            part
            for found in [published] if found
            for part in (
                f"For comparison {escaping.markdown(wording.published_title(found))}:",
                markdown_table(rows.category_columns(level, found), rows.categories(names, found)),
            )
        ),
        *([markdown_table(columns, cells)] if cells else []),
        *notes,
        wording.calibration(results),
        *(
            markdown_table(["highest probability", "n", "its mean", "accuracy"], found)
            for found in [rows.reliability(results)] if found
        ),
        *wording.other_rules(results),
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
