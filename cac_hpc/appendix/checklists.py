"""Reporting checklists of a report: each item answered by what shows it, by the authors, or not at all.

An answer is yes only with places in the report's files (`rules`), all of which say something.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from cac_hpc.appendix import evidence, rules
from cac_hpc.appendix.checklist_items import LISTS, Item, ReportingList
from cac_hpc.appendix.evidence import Lacking, NotApplicable, Shown
from cac_hpc.evaluation import questions, report_json
from cac_hpc.results.report import Report
from cac_hpc.results.serialization import from_json
from cac_hpc.run import disk, escaping, logs
from cac_hpc.run.logs import amount
from cac_hpc.sections import wording
from cac_hpc.settings.errors import InputError

HEADING = "Reporting checklists"
CSV, MARKDOWN, PAGE = "checklist.csv", "checklist.md", "checklist.html"
Answer = Literal["yes", "in part", "not shown by this run", "for people", "said by the authors", "not applicable"]
YES, PART, NOT_SHOWN, PEOPLE, SAID, NOT_APPLICABLE = Answer.__args__  # type: ignore[attr-defined]
EVIDENT = (YES, PART)
HOW = (
    "Yes: the files of the report show it, at the places named. In part: they show some of it. Not shown by this run: "
    "nothing in them does, whatever may be known elsewhere. For people: no run can know it. Said by the authors: what "
    "they have answered, which nothing here confirms. Items are in our words and shorter; the list itself decides what "
    "an item asks."
)
TEMPLATE = (
    "python jobs/report.py RUN --questions prints them as a file to fill in, which report.checklist (--checklist of "
    "jobs/evaluate.py) names."
)
NAMES = ", ".join(one.name for one in LISTS)
LONGEST, SHORT = 60, 8  # characters of a text, and values of a list, that are shown
SEPARATOR = "; "
COLUMNS = ("list", "item", "asks", "answer", "shown_at", "value", "note", "question", "said_by_the_authors")


@dataclass(frozen=True)
class Place:
    """Where something is, and what, in a few signs."""

    at: str
    value: str


@dataclass(frozen=True)
class Entry:
    """An item and its answer; note: what is missing, or why. question: its key if people may say more, said: theirs."""

    item: Item
    answer: Answer
    places: Sequence[Place]
    note: str
    said: str

    @property
    def question(self) -> str | None:
        return self.item.question if self.answer not in (YES, NOT_APPLICABLE) else None


@dataclass(frozen=True)
class Filled:
    """A list with the answers to its items."""

    of: ReportingList
    entries: Sequence[Entry]

    def number(self, *answers: str) -> int:
        return sum(entry.answer in answers for entry in self.entries)


def fill(report: Report, documents: Mapping[str, object], tables: Collection[str]) -> list[Filled]:
    """All lists, filled.

    Args:
        documents: what JSON files of the report hold, plain or typed, by their names. tables: names of its tables
            that have rows.
    """
    return [Filled(one, [_entry(item, report, documents, tables) for item in one.items]) for one in LISTS]


def _entry(item: Item, report: Report, documents: Mapping[str, object], tables: Collection[str]) -> Entry:
    said = (report.answers or {}).get(item.question or "", "")
    if item.of == "development" and report.external:
        return Entry(item, NOT_APPLICABLE, [], "of development; this report is of an external test", "")
    if item.rule is None:
        return Entry(item, SAID if said else PEOPLE, [], "", said)
    found = rules.find(item.rule, report)
    if isinstance(found, NotApplicable):
        return Entry(item, NOT_APPLICABLE, [], found.why, "")
    places = _places(found, documents, tables) if isinstance(found, Shown) else found
    if isinstance(places, Lacking):
        return Entry(item, SAID if said else NOT_SHOWN, [], places.why, said)
    part = found.part if isinstance(found, Shown) else None
    return Entry(item, PART if part else YES, places, part or "", said if part else "")


def questions_of(folder: Path) -> list[str]:
    """The questions that the report in a folder leaves to people, as a file of answers to fill in.

    Raises: InputError if there is no report, or one of another version.
    """
    with report_json.sound(folder.parent):
        content = report_json.read(folder.parent)
        if version := report_json.other_version(content):
            again = report_json.remake(folder.parent)
            raise InputError(f"{folder / evidence.SUMMARY}: found {version}; {again} makes it again")
        report = from_json(content, Report)
    documents, tables = _files(folder)
    return list(questions.template(asked(fill(report, documents, tables)), report.answers or {}))


def _files(folder: Path) -> tuple[dict[str, object], set[str]]:
    """What JSON files of a report hold, by their names, and which of its tables have rows."""
    names = [name for name in (evidence.SUMMARY, evidence.CIRCUMSTANCES) if (folder / name).is_file()]
    tables = {f"{evidence.TABLES}{path.name}" for path in (folder / evidence.TABLES).glob("*.csv") if _has_rows(path)}
    return {name: disk.read_json(folder / name) for name in names}, tables


def _has_rows(path: Path) -> bool:
    with path.open(encoding="utf-8") as file:
        return len(list(itertools.islice(file, 2))) == 2


def _brief(value: object) -> str:
    """A value in a few signs: three digits, the beginning of a text, how many of a list."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:LONGEST]}..."
    if isinstance(value, list | tuple | Mapping):
        few = not isinstance(value, Mapping) and len(value) <= SHORT
        if few and all(isinstance(one, int | float | str) for one in value):
            return ", ".join(map(_brief, value))
        return f"{len(value)} entr{'y' if len(value) == 1 else 'ies'}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "yes" if value is True else f"{value:,}" if isinstance(value, int) else "given"


def _places(found: Shown, documents: Mapping[str, object], tables: Collection[str]) -> list[Place] | Lacking:
    """The places with what is there, if all of them say something."""
    values = [(place, evidence.value_at(place, documents, tables)) for place in found.places]
    if empty := [place for place, value in values if not evidence.shows(value)]:
        return Lacking(f"nothing at {', '.join(empty)}")
    return [Place(place, _brief(value)) for place, value in values]


def summary(found: Filled) -> str:
    """How much of a list is shown, in a sentence."""
    parts = [f"{found.number(YES)} of {len(found.entries)} items shown by this run", f"{found.number(PART)} in part"]
    parts += [f"{found.number(NOT_SHOWN)} not shown"]
    parts += [f"{number} not applicable" for number in [found.number(NOT_APPLICABLE)] if number]
    open_ones = {entry.question for entry in found.entries if entry.question and not entry.said}
    answered = {entry.question for entry in found.entries if entry.question and entry.said}
    left = f"{amount(len(open_ones), 'question')} for people"
    said = f", {len(answered)} answered by the authors" if answered else ""
    return f"**{found.of.name}:** {', '.join(parts)}; {left}{said}."


def asked(filled: Sequence[Filled]) -> dict[str, str]:
    """The questions that are left to people, by their keys, and which items ask them."""
    items: dict[str, dict[str, list[str]]] = {}
    for one in filled:
        for entry in one.entries:
            if entry.question:
                items.setdefault(entry.question, {}).setdefault(one.of.name, []).append(entry.item.number)
    text = {key: "; ".join(f"{name} {', '.join(numbers)}" for name, numbers in of.items()) for key, of in items.items()}
    return {key: text[key] for key in questions.QUESTIONS if key in text}


def csv(filled: Sequence[Filled], report: Report) -> str:
    """All items as a table."""
    rows = [
        (
            one.of.name,
            entry.item.number,
            entry.item.text,
            entry.answer,
            SEPARATOR.join(place.at for place in entry.places),
            SEPARATOR.join(place.value for place in entry.places),
            entry.note,
            entry.question,
            entry.said,
        )
        for one in filled
        for entry in one.entries
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return escaping.csv_text(table.assign(status=mark) if (mark := wording.status_mark(report)) else table)


def markdown(filled: Sequence[Filled], report: Report) -> str:
    """All lists as text."""
    lines = [f"# {HEADING}: {escaping.markdown(wording.title(report))}"]
    lines += [f"**{mark}**" for mark in [wording.status_mark(report)] if mark]
    lines += [HOW, *(f"- {summary(one)}" for one in filled)]
    for one in filled:
        lines += [f"## {one.of.name}", f"{one.of.source}. {one.of.taken}", _table(one)]
    lines += ["## Questions for people", TEMPLATE]
    lines += [f"- {questions.QUESTIONS[key]} ({items}){_said(report, key)}" for key, items in asked(filled).items()]
    return logs.harmless("\n\n".join(lines) + "\n")


def _said(report: Report, key: str) -> str:
    said = (report.answers or {}).get(key)
    return f" **The authors:** {escaping.markdown(said)}" if said else ""


def _table(found: Filled) -> str:
    rows = ["| item | asks | answer | shown at | note |", "| --- | --- | --- | --- | --- |"]
    for entry in found.entries:
        places = "<br>".join(f"{escaping.code(one.at)}: {escaping.markdown(one.value)}" for one in entry.places)
        said = f"The authors: {escaping.markdown(entry.said)}" if entry.said else ""
        note = "<br>".join(filter(None, [escaping.markdown(entry.note), said]))
        rows.append(f"| {entry.item.number} | {entry.item.text} | {entry.answer} | {places} | {note} |")
    return "\n".join(rows)


def contradictions(folder: Path) -> Iterator[str]:
    """Items of checklist.csv that are answered with yes, or in part, by places of the report where nothing is."""
    if not (folder / CSV).is_file():
        return
    documents, tables = _files(folder)
    try:
        rows = pd.read_csv(folder / CSV, dtype=str, keep_default_na=False)[list(COLUMNS)]
    except (ValueError, KeyError):
        yield f"{CSV}: not a table of answers"
        return
    for row in rows[rows["answer"].isin(EVIDENT)].itertuples():
        places = str(row.shown_at).split(SEPARATOR)
        for place in places:
            if not evidence.shows(evidence.value_at(place, documents, tables)):
                yield f"{CSV}: {row.list} item {row.item} is answered {row.answer}, but nothing is at {place[:100]}"
