"""What a report says of an external test beyond what every report says: sentences, tables, figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cac_hpc.results.calibration import Calibration, Recalibration
from cac_hpc.results.external import Distribution, External, InternalTest, LeftOutStudy, RangeGroup, RangeSplit
from cac_hpc.results.figures import Absent, Figure
from cac_hpc.results.matrices import Pooled
from cac_hpc.results.report import Report
from cac_hpc.run import escaping
from cac_hpc.run.logs import amount
from cac_hpc.sections import formatting, level_parts, wording
from cac_hpc.sections.section import Section, TextTable

if TYPE_CHECKING:
    import pandas as pd

HEADING = "External test beside the cross-validation"
LEFT_OUT = {
    "no_label": "the sheet has no valid row for it",
    "no_prediction": "no prediction",
    "no_study": "a row of the sheet without a prediction",
    "known": "a patient of the training studies",
}
FEW = "fewer than 10 patients"
SHOWN = (
    "accuracy", "majority_accuracy", "gain_over_majority", "balanced_accuracy", "f1_macro", "kappa_plain",
    "kappa_quadratic", "icc", "two_or_more_off", "over_estimated_share", "under_estimated_share", "spearman",
    "brier", "expected_calibration_error",
)  # fmt: skip
DRAWN = ("accuracy", "majority_accuracy", "balanced_accuracy", "f1_macro", "kappa_quadratic", "icc", "two_or_more_off")


def sections(report: Report) -> list[Section]:
    """The section of an external test; none of another report."""
    if report.external is None:
        return []
    return [Section("external", HEADING, _lines(report.external), _tables(report, report.external))]


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """Its tables by their files' names."""
    import pandas as pd

    found = report.external
    if found is None:
        return {}
    tables = {
        "left_out.csv": pd.DataFrame(map(vars, found.left_out), columns=["study", "why", "detail"]),
        "cohorts.csv": pd.DataFrame(_cohort_rows(found), columns=_cohort_columns()),
    }
    if isinstance(found.by_range, RangeSplit):
        tables["by_range.csv"] = _range_table(found.by_range)
    if isinstance(found.recalibration, Recalibration):
        tables["recalibration.csv"] = _recalibration_table(found.recalibration)
    return tables


def draw(folder: Path, report: Report, where: str, dpi: int) -> None:
    """Its figures: internal beside external, and reliability after recalibration."""
    from cac_hpc.plots import charts, performance

    found = report.external
    if found is None:
        return
    if isinstance(found.internal, InternalTest) and (matrices := found.internal.compared.matrices):
        pairs = {
            formatting.heading(name): (matrices.reference.figures[name], matrices.other.figures[name]) for name in DRAWN
        }
        charts.draw_pairs(
            folder / "external", pairs, ("cross-validation", "external test"), f"Patient level, {where}", dpi
        )
    if isinstance(found.recalibration, Recalibration):
        bins, title = found.recalibration.after.reliability, f"After recalibration in the large, {where}"
        performance.draw_reliability(folder / "reliability_recalibrated", bins, title, "patients", dpi)


def escaped(found: External) -> External:
    """The same; what others have written in it means nothing in Markdown."""
    internal = found.internal
    if isinstance(internal, InternalTest):
        internal = replace(internal, source=escaping.markdown(internal.source))
    left_out = [
        replace(one, study=escaping.markdown(one.study), detail=escaping.markdown(one.detail)) for one in found.left_out
    ]
    cohorts = [
        replace(one, internal=_escaped_codes(one.internal), external=_escaped_codes(one.external))
        for one in found.cohorts
    ]
    source = escaping.markdown(found.source)
    return replace(found, source=source, internal=internal, left_out=left_out, cohorts=cohorts)


def _escaped_codes(found: Distribution | Absent) -> Distribution | Absent:
    if isinstance(found, Absent) or found.counts is None:
        return found
    return replace(found, counts={escaping.markdown(code): count for code, count in found.counts.items()})


def _lines(found: External) -> list[str]:
    return [
        *_of_internal(found.internal),
        *_of_recalibration(found.recalibration),
        *_of_range(found),
        *(
            [f"Left out: {_counts(found.left_out)}; each is named below."]
            if found.left_out
            else ["No study was left out."]
        ),
    ]


def _of_internal(found: InternalTest | Absent) -> list[str]:
    if isinstance(found, Absent):
        return [f"No internal figures stand beside these: {found.note}."]
    accuracy = found.compared.figures["accuracy"]
    return [
        f"**Accuracy of patients: {formatting.number(accuracy.other)} here, {formatting.number(accuracy.reference)} in "
        f"the cross-validation; difference {formatting.difference(accuracy)}.** Internal: {found.source}.",
        "Differences are external less internal, of different patients (unpaired). Where the shares of the categories "
        "differ, so do figures of all patients, whatever the model; recall of a category depends on them least. "
        "tables/external.csv has every figure, and why some have no interval.",
    ]


def _of_recalibration(found: Recalibration | Absent) -> list[str]:
    if isinstance(found, Absent):
        return [f"Calibration is not compared: {found.note}."]
    intercept, (before, after) = found.intercept, (found.before.brier, found.after.brier)
    return [
        f"Recalibration in the large: intercept {formatting.with_interval(intercept)} (above 0: the model says too low "
        f"categories); Brier score {formatting.with_interval(before)} before, {formatting.with_interval(after)} after."
    ]


def methods(report: Report) -> list[str]:
    """How differences and recalibration were worked out."""
    found = report.external
    if found is None:
        return []
    lines = []
    if isinstance(found.internal, InternalTest):
        lines.append(
            f"Differences of external test and cross-validation are {found.internal.method}. They tell of other "
            "patients, not of training again with another seed."
        )
    if isinstance(found.recalibration, Recalibration):
        lines.append(f"Recalibration {found.recalibration.method}.")
    return lines


def _of_range(found: External) -> list[str]:
    split = found.by_range
    if isinstance(split, Absent):
        return [] if found.out_of_range is None else ["All of these studies lie in the range of the training studies."]
    parts = [
        f"{group.right} of {amount(group.patients, 'patient')} right {where}"
        for where, group in (("in it", split.inside), ("outside", split.outside))
    ]
    differs = split.differences.get("accuracy")
    why = f"difference {formatting.difference(differs)}" if differs else f"one of the groups has {FEW}"
    return [
        f"Outside of the range of the training studies, and counted: {found.out_of_range} of these studies; "
        f"predictions.csv says in what. {', '.join(parts)}; {why}."
    ]


def _counts(left_out: Sequence[LeftOutStudy]) -> str:
    counts = Counter[str](one.why for one in left_out)
    return ", ".join(f"{counts[why]} ({text})" for why, text in LEFT_OUT.items() if counts[why])


def _tables(report: Report, found: External) -> list[TextTable]:
    names = wording.category_names(report)
    tables = [
        *_of_figures(names, found.internal, report.levels["patient"].calibration),
        *_of_calibration(names, found.recalibration),
        *_of_groups(found.by_range),
        TextTable("Training studies and those of this test", _cohort_columns(), _cohort_rows(found), (1, 2)),
    ]
    left_out = TextTable("Left out", ["study", "why", "in words"], _left_out_rows(found.left_out), (1, 2))
    return [*tables, left_out] if found.left_out else tables


def _of_figures(
    names: Sequence[str], found: InternalTest | Absent, calibration: Calibration | Absent
) -> list[TextTable]:
    """Every figure of both with its interval, and the difference."""
    if isinstance(found, Absent) or not found.compared.matrices:
        return []
    matrices, compared = found.compared.matrices, found.compared
    columns = ["figure", "cross-validation [95 %]", "external test [95 %]", "external less internal [95 %]"]

    both = ((matrices.reference, found.calibration), (matrices.other, calibration))

    def row(text: str, name: str, at: int | None) -> list[str]:
        sides = [_figures(*of) if at is None else of[0].categories[at].figures for of in both]
        pair = (compared.figures if at is None else compared.categories[at].figures)[name]
        return [text, *(formatting.with_interval(side[name]) for side in sides), formatting.brief(pair)]

    of_all = [row(formatting.heading(name), name, None) for name in SHOWN if name in compared.figures]
    recalls = [row(f"recall of {text}", "recall", at) for at, text in enumerate(names)]
    counts = [
        [text, str(matrices.reference.support[at]), str(matrices.other.support[at])] for at, text in enumerate(names)
    ]
    patients = f"{compared.n.reference} in the cross-validation, {compared.n.other} in the external test"
    return [
        TextTable(f"Patients: {patients}", columns, of_all + recalls),
        TextTable("Patients of each category", ["category", "cross-validation", "external test"], counts),
        TextTable(
            "Confusion matrix of the cross-validation, patient level, rows true, columns predicted",
            ["true \\ predicted", *names],
            level_parts.matrix(names, matrices.reference),
        ),
    ]


def _figures(pooled: Pooled, calibration: Calibration | Absent) -> dict[str, Figure]:
    return pooled.figures | (calibration.figures if isinstance(calibration, Calibration) else {})


def _of_calibration(names: Sequence[str], found: Recalibration | Absent) -> list[TextTable]:
    if isinstance(found, Absent):
        return []
    shares = [
        [name, *(formatting.number(value) for value in (one.observed, one.before, one.after))]
        for name, one in zip(names, found.shares, strict=True)
    ]
    figures: list[tuple[str, Figure, Figure]] = [
        (formatting.heading(name), found.before.figures[name], found.after.figures[name])
        for name in found.before.figures
    ]
    cells = [
        [name, formatting.with_interval(before), formatting.with_interval(after)] for name, before, after in figures
    ]
    return [
        TextTable(
            "Calibration before and after recalibration in the large",
            ["figure", "before [95 %]", "after [95 %]"],
            cells,
        ),
        TextTable(
            "Share of the patients in each category, and mean of its probability",
            ["category", "share of patients", "mean probability before", "after"],
            shares,
        ),
    ]


def _of_groups(found: RangeSplit | Absent) -> list[TextTable]:
    """Patients in the training range beside those outside; figures where they are enough for intervals."""
    if isinstance(found, Absent):
        return []
    groups, differs = (found.inside, found.outside), bool(found.differences)
    counts = {"studies": "studies", "patients": "patients", "right": "patients right"}
    cells = [[text, *(str(getattr(group, name)) for group in groups), ""] for name, text in counts.items()]
    for name in found.inside.figures or found.outside.figures:
        values = [formatting.with_interval(group.figures[name]) if group.figures else "-" for group in groups]
        cells.append([formatting.heading(name), *values, formatting.brief(found.differences[name]) if differs else ""])
    columns = ["figure", "in range [95 %]", "out of range [95 %]", "out of less in range [95 %]"]
    kept = slice(4 if differs else 3)
    caption = f"In the range of the training studies, and outside{'' if differs else f'; no figures of {FEW}'}"
    return [TextTable(caption, columns[kept], [row[kept] for row in cells])]


def _range_table(found: RangeSplit) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {"of": of, "studies": group.studies, "patients": group.patients, "right": group.right, "figure": name, **shown}
        for of, group in vars(found).items()
        if isinstance(group, RangeGroup)
        for name, shown in {name: vars(figure) for name, figure in group.figures.items()}.items() or [("", {})]
    )


def _recalibration_table(found: Recalibration) -> pd.DataFrame:
    import pandas as pd

    cells = [
        {"of": of, "figure": name, **vars(figure)}
        for of, calibration in (("before", found.before), ("after", found.after))
        for name, figure in calibration.figures.items()
    ]
    return pd.DataFrame([{"of": "fit", "figure": "intercept", **vars(found.intercept)}, *cells])


def _cohort_columns() -> list[str]:
    return ["attribute", "training studies", "this test"]


def _cohort_rows(found: External) -> list[list[str]]:
    return [
        [fact.name, _distribution(fact.internal, fact.unit), _distribution(fact.external, fact.unit)]
        for fact in found.cohorts
    ]


def _distribution(found: Distribution | Absent, unit: str) -> str:
    if isinstance(found, Absent):
        return found.note
    if found.counts is not None:
        return ", ".join(f"{code}: {count}" for code, count in found.counts.items())
    unknown = f", unknown: {found.unknown}" if found.unknown else ""
    if found.low is None or found.median is None or found.high is None:
        return f"not known{unknown}"
    if found.low == found.high:
        return f"{found.low:.4g} {unit}".rstrip() + unknown
    return f"{found.low:.4g} to {found.high:.4g} {unit}".rstrip() + f", median {found.median:.4g}{unknown}"


def _left_out_rows(left_out: Sequence[LeftOutStudy]) -> list[list[str]]:
    return [[one.study or "-", LEFT_OUT[one.why], one.detail] for one in left_out]
