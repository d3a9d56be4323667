"""The words and rows in which a report is told, on its page, as text and in the terminal: what stands there is here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cac_hpc.report import tables

KAPPAS = "Cohen's kappa plain, linear and quadratic over all categories; ICC(2,1), absolute agreement"
MARK = tables.MARK
LEAKS = (
    "LEAKS BY DESIGN: this contrast run divides slices, not patients, so that a patient's slices are in the training, "
    "validation and test part of a fold at once. It shows what such a split does to the figures; its figures must not "
    "be reported as performance."
)
OF_PATIENTS = (
    "A patient is tested in every fold that tests slices of it, each time by these alone, which are fewer than in the "
    "run by patient: every test counts, and intervals resample patients with all of their tests."
)
BY_PATIENT = "Folds are divided by patient: no patient is in the training and the test part of one fold."
LIMITS = (
    "Every slice carries its patient's category, and most slices of a real exam show no coronary calcium: a "
    "slice-level figure is not a patient-level figure, and the slice-level one is bounded well below 1.",
    BY_PATIENT,
    "This is research software and not a medical device.",
)
COUNTS = ("n", "patients", "errors", "over_estimated", "under_estimated")
INFLATED = ("accuracy", "balanced_accuracy", "f1_macro", "kappa_quadratic")
INFLATION_COLUMNS = ("", "split by patient", "split by slice", "inflation [95 % interval]")
SHOWN_COLLAPSED = ("accuracy", "majority_accuracy", "balanced_accuracy", "kappa_plain", "kappa_quadratic")


def title(summary: dict[str, Any]) -> str:
    return str(summary["title"]) + ("" if summary["status"] == "COMPLETE" else f" ({summary['status']})")


def verdict(summary: dict[str, Any]) -> str:
    """What came out, at both levels, against always guessing the largest category."""
    by_slice = " by slice" if summary.get("banner") else ""
    sentences = [
        f"{summary['split']['scheme']} cross-validation{by_slice}, {summary['folds_found']} of "
        f"{summary['split']['folds']} folds, {summary['cohort']['patients']} patients, "
        f"{summary['cohort']['slices']} slices."
    ]
    for level, results in reversed(summary["levels"].items()):
        pooled = results["pooled"]
        if not pooled["n"]:
            sentences.append(f"No {level} was tested.")
            continue
        figures = pooled["figures"]
        majority = figures["majority_accuracy"]["value"]
        low, high = figures["accuracy"]["low"], figures["accuracy"]["high"]
        between = "" if low is None else f", 95 % interval {low:.3f} to {high:.3f}"
        against = _against(figures["gain_over_majority"]["value"])
        sentences.append(
            f"**{level.capitalize()} level: accuracy {figures['accuracy']['value']:.3f}** "
            f"(n = {tables.counted(level, results)}{between}), {against} always "
            f"guessing the largest category ({category_names(summary)[pooled['majority_category']]}: {majority:.3f}); "
            f"quadratic kappa {with_interval(figures['kappa_quadratic'])}."
        )
    if levels := summary["rule"].get("levels"):
        figure, n = levels["patient"]["figures"]["accuracy"], levels["patient"]["n"]["reference"]
        sentences.append(
            f"**The Agatston rule alone, patient level: {text(figure['reference'], 3)}** (n = {n}); the network on the "
            f"same {text(figure['other'], 3)}, a difference of {difference(figure)}."
        )
    return " ".join(sentences)


def _against(gain: float) -> str:
    if f"{abs(gain):.3f}" == "0.000":
        return "no better and no worse than"
    return f"{abs(gain):.3f} {'above' if gain > 0 else 'BELOW'}"


def inflation(summary: dict[str, Any]) -> list[str]:
    """Of a contrast run, by how much its figures are above those of the run by patient."""
    if not summary.get("banner"):
        return []
    found = summary["inflation"]
    if found is None:
        why = "folds are missing" if summary["missing_folds"] else "this is not the final report"
        return [f"Inflation: not worked out, for {why}."]
    if "note" in found:
        return [f"Inflation: not worked out: {found['note']}."]
    said = []
    for level, results in found["levels"].items():
        figure = results["figures"]["accuracy"]
        values = f"{figure['reference']:.3f} by patient, {figure['other']:.3f} by slice"
        said.append(f"{level} accuracy {difference(figure)} ({values})")
    return [f"Inflation by the split by slice, against the run {found['reference']['run']}: {'; '.join(said)}."]


def inflation_rows(summary: dict[str, Any]) -> list[list[str]]:
    """The same of more figures, a row for each under `INFLATION_COLUMNS`."""
    found = summary["inflation"] if summary.get("banner") else None
    return [
        [f"{level}, {name.replace('_', ' ')}", text(figure["reference"]), text(figure["other"]), difference(figure)]
        for level, results in (found.get("levels", {}).items() if found else ())
        for name, figure in ((name, results["figures"][name]) for name in INFLATED)
    ]


def matrix_rows(names: Sequence[str], part: dict[str, Any]) -> list[list[str]]:
    return [[name, *map(str, row)] for name, row in zip(names, part["confusion_matrix"], strict=True)]


def difference(figure: dict[str, Any]) -> str:
    if figure["difference"] is None:
        return "undefined"
    why = f" (no interval: {figure['note']})" if figure.get("note") else ""
    between = why if figure["low"] is None else f" [{figure['low']:+.3f}, {figure['high']:+.3f}]"
    return f"{figure['difference']:+.3f}{between}"


def missing_lines(summary: dict[str, Any]) -> list[str]:
    """One line per fold without a valid result, and what to do about it."""
    status, absent = summary["status"], summary["missing_folds"]
    if status == "COMPLETE":
        return []
    lines = [
        f"{status}: fold {fold['fold']} is {'not done yet' if fold.get('at_work') else 'missing'} ({fold['reason']})."
        for fold in absent
    ]
    if status == "PROVISIONAL":
        lines.append(
            "This is not the final report: the run's last job makes it when all folds have ended; where that job does "
            "not come, python jobs/aggregate.py --run RUN."
        )
    again = ", ".join(f"fold {fold['fold']}" for fold in absent if not fold.get("at_work"))
    return [*lines, f"To complete the report ({again}): python jobs/launch_cv.py --resume RUN"] if again else lines


def cohort(summary: dict[str, Any]) -> str:
    cohort = summary["cohort"]
    counts = ", ".join(
        f"{category['name']} {count}"
        for category, count in zip(summary["categories"], cohort["studies_per_category"], strict=True)
    )
    return (
        f"Cohort: {cohort['studies_found']} studies found, {cohort['studies']} used ({counts}); "
        f"{cohort['rejected_files']} files not used, each with its reason in rejected.csv."
    )


def tested(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The levels at which anything was tested, patients first: they are what it is about."""
    levels = reversed(summary["levels"].items())
    return [(level, results) for level, results in levels if results["pooled"]["n"]]


def category_names(summary: dict[str, Any]) -> list[str]:
    return [category["name"] for category in summary["categories"]]


def fold_columns(results: dict[str, Any]) -> list[str]:
    folds = results["folds"]
    return ["pooled", f"mean of {len(folds)} folds", *(f"fold {fold['fold']}" for fold in folds)]


def figure_rows(results: dict[str, Any]) -> list[list[str]]:
    pooled, folds = results["pooled"], results["folds"]
    rows = [[key.replace("_", " "), str(pooled[key]), "", *(str(fold[key]) for fold in folds)] for key in COUNTS]
    for name, figure in pooled["figures"].items():
        over = results["over_folds"].get(name, {"mean": None, "sd": None, "n": 0})
        mean = text(over["mean"]) + (f" (sd {over['sd']:.4f})" if over["sd"] is not None else "")
        if over["n"] < len(folds):
            mean += f" of {over['n']}"
        row = [name.replace("_", " "), with_interval(figure), mean]
        rows.append(row + [text(fold["figures"][name]["value"]) for fold in folds])
    return rows


def category_columns(level: str, part: dict[str, Any]) -> list[str]:
    return ["category", *map(tables.heading, tables.category_figures(part)), f"{level}s", "predicted"]


def category_rows(summary: dict[str, Any], part: dict[str, Any]) -> list[list[str]]:
    return [
        [name, *(with_interval(category[key]) for key in tables.category_figures(part)), str(support), str(predicted)]
        for name, category, support, predicted in zip(
            category_names(summary), part["categories"], part["support"], part["predicted"], strict=True
        )
    ]


def published_at(level: str, summary: dict[str, Any]) -> dict[str, Any] | None:
    """The published table's figures, at the level that it is of alone."""
    found = summary["published"]
    return dict(found) if found and found.get("level") == level else None


def published_title(found: dict[str, Any]) -> str:
    """What a published table is, and is not."""
    return (
        f"{found['title']}, worked out from its printed matrix of {found['n']} {found['level']}s "
        "(other data: to look at, not to subtract)"
    )


def sign_test(part: dict[str, Any]) -> str:
    test = part["sign_test"]
    p_value = test["note"] if test["p_value"] is None else f"exact sign test {chance(test['p_value'])}"
    return (
        f"Predicted too high: {part['over_estimated']}, too low: {part['under_estimated']}; of patients, "
        f"{test['over']} more often too high and {test['under']} more often too low: {p_value}."
    )


def chance(p_value: float) -> str:
    """A p-value in four digits; none is 0."""
    return f"p = {p_value:.4f}" if p_value >= 0.0001 else "p < 0.0001"


def collapsed_rows(results: dict[str, Any]) -> tuple[list[str], list[list[str]], list[str]]:
    """Coarser categories from the same matrix: of two, recall is specificity and sensitivity. Columns, rows, notes."""
    rows, notes = [], []
    for scheme in results["collapsed"]:
        name = " / ".join(scheme["names"])
        if scheme["note"]:
            notes.append(f"{name}: {scheme['note']}.")
        if scheme["pooled"]:
            recall = ", ".join(with_interval(category["recall"]) for category in scheme["pooled"]["categories"])
            figures = [with_interval(scheme["pooled"]["figures"][key]) for key in SHOWN_COLLAPSED]
            rows.append([name, *figures, recall])
    columns = ["collapsed to", *(key.replace("_", " ") for key in SHOWN_COLLAPSED), "recall of each"]
    return columns, rows, notes


def calibration_text(results: dict[str, Any]) -> str:
    """Whether the probabilities mean what they say."""
    found = results["calibration"]
    return (
        f"Calibration: Brier score {with_interval(found['brier'])}, where the true frequencies of the categories give "
        f"{with_interval(found['brier_of_frequencies'])}; expected calibration error "
        f"{with_interval(found['expected_calibration_error'])} over {found['bins']} bins of equal width."
    )


def other_rules(results: dict[str, Any]) -> list[str]:
    others = [f"{other['rule']}: {with_interval(other['accuracy'])}" for other in results.get("other_rules", ())]
    return [f"Accuracy by the rules that were not chosen (report.patient_rule): {', '.join(others)}."] if others else []


def methods(summary: dict[str, Any]) -> list[str]:
    settings = summary["statistics"]
    checked = {True: "passed", False: "NOT passed", None: "NOT checked"}
    return [
        f"Intervals of proportions are Wilson's, where a patient has several units with their effective number; all "
        f"others are percentiles of {settings['draws']} draws of patients (seed {settings['seed']}). {KAPPAS}. "
        "docs/report.md defines every figure; tables/figures.csv has each with unit, n and interval.",
        *([OF_PATIENTS] if summary.get("banner") else []),
        *(f"Check of {audit['name']} {checked[audit['passed']]}: {audit['note']}." for audit in summary["audits"]),
    ]


def limits(summary: dict[str, Any]) -> list[str]:
    """What a reader must know, the leak in place of its absence."""
    return [str(summary["banner"]) if summary.get("banner") and line is BY_PATIENT else line for line in LIMITS]


def with_interval(figure: dict[str, Any]) -> str:
    value = text(figure["value"])
    return value if figure["low"] is None else f"{value} [{figure['low']:.3f}, {figure['high']:.3f}]"


def text(value: float | int | None, digits: int = 4) -> str:
    if value is None:
        return "undefined"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"
