"""The events in `events/`, which documents and `sam local invoke` use too."""

import json
from pathlib import Path
from typing import Any

from push.events import Event, parse

FOLDER = Path(__file__).parents[2] / "events"

CONNECTION_ID = "L0SM9cOFvHcCIhw="
CONNECTED_AT = 1795484800  # seconds since the epoch, 2026-11-24T01:46:40Z
ENTITY_ID = "myTestEntityId"


def load(name: str) -> Any:
    """Return an event."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def message(name: str, body: object, connection_id: str = CONNECTION_ID) -> dict[str, Any]:
    """Return a route's event with another frame; a `str` or None is the frame itself.

    An object gets the action by which API Gateway finds the route.
    """
    event: dict[str, Any] = load(name)
    if isinstance(body, dict) and name != "default":
        body = {"action": name} | body
    event["body"] = body if body is None or isinstance(body, str) else json.dumps(body)
    event["requestContext"]["connectionId"] = connection_id
    return event


def entity_updated(event_id: str = "1", **detail: object) -> dict[str, Any]:
    """Return an EventBridge event with a detail of its own."""
    event: dict[str, Any] = json.loads(load("notifier")["Records"][0]["body"])
    return event | {"id": event_id, "detail": detail}


def encoded(event: object) -> str:
    return json.dumps(event)


def batch(*bodies: object) -> dict[str, Any]:
    """Return what SQS hands to the notifier: one record per body, with message ids "0", "1", …"""
    event: dict[str, Any] = load("notifier")
    record = event["Records"][0]
    event["Records"] = [
        record
        | {
            "messageId": str(index),
            "body": body if isinstance(body, str) else json.dumps(body),
        }
        for index, body in enumerate(bodies)
    ]
    return event


def parsed(text: str) -> Event:
    """Return an event that subscribers get, from its text."""
    event = parse(text)
    assert isinstance(event, Event)
    return event
