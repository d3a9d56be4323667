"""Settings composed of files, files of single sections and the command line. The owner of omegaconf.

A value of the command line goes before the file of a section, and that before --config, in whatever order they stand.
``${...}`` is interpolated once, within the file or the value that somebody wrote; a run's own settings never are.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cac_hpc.run import config, documents, fields, paths
from cac_hpc.run.config import Config, InputError
from cac_hpc.run.documents import Plain
from cac_hpc.run.paths import RunPaths

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
                f"{fields.shown(argument)}: found no option before it, wanted --config FILE or --section.key VALUE"
            )
        near = difflib.get_close_matches(key, LAUNCHER, n=1, cutoff=0.75)
        if near and key not in (*LAUNCHER, *fields.names()):
            raise InputError(f"no option {fields.shown(argument)} (did you mean --{near[0]}?)")
        value = value if given else next(rest, "--")
        if not given and value.startswith("--"):
            raise InputError(f"--{fields.shown(key)[1:-1]}: found nothing after it, wanted --section.key VALUE")
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
        fields.check_names(Config, written, "")
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


def _read_file(kind: Any, named: str, key: str, folder: Path) -> dict[str, Any]:
    """A file of all settings, or of the section of that name, with the files that it names, interpolated.

    Args:
        folder: that the file's name counts from.
    """
    path = folder / config.home(named)
    content = _mapping(path, f"{key or '--config'}: {path}")
    if kind is Config and path.name == "config.yaml" and RunPaths(path.parent).ledger.exists():
        return content  # settings of a run
    fields.check_names(kind, content, key, f"{path}: ")
    return _with_files(kind, _interpolated(content, key), key, path.parent)


def _mapping(path: Path, where: str) -> dict[str, Any]:
    """What a file holds. It may be any file: nothing of a wrong one is shown."""
    wanted = "wanted a YAML file of settings"
    try:
        content = documents.read_file(path)
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
    for name, hint in fields.types_of(kind).items():
        value, dotted = content.get(name), f"{key}.{name}".lstrip(".")
        if not fields.is_section(hint):
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
            return documents.read(text)
        except ValueError as error:
            raise InputError(f"--{key}: found {error}, wanted a value as in a YAML file") from None
    return None if text and documents.NULL.fullmatch(text) else Plain(text)


def _laid(lower: Any, upper: Any, kind: Any, place: Sequence[str] = ()) -> Any:
    """One value over the other, or at a place below it: sections are merged, a setting is replaced."""
    if not place and not (fields.is_section(kind) and isinstance(lower, Mapping) and isinstance(upper, Mapping)):
        return upper
    hints = fields.types_of(kind) if fields.is_section(kind) else {}
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
