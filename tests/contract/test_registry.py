"""The schemas of events in the template, for EventBridge's registry."""

import json
from typing import Any

import pytest
from openapi_schema_validator import OAS30Validator
from openapi_spec_validator import validate

from contract import registry
from contract.examples import by_message
from push import messages
from push.messages import PublishedEvent
from support import template

SCHEMAS = template.resources("AWS::EventSchemas::Schema")

each_event = pytest.mark.parametrize("event", messages.EVENTS, ids=lambda event: event.name)


def written(event: PublishedEvent) -> Any:
    """Return the document of an event, as it is in the template."""
    name = event.name.removesuffix("Event")
    (properties,) = [each for each in SCHEMAS.values() if each["SchemaName"] == name]
    return json.loads(properties["Content"])


def validator(event: PublishedEvent) -> OAS30Validator:
    document = written(event)
    schema = {"$ref": "#/components/schemas/AWSEvent", **document}
    return OAS30Validator(schema)


def test_they_are_what_make_contract_writes() -> None:
    text = registry.TEMPLATE.read_text()

    assert registry.into(text) == text, "run `make contract`"
    assert len(SCHEMAS) == len(messages.EVENTS)


@each_event
def test_they_are_openapi_as_the_registry_takes_it(event: PublishedEvent) -> None:
    document = written(event)

    assert document == registry.openapi(event)
    validate(document)
    envelope = document["components"]["schemas"]["AWSEvent"]
    assert envelope["x-amazon-events-detail-type"] == event.detail_type
    # Each becomes a class.
    assert {each["type"] for each in document["components"]["schemas"].values()} == {"object"}


@each_event
def test_they_say_the_same_as_the_contract(event: PublishedEvent) -> None:
    for example in by_message()[event.name]:
        assert validator(event).is_valid(example.payload)
        for member in ("detail", "id", "detail-type"):
            left = {key: value for key, value in example.payload.items() if key != member}
            assert not validator(event).is_valid(left)


@pytest.mark.parametrize(
    ("detail", "fits"),
    [
        ({}, True),
        ({"reason": None}, True),
        ({"reason": "r"}, True),
        ({"reason": ""}, False),
        ({"revokeIssuedBefore": 0}, True),
        ({"revokeIssuedBefore": None}, True),
        ({"revokeIssuedBefore": "2026-11-24T02:00:00Z"}, True),
        ({"revokeIssuedBefore": -1}, False),
        ({"revokeIssuedBefore": 1e11}, False),
        ({"revokeIssuedBefore": True}, False),
        ({"userId": None}, False),
    ],
)
def test_what_is_said_in_another_way_there_means_the_same(
    detail: dict[str, Any], fits: bool
) -> None:
    (event,) = [each for each in messages.EVENTS if each.becomes is messages.Disconnect]
    (example,) = by_message()[event.name]
    said = example.payload | {"detail": {"userId": "alice"} | detail}

    assert validator(event).is_valid(said) == fits


def test_they_are_there_only_if_asked_for() -> None:
    for resource in template.written()["Resources"].values():
        if resource["Type"].startswith("AWS::EventSchemas::"):
            assert resource["Condition"] == "WithEventSchemas"
