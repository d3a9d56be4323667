"""The names of settings: which there are, of what types, and what was meant by one that is not there."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Mapping
from typing import Any, get_type_hints

from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError

NAME = re.compile(r"[\w.-]{1,60}")


@functools.cache
def types_of(kind: Any) -> dict[str, Any]:
    """The type of each setting of a section, by its name."""
    hints = get_type_hints(kind)
    return {spec.name: hints[spec.name] for spec in dataclasses.fields(kind)}


def is_section(kind: Any) -> bool:
    """Whether it has settings of its own."""
    return dataclasses.is_dataclass(kind)


@functools.cache
def names(kind: Any = Config, key: str = "") -> list[str]:
    """The dotted names of all settings and sections."""
    found = []
    for name, hint in types_of(kind).items():
        found.append(key + name)
        if is_section(hint):
            found += names(hint, f"{key}{name}.")
    return found


def type_of(name: str) -> Any:
    """The type of a setting by its dotted name.

    Raises: InputError, with the nearest that exists, if there is no such setting; or if it is a section.
    """
    found: Any = Config
    for part in name.split("."):
        known = types_of(found) if is_section(found) else {}
        if part not in known:
            check_names(Config, {name: None}, "")
        found = known[part]
    if is_section(found):
        raise InputError(f"{name} is a section, but must be one of its settings, written {name}.NAME")
    return found


def exists(name: str) -> bool:
    """Whether there is a setting of a dotted name."""
    try:
        type_of(name)
    except InputError:
        return False
    return True


def check_names(kind: Any, given: Mapping[Any, Any], key: str, where: str = "") -> None:
    """Refuse a setting that does not exist, here or in the sections below, with the nearest that does.

    Args:
        where: what the message begins with, as the name of a file.
    Raises: InputError, which shows the name only if it is like one of a setting.
    """
    known = types_of(kind)
    for name, value in given.items():
        dotted = f"{key}.{name}" if key else str(name)
        if name not in known:
            near = difflib.get_close_matches(dotted, names(), n=1)
            if key.endswith("]"):  # a section in a list
                near = [f"{key}.{one}" for one in difflib.get_close_matches(str(name), known, n=1)]
            is_ours = not where or near or name in names()  # a wrong file may hold anything: it is not shown
            said = repr(name) if isinstance(name, str) and NAME.fullmatch(name) and is_ours else "of that name"
            hint = f"did you mean {near[0]}?" if near else "--help lists the settings"
            if name in names():  # a whole file where a section is wanted, or a dotted name
                above, _, last = name.rpartition(".")
                hint = f"write {last}: below {above}:" if above else f"a file of section {key} begins without {last}:"
            elif where and not key and (section := _section_of(name, given)):
                said, hint = (
                    repr(name),
                    f"write it below {section}:, or pass a file of that section as --{section} FILE",
                )
            raise InputError(f"{where}no setting {said}{f' in {key}' if key else ''} ({hint})")
        if is_section(known[name]) and isinstance(value, Mapping):
            check_names(known[name], value, dotted, where)


def _section_of(name: Any, given: Mapping[Any, Any]) -> str | None:
    """The section that has a setting of this name, of several the one with most of the names; None if in doubt."""
    known = {above: types_of(hint).keys() for above, hint in types_of(Config).items() if is_section(hint)}
    found = {above: len(given.keys() & inside) for above, inside in known.items() if name in inside}
    best = [above for above, count in found.items() if count == max(found.values())]
    return best[0] if len(best) == 1 else None
