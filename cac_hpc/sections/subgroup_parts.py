"""What a report says of groups of patients: for whom the model is worse, a table by fact, a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cac_hpc.results.figures import Difference, Figure
from cac_hpc.results.groups import Subgroup, SubgroupFact, Subgroups
from cac_hpc.results.report import Report
from cac_hpc.run import escaping
from cac_hpc.run.logs import amount
from cac_hpc.sections import formatting
from cac_hpc.sections.formatting import number
from cac_hpc.sections.section import Row, Section, TextTable

if TYPE_CHECKING:
    import pandas as pd

HEADING = "Groups of patients"
NAMES = {  # of facts
    "sex": "sex", "age_group": "age in years", "site": "site", "scanner": "scanner", "kernel": "kernel",
    "kvp": "tube voltage", "thickness": "slice thickness", "noise": "noise (SD in the heart)",
    "body_size": "effective diameter of the chest",
}  # fmt: skip
FIGURES = {"accuracy": "accuracy", "kappa_quadratic": "quadratic kappa", "category_error": "mean category error"}
OF_CUTS = ("sensitivity", "specificity")  # and behind them _ and the cut
ERROR = "category_error"
DRAWN = tuple(FIGURES)
MOST_NAMED = 3  # groups that are worse
READ = (
    "Of each group all patients tested, and of each difference the group less all other groups of that fact; 95 % "
    "intervals, which do not allow for their number. Groups of fewer than {fewest} patients, and cuts that fewer than "
    "{fewest} of a group are above or below, are counted, not judged. The mean category error is predicted less true "
    "category: below 0 scores are put too low. Groups of one fact also differ in others: a difference is no cause."
)
WITHHELD = (
    "Withheld: facts about people whom too few others are like (data.smallest_group), so that nobody is recognised."
)


def verdict(report: Report) -> list[str]:
    """For whom the model is worse, in a sentence; nothing where no groups are asked for."""
    found = report.subgroups
    if found is None:
        return []
    chance = f" Of {found.comparisons} comparisons {found.by_chance:.1f} would seem to differ by chance alone."
    return [_verdict(found, chance)]


def _verdict(found: Subgroups, chance: str = "") -> str:
    judged = [group for fact in found.facts for group in fact.groups if group.differences]
    few = sum(not group.differences for fact in found.facts for group in fact.groups)
    left = f" {_groups(few)} could not be judged, for too few patients." if few else ""
    if not judged:
        return f"Whether the model is worse for some groups of patients cannot be said: none has enough patients.{left}"
    worse = sorted(_worse(found))
    if not worse:
        return f"No group of patients was found worse than the others ({_groups(len(judged))} judged).{left}"
    named = "; ".join(text for _, text in worse[:MOST_NAMED])
    more = f"; and {len(worse) - MOST_NAMED} more, below" if len(worse) > MOST_NAMED else ""
    return f"Worse than for the others: {named}{more}.{chance}{left}"


def _groups(count: int) -> str:
    return amount(count, "group")


def _worse(found: Subgroups) -> Iterator[tuple[float, str]]:
    """Of each group whose interval of a difference lies below 0, an error apart: its upper limit, and it in words."""
    for fact in found.facts:
        for group in fact.groups:
            lower = [
                (one.high, name, one)
                for name, one in group.differences.items()
                if name != ERROR and one.high is not None and one.high < 0
            ]
            if lower:
                high, name, one = min(lower, key=lambda found: found[:2])
                values = f"{figure_name(name)}: {number(one.other, 2)} against {number(one.reference, 2)}"
                yield high, f"**{_name(fact.fact)} {group.group}** ({values}, n = {group.patients})"


def figure_name(key: str) -> str:
    """The name of a figure, with the cut that it is of."""
    kind, _, cut = key.rpartition("_")
    return f"{kind} {'>' if cut == '0' else '>='} {cut}" if kind in OF_CUTS else FIGURES[key]


def _name(fact: str) -> str:
    return NAMES.get(fact, fact)


def sections(report: Report) -> list[Section]:
    """The section; none where no groups are asked for."""
    found = report.subgroups
    if found is None:
        return []
    lines = [_verdict(found), *_comparisons(found), READ.format(fewest=found.fewest), *map(_alone, found.facts)]
    lines += [WITHHELD] * any(fact.withheld for fact in found.facts)
    tables = [_table(fact) for fact in found.facts if len(fact.groups) > 1]
    return [Section("subgroups", HEADING, [line for line in lines if line], [*tables, *_differences(found)])]


def _comparisons(found: Subgroups) -> list[str]:
    if not found.comparisons:
        return []
    chance = f"{found.by_chance:.1f} would by chance alone, if no group differed"
    return [f"Of {found.comparisons} differences with an interval {found.excluding_0} exclude 0; {chance}."]


def _alone(fact: SubgroupFact) -> str:
    """Of a fact that divides nobody."""
    if len(fact.groups) > 1:
        return ""
    only = [f"all {group.patients} patients of whom it is known are {group.group}" for group in fact.groups]
    return f"By {_name(fact.fact)} there are no groups: {_left(fact, only)}."


def _left(fact: SubgroupFact, before: Sequence[str] = ()) -> str:
    """How many patients are of no group, and why."""
    left = {"studies differ": fact.several, "withheld": fact.withheld, "unknown": fact.unknown}
    return ", ".join([*before, *(f"{name} {count}" for name, count in left.items() if count)])


def _table(fact: SubgroupFact) -> TextTable:
    """Figures of the groups of a fact."""
    keys = [name for name in _keys(fact) if any(_known(group, name) for group in fact.groups)]
    counted = _left(fact)
    about = f"By {_name(fact.fact)}" + (f"; patients of no group: {counted}" if counted else "")
    cells = [
        [group.group, str(group.patients), *(_cell(group.figures.get(name)) for name in keys)] for group in fact.groups
    ]
    return TextTable(about, ["group", "patients", *map(figure_name, keys)], cells)


def _differences(found: Subgroups) -> Iterator[TextTable]:
    """Of all groups that are judged, their difference from the others."""
    compared = [(fact, group) for fact in found.facts for group in fact.groups if group.differences]
    every = [(name, one) for _, group in compared for name, one in group.differences.items()]
    names = dict.fromkeys(name for name, one in every if one.low is not None)
    cells = [
        [f"{_name(fact.fact)}: {group.group}", *(_difference(group.differences[name]) for name in names)]
        for fact, group in compared
    ]
    if cells:
        yield TextTable("Each group less all others of its fact", ["group", *map(figure_name, names)], cells)


def _keys(fact: SubgroupFact) -> list[str]:
    return list(dict.fromkeys(name for group in fact.groups for name in group.figures))


def _known(group: Subgroup, name: str) -> bool:
    figure = group.figures.get(name)
    return figure is not None and figure.value is not None


def _cell(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    return formatting.with_interval(figure, 2)


def _difference(one: Difference) -> str:
    if one.difference is None:
        return "-"
    return formatting.signed(one.difference, one.low, one.high, 2)


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """Every figure and difference of every group."""
    import pandas as pd

    found = report.subgroups
    if not found or not found.facts:
        return {}
    table = pd.DataFrame(list(_rows(found)))
    return {"subgroups.csv": table.astype({name: "Int64" for name in ("patients", "n") if name in table})}


def _rows(found: Subgroups) -> Iterator[Row]:
    """A row for each figure of each group, one for each group that is counted alone."""
    for fact in found.facts:
        for group in fact.groups:
            known: Row = {"fact": fact.fact, "group": group.group, "patients": group.patients}
            if not group.figures:
                yield {**known, "figure": None}
            for name, figure in group.figures.items():
                yield {**known, "figure": name, **vars(figure), **_less(group.differences.get(name))}
        for name in ("several", "withheld", "unknown"):
            if count := getattr(fact, name):
                yield {"fact": fact.fact, "group": name, "patients": count, "figure": None}


def _less(one: Difference | None) -> Row:
    """What the others have, and the difference."""
    if one is None:
        return {}
    return {
        "others": one.reference,
        "difference": one.difference,
        "difference_low": one.low,
        "difference_high": one.high,
        "difference_interval": one.interval,
        "difference_note": one.note,
    }


def latex(report: Report) -> list[tuple[str, pd.DataFrame, str]]:
    """The table of a paper: label, cells and caption."""
    import pandas as pd

    found = report.subgroups
    judged = [(fact, group) for fact in (found.facts if found else ()) for group in fact.groups if group.judged]
    if not judged:
        return []
    cells = [
        [f"{_name(fact.fact)}: {group.group}", str(group.patients), *(_cell(group.figures[name]) for name in DRAWN)]
        for fact, group in judged
    ]
    caption = "Groups of patients; in brackets 95\\,\\% intervals."
    return [("subgroups", pd.DataFrame(cells, columns=["", "patients", *(FIGURES[name] for name in DRAWN)]), caption)]


def escaped(found: Subgroups | None) -> Subgroups | None:
    """The same; what a sheet or a header says means nothing in Markdown."""
    if found is None:
        return None

    def of(fact: SubgroupFact) -> SubgroupFact:
        name = fact.fact if fact.fact in NAMES else escaping.markdown(fact.fact)
        groups = [replace(group, group=escaping.markdown(group.group)) for group in fact.groups]
        return replace(fact, fact=name, groups=groups)

    return replace(found, facts=list(map(of, found.facts)))


def draw(stem: Path, report: Report, where: str, dpi: int) -> None:
    """Differences of each judged group from all others, a panel for each figure; nothing where none is judged."""
    from cac_hpc.plots import charts

    rows: list[tuple[str, list[Difference]]] = []
    for fact in report.subgroups.facts if report.subgroups else ():
        judged = [group for group in fact.groups if group.differences]
        rows += [(_name(fact.fact), [])] if judged else []
        rows += [
            (f"{group.group} (n = {group.patients})", [group.differences[name] for name in DRAWN]) for group in judged
        ]
    if rows:
        title = f"Groups of patients less all others, 95 % intervals, {where}"
        charts.draw_forest(stem, rows, [FIGURES[name] for name in DRAWN], title, dpi)
