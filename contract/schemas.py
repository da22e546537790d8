"""JSON Schema of the models in `push.messages`.

The models are plain `TypedDict`s, so that a function's start pays for nothing, and their bounds
stand beside them as `Form`. Libraries that read models want classes of their own for one or the
other: pydantic refuses the standard library's `TypedDict` below Python 3.12, and msgspec knows no
bounds but its own.

The dialect is draft 7, of which AsyncAPI's schemas are a superset.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Never,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from push import messages
from push.messages import Form

Schema = dict[str, Any]

_TYPES: dict[object, str] = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    NoneType: "null",
}
# What has a name of its own among the schemas, besides the objects.
_NAMED = {
    alias: name
    for name, alias in vars(messages).items()
    if get_origin(alias) is Annotated and not name.startswith("_")
}


def docs(model: type) -> tuple[str, str]:
    """Return the first line of a model's docstring, and what follows, as one line a paragraph."""
    summary, _, rest = (model.__doc__ or "").partition("\n")
    paragraphs = [" ".join(each.split()) for each in rest.split("\n\n")]
    return summary, "\n\n".join(each for each in paragraphs if each)


class Schemas:
    """The schemas of models, and of all that they are made of, each once, by name."""

    def __init__(self, prefix: str) -> None:
        """Make references that begin with a prefix, such as `#/components/schemas/`."""
        self._prefix = prefix
        self.by_name: dict[str, Schema] = {}

    def reference(self, model: object) -> Schema:
        """Return a reference to the schema of an object, or of an alias that has a name."""
        name = _NAMED.get(model) or model.__name__  # type: ignore[attr-defined]
        if name not in self.by_name:
            # Before it is made, for it may hold itself.
            self.by_name[name] = {}
            self.by_name[name] |= _object(model, self) if is_typeddict(model) else self._made(model)
        return {"$ref": self._prefix + name}

    def object(self, model: type) -> Schema:
        """Return the schema of an object, which nothing refers to."""
        return _object(model, self)

    def add(self, name: str, schema: Schema) -> Schema:
        """Add a schema; return a reference to it."""
        self.by_name[name] = schema
        return {"$ref": self._prefix + name}

    def of(self, annotation: Any) -> Schema:
        """Return the schema of a type, or a reference to it."""
        if is_typeddict(annotation) or _is_named(annotation):
            return self.reference(annotation)
        return self._made(annotation)

    def _made(self, annotation: Any) -> Schema:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            inner, *forms = arguments
            schema = self._made(inner) if _is_named(annotation) else self.of(inner)
            for form in forms:
                schema = _keywords(form) | schema
            return schema
        if origin is Literal:
            return _literal(arguments)
        if origin in (Union, UnionType):
            return {"anyOf": [self.of(each) for each in arguments]}
        if origin is list:
            return {"type": "array", "items": self.of(arguments[0])}
        return {} if annotation is Any else {"type": _TYPES[annotation]}


def _is_named(annotation: Any) -> bool:
    try:
        return annotation in _NAMED
    except TypeError:  # it cannot be hashed
        return False


def _keywords(form: Form) -> Schema:
    said = {name: value for name, value in asdict(form).items() if value not in (None, "")}
    return {name: list(value) if name == "enum" else value for name, value in said.items()}


def _literal(values: tuple[Any, ...]) -> Schema:
    (type_,) = {_TYPES[type(value)] for value in values}
    allowed = {"const": values[0]} if len(values) == 1 else {"enum": list(values)}
    return {"type": type_, **allowed}


def _object(model: Any, schemas: Schemas) -> Schema:
    properties: dict[str, Schema] = {}
    absent = []
    for name, annotation in _members(model):
        if annotation is Never:
            absent.append(name)
        else:
            properties[name] = schemas.of(annotation)
    properties = dict(sorted(properties.items(), key=lambda member: _place(member[0])))
    schema: Schema = {
        "description": "\n\n".join(filter(None, docs(model))),
        "type": "object",
        "required": [name for name in properties if name in model.__required_keys__],
        "properties": properties,
    }
    if absent:
        schema["not"] = {"anyOf": [{"required": [name]} for name in absent]}
    return schema


def _members(model: Any) -> Iterator[tuple[str, Any]]:
    hints: Mapping[str, Any] = get_type_hints(model, include_extras=True)
    for name, annotation in hints.items():
        while get_origin(annotation) in (NotRequired, Required):
            (annotation,) = get_args(annotation)  # noqa: PLW2901
        yield name, annotation


def _place(name: str) -> int:
    """Return where a member stands: what tells messages apart first, the echo last."""
    return {"action": 0, "type": 0, "entityId": 1, "userId": 1, "user": 1, "requestId": 3}.get(
        name, 2
    )
