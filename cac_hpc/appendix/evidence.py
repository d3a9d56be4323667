"""What shows that a report answers an item of a checklist: places in its files, and why there are none.

A place is the name of a file of the report and, of a JSON file, the keys to a value in it (RFC 6901):
``report.json#/levels/patient/pooled/n``. A place where nothing is, or None, False or an empty list, shows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any

from cac_hpc.results.figures import Absent, Category
from cac_hpc.results.report import Report

SUMMARY, CIRCUMSTANCES, TABLES = "report.json", "circumstances.json", "tables/"
ACCURACY = "levels/patient/pooled/figures/accuracy"
ELSEWHERE = "the model was made elsewhere, and the report of its run shows it"
NO_EXTERNAL = "there is no external test"
PEOPLE, CLUSTERS = ("sex", "age_group", "body_size"), ("site", "scanner")  # facts by which patients form groups
NO_GROUPS = "differences between groups of people, scanners or sites are not part of this report"


@dataclass(frozen=True)
class Shown:
    """Places that show an item; part: what they do not show of it."""

    places: tuple[str, ...]
    part: str | None = None


@dataclass(frozen=True)
class Lacking:
    """Why nothing shows it."""

    why: str


@dataclass(frozen=True)
class NotApplicable:
    """Why it does not ask anything of this report."""

    why: str


Evidence = Shown | Lacking | NotApplicable
Rule = Callable[[Report], Evidence]


def value_at(place: str, documents: Mapping[str, object], tables: Collection[str]) -> object:
    """What is at a place; None if nothing is.

    Args:
        documents: what JSON files hold, plain or typed, by their names. tables: names of the tables that have rows.
    """
    name, _, keys = place.partition("#")
    if name.startswith(TABLES):
        return name if name in tables else None
    found: Any = documents.get(name)
    for key in keys.split("/")[1:]:
        if isinstance(found, Category):
            found = found.figures.get(key)
        elif isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list | tuple):
            found = found[int(key)] if key.isdecimal() and int(key) < len(found) else None
        else:
            found = getattr(found, key, None) if is_dataclass(found) else None
    return found


def shows(value: object) -> bool:
    """Whether a value says anything; a number does, 0 too."""
    if isinstance(value, Absent) or value is None or value is False:
        return False
    return not isinstance(value, str | list | tuple | dict) or bool(value)


def in_report(*keys: str) -> tuple[str, ...]:
    """Places in report.json."""
    return tuple(f"{SUMMARY}#/{key}" for key in keys)


def in_audit(report: Report, name: str) -> tuple[str, ...]:
    """Where it is written that a check has passed; a place where nothing is if it was not made."""
    names = [audit.name for audit in report.audits]
    return in_report(f"audits/{names.index(name)}/passed" if name in names else f"audits/{name}")


def of_run(*keys: str, part: str | None = None) -> Rule:
    """The rule that these places of a run show an item."""
    return lambda report: Lacking(ELSEWHERE) if report.external else Shown(in_report(*keys), part)


def always(*keys: str, part: str | None = None) -> Rule:
    """The rule that these places of any report show an item."""
    return lambda report: Shown(in_report(*keys), part)
