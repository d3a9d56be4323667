"""Settings composed of files, files of single sections and the command line.

A value of the command line goes before the file of a section, and that before --config, in whatever order they stand.
``${...}`` is interpolated once, within the file or the value that somebody wrote; a run's own settings never are. The
owner of omegaconf.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from cac_hpc.settings import given_paths, stored_settings
from cac_hpc.settings.config import Config
from cac_hpc.settings.errors import InputError
from cac_hpc.settings.plain_text import NULL, Plain
from cac_hpc.settings.setting_names import check_names, is_section, types_of
from cac_hpc.settings.typed_values import build

T = TypeVar("T")


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
    path = folder / given_paths.home(named)
    content = stored_settings.read(path, f"{key or '--config'}: {path}")
    if kind is Config and stored_settings.are_of_run(path):
        return content
    check_names(kind, content, key, f"{path}: ")
    return _with_files(kind, _interpolated(content, key), key, path.parent)


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
        from cac_hpc.settings import yaml_documents  # imports PyYAML

        try:
            return yaml_documents.read(text)
        except ValueError as error:
            raise InputError(f"--{key}: found {error}, wanted a value as in a YAML file") from None
    return None if text and NULL.fullmatch(text) else Plain(text)


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
