"""What a report says of groups of patients that the model never saw: sentences, tables, a figure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cac_hpc.report import plots, wording
from cac_hpc.report.rows import Section, TextTable
from cac_hpc.report.wording import number
from cac_hpc.run import escaping
from cac_hpc.statistics.results import Absent, Difference, Drops, GroupDrop, Report, UnseenGroups

HEADING = "Groups that the model never saw"
JUDGED = "accuracy"  # by which a group is found worse: the only figure that patients of one category have, too
FIGURES = {
    "accuracy": "accuracy",
    "kappa_quadratic": "quadratic kappa",
    "two_or_more_off": "share off by two categories or more",
    "over_estimated_share": "share predicted too high",
    "under_estimated_share": "share predicted too low",
}
FEWEST = 10  # patients of a group that is judged
SHARE = 0.05  # of intervals that exclude what they are of
SIDES = ("patient folds", "never seen")
METHOD = (
    "A difference is the figure of patients whose group the model never saw, less that of the same patients in patient "
    "folds, where it learned from others of their group; its 95 % interval is from the same draws of patients."
)
FEWER = (
    "A model that leaves a large group out learns from fewer patients than one by patient folds (columns of patients "
    "learned from): part of a difference may come from that."
)
Row = dict[str, str | int | float | None]


def verdict(report: Report) -> list[str]:
    """The group with the largest loss, if that is more than chance; what could be judged, otherwise."""
    found, drops = report.unseen, report.drops
    if found is None or not isinstance(drops, Drops):
        return []
    judged = [group for group in drops.groups if _is_judged(group)]
    if not judged:
        return [f"Of no {found.fact} it can be said what is lost where it was never seen."]
    chance = f"{len(judged)} of {sum(group.fold is not None for group in found.groups)} groups could be judged"
    worse = [group for group in judged if _high(group.differences[JUDGED]) < 0]
    if not worse:
        return [f"No {found.fact} was found worse where it was never seen than in patient folds: {chance}."]
    worst = min(worse, key=lambda group: group.differences[JUDGED].difference or 0.0)
    figure = worst.differences[JUDGED]
    others = f" (surely worse, too: {', '.join(_name(one) for one in worse if one is not worst)})" * (len(worse) > 1)
    return [
        f"**Worse on an unseen {found.fact}: {_name(worst)}**{others}. Where it was never seen its {worst.patients} "
        f"patients have accuracy {number(figure.other, 2)}, in patient folds {number(figure.reference, 2)}: "
        f"{wording.in_sentence(figure)}; {chance}, at 95 % one in twenty differs by chance."
    ]


def _is_judged(group: GroupDrop) -> bool:
    return group.name is not None and group.patients >= FEWEST and group.differences[JUDGED].high is not None


def _high(figure: Difference) -> float:
    return 0.0 if figure.high is None else figure.high


def _name(group: GroupDrop) -> str:
    return "all together" if group.name is None else group.name


def sections(report: Report) -> list[Section]:
    """The section; none of a run that leaves no group out."""
    found = report.unseen
    if found is None:
        return []
    tested = [group for group in found.groups if group.fold is not None]
    lines = [
        f"By {found.fact}, of {found.smallest} patients or more at the launch (split.smallest_group): each of "
        f"{len(tested)} groups was tested by a model that learned from the others and never saw it.",
        *verdict(report),
        *_not_tested(found),
    ]
    drops = report.drops
    if isinstance(drops, Absent):
        lines.append(f"Not compared with patient folds: {drops.note}.")
    elif drops is None:
        lines.append("What is lost by not seeing a group is told by a run that names one by patient folds "
                     "(split.contrast_to).")  # fmt: skip
    else:
        lines += [METHOD, FEWER, *_undefined(drops)]
    return [Section("unseen", HEADING, lines, list(_tables(report, found)))]


def _not_tested(found: UnseenGroups) -> list[str]:
    others = [f"{group.name} ({group.patients})" for group in found.groups if group.fold is None]
    return [f"Not tested, by patients: {', '.join(others)}."] if others else []


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
         *(wording.with_interval(group.figures[name]) if group.figures else "-" for name in FIGURES)]
        for group in found.groups if group.fold is not None
    ]  # fmt: skip
    yield TextTable("Groups that were never seen, patient level; in brackets 95 % intervals", columns, cells)


def _of_drops(report: Report, found: UnseenGroups, drops: Drops) -> Iterator[TextTable]:
    trained = {group.name: group.trained for group in found.groups}
    columns = [found.fact, "patients", "learned from, never seen", f"learned from, {drops.run}", *SIDES, "difference"]
    for name, text in FIGURES.items():
        cells = [
            [
                _name(group),
                str(group.patients),
                "" if group.name is None else str(trained[group.name]),
                f"{drops.trained:.0f}",
                wording.with_interval(group.seen[name]),
                wording.with_interval(group.unseen[name]),
                wording.brief(group.differences[name]),
            ]
            for group in drops.groups
        ]
        yield TextTable(f"{text[0].upper()}{text[1:]} of each group", columns, cells)


def csv(report: Report) -> dict[str, pd.DataFrame]:
    """Every number, by the name of its file."""
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
    found = report.unseen
    if found is None:
        return []
    names = list(FIGURES)[:2]
    if isinstance(report.drops, Drops):
        cells = [
            [_name(group), str(group.patients),
             *(text for name in names
               for text in (*(number(side[name].value, 2) for side in (group.seen, group.unseen)),
                            wording.brief(group.differences[name])))]
            for group in report.drops.groups
        ]  # fmt: skip
        columns = [f"{FIGURES[name]}, {side}" for name in names for side in (*SIDES, "difference")]
    else:
        cells = [
            [group.name, str(group.patients), *(wording.with_interval(group.figures[name]) for name in names)]
            for group in found.groups if group.figures
        ]  # fmt: skip
        columns = [FIGURES[name] for name in names]
    caption = f"Patients by {found.fact}, each tested by a model that never saw it; in brackets 95\\,\\% intervals."
    return [("groups", pd.DataFrame(cells, columns=[found.fact, "patients", *columns]), caption)]


def draw(stem: Path, report: Report, where: str, dpi: int) -> None:
    """The accuracy of each group's patients, in patient folds and where the group was never seen."""
    if report.unseen is None or not isinstance(report.drops, Drops):
        return
    pairs = {
        f"{_name(group)} ({group.patients})": (group.seen[JUDGED], group.unseen[JUDGED])
        for group in report.drops.groups
    }
    plots.draw_pairs(stem, pairs, SIDES, f"Accuracy of patients by {report.unseen.fact}, {where}", dpi)


def escaped(report: Report) -> Report:
    """The same; what others have written in it means nothing in Markdown."""
    found, drops = report.unseen, report.drops
    if found:
        groups = [replace(group, name=escaping.markdown(group.name)) for group in found.groups]
        found = replace(found, fact=escaping.markdown(found.fact), groups=groups)
    if isinstance(drops, Drops):
        of_groups = [replace(one, name=one.name and escaping.markdown(one.name)) for one in drops.groups]
        drops = replace(drops, run=escaping.markdown(drops.run), groups=of_groups)
    elif drops:
        drops = Absent(escaping.markdown(drops.note))
    return replace(report, unseen=found, drops=drops)
