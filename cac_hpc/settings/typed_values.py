"""Values typed by the fields that they are for: numbers, truth values, choices, texts, lists and whole sections."""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

from cac_hpc.settings.errors import InputError
from cac_hpc.settings.plain_text import Plain
from cac_hpc.settings.setting_names import NAME, check_names, is_section, type_of, types_of

T = TypeVar("T")
WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,19})")
NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
TRUTH = {text: text in ("true", "yes", "on") for text in ("true", "yes", "on", "false", "no", "off")}
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
# what YAML 1.1 reads otherwise than it looks
MISLEADING = (
    (re.compile(r"[+-]?0[0-9_]+|[+-]?0[oObBxX][0-9a-fA-F_]+"), "write it in decimal digits, without zeros before them"),
    (re.compile(r"[+-]?[0-9][0-9_]*(:[0-9]+)+(\.[0-9_]*)?"), "write one number: YAML has base 60 for this, not a time"),
    (re.compile(r"[+-]?[0-9.]*_[0-9._]*"), "write it without _"),
)


def build(kind: type[T], given: Any, key: str = "", base: Any = None) -> T:
    """Make a section, or all settings, out of what was read.

    Args:
        given: settings by name: texts, lists, dictionaries and None as of a document, or numbers and truth values.
        key: the section's dotted name. base: what has the settings that are left out; else their defaults.
    Raises: InputError that names the first setting which is unknown, missing, or not what it must be.
    """
    if not isinstance(given, Mapping):
        wanted = "a section, name: value for each of its settings"
        wanted += "" if key.endswith("]") else "; left out, all have their defaults"  # but not one in a list
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
            made[name] = _typed(hint, given[name], dotted)
        elif usual is not dataclasses.MISSING:
            made[name] = usual
        elif spec.default_factory is dataclasses.MISSING:
            wanted = f"{_wanted(hint)}: in the file, or with --{dotted} VALUE"
            raise InputError(f"{dotted} is not set, but must be {wanted}")
    return kind(**made)


def typed(name: str, given: Any, key: str) -> Any:
    """What an existing setting is by what was given for it.

    Args:
        name: of the setting, dotted. key: what a message calls it.
    Raises: InputError if it cannot be that.
    """
    return _typed(type_of(name), given, key)


def shown(value: Any) -> str:
    """A value as messages show it: never long, and with nothing in it that commands a terminal."""
    if isinstance(value, list | tuple | Mapping):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    text = "null" if value is None else repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= 100 else f"{text[:60]}... ({len(text):,} characters)"


def _typed(hint: Any, given: Any, key: str) -> Any:
    """What a setting is by what was given for it.

    Raises: InputError if it cannot be that.
    """
    if hint is Any:
        return _as_it_looks(given)
    if is_section(hint):
        return build(hint, given, key)
    kinds = _kinds(hint)
    listed = next((kind for kind in kinds if get_origin(kind) is tuple), None)
    parts = get_args(listed or kinds[0])
    if given in (None, "") and type(None) in kinds:
        return None
    if listed and isinstance(given, list | tuple):
        parts = parts[:1] * len(given) if parts[-1] is Ellipsis else parts
        if len(parts) == len(given):
            return tuple(
                _typed(part, one, f"{key}[{i}]") for i, (part, one) in enumerate(zip(parts, given, strict=True))
            )
    elif get_origin(kinds[0]) is dict and isinstance(given, Mapping):
        if all(isinstance(name, str) and NAME.fullmatch(name) for name in given):
            return {str(name): _typed(parts[1], one, f"{key}.{name}") for name, one in given.items()}
    else:
        of_text = str in kinds and isinstance(given, str) and not isinstance(given, Plain)
        fitting = (_scalar(kind, given) for kind in ([str] if of_text else kinds))
        if (found := next((one for one in fitting if one is not None), None)) is not None:
            return found
    raise InputError(f"{key} is {shown(given)}, but must be {_wanted(hint)}{_why(kinds, given)}")


def _as_it_looks(given: Any) -> Any:
    """A value of no certain type: numbers and truth values as such, where they are not in quotation marks."""
    if isinstance(given, Mapping):
        return {str(name): _as_it_looks(one) for name, one in given.items()}
    if isinstance(given, list | tuple):
        return [_as_it_looks(one) for one in given]
    if not isinstance(given, Plain):
        return given
    fitting = (_scalar(kind, given) for kind in (int, float, bool))
    return next((one for one in fitting if one is not None), str(given))


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
        several = re.sub("number|mapping|section", r"\g<0>s", _wanted(parts[0]).removeprefix("a "))
        return f"a list of {count}{several}"
    if get_origin(hint) is dict:
        return f"a mapping of names to {_wanted(get_args(hint)[1])}"
    if hint is Any:
        return "a value"
    if is_section(hint):
        return "a section"
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
