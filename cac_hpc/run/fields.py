"""One check for every setting: its name, its type, its choices. The type of a field says what a text in it means."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from cac_hpc.run.config import Config, InputError
from cac_hpc.run.documents import Plain

T = TypeVar("T")
WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,19})")
NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
TRUTH = {text: text in ("true", "yes", "on") for text in ("true", "yes", "on", "false", "no", "off")}
NAME = re.compile(r"[\w.-]{1,60}")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
# what YAML 1.1 reads otherwise than it looks
MISLEADING = (
    (re.compile(r"[+-]?0[0-9_]+|[+-]?0[oObBxX][0-9a-fA-F_]+"), "write it in decimal digits, without zeros before them"),
    (re.compile(r"[+-]?[0-9][0-9_]*(:[0-9]+)+(\.[0-9_]*)?"), "write one number: YAML has base 60 for this, not a time"),
    (re.compile(r"[+-]?[0-9.]*_[0-9._]*"), "write it without _"),
)


@functools.cache
def types_of(kind: Any) -> dict[str, Any]:
    """The type of each setting of a section, by its name."""
    hints = get_type_hints(kind)
    return {spec.name: hints[spec.name] for spec in dataclasses.fields(kind)}


def is_section(kind: Any) -> bool:
    """Whether it has settings of its own."""
    return dataclasses.is_dataclass(kind)


def build(kind: type[T], given: Any, key: str = "", base: Any = None) -> T:
    """Make a section, or all settings, out of what was read.

    Args:
        given: settings by name: texts, lists, dictionaries and None as of a document, or numbers and truth values.
        key: the section's dotted name. base: what has the settings that are left out; else their defaults.
    Raises: InputError that names the first setting which is unknown, missing, or not what it must be.
    """
    if not isinstance(given, Mapping):
        wanted = "a section, name: value for each of its settings; left out, all have their defaults"
        raise InputError(f"{key or 'a file of settings'} is {shown(given)}, but must be {wanted}")
    check_names(kind, given, key)
    made, section = {}, cast("Any", kind)
    for spec in dataclasses.fields(section):
        name, hint, dotted = spec.name, types_of(section)[spec.name], f"{key}.{spec.name}".lstrip(".")
        usual = spec.default if base is None else getattr(base, name)
        if is_section(hint):
            below = None if usual is dataclasses.MISSING else usual
            made[name] = build(hint, given.get(name, {}), dotted, below)
        elif name in given:
            made[name] = _value(hint, given[name], dotted)
        elif usual is not dataclasses.MISSING:
            made[name] = usual
        elif spec.default_factory is dataclasses.MISSING:
            wanted = f"{_wanted(hint)}: in the file, or with --{dotted} VALUE"
            raise InputError(f"{dotted} is not set, but must be {wanted}")
    return kind(**made)


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
            is_ours = not where or near or name in names()  # a wrong file may hold anything: it is not shown
            said = repr(name) if isinstance(name, str) and NAME.fullmatch(name) and is_ours else "of that name"
            hint = f"did you mean {near[0]}?" if near else "--help lists the settings"
            if name in names():  # a whole file where a section is wanted, or a dotted name
                above, _, last = name.rpartition(".")
                hint = f"write {last}: below {above}:" if above else f"a file of section {key} begins without {last}:"
            elif where and not key and (section := _section_of(name)):
                said, hint = (
                    repr(name),
                    f"write it below {section}:, or pass a file of that section as --{section} FILE",
                )
            raise InputError(f"{where}no setting {said}{f' in {key}' if key else ''} ({hint})")
        if is_section(known[name]) and isinstance(value, Mapping):
            check_names(known[name], value, dotted, where)


def _section_of(name: Any) -> str | None:
    """The section that has a setting of this name; None if none has, or several have."""
    found = [above for above, hint in types_of(Config).items() if is_section(hint) and name in types_of(hint)]
    return found[0] if len(found) == 1 else None


@functools.cache
def names(kind: Any = Config, key: str = "") -> list[str]:
    """The dotted names of all settings and sections."""
    found = []
    for name, hint in types_of(kind).items():
        found.append(key + name)
        if is_section(hint):
            found += names(hint, f"{key}{name}.")
    return found


def shown(value: Any) -> str:
    """A value as messages show it: never long, and with nothing in it that commands a terminal."""
    if isinstance(value, list | tuple | Mapping):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    text = "null" if value is None else repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= 100 else f"{text[:60]}... ({len(text):,} characters)"


def _value(hint: Any, given: Any, key: str) -> Any:
    """What a setting is by what was given for it.

    Raises: InputError if it cannot be that.
    """
    kinds = _kinds(hint)
    parts = get_args(kinds[0])
    if given in (None, "") and type(None) in kinds:
        return None
    if get_origin(kinds[0]) is tuple and isinstance(given, list | tuple):
        parts = parts[:1] * len(given) if parts[-1] is Ellipsis else parts
        if len(parts) == len(given):
            return tuple(
                _value(part, one, f"{key}[{i}]") for i, (part, one) in enumerate(zip(parts, given, strict=True))
            )
    elif get_origin(kinds[0]) is dict and isinstance(given, Mapping):
        if all(isinstance(name, str) and NAME.fullmatch(name) for name in given):
            return {str(name): _value(parts[1], one, f"{key}.{name}") for name, one in given.items()}
    else:
        of_text = str in kinds and isinstance(given, str) and not isinstance(given, Plain)
        fitting = (_scalar(kind, given) for kind in ([str] if of_text else kinds))
        if (found := next((one for one in fitting if one is not None), None)) is not None:
            return found
    raise InputError(f"{key} is {shown(given)}, but must be {_wanted(hint)}{_why(kinds, given)}")


def _kinds(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _scalar(kind: Any, given: Any) -> Any:
    """A text as a number, a truth value, a choice or a text; None if it is none of that kind."""
    text = str(given).strip() if isinstance(given, str) or type(given) in (int, float) else None
    if get_origin(kind) is Literal:
        return next((choice for choice in get_args(kind) if str(choice) == text), None)
    if kind is str and isinstance(given, str):
        return None if not given or _unwritable(given) else str(given)
    if kind is bool:
        return given if isinstance(given, bool) else TRUTH.get((text or "").lower())
    if kind is int and WHOLE.fullmatch(text or ""):
        return int(text or "")
    if kind is float and NUMBER.fullmatch(text or "") and math.isfinite(number := float(text or "")):
        return number
    return None


def _unwritable(text: str) -> bool:
    """Whether no file or command can hold it: null characters, or bytes that are no text in UTF-8."""
    return any(sign == "\0" or "\ud800" <= sign <= "\udfff" for sign in text)


def _wanted(hint: Any) -> str:
    """A type in words."""
    if get_origin(hint) is Literal:
        *others, last = map(str, get_args(hint))
        return f"{', '.join(others)} or {last}" if others else last
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        count = "" if parts[-1] is Ellipsis else f"{len(parts)} "
        return f"a list of {count}{_wanted(parts[0]).removeprefix('a ').replace('number', 'numbers')}"
    if get_origin(hint) is dict:
        return f"a mapping of names, like mail-type, to {_wanted(get_args(hint)[1])}"
    if hint in WORDS:
        return WORDS[hint]
    *others, last = map(_wanted, _kinds(hint))
    return f"{', '.join(others)} or {last}"


def _why(kinds: Sequence[Any], given: Any) -> str:
    """What to do about a number that is not read as it looks, and a text that cannot be written."""
    if not isinstance(given, str):
        return ""
    if str in kinds and _unwritable(given):
        return " in UTF-8, without null characters"
    if not {int, float} & set(kinds):
        return ""
    return next((f" ({advice})" for misread, advice in MISLEADING if misread.fullmatch(given.strip())), "")
