"""Results as plain values for JSON, back from them, and their JSON Schema. The owner of pydantic."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter, ValidationError, WithJsonSchema

from cac_hpc.results.figures import Category, Difference, Figure

T = TypeVar("T")
Json = dict[str, Any]  # an object whose keys are not ours: settings, intake.json, metrics.json


class Damaged(ValueError):
    """Something in a report.json that no report has, in words."""


def to_json(result: Any) -> dict[str, Any]:
    """A report, or any part of one, as plain values in the order of their fields."""
    kind: Any = type(result)
    return dict(_adapter(kind).dump_python(result))


def from_json(plain: Mapping[str, Any], kind: Callable[..., T]) -> T:
    """A report, or any part of one, from plain values.

    Raises: Damaged naming the first key that is missing, or not as a report has it.
    """
    try:
        found: T = _adapter(kind).validate_python(plain)
        return found
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise Damaged(f"is not as a report is ({where}: {first['msg']})") from None


def schema(kind: type) -> dict[str, Any]:
    """The JSON Schema of a report, or of any part of one."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_adapter(kind).json_schema()}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _is_none(value: object) -> bool:
    return value is None


Omitted = Field(exclude_if=_is_none)  # a key that is not there where there is nothing to say


def _flat(category: Category[T]) -> dict[str, Any]:
    return {"category": category.category, **category.figures}


def _nested(found: object) -> object:
    if not isinstance(found, Mapping):
        return found
    return {"category": found.get("category"), "figures": {key: found[key] for key in found if key != "category"}}


def _schema(of: type) -> WithJsonSchema:
    number = {"type": "integer"}
    return WithJsonSchema(
        {
            "type": "object",
            "properties": {"category": number},
            "required": ["category"],
            "additionalProperties": TypeAdapter(of).json_schema(),
        }
    )


_read, _write = BeforeValidator(_nested), PlainSerializer(_flat, return_type=dict)
CategoryFigures = Annotated[Category[Figure], _read, _write, _schema(Figure)]
CategoryDifferences = Annotated[Category[Difference], _read, _write, _schema(Difference)]
