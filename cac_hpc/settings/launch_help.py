"""What the launcher shows of itself: its own options and all settings, with their types and defaults."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from cac_hpc.settings.config import Config
from cac_hpc.settings.setting_names import is_section, types_of

IN_FILES = "data.cohorts"  # a list of sections: no option sets it
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
    made.add_argument("--run", help="the run folder: everything the run is lives there (required, type: str)")
    for name, kind in types_of(Config).items():
        if is_section(kind):
            _add_section(made, kind, name)
    return made


def _add_section(parser: argparse.ArgumentParser, kind: Any, key: str, usual: Any = None) -> None:
    """Show a section and those in it.

    Args:
        usual: the section as it is where nothing is given, of one that has such a default.
    """
    group = parser.add_argument_group(key, inspect.cleandoc(kind.__doc__).split("\n\n")[0])
    group.add_argument(f"--{key}", metavar="FILE", help="YAML file with this section")
    for spec in dataclasses.fields(kind):
        hint, dotted = types_of(kind)[spec.name], f"{key}.{spec.name}"
        if is_section(hint):
            _add_section(parser, hint, dotted, spec.default)
        elif dotted == IN_FILES:
            group.add_argument(f"--{dotted}", metavar="LIST", help="several cohorts, in a file alone: docs/data.md")
        else:
            metavar, said = _stand_in(hint, spec.name), _described(spec, hint, usual)
            group.add_argument(f"--{dotted}", metavar=metavar, help=said.replace("%", "%%"))


def _described(spec: dataclasses.Field[Any], hint: Any, usual: Any) -> str:
    """Whether a setting must be given, its type, and its default as it would be written in a file."""
    required = usual is None and spec.default is spec.default_factory is dataclasses.MISSING
    said = ["required"] if required else []
    said += [] if _choices(hint) else [f"type: {_type_text(hint)}"]
    if not required and (default := _default(spec, usual)) != "":  # stands for nothing, and cannot be given
        said.append(f"default: {default if isinstance(default, str) else json.dumps(default)}")
    return f"({', '.join(said)})"


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


def _type_text(hint: Any) -> str:
    if hint is NoneType:
        return "null"
    if isinstance(hint, UnionType):
        return " | ".join(map(_type_text, get_args(hint)))
    return str(hint).replace("typing.", "") if get_args(hint) else hint.__name__
