"""Settings composed of files, files of single sections and the command line, each checked by its field's type.

A value of the command line goes before the file of a section, and that before --config, in whatever order they stand.
``${...}`` is interpolated once, within the file or the value that somebody wrote; a run's own settings never are. The
owner of omegaconf.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from cac_hpc.run import config, paths, yaml_documents
from cac_hpc.run.config import Config, InputError
from cac_hpc.run.paths import RunPaths
from cac_hpc.run.yaml_documents import Plain

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
LAUNCHER = ("config", "resume", "wait", "dry_run", "print_config", "help")  # options that are no settings


def options(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Each ``--KEY VALUE`` or ``--KEY=VALUE`` of the command line.

    Raises: InputError if something else stands there.
    """
    found, rest = [], iter(arguments)
    for argument in rest:
        key, given, value = argument[2:].partition("=")
        if not argument.startswith("--") or not key:
            raise InputError(
                f"{shown(argument)}: found no option before it, wanted --config FILE or --section.key VALUE"
            )
        near = difflib.get_close_matches(key, LAUNCHER, n=1, cutoff=0.75)
        if near and key not in (*LAUNCHER, *names()):
            raise InputError(f"no option {shown(argument)} (did you mean --{near[0]}?)")
        value = value if given else next(rest, "--")
        if not given and value.startswith("--"):
            raise InputError(f"--{shown(key)[1:-1]}: found nothing after it, wanted --section.key VALUE")
        found.append((key, value))
    return found


def compose(given: Sequence[tuple[str, str]], stored: Mapping[str, Any] | None = None) -> Any:
    """The settings as they were given: names are checked, values not yet.

    Args:
        given: key and value of each option. stored: settings of a run, which the options change.
    Raises: InputError that says which file or setting is wrong.
    """
    layers: list[tuple[list[str], Any]] = [([], stored or {})]
    for key, text in given:
        if key == "config":
            layers.append(([], _read_file(Config, text, "", Path())))
            continue
        place = key.split(".")
        value = _value(key, text)
        written: Any = functools.reduce(lambda below, name: {name: below}, reversed(place), value)
        check_names(Config, written, "")
        written = _with_files(Config, _interpolated(written, ""), "", Path())
        layers.append((place, functools.reduce(lambda above, name: above[name], place, written)))
    settings: Any = {}
    for place, value in sorted(layers, key=lambda layer: len(layer[0])):
        settings = _laid(settings, value, Config, place)
    return settings


def read_stored(path: Path) -> dict[str, Any]:
    """The settings of a run: plain values, not interpolated, without files of sections.

    Raises: InputError if the file is missing or holds something else.
    """
    return _mapping(path, str(path))


def read_section(kind: type[T], file: str, key: str) -> T:
    """A section that stands in a file of its own.

    Args:
        key: name of the section, for messages.
    Raises: InputError that says what is wrong with it.
    """
    return build(kind, _read_file(kind, file, key, Path()), key)


def _read_file(kind: Any, named: str, key: str, folder: Path) -> dict[str, Any]:
    """A file of all settings, or of the section of that name, with the files that it names, interpolated.

    Args:
        folder: that the file's name counts from.
    """
    path = folder / config.home(named)
    content = _mapping(path, f"{key or '--config'}: {path}")
    if kind is Config and path.name == "config.yaml" and RunPaths(path.parent).ledger.exists():
        return content  # settings of a run
    check_names(kind, content, key, f"{path}: ")
    return _with_files(kind, _interpolated(content, key), key, path.parent)


def _mapping(path: Path, where: str) -> dict[str, Any]:
    """What a file holds. It may be any file: nothing of a wrong one is shown."""
    wanted = "wanted a YAML file of settings"
    try:
        content = yaml_documents.read_file(path)
    except OSError as error:
        meant = paths.did_you_mean(path)
        raise InputError(f"{where}: {(error.strerror or str(error)).lower()}, {wanted}{meant}") from None
    except ValueError as error:
        raise InputError(f"{where}: found {error}, {wanted}") from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else "a list" if isinstance(content, list) else "text without settings"
        raise InputError(f"{where}: found {found}, {wanted}")
    return content


def _with_files(kind: Any, content: Mapping[str, Any], key: str, folder: Path) -> dict[str, Any]:
    """The content, with what the file of a section holds in place of the file's name."""
    made = dict(content)
    for name, hint in types_of(kind).items():
        value, dotted = content.get(name), f"{key}.{name}".lstrip(".")
        if not is_section(hint):
            continue
        if isinstance(value, str):
            made[name] = _read_file(hint, value, dotted, folder)
        elif isinstance(value, Mapping):
            made[name] = _with_files(hint, value, dotted, folder)
    return made


def _value(key: str, text: str) -> Any:
    """A value of the command line, as it would be after its key in a file."""
    if text[:1] in ("[", "{", "'", '"'):
        try:
            return yaml_documents.read(text)
        except ValueError as error:
            raise InputError(f"--{key}: found {error}, wanted a value as in a YAML file") from None
    return None if text and yaml_documents.NULL.fullmatch(text) else Plain(text)


def _laid(lower: Any, upper: Any, kind: Any, place: Sequence[str] = ()) -> Any:
    """One value over the other, or at a place below it: sections are merged, a setting is replaced."""
    if not place and not (is_section(kind) and isinstance(lower, Mapping) and isinstance(upper, Mapping)):
        return upper
    hints = types_of(kind) if is_section(kind) else {}
    made = dict(lower) if isinstance(lower, Mapping) else {}
    for name, value in {place[0]: upper}.items() if place else upper.items():
        made[name] = _laid(made.get(name), value, hints.get(name), place[1:])
    return made


def _interpolated(content: Any, key: str) -> Any:
    """The content with the value of each ``${...}`` in it, which may name other settings of the same content.

    Raises: InputError that names the setting whose value cannot be found.
    """
    if not any("${" in text for text in _texts(content)):
        return content
    from omegaconf import OmegaConf  # a tenth of a second
    from omegaconf.errors import OmegaConfBaseException

    try:
        return _resolved(content, OmegaConf.to_container(OmegaConf.create(_builtin(content)), resolve=True))
    except OmegaConfBaseException as error:
        said = str(error).splitlines()[0][:200]
        said = re.sub(r"^\w+ raised while resolving interpolation: ", "", said).strip('"')
        raise InputError(f"{key}.{getattr(error, 'full_key', '')}: ".lstrip(".") + said) from None


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, Mapping | list):
        for one in content.values() if isinstance(content, Mapping) else content:
            yield from _texts(one)


def _builtin(content: Any) -> Any:
    """The content in types that omegaconf takes."""
    if isinstance(content, Mapping):
        return {str(name): _builtin(value) for name, value in content.items()}
    if isinstance(content, list):
        return [_builtin(value) for value in content]
    return content if content is None else str(content)


def _resolved(content: Any, found: Any) -> Any:
    """The content, with what was found for each text with an interpolation; the other texts stay as they are."""
    if isinstance(content, Mapping):
        return {name: _resolved(value, found[str(name)]) for name, value in content.items()}
    if isinstance(content, list):
        return [_resolved(value, other) for value, other in zip(content, found, strict=True)]
    return found if isinstance(content, str) and "${" in content else content


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


def changed(cfg: Config, values: Mapping[str, Any]) -> Config:
    """The settings with other values of some of them.

    Args:
        values: by dotted name, as in a file or plain.
    Raises: InputError that names the first setting which is unknown or not what it must be.
    """
    given: Any = {}
    for name, value in values.items():
        given = _laid(given, value, Config, name.split("."))
    return build(Config, given, base=cfg)


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


def typed(name: str, given: Any, key: str) -> Any:
    """What an existing setting is by what was given for it.

    Args:
        name: of the setting, dotted. key: what a message calls it.
    Raises: InputError if it cannot be that.
    """
    return _typed(type_of(name), given, key)


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
