"""The launcher's help: its own options, and every setting with its meaning, type and default."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from cac_hpc.settings.config import Config
from cac_hpc.settings.setting_meanings import meanings, type_text
from cac_hpc.settings.setting_names import is_section, types_of

USAGE = """%(prog)s --config FILE [--section.key VALUE ...] [--section FILE ...]
       %(prog)s --resume RUN [--section.key VALUE ...] [--section FILE ...]"""


def parser(doc: str | None, options: Iterable[tuple[str, bool, str]]) -> argparse.ArgumentParser:
    """Make what shows the help of the launcher, and takes nothing but --help.

    Args:
        doc: what it does. options: its own: of each the name, whether a value follows, and what it does.
    """
    made = argparse.ArgumentParser(usage=USAGE, description=doc, add_help=False)
    made.add_argument("-h", "--help", action="help", help="show this")
    for name, takes_value, does in options:
        made.add_argument(name, action="store" if takes_value else "store_true", help=does)
    made.add_argument("--run", help="the run folder: everything the run is lives there (required, text)")
    for name, kind in types_of(Config).items():
        if is_section(kind):
            _add_section(made, kind, name)
    return made


def _add_section(parser: argparse.ArgumentParser, kind: Any, key: str, usual: Any = None) -> None:
    """Show a section and those in it.

    Args:
        usual: the section as it is where nothing is given, of one that has such a default.
    """
    group = parser.add_argument_group(key, inspect.cleandoc(kind.__doc__))
    group.add_argument(f"--{key}", metavar="FILE", help="YAML file with this section")
    means = meanings(kind)
    for spec in dataclasses.fields(kind):
        hint, dotted = types_of(kind)[spec.name], f"{key}.{spec.name}"
        if is_section(hint):
            _add_section(parser, hint, dotted, spec.default)
        else:
            said = f"{means[spec.name]} ({_facts(spec, hint, usual)})".lstrip()
            group.add_argument(f"--{dotted}", metavar=_stand_in(hint, spec.name), help=said.replace("%", "%%"))


def _facts(spec: dataclasses.Field[Any], hint: Any, usual: Any) -> str:
    """Whether a setting must be given, its type, and its default as it would be written in a file."""
    required = usual is None and spec.default is spec.default_factory is dataclasses.MISSING
    said = ["required"] if required else []
    said += [] if _choices(hint) else [type_text(hint)]
    if not required and (default := _default(spec, usual)) != "":  # stands for nothing, and cannot be given
        said.append(f"default: {default if isinstance(default, str) else json.dumps(default)}")
    return ", ".join(said)


def _default(spec: dataclasses.Field[Any], usual: Any) -> Any:
    if usual is not None:
        return getattr(usual, spec.name)
    return spec.default if spec.default_factory is dataclasses.MISSING else spec.default_factory()


def _stand_in(hint: Any, name: str) -> str:
    """What stands for a value of a setting."""
    if choices := _choices(hint):
        return f"{{{','.join(choices)}}}"
    return "[ITEM,...]" if get_origin(hint) is tuple else name.upper()


def _choices(hint: Any) -> tuple[str, ...]:
    """The values that a setting can have, if they are few."""
    if hint is bool:
        return ("true", "false")
    return get_args(hint) if get_origin(hint) is Literal else ()
