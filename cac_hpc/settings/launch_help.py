"""What the launcher shows of itself: its own options and all settings, with their types and defaults."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from cac_hpc.settings.config import Config
from cac_hpc.settings.setting_names import is_section, types_of

IN_FILES = "data.cohorts"  # a list of sections: no option sets it


def parser(doc: str | None, options: Iterable[tuple[str, bool, str]]) -> argparse.ArgumentParser:
    """Make what shows the help of the launcher, and takes nothing but --help.

    Args:
        doc: what it does. options: its own: of each the name, whether a value follows, and what it does.
    """
    made = argparse.ArgumentParser(description=doc, add_help=False, formatter_class=_Formatter)
    made.add_argument("-h", "--help", action="help", help="Show this help message and exit.")
    for name, takes_value, does in options:
        shown = f"{does} (default: {'null' if takes_value else 'False'})"
        made.add_argument(name, action="store" if takes_value else "store_true", help=shown)
    made.add_argument("--run", required=True, help="the run folder (required, type: str)")
    for name, kind in types_of(Config).items():
        if is_section(kind):
            _add_section(made, kind, name)
    several = "several cohorts; write them in the file: docs/data.md (default: null)"
    made.add_argument(f"--{IN_FILES}", metavar="LIST", help=several)
    return made


class _Formatter(argparse.HelpFormatter):
    """The usage is without the option that shows it."""

    def add_usage(self, usage: str | None, actions: Iterable[argparse.Action], *rest: Any, **options: Any) -> None:
        super().add_usage(usage, [action for action in actions if action.dest != "help"], *rest, **options)


def _add_section(parser: argparse.ArgumentParser, kind: Any, key: str, usual: Any = None) -> None:
    """Show a section and those in it.

    Args:
        usual: the section as it is where nothing is given, of one that has such a default.
    """
    group = parser.add_argument_group(str(kind))
    group.add_argument(f"--{key}", metavar="CONFIG", help="Path to a configuration file.")
    for spec in dataclasses.fields(kind):
        hint, dotted = types_of(kind)[spec.name], f"{key}.{spec.name}"
        if is_section(hint):
            _add_section(parser, hint, dotted, spec.default)
        elif dotted != IN_FILES:
            required = spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING
            said = f"type: {_type_text(hint)}"
            if not required or usual is not None:
                said += f", default: {_default_text(spec, usual)}"
            said = f"({'required, ' * required}{said})".replace("%", "%%")
            group.add_argument(f"--{dotted}", required=required, metavar=_stand_in(hint, spec.name), help=said)


def _default_text(spec: dataclasses.Field[Any], usual: Any) -> str:
    if usual is not None:
        value = getattr(usual, spec.name)
    else:
        value = spec.default if spec.default_factory is dataclasses.MISSING else spec.default_factory()
    return "null" if value is None else str(value)


def _stand_in(hint: Any, name: str) -> str:
    """What stands for a value of a setting."""
    if hint is bool or get_origin(hint) is Literal:
        return f"{{{','.join(('true', 'false') if hint is bool else get_args(hint))}}}"
    return "[ITEM,...]" if get_origin(hint) is tuple else name.upper()


def _type_text(hint: Any) -> str:
    parts: Sequence[Any] = get_args(hint)
    if isinstance(hint, UnionType) and any(map(get_args, parts)):
        return f"Union[{', '.join(map(_type_text, parts))}]"
    if hint is NoneType:
        return "null"
    return str(hint).replace("typing.", "").replace("None", "null") if parts else hint.__name__
