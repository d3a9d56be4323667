"""What is wrong with plain values that are no results, and the JSON Schema of results. The owner of pydantic."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, TypeAdapter, ValidationError, WithJsonSchema

T = TypeVar("T")


class Invalid(ValueError):
    """What is wrong with plain values, in words."""


def validated(plain: object, kind: Callable[..., T]) -> T:
    """A report, or any part of one, from plain values that may be otherwise than it is written.

    Raises: Invalid naming the first key that is missing, or not as a report has it.
    """
    try:
        found: T = _adapter(kind).validate_python(plain)
        return found
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise Invalid(f"{where}: {first['msg']}") from None


def schema(kind: type) -> dict[str, object]:
    """The JSON Schema of a report, or of any part of one."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_adapter(kind).json_schema()}


def core_schema_of_category(kind: Any, of: type, handler: Any) -> Any:
    """How pydantic is to read a category, whose number and figures are in one object.

    Args:
        of: its figures. handler: pydantic's GetCoreSchemaHandler.
    """
    shown = {
        "type": "object",
        "properties": {"category": {"type": "integer"}},
        "required": ["category"],
        "additionalProperties": TypeAdapter(of).json_schema(),
    }
    return handler.generate_schema(Annotated[kind, BeforeValidator(_nested), WithJsonSchema(shown)])


def _nested(found: object) -> object:
    if not isinstance(found, Mapping):
        return found
    return {"category": found.get("category"), "figures": {key: found[key] for key in found if key != "category"}}


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
