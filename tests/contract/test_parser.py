"""What the contract calls valid is what the code takes, and nothing else.

Frames and events are made of what is at the edge of being valid. What no schema can say, the
contract says in words, and `is_beyond_schemas` knows.
"""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from push.errors import EventRejected, RequestRejected
from push.events import DISCONNECT_USER, ENTITY_UPDATED, SEND_USER_PUSH, parse
from push.messages import ACTIONS
from push.protocol import Refused, Request
from support import events
from support.contract import Contract, contract, document, is_beyond_schemas

# How long a frame takes to make says what else the machine does.
whenever = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

CURSOR = "5f0c2a9be41d-1"
EDGES: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.5, 10**20, [], {}, "", "a", "b", "last", "Last"),
    *(CURSOR, f"{CURSOR}\n", "5f0c2a9be41d-01", "5F0C2A9BE41D-1", "5f0c2a9be41d-1000000000000000"),
    *("5f0c2a9be41d-999999999999999", "5f0c2a9be41-1", "5f0c2a9be41d-", "-1", "٣" * 12 + "-1"),
    *("a\x00", "a\x1f", "a\n", "a\x7f", "a\x80", "\u2028", "\ud800", " ", "é", "\U0001f600"),
    *("x" * 128, "x" * 129, "x" * 256, "x" * 257, "\U0001f600" * 256, "\U0001f600" * 257),
]
edges = st.sampled_from(EDGES)
texts = edges | st.text(max_size=3)
parts = texts | st.fixed_dictionaries(
    {}, optional={"entityId": texts, "since": texts, "user": edges}
)
lists = st.lists(parts, max_size=3) | st.integers(98, 101).map(lambda n: [str(i) for i in range(n)])
several = lists | st.integers(98, 101).map(lambda n: [{"entityId": str(i)} for i in range(n)])
frames = st.fixed_dictionaries(
    {"action": st.sampled_from([*(action.name for action in ACTIONS), "shout", 1, None])},
    optional={
        "entityId": texts,
        "entityIds": texts | lists,
        "entities": texts | several,
        "user": edges,
        "since": texts,
        "token": texts,
        "requestId": texts,
    },
)


def is_taken(frame: dict[str, Any]) -> bool:
    """Whether the route of a frame finds it in order, before it asks the table."""
    try:
        request = Request.parse(json.dumps(frame))
        match request.action:
            case "subscribe" if request.is_about_several:
                return not any(isinstance(part, Refused) for part in request.entities())
            case "subscribe":
                return bool(request.wanted)
            case "history":
                return bool(request.wanted_since)
            case "unsubscribe":
                return bool(request.topics() if request.is_about_several else request.topic)
            case "authenticate":
                return isinstance(request.token, str)
            case action:
                return action in ("subscriptions", "ping")
    except RequestRejected:
        return False


@whenever
@given(frames)
@example({"action": "subscribe", "entities": [{"entityId": "a"}, {"user": True}], "user": 1})
@example({"action": "subscribe", "entities": [{"entityId": "a", "user": True}]})
@example({"action": "subscribe", "entityId": "a", "entities": None})
@example({"action": "subscribe", "user": True, "entityIds": ["a"]})
@example({"action": "unsubscribe", "entityIds": ["a"], "user": True})
@example({"action": "unsubscribe", "entityIds": ["a", "a"]})
@example({"action": "unsubscribe", "entityId": "a", "entities": []})
@example({"action": "history", "entityId": "a", "since": None})
@example({"action": "history", "entityId": "a", "since": CURSOR, "user": False})
@example({"action": "ping", "requestId": True})
def test_a_request_is_one_of_the_contract_if_and_only_if_its_route_takes_it(
    frame: dict[str, Any],
) -> None:
    if not is_beyond_schemas(frame):
        problem = contract().request_problem(frame)
        assert (problem is None) == is_taken(frame), problem


@pytest.mark.parametrize(
    "frame",
    [
        {
            "action": "subscribe",
            "entities": [{"entityId": "a"}, {"entityId": "a", "since": CURSOR}],
        },
        {"action": "subscribe", "entities": [{"user": True}, {"user": True, "since": CURSOR}]},
        {"action": "subscribe", "entityId": "\ud800"},
        {"action": "ping", "requestId": 1.0},
        {"action": "ping", "requestId": 10**310},
    ],
    ids=lambda frame: str(frame)[:60],
)
def test_what_no_schema_says_is_refused_all_the_same(frame: dict[str, Any]) -> None:
    assert is_beyond_schemas(frame)
    assert contract().request_problem(frame) is None
    assert not is_taken(frame)


details = st.fixed_dictionaries(
    {},
    optional={
        "entityId": texts,
        "userId": texts,
        "message": edges,
        "data": edges,
        "callback": edges,
        "tenant": texts,
        "reason": texts,
        "revokeIssuedBefore": edges | st.floats(allow_nan=False, allow_infinity=False),
    },
)
detail_types = st.sampled_from([ENTITY_UPDATED, SEND_USER_PUSH, DISCONNECT_USER, "Other", 1])
envelopes = st.fixed_dictionaries(
    {"detail-type": detail_types, "detail": details | edges},
    optional={"id": texts, "time": texts},
)


@whenever
@given(envelopes, st.booleans())
def test_an_event_is_one_of_the_contract_if_and_only_if_the_notifier_takes_it(
    members: dict[str, Any], with_tenants: bool
) -> None:
    """Whoever parses an event in a test is held to that."""
    event = events.entity_updated() | members

    with suppress(EventRejected):
        parse(json.dumps(event), with_tenants=with_tenants)


@pytest.mark.parametrize(
    ("schema", "keyword", "value", "frame"),
    [
        ("EntityId", "maxLength", 257, {"action": "subscribe", "entityId": "x" * 257}),
        ("EntityId", "pattern", ".", {"action": "subscribe", "entityId": "\x00"}),
        ("Cursor", "pattern", "-", {"action": "history", "entityId": "a", "since": "a-1"}),
    ],
)
def test_a_contract_that_says_something_else_is_found(
    schema: str, keyword: str, value: Any, frame: dict[str, Any]
) -> None:
    changed = json.loads(json.dumps(document()))
    changed["components"]["schemas"][schema][keyword] = value

    assert not is_taken(frame)
    assert contract().request_problem(frame)
    assert Contract(changed).request_problem(frame) is None
