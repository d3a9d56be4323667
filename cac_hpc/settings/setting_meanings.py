"""What settings mean, and their types in words: for the launcher's help and docs/settings.md."""

from __future__ import annotations

import ast
import functools
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

ONE = {str: "text", int: "integer", float: "number", bool: "true, false"}
SEVERAL = {str: "texts", int: "integers", float: "numbers"}


def meanings(kind: Any) -> dict[str, str]:
    """What stands at each setting of a section: a comment above it and on its line, or a docstring below it."""
    lines, classes = _module(kind.__module__)
    body = classes[kind.__name__].body
    found: dict[str, str] = {}
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign):
            said = " ".join(_comments(node, lines))
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                said = str(after.value.value)
            found[ast.unparse(node.target)] = " ".join(said.split())
    return found


@functools.cache
def _module(name: str) -> tuple[list[str], dict[str, ast.ClassDef]]:
    """The lines of a module, and its classes."""
    source = Path(sys.modules[name].__file__ or "").read_text(encoding="utf-8")
    return source.splitlines(), {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}


def _comments(node: ast.AnnAssign, lines: list[str]) -> Iterator[str]:
    above = itertools.takewhile(lambda line: line.lstrip().startswith("#"), reversed(lines[: node.lineno - 1]))
    last = (node.end_lineno or node.lineno) - 1
    for line in (*reversed(list(above)), lines[last][node.end_col_offset :]):
        yield line.strip().lstrip("# ")


def type_text(hint: Any) -> str:
    """A type as people call it: ``text or none``; the values that a setting can have, where they are few."""
    arguments = get_args(hint)
    if get_origin(hint) is Literal:
        return ", ".join(arguments)
    if isinstance(hint, UnionType):
        return " or ".join("none" if one is NoneType else type_text(one) for one in arguments)
    if get_origin(hint) is not tuple:
        return ONE.get(hint, "mapping")
    if get_origin(arguments[0]) is Literal:
        return f"list of {type_text(arguments[0])}"
    several = SEVERAL.get(arguments[0], "mappings")
    return f"list of {several}" if arguments[-1] is Ellipsis else f"{len(arguments)} {several}"
