"""YAML documents: every value is read as the text that it is, whoever asks says what it means. The owner of PyYAML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from cac_hpc.settings.plain_text import NULL, Plain

LARGEST = 1_000_000  # bytes
DEEPEST = 50  # lists and mappings in each other
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # PyYAML may be built without libyaml


class _Loader(_Base):  # type: ignore[misc]
    """Makes texts, lists, mappings and None: neither octal numbers nor base 60, and no is no truth value."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[Any, Any]] = {}


_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(f"^(?:{NULL.pattern})$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile("^<<$"), ["<"])
_Loader.add_constructor(None, yaml.SafeLoader.construct_undefined)
for _kind in ("null", "map", "seq"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", getattr(yaml.SafeLoader, f"construct_yaml_{_kind}"))
for _kind in ("str", "int", "float", "bool"):
    _Loader.add_constructor(
        f"tag:yaml.org,2002:{_kind}", lambda _, node: node.value if node.style else Plain(node.value)
    )


class _Dumper(yaml.SafeDumper):
    """Escapes the ends of lines that PyYAML would write as they are and read back as a space."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if set(text) & set("\x85\u2028\u2029\ufeff") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


def read(text: str) -> Any:
    """Make dictionaries, lists, texts and None of a document; a text without quotes is `Plain`.

    Raises: ValueError that says where the fault is, and nothing of what stands there.
    """
    try:
        _check_depth(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            _check_keys(node, set())
            return None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        ours = type(error) is yaml.MarkedYAMLError  # PyYAML's own words quote what stands there
        tab = mark and mark.line < text.count("\n") + 1 and re.match(r" *\t", text.split("\n")[mark.line])
        wrong = error.problem if ours else "a tab, where YAML takes blanks only" if tab else "what is no YAML"
        raise ValueError(f"{wrong}{where}") from None
    except (yaml.YAMLError, UnicodeError):
        raise ValueError("characters that YAML does not allow") from None


def read_file(path: Path) -> Any:
    """The document that a file holds, as `read` gives it.

    Raises: ValueError as `read`, and for a file that is too large or no text; OSError if it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise ValueError("a folder" if path.is_dir() else "a pipe, socket or device")
    with path.open("rb") as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} bytes")
    try:
        return read(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("bytes that are no text in UTF-8") from None


def read_texts(path: Path) -> Any:
    """A YAML or JSON file in which every value stays the text that it is, as 0.970.

    Raises: ValueError if it is neither; OSError if it cannot be read.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def write(value: Any) -> str:
    """Plain values as a document, in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _check_depth(text: str) -> None:
    """Refuse what would overflow the stack of libyaml's loader, which ends the process."""
    depth = 0
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"more than {DEEPEST} levels", problem_mark=event.start_mark)


def _check_keys(node: Any, seen: set[int], above: tuple[int, ...] = ()) -> None:
    """Refuse a key that stands twice, of which the second would win, and what holds itself."""
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem="an alias of what it stands in", problem_mark=node.start_mark)
    if id(node) in seen or not isinstance(node, yaml.CollectionNode):
        return
    seen.add(id(node))
    keys = set()
    for child in node.value:
        for one in child if isinstance(child, tuple) else (child,):
            _check_keys(one, seen, (*above, id(node)))
        key = child[0] if isinstance(child, tuple) else None
        if isinstance(key, yaml.ScalarNode):
            if key.value in keys:
                name = key.value if re.fullmatch(r"[a-z][a-z_.-]{0,40}", key.value) else "one"
                raise yaml.MarkedYAMLError(problem=f"the key {name} twice", problem_mark=key.start_mark)
            keys.add(key.value)
