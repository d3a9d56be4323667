"""What a report says of groups of patients that the model never saw: sentences, tables, a figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cac_hpc.results.figures import Absent, Difference
from cac_hpc.results.groups import Drops, GroupDrop, UnseenGroups
from cac_hpc.results.report import Report
from cac_hpc.run import escaping
from cac_hpc.sections.formatting import brief, figure_name, in_sentence, number, with_interval
from cac_hpc.sections.section import Row, Section, TextTable

if TYPE_CHECKING:
    import pandas as pd

HEADING = "Groups that the model never saw"
JUDGED = ("kappa_quadratic", "accuracy")  # by the first that is defined; patients of one category have no kappa
FIGURES = {
    "kappa_quadratic": "quadratic kappa",
    "accuracy": "accuracy",
    "two_or_more_off": "share off by two categories or more",
    "over_estimated_share": "share predicted too high",
    "under_estimated_share": "share predicted too low",
}
UNKNOWN = "unknown"  # of patients whose group neither header nor sheet says
FEWEST = 10  # patients of a group that is judged
SIDES = ("patient folds", "never seen")
DRAWN = "kappa_quadratic"
SHOWN = ("kappa_quadratic", "accuracy")  # with a table each
METHOD = (
    "A difference is the figure of patients whose group the model never saw, less that of the same patients in patient "
    "folds, where it learned from others of their group; its 95 % interval is from the same draws of patients."
)


def verdict(report: Report) -> list[str]:
    """The group with the largest loss, if that is more than chance; what could be judged, otherwise."""
    found, drops = report.unseen, report.drops
    if found is None or not isinstance(drops, Drops):
        return []
    judged = [(group, *by) for group in drops.groups if (by := _judged(group))]
    if not judged:
        return [f"Of no {found.fact} it can be said what is lost where it was never seen."]
    chance = f"{len(judged)} of {sum(group.fold is not None for group in found.groups)} were judged"
    worse = [(group, name, figure) for group, name, figure in judged if figure.high is not None and figure.high < 0]
    if not worse:
        return [f"No {found.fact} was found worse where it was never seen than in patient folds: {chance}."]
    worst, name, figure = min(worse, key=lambda one: one[2].difference or 0.0)
    others = ", ".join(_name(group) for group, _, _ in worse if group is not worst)
    return [
        f"**Worse on an unseen {found.fact}: {_name(worst)}.** Where it was never seen its {worst.patients} patients "
        f"have {figure_name(name)} {number(figure.other, 2)}, in patient folds {number(figure.reference, 2)}: "
        f"{in_sentence(figure)}; {chance}, each at 95 %.{f' Worse, too: {others}.' * bool(others)}"
    ]


def _judged(group: GroupDrop) -> tuple[str, Difference] | None:
    """By which figure a group is judged, and the loss; None of few patients, and of all groups together."""
    if group.name is None or group.patients < FEWEST:
        return None
    return next(((name, one) for name in JUDGED if (one := group.differences[name]).difference is not None), None)


def _name(group: GroupDrop) -> str:
    return "all together" if group.name is None else group.name


def sections(report: Report) -> list[Section]:
    """The section; none of a run that leaves no group out."""
    found = report.unseen
    if found is None:
        return []
    tested = [group for group in found.groups if group.fold is not None]
    missing = [group.name for group in tested if not group.figures]
    lines = [
        f"By {found.fact}, of {found.smallest} patients or more at the launch (split.smallest_group): each of "
        f"{len(tested) - len(missing)} groups was tested by a model that learned from the others and never saw it."
        + f" The fold of {', '.join(missing)} is missing."
        * bool(missing),
        *verdict(report),
        *_not_tested(found),
    ]
    drops = report.drops
    if isinstance(drops, Absent):
        lines.append(f"Not compared with patient folds: {drops.note}.")
    elif drops is None and missing:
        lines.append("Not compared with patient folds: folds are missing.")
    elif drops is None:
        lines.append("What is lost by not seeing a group is told by a run that names one by patient folds "
                     "(split.contrast_to).")  # fmt: skip
    else:
        lines += [METHOD, _learned(found, drops), *_undefined(drops)]
    return [Section("unseen", HEADING, lines, list(_tables(report, found)))]


def _not_tested(found: UnseenGroups) -> list[str]:
    """Patients that no fold tests; those of an unknown group may be of any."""
    others = {group.name: group.patients for group in found.groups if group.fold is None}
    if not others:
        return []
    unknown = " Patients of an unknown group train every fold, and some may be of the group that it tests."
    some = ", ".join(f"{name} {count}" for name, count in others.items())
    return [f"Not tested: patients of {some}.{unknown * (UNKNOWN in others)}"]


def _learned(found: UnseenGroups, drops: Drops) -> str:
    """That leaving a group out takes patients away, too."""
    trained = [group.trained for group in found.groups if group.trained is not None]
    between = f"{min(trained)} to {max(trained)}" if min(trained) < max(trained) else f"{min(trained)}"
    return (
        f"The models that never saw a group learned from {between} patients, those of the run {drops.run} from "
        f"{drops.trained:.0f} on average: part of a difference comes from that."
    )


def _undefined(drops: Drops) -> Iterator[str]:
    """Why a figure of a group cannot be told."""
    for group in drops.groups:
        notes = {
            FIGURES[name]: figure.note
            for name, figure in group.differences.items()
            if figure.difference is None and figure.note
        }
        if notes:
            yield f"{_name(group)}: " + "; ".join(f"{name}: {note}" for name, note in notes.items()) + "."
    if few := [group for group in drops.groups if group.name is not None and group.patients < FEWEST]:
        yield f"Fewer than {FEWEST} patients, so counted and not judged: {', '.join(map(_name, few))}."


def _tables(report: Report, found: UnseenGroups) -> Iterator[TextTable]:
    if isinstance(report.drops, Drops):
        yield from _of_drops(report, found, report.drops)
        return
    columns = [found.fact, "patients", "fold", "learned from", *FIGURES.values()]
    cells = [
        [group.name, str(group.patients), str(group.fold), str(group.trained),
         *(with_interval(group.figures[name]) if group.figures else "-" for name in FIGURES)]
        for group in found.groups if group.fold is not None
    ]  # fmt: skip
    yield TextTable("Groups that were never seen, patient level; in brackets 95 % intervals", columns, cells)


def _of_drops(report: Report, found: UnseenGroups, drops: Drops) -> Iterator[TextTable]:
    for name in SHOWN:
        cells = [
            [
                _name(group),
                str(group.patients),
                with_interval(group.seen[name]),
                with_interval(group.unseen[name]),
                brief(group.differences[name]),
            ]
            for group in drops.groups
        ]
        text = FIGURES[name]
        columns = [found.fact, "patients", *SIDES, "difference"]
        yield TextTable(f"{text[0].upper()}{text[1:]} of each group", columns, cells)
    others = [name for name in FIGURES if name not in SHOWN]
    cells = [[_name(group), *(brief(group.differences[name]) for name in others)] for group in drops.groups]
    yield TextTable("Differences of other figures", [found.fact, *(FIGURES[name] for name in others)], cells)


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """Every number, by the name of its file."""
    import pandas as pd

    found = report.unseen
    if found is None:
        return {}
    rows = list(_rows(report, found))
    whole = {"patients": "Int64", "fold": "Int64", "trained": "Int64"}
    return {"groups.csv": pd.DataFrame(rows).astype(whole)}


def _rows(report: Report, found: UnseenGroups) -> Iterator[Row]:
    drops = {group.name: group for group in report.drops.groups} if isinstance(report.drops, Drops) else {}
    known = {group.name: group for group in found.groups}
    for name in (*known, *([None] if None in drops else [])):
        group, drop = (known.get(name) if name is not None else None), drops.get(name)
        row: Row = {"group": name, "patients": group.patients if group else drop.patients if drop else None}
        row |= {"fold": group.fold if group else None, "trained": group.trained if group else None}
        figures = drop.unseen if drop else group.figures if group else {}
        if not figures:
            yield row
        for key, figure in figures.items():
            cells: Row = {"figure": key, "unseen": figure.value, "unseen_low": figure.low, "unseen_high": figure.high}
            if drop:
                seen, less = drop.seen[key], drop.differences[key]
                cells |= {"seen": seen.value, "seen_low": seen.low, "seen_high": seen.high}
                cells |= {"difference": less.difference, "low": less.low, "high": less.high}
                cells |= {"interval": less.interval, "note": less.note}
            yield row | cells


def latex(report: Report) -> list[tuple[str, pd.DataFrame, str]]:
    """The table of a paper: label, cells and caption."""
    import pandas as pd

    found = report.unseen
    if found is None:
        return []
    names = list(FIGURES)[:2]
    if isinstance(report.drops, Drops):
        cells = [
            [_name(group), str(group.patients),
             *(text for name in names
               for text in (*(number(side[name].value, 2) for side in (group.seen, group.unseen)),
                            brief(group.differences[name])))]
            for group in report.drops.groups
        ]  # fmt: skip
        columns = [f"{FIGURES[name]}, {side}" for name in names for side in (*SIDES, "difference")]
    else:
        cells = [
            [group.name, str(group.patients), *(with_interval(group.figures[name]) for name in names)]
            for group in found.groups if group.figures
        ]  # fmt: skip
        columns = [FIGURES[name] for name in names]
    caption = f"Patients by {found.fact}, each tested by a model that never saw it; in brackets 95\\,\\% intervals."
    return [("groups", pd.DataFrame(cells, columns=[found.fact, "patients", *columns]), caption)]


def draw(stem: Path, report: Report, where: str, dpi: int) -> None:
    """Quadratic kappa of each group's patients, in patient folds and where the group was never seen."""
    from cac_hpc.plots import charts

    if report.unseen is None or not isinstance(report.drops, Drops):
        return
    pairs = {
        f"{_name(group)} ({group.patients})": (group.seen[DRAWN], group.unseen[DRAWN]) for group in report.drops.groups
    }
    charts.draw_pairs(stem, pairs, SIDES, f"Quadratic kappa of patients by {report.unseen.fact}, {where}", dpi)


def escaped(report: Report) -> Report:
    """The same; what others have written in it means nothing in Markdown."""
    found, drops, split = report.unseen, report.drops, report.split
    if split and split.group:
        split = replace(split, group=escaping.markdown(split.group))
    if found:
        groups = [replace(group, name=escaping.markdown(group.name)) for group in found.groups]
        found = replace(found, fact=escaping.markdown(found.fact), groups=groups)
    if isinstance(drops, Drops):
        of_groups = [replace(one, name=one.name and escaping.markdown(one.name)) for one in drops.groups]
        drops = replace(drops, run=escaping.markdown(drops.run), groups=of_groups)
    elif drops:
        drops = Absent(escaping.markdown(drops.note))
    return replace(report, unseen=found, drops=drops, split=split)
