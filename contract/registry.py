"""Schemas of the events for EventBridge's registry, which makes classes of them for publishers.

The registry takes OpenAPI 3.0, whose schemas are older than AsyncAPI's: what is null, constant or
exclusive is said in another way there. As in the schemas that EventBridge finds itself, only
objects have names, for each name becomes a class.

`x-amazon-events-source` is left out on purpose: any source may publish, and tools that find one
make rules of it, which would then match that source alone.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-schema-create.html
"""

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract import VERSION
from contract.schemas import Schema, Schemas
from push import messages

TEMPLATE = Path(__file__).parents[1] / "template.yaml"
_BEGIN = "  # What follows, up to the next group, is written by `make contract`.\n"
_END = "\n  ####"
_SCHEMAS = "#/components/schemas/"
# EventBridge hands over all of them, whatever the publisher says.
_ALWAYS = ["version", "id", "detail-type", "source", "account", "time", "region", "resources"]


def openapi(event: messages.PublishedEvent) -> dict[str, Any]:
    """Return the document of an event, in the form that EventBridge gives to its own."""
    schemas = Schemas(_SCHEMAS)
    name = _name(event)
    envelope = schemas.object(messages.EventEnvelope)
    detail = schemas.reference(event.detail)
    envelope["description"] = (event.detail.__doc__ or "").strip()
    envelope["required"] = [*_ALWAYS, "detail"]
    envelope["x-amazon-events-detail-type"] = event.detail_type
    envelope["properties"] |= {
        "detail-type": {"type": "string", "const": event.detail_type},
        "time": {"type": "string", "format": "date-time"},
        "detail": detail,
    }
    objects = {
        name: schema
        for name, schema in {"AWSEvent": envelope, **schemas.by_name}.items()
        if schema.get("type") == "object"
    }
    return {
        "openapi": "3.0.0",
        "info": {"version": VERSION, "title": name},
        "paths": {},
        "components": {"schemas": _older(_inlined(objects, schemas.by_name))},
    }


def resources() -> str:
    """Return the resources of the schemas, as text of the template."""
    return "".join(map(_resource, messages.EVENTS))


def into(template: str) -> str:
    """Return the text of the template with the resources of now."""
    before, begin, rest = template.partition(_BEGIN)
    if not begin:
        raise ValueError("the template does not say where they belong")
    _, end, after = rest.partition(_END)
    return before + begin + resources() + end + after


def _name(event: messages.PublishedEvent) -> str:
    return event.name.removesuffix("Event")


def _resource(event: messages.PublishedEvent) -> str:
    name = _name(event)
    lines = textwrap.wrap(
        json.dumps(openapi(event)), 90, break_long_words=False, break_on_hyphens=False
    )
    content = "\n".join(f"        {line}" for line in lines)
    return f"""
  {name}Schema:
    Type: AWS::EventSchemas::Schema
    Condition: WithEventSchemas
    Properties:
      RegistryName: !GetAtt EventSchemas.RegistryName
      SchemaName: {name}
      Type: OpenApi3
      Content: >-
{content}
"""


def _inlined(schema: Any, by_name: Mapping[str, Schema]) -> Any:
    """Return a schema in which only objects are referred to; what else has a name is in place."""
    if isinstance(schema, list):
        return [_inlined(each, by_name) for each in schema]
    if not isinstance(schema, dict):
        return schema
    named = by_name.get(str(schema.get("$ref")).removeprefix(_SCHEMAS), {})
    if named and named.get("type") != "object":
        return _inlined(named, by_name)
    return {key: _inlined(value, by_name) for key, value in schema.items()}


def _older(schema: Any) -> Any:
    """Return a schema of draft 7 as one of OpenAPI 3.0."""
    if isinstance(schema, list):
        return [_older(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    older: Schema = {key: _older(value) for key, value in schema.items()}
    if "const" in older:
        older["enum"] = [older.pop("const")]
    if isinstance(limit := older.get("exclusiveMaximum"), int | float):
        older |= {"maximum": limit, "exclusiveMaximum": True}
    if {"type": "null"} in older.get("anyOf", []):
        first, *others = (each for each in older.pop("anyOf") if each != {"type": "null"})
        # It counts only where there is a type.
        first["nullable"] = True
        older |= {"anyOf": [first, *others]} if others else first
    return older
