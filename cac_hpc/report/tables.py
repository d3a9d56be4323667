"""Files of a report's tables: CSV, LaTeX for papers (package booktabs). A new one goes here, or into its section."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from cac_hpc.results.calibration import Calibration
from cac_hpc.results.comparison import ComparedLevel
from cac_hpc.results.external import InternalTest
from cac_hpc.results.figures import Absent, Figure
from cac_hpc.results.levels import Level
from cac_hpc.results.matrices import Matrix, Published
from cac_hpc.results.occlusion import Occlusion
from cac_hpc.results.readers import Readers, ScoreAgreement
from cac_hpc.results.report import Report
from cac_hpc.run import logs
from cac_hpc.sections import formatting, level_parts, parts, wording
from cac_hpc.sections.section import Row

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
        part, figures = results.pooled, level_parts.category_figures(results.pooled)
        about = f"{mark}{level.capitalize()} level, {wording.counted(level, results)}"
        cells = [
            [name, str(part.support[row.category]), *(_printed(row.figures[key]) for key in figures)]
            for name, row in zip(names, part.categories, strict=True)
        ]
        by_category = pd.DataFrame(cells, columns=["category", "n", *map(formatting.heading, figures)])
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
    return formatting.interval(figure.value, figure.low, figure.high)


def _all_figures(report: Report) -> Iterator[Row]:
    """Every figure of the report, with all that it means."""
    for level, results in report.levels.items():
        matrices: dict[str, Matrix] = {
            "pooled": results.pooled,
            **{f"fold {fold.fold}": fold for fold in results.folds},
            **{f"pooled, {scheme.key}": scheme.pooled for scheme in results.collapsed if scheme.pooled},
        }
        where: Row = {"level": level, "unit": results.unit}
        for of, part in matrices.items():
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
