"""Settings that trials have tried, and those that the folds chose, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cac_hpc.results.report import Report
from cac_hpc.results.serialization import Json
from cac_hpc.results.trials import FoldChoice, TrialRow, Trials


def of_section(report: Report, section: str, known: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A section of settings as the page shows it, with the values that the folds chose in place of the run's own."""
    found = report.trials
    if found is None:
        return list(known)
    shown = dict(known)
    for name in (name for name in tried(found) if name.startswith(f"{section}.")):
        values: dict[str, list[str]] = {}
        for one in found.choices:
            values.setdefault(text(value_of(report, one.settings, name)), []).append(fold_name(one))
        if len(values) == 1 and found.choices:
            shown[name.partition(".")[2]] = f"{next(iter(values))} (chosen in every fold)"
        elif values:
            each = (f"{value} (fold {', '.join(folds)})" for value, folds in values.items())
            shown[name.partition(".")[2]] = f"chosen by each fold: {'; '.join(each)}"
    return list(shown.items())


def windows(report: Report) -> str:
    """What the networks of the folds see of the HU."""
    name, choices = "train.window_hu", report.trials.choices if report.trials else []
    values = [value_of(report, one.settings, name) for one in choices] or [value_of(report, {}, name)]
    return " or, by fold, ".join(dict.fromkeys(f"{int(low)} to {int(high)}" for low, high in values))


def tried(found: Trials) -> list[str]:
    """Every setting that a trial has a value of."""
    return list(dict.fromkeys(name for row in found.trials for name in row.settings))


def value_of(report: Report, values: Mapping[str, Any], name: str) -> Any:
    """A trial's value of a setting, the run's own where the trial has none."""
    if name in values:
        return values[name]
    found: Any = report.settings
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def said(report: Report, values: Json) -> str:
    """Settings of a trial in words."""
    names = tried(report.trials) if report.trials else []
    short = [name.rpartition(".")[2] for name in names]
    shown = short if len(set(short)) == len(short) else names
    return "; ".join(f"{to} {text(value_of(report, values, name))}" for to, name in zip(shown, names, strict=True))


def text(value: Any) -> str:
    """A value of a setting in three digits."""
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {text(one)}" for name, one in value.items())
    return "not set" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def plain(value: Any) -> Any:
    """A value of a setting with all its digits, in a cell."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def cells(report: Report, values: Json, names: Sequence[str]) -> list[str]:
    return [text(value_of(report, values, name)) for name in names]


def fold_name(one: FoldChoice | TrialRow) -> str:
    return "all" if one.fold is None else str(one.fold)
