"""Results as plain values for JSON, and back from them; their JSON Schema and what is wrong with a damaged one."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from cac_hpc.results.figures import Category, Difference, Figure

T = TypeVar("T")
Json = dict[str, Any]  # an object whose keys are not ours: settings, intake.json, metrics.json
Read = Callable[[Any], Any]  # gives what a plain value stands for; raises _Unlike
EXACT_BITS = 53  # whole numbers of more are rounded as floating-point numbers


class Damaged(ValueError):
    """Something in a report.json that no report has, in words."""


class _Unlike(Exception):
    """A plain value that is not as `to_json` writes it."""


class _Omitted:
    """Of a field: its key is not there where there is nothing to say."""


class _Flat:
    """Of a category: its number and its figures are in one object."""

    def __init__(self, of: type) -> None:
        self.of = of

    def __get_pydantic_core_schema__(self, kind: Any, handler: Any) -> Any:  # pydantic's own name
        from cac_hpc.results import validation

        return validation.core_schema_of_category(kind, self.of, handler)


Omitted = _Omitted()
CategoryFigures = Annotated[Category[Figure], _Flat(Figure)]
CategoryDifferences = Annotated[Category[Difference], _Flat(Difference)]


def to_json(result: Any) -> dict[str, Any]:
    """A report, or any part of one, as plain values in the order of their fields."""
    return cast("dict[str, Any]", _plain(result))


def from_json(plain: Mapping[str, Any], kind: Callable[..., T]) -> T:
    """A report, or any part of one, from plain values.

    Raises: Damaged naming the first key that is missing, or not as a report has it.
    """
    try:
        return cast("T", _reader(kind)(plain))
    except _Unlike:
        from cac_hpc.results import validation  # imports pydantic, which takes longer than all of the rest

        try:
            return validation.validated(plain, kind)
        except validation.Invalid as error:
            raise Damaged(f"is not as a report is ({error})") from None


def schema(kind: type) -> dict[str, object]:
    """The JSON Schema of a report, or of any part of one."""
    from cac_hpc.results import validation

    return validation.schema(kind)


def _plain(value: Any) -> Any:
    kind = type(value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if kind in (list, tuple):
        return kind([_plain(one) for one in value])
    if not dataclasses.is_dataclass(kind):
        return value
    if kind is Category:
        return {"category": value.category, **_plain(value.figures)}
    found = ((name, getattr(value, name), omitted) for name, omitted in _written(kind))
    return {name: _plain(one) for name, one, omitted in found if one is not None or not omitted}


@functools.cache
def _written(kind: Any) -> list[tuple[str, bool]]:
    """The fields of a part, and whether each is left out where it is None."""
    hints = get_type_hints(kind, include_extras=True)
    return [(spec.name, Omitted in getattr(hints[spec.name], "__metadata__", ())) for spec in dataclasses.fields(kind)]


@functools.cache
def _reader(hint: Any) -> Read:
    """What reads values of a type: as strictly as they are written, everything else is `_Unlike`."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _reader(parts[0])
    if hint is Any:
        return lambda value: value
    if dataclasses.is_dataclass(origin or hint):
        return functools.partial(_read_part, hint)
    if origin in (Union, UnionType):
        return functools.partial(_read_one_of, tuple(map(_reader, parts)), NoneType in parts)
    if origin is list:
        return functools.partial(_read_list, _reader(parts[0]))
    if origin is dict and parts[0] is str:
        return functools.partial(_read_dict, _reader(parts[1]))
    if origin is Literal:
        return functools.partial(_read_scalar, str, frozenset(parts))
    return _read_float if hint is float else functools.partial(_read_scalar, hint, None)


def _read_scalar(kind: Any, choices: frozenset[str] | None, value: Any) -> Any:
    if type(value) is not kind or (choices is not None and value not in choices):
        raise _Unlike
    return value


def _read_float(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int and value.bit_length() <= EXACT_BITS:
        return float(value)
    raise _Unlike


def _read_list(read: Read, value: Any) -> list[Any]:
    if type(value) is not list:
        raise _Unlike
    return [read(one) for one in value]


def _read_dict(read: Read, value: Any) -> Json:
    if type(value) is not dict:
        raise _Unlike
    return {_read_scalar(str, None, key): read(one) for key, one in value.items()}


def _read_one_of(reads: tuple[Read, ...], or_none: bool, value: Any) -> Any:
    """A value of the only type that it can be of."""
    if value is None and or_none:
        return None
    found = []
    for read in reads:
        try:
            found.append(read(value))
        except _Unlike:
            continue
    if len(found) != 1:
        raise _Unlike
    return found[0]


def _read_part(kind: Any, value: Any) -> Any:
    if type(value) is not dict:
        raise _Unlike
    if get_origin(kind) is Category:
        value = {"category": value.get("category"), "figures": {key: value[key] for key in value if key != "category"}}
    made, fields, needed = _fields(kind)
    if not value.keys() <= fields.keys() or not needed <= value.keys():
        raise _Unlike
    return made(**{key: fields[key](one) for key, one in value.items()})


@functools.cache
def _fields(kind: Any) -> tuple[Any, dict[str, Read], set[str]]:
    """The class of a part, what reads each of its fields, and those that must be there."""
    made = get_origin(kind) or kind
    hints = get_type_hints(made)
    of = dict(zip(getattr(made, "__parameters__", ()), get_args(kind), strict=True))
    specs = dataclasses.fields(made)
    needed = {one.name for one in specs if one.default is one.default_factory is dataclasses.MISSING}
    return made, {one.name: _reader(_replaced(hints[one.name], of)) for one in specs}, needed


def _replaced(hint: Any, of: Mapping[Any, Any]) -> Any:
    """A type of a generic class with what stands for its variables."""
    names = getattr(hint, "__parameters__", ())
    return of.get(hint, hint[tuple(of[name] for name in names)] if names and of else hint)
