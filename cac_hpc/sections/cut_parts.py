"""What a report says of the cuts of the score that treatment depends on: sentences, tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cac_hpc.results.cuts import AtCut, BrierParts, Cuts, DecisionCurves, NetBenefit
from cac_hpc.results.figures import Absent
from cac_hpc.results.report import Report
from cac_hpc.run import escaping
from cac_hpc.sections import formatting, wording
from cac_hpc.sections.section import Row, Section, TextTable

if TYPE_CHECKING:
    import pandas as pd

HEADING = "At the cuts that treatment depends on"
NAMES = {
    "auroc": "AUROC",
    "auroc_delong": "AUROC (DeLong)",
    "average_precision": "average precision",
    "sensitivity": "sensitivity, own cut",
    "specificity": "specificity, own cut",
    "ppv": "positive predictive value",
    "npv": "negative predictive value",
    "brier": "Brier score",
    "brier_of_prevalence": "Brier score of always the prevalence",
    "calibration_intercept": "calibration intercept (0 is best)",
    "calibration_slope": "calibration slope (1 is best)",
}
COUNTS = {"positives": "above the cut", "negatives": "below it"}
ORDINAL = {
    "c_index": "C-index of the categories",
    "ranked_probability_score": "ranked probability score",
    "ranked_probability_score_of_frequencies": "that of always the frequencies",
}
PRINTED = ("auroc", "average_precision", "sensitivity", "specificity", "brier", "calibration_slope")
OWN_CUT = ("sensitivity", "specificity")
SHOWN_AT = (0.1, 0.2, 0.5)  # thresholds of the table on the page
THRESHOLDS = (
    "Net benefit at threshold t is (true positives - false positives times t / (1 - t)) / patients, for t of 0.05 to "
    "0.95: whoever treats from a probability of t on weighs one false positive as t / (1 - t) true ones. Which "
    "thresholds make sense is for clinicians to say. A reader without probabilities decides by its own cut at every "
    "threshold."
)
READ = (
    "A cut belongs to what is above it: a score of exactly 100 counts as >= 100, reported or predicted; probabilities "
    "of categories cannot tell exactly 100 from just below. AUROC and calibration take the "
    "probabilities of all folds together. Calibration curves are logistic regressions on a spline of the log odds."
)


def sections(report: Report) -> list[Section]:
    """The section of cuts; none where none were asked for, or nobody was tested."""
    found = report.cuts
    if found is None or not found.n:
        return []
    units = wording.units("patient", report.levels["patient"])
    lines = [f"**Score {at.event}:** {_sentence(at, units)}{_notes(at)}" for at in found.at]
    return [Section("cuts", HEADING, [*lines, READ, THRESHOLDS], list(_tables(found, units)))]


def _sentence(at: AtCut, units: str) -> str:
    """What stands at a cut."""
    if not at.n:
        return f"not worked out: {at.note}."
    counts = f"{at.positives} of {at.n} {units}"
    if isinstance(at.decisions, Absent) and at.figures["sensitivity"].value is None:
        return f"{counts}; {at.decisions.note}."
    right = [formatting.in_sentence(at.figures[name]) for name in OWN_CUT]
    area, slope = at.figures["auroc"], at.figures["calibration_slope"]
    decided = f"at the model's own cut sensitivity {right[0]}, specificity {right[1]}"
    parts = [f"AUROC {formatting.in_sentence(area)}"] * (area.value is not None) + [decided]
    parts += [f"calibration slope {formatting.in_sentence(slope)}"] * (slope.value is not None)
    return f"{counts}; {'; '.join(parts)}. {_worth(at.decisions)}"


def _worth(found: DecisionCurves | Absent) -> str:
    """Where the model is worth more than other ways to decide, by the interval of each threshold."""
    others = [way for way in found.ways if way.more] if isinstance(found, DecisionCurves) else []
    if isinstance(found, Absent) or not others:
        return ""
    parts = [f"{way.name} {_where(found, way)}" for way in others]
    each = "By 95 % intervals, of each threshold by itself,"
    return f"{each} its net benefit is above that of {'; of '.join(parts)}."


def _where(found: DecisionCurves, way: NetBenefit) -> str:
    """The thresholds at which the interval of the difference lies above 0."""
    sure = [at for at, low in enumerate(way.more_low or []) if low is not None and low > 0]
    lost = [at for at, high in enumerate(way.more_high or []) if high is not None and high < 0]
    text = f"at thresholds {ranges(found.thresholds, sure)}" if sure else "at no threshold"
    return text + (f" (and below it at {ranges(found.thresholds, lost)})" if lost else "")


def ranges(thresholds: Sequence[float], places: Sequence[int]) -> str:
    """Neighbouring thresholds as one range each."""
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    ends = [(thresholds[run[0]], thresholds[run[-1]]) for run in runs]
    return ", ".join(f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in ends)


def _notes(at: AtCut) -> str:
    exactly = f"{at.exactly} have exactly {at.cut:g}" if at.exactly and at.cut else None
    unfitted = f"calibration: {at.calibration.note}" if at.points and isinstance(at.calibration, Absent) else None
    notes = [exactly, at.note if at.n else None, at.chance_note or unfitted]
    return "".join(f" {note[0].upper()}{note[1:]}." for note in notes if note)


def _tables(found: Cuts, units: str) -> Iterator[TextTable]:
    judged = [at for at in found.at if at.n]
    columns = ["figure", *(f"score {at.event}" for at in judged)]
    counts = [[f"{units} {text}", *(str(getattr(at, name)) for at in judged)] for name, text in COUNTS.items()]
    cells = [[text, *(formatting.with_interval(at.figures[name]) for at in judged)] for name, text in NAMES.items()]
    parts = [
        [f"Brier score: {name}", *(_part(at.brier_parts, name) for at in judged)]
        for name in ("miscalibration", "discrimination", "uncertainty")
    ]
    if judged:
        place = 2 + list(NAMES).index("brier_of_prevalence") + 1
        rows = [*counts, *cells]
        unit = f"The model at each cut, unit: {found.unit}; in brackets 95 % intervals"
        yield TextTable(unit, columns, [*rows[:place], *parts, *rows[place:]])
    if ways := list(_way_rows(judged)):
        columns = ["score, way to decide", "sensitivity", "specificity", *(f"net benefit at {t:g}" for t in SHOWN_AT)]
        yield TextTable(f"Decisions at each cut, on the same {units}; net benefit by threshold", columns, ways)
    ordinal = [[text, formatting.with_interval(found.ordinal[name])] for name, text in ORDINAL.items() if found.ordinal]
    if ordinal:
        yield TextTable("Figures of the order of the categories", ["figure", "value [95 %]"], ordinal)


def _part(found: BrierParts | Absent, name: str) -> str:
    return "-" if isinstance(found, Absent) else formatting.number(getattr(found, name))


def _way_rows(judged: Sequence[AtCut]) -> Iterator[list[str]]:
    for at in judged:
        if isinstance(at.decisions, Absent):
            continue
        places = [at.decisions.thresholds.index(threshold) for threshold in SHOWN_AT]
        for way in at.decisions.ways:
            own = [formatting.in_sentence(way.decisions[name]) if way.decisions else "" for name in OWN_CUT]
            worth = [formatting.said(way.values[place], way.low[place], way.high[place]) for place in places]
            yield [f"{at.event}, {way.name}", *own, *worth]


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """Every number at the cuts, by the name of its file."""
    import pandas as pd

    found = report.cuts
    if found is None or not found.n:
        return {}
    names = wording.category_names(report)
    spreads = _by_cut(found, lambda at: ({**vars(one), "category": names[one.category]} for one in at.spreads))
    tables = {
        "cuts.csv": pd.DataFrame(_figure_rows(found)),
        "cut_points.csv": _by_cut(found, lambda at: (vars(one) for one in at.points)),
        "cut_calibration.csv": _by_cut(found, _observed),
        "cut_probabilities.csv": spreads,
        "decision_curves.csv": _by_cut(found, _curve_rows),
    }
    return {name: table for name, table in tables.items() if len(table)}


def _figure_rows(found: Cuts) -> Iterator[Row]:
    """Every figure, the order of the categories last, which has no cut."""
    for at in found.at:
        known: Row = {"cut": at.cut, "event": at.event, "positives": at.positives, "negatives": at.negatives}
        for name, figure in at.figures.items():
            yield {**known, "reader": "model", "figure": name, **vars(figure)}
        if isinstance(at.brier_parts, BrierParts):
            for name, value in vars(at.brier_parts).items():
                yield {**known, "reader": "model", "figure": f"brier_{name}", "value": value, "n": at.n}
        for way in at.decisions.ways if isinstance(at.decisions, DecisionCurves) else ():
            for name, figure in way.decisions.items() if way.more is not None else ():
                yield {**known, "reader": way.key, "figure": name, **vars(figure)}
    for name, figure in found.ordinal.items():
        yield {"cut": None, "event": None, "reader": "model", "figure": name, **vars(figure)}


def _by_cut(found: Cuts, rows: Callable[[AtCut], Iterable[Row]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([{"event": at.event, **row} for at in found.at for row in rows(at)])


def _observed(at: AtCut) -> Iterator[Row]:
    yield from (vars(one) for one in at.calibration) if not isinstance(at.calibration, Absent) else ()


def _curve_rows(at: AtCut) -> Iterator[Row]:
    """A row for each way to decide and threshold."""
    if isinstance(at.decisions, Absent):
        return
    for way in at.decisions.ways:
        known: Row = {"way": way.key, "by": way.by}
        for place, threshold in enumerate(at.decisions.thresholds):
            yield {
                **known,
                "threshold": threshold,
                "net_benefit": way.values[place],
                "low": way.low[place],
                "high": way.high[place],
                "model_more": way.more[place] if way.more else None,
                "more_low": way.more_low[place] if way.more_low else None,
                "more_high": way.more_high[place] if way.more_high else None,
            }


def latex(report: Report) -> list[tuple[str, pd.DataFrame, str]]:
    """The table of a paper: label, cells and caption."""
    import pandas as pd

    found = report.cuts
    if found is None or not found.n:
        return []
    at = [one for one in found.at if one.n]
    units = wording.units("patient", report.levels["patient"])
    cells = [[f"{units} above the cut", *(f"{one.positives} of {one.n}" for one in at)]]
    cells += [
        [NAMES[name].partition(" (")[0], *(formatting.with_interval(one.figures[name]) for one in at)]
        for name in PRINTED
    ]
    caption = "The model at cuts of the score, patient level; in brackets 95\\,\\% intervals."
    return [("cuts", pd.DataFrame(cells, columns=["", *(f"score {one.event}" for one in at)]), caption)]


def escaped(found: Cuts | None) -> Cuts | None:
    """The same; what others have written in it means nothing in Markdown."""
    if found is None:
        return None

    def of(at: AtCut) -> AtCut:
        if isinstance(at.decisions, Absent):
            return at
        ways = [replace(way, name=escaping.markdown(way.name)) for way in at.decisions.ways]
        absent = list(map(escaping.markdown, at.decisions.absent))
        return replace(at, decisions=replace(at.decisions, ways=ways, absent=absent))

    return replace(found, at=list(map(of, found.at)))
