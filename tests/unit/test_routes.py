"""The routes, called as API Gateway calls them, with the events in `events/`."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest

import connect.app
import default.app
import disconnect.app
import ping.app
import subscribe.app
import subscriptions.app
import unsubscribe.app
from push.adapters import table
from push.errors import ServiceUnavailable
from support import events
from support.events import CONNECTED_AT, CONNECTION_ID, ENTITY_ID

Rows = Callable[[], list[dict[str, Any]]]

HANDLERS = {
    "subscribe": subscribe.app.lambda_handler,
    "unsubscribe": unsubscribe.app.lambda_handler,
    "subscriptions": subscriptions.app.lambda_handler,
    "ping": ping.app.lambda_handler,
    "default": default.app.lambda_handler,
}
TTL = str(CONNECTED_AT + 2 * 3600 + 600)

pytestmark = pytest.mark.usefixtures("dynamodb")


@pytest.fixture
def connected(context: Any, dynamodb: Any) -> None:
    connect.app.lambda_handler(events.load("connect"), context)


@pytest.fixture
def send(context: Any) -> Callable[..., dict[str, Any]]:
    """Send a frame to a route and return its reply."""

    def send(route: str, body: object, connection_id: str = CONNECTION_ID) -> dict[str, Any]:
        response = HANDLERS[route](events.message(route, body, connection_id), context)
        # Other statuses may have their body replaced; see docs/adr.
        assert response["statusCode"] == 200
        reply = json.loads(response["body"])
        assert isinstance(reply, dict)
        return reply

    return send


def test_connect_writes_the_connection(context: Any, rows: Rows) -> None:
    response = connect.app.lambda_handler(events.load("connect"), context)

    assert response["statusCode"] == 200
    assert rows() == [
        {
            "pk": f"CONNECTION#{CONNECTION_ID}",
            "sk": "CONNECTION",
            "connectionId": CONNECTION_ID,
            "ipAddress": "203.0.113.7",
            "connectedAt": "2026-11-24T01:46:40.123Z",
            "subscriptionCount": "0",
            "ttl": TTL,
        }
    ]


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (["websocket"], "websocket"),
        (["chat, websocket"], "websocket"),
        (["chat", "websocket"], "websocket"),
        (["chat"], None),
        (["websocket2"], None),
        ([], None),
    ],
)
def test_connect_answers_with_the_subprotocol_only_if_it_was_offered(
    context: Any, lines: list[str], answer: str | None
) -> None:
    event = events.load("connect")
    del event["headers"]["Sec-WebSocket-Protocol"]
    del event["multiValueHeaders"]["Sec-WebSocket-Protocol"]
    if lines:
        # The name is in the client's own case: node's ws writes it in lower case letters.
        event["headers"]["sec-websocket-protocol"] = lines[-1]
        event["multiValueHeaders"]["sec-websocket-protocol"] = lines

    response = connect.app.lambda_handler(event, context)

    assert response["statusCode"] == 200
    assert response.get("headers", {}).get("Sec-WebSocket-Protocol") == answer


@pytest.mark.usefixtures("connected")
def test_a_repeated_connect_keeps_the_subscriptions_counted(
    context: Any, send: Callable[..., dict[str, Any]], rows: Rows
) -> None:
    send("subscribe", {"entityId": ENTITY_ID})

    connect.app.lambda_handler(events.load("connect"), context)

    assert rows()[0]["subscriptionCount"] == "1"


def test_connect_fails_when_the_table_does_not_answer(context: Any, dynamodb: Any) -> None:
    dynamodb.delete_table(TableName="connections")

    with pytest.raises(ServiceUnavailable):
        connect.app.lambda_handler(events.load("connect"), context)


@pytest.mark.usefixtures("connected")
def test_subscribe_writes_the_subscription_and_counts_it(
    send: Callable[..., dict[str, Any]], rows: Rows
) -> None:
    reply = send("subscribe", {"entityId": ENTITY_ID})

    assert reply == {"type": "Subscribed", "entityId": ENTITY_ID}
    connection, subscription = rows()
    assert connection["subscriptionCount"] == "1"
    assert subscription.pop("subscribedAt").startswith("20")
    assert subscription == {
        "pk": f"ENTITY#{ENTITY_ID}",
        "sk": f"CONNECTION#{CONNECTION_ID}",
        "entityId": ENTITY_ID,
        "connectionId": CONNECTION_ID,
        "ttl": TTL,
    }


@pytest.mark.usefixtures("connected")
def test_subscribing_twice_is_a_success_and_counts_once(
    send: Callable[..., dict[str, Any]], rows: Rows
) -> None:
    first = send("subscribe", {"entityId": ENTITY_ID})
    second = send("subscribe", {"entityId": ENTITY_ID})

    assert first == second
    assert [row.get("subscriptionCount") for row in rows()] == ["1", None]


def test_subscribe_on_a_connection_that_is_gone_writes_nothing(
    send: Callable[..., dict[str, Any]], rows: Rows
) -> None:
    reply = send("subscribe", {"entityId": ENTITY_ID})

    assert (reply["type"], reply["code"]) == ("Error", "ConnectionGone")
    assert rows() == []


@pytest.mark.usefixtures("connected")
def test_one_subscription_too_many_is_refused_and_the_others_stay(
    send: Callable[..., dict[str, Any]],
) -> None:
    for number in range(3):
        send("subscribe", {"entityId": str(number)})

    assert send("subscribe", {"entityId": "3"})["code"] == "TooManySubscriptions"
    assert send("subscribe", {"entityId": "2"})["type"] == "Subscribed"
    assert send("subscriptions", {})["entityIds"] == ["0", "1", "2"]
    assert send("unsubscribe", {"entityId": "0"})["type"] == "Unsubscribed"
    assert send("subscribe", {"entityId": "3"})["type"] == "Subscribed"


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("route", ["subscribe", "unsubscribe"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"entityId": ""},
        {"entityId": None},
        {"entityId": 7},
        {"entityId": True},
        {"entityId": ["a"]},
        {"entityId": {}},
        {"entityId": "x" * 257},
        {"entityId": "a\x00b"},
        {"entityId": "\ud800"},
    ],
    ids=repr,
)
def test_an_unusable_entity_id_is_refused(
    send: Callable[..., dict[str, Any]], rows: Rows, route: str, fields: dict[str, object]
) -> None:
    reply = send(route, fields | {"requestId": "r"})

    assert (reply["type"], reply["code"]) == ("Error", "InvalidEntityId")
    assert "entityId" in reply["message"]
    assert reply["requestId"] == "r"
    assert len(rows()) == 1


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    "entity_id", ["x", "x" * 256, "\U0001f600" * 256, "a#b", " ", "CONNECTION#1"]
)
def test_an_entity_id_is_any_text_of_1_to_256_characters(
    send: Callable[..., dict[str, Any]], entity_id: str
) -> None:
    assert send("subscribe", {"entityId": entity_id})["entityId"] == entity_id
    assert send("subscriptions", {})["entityIds"] == [entity_id]
    assert send("unsubscribe", {"entityId": entity_id})["entityId"] == entity_id
    assert send("subscriptions", {})["entityIds"] == []


@pytest.mark.usefixtures("connected")
def test_unsubscribe_removes_the_subscription_and_its_count(
    send: Callable[..., dict[str, Any]], rows: Rows
) -> None:
    send("subscribe", {"entityId": ENTITY_ID})

    assert send("unsubscribe", {"entityId": ENTITY_ID}) == {
        "type": "Unsubscribed",
        "entityId": ENTITY_ID,
    }
    (connection,) = rows()
    assert connection["subscriptionCount"] == "0"


@pytest.mark.usefixtures("connected")
def test_unsubscribing_from_nothing_is_a_success_and_counts_nothing(
    send: Callable[..., dict[str, Any]], rows: Rows
) -> None:
    assert send("unsubscribe", {"entityId": ENTITY_ID})["type"] == "Unsubscribed"
    assert rows()[0]["subscriptionCount"] == "0"


@pytest.mark.usefixtures("connected")
def test_unsubscribe_after_the_connection_item_is_gone_still_removes_the_row(
    send: Callable[..., dict[str, Any]], rows: Rows, dynamodb: Any
) -> None:
    send("subscribe", {"entityId": ENTITY_ID})
    key = {"pk": {"S": f"CONNECTION#{CONNECTION_ID}"}, "sk": {"S": "CONNECTION"}}
    dynamodb.delete_item(TableName="connections", Key=key)

    assert send("unsubscribe", {"entityId": ENTITY_ID})["type"] == "Unsubscribed"
    assert rows() == []


def test_subscriptions_of_a_connection_that_is_gone(send: Callable[..., dict[str, Any]]) -> None:
    assert send("subscriptions", {})["code"] == "ConnectionGone"


def test_ping_answers_the_time(send: Callable[..., dict[str, Any]]) -> None:
    reply = send("ping", {})

    assert reply["type"] == "Pong"
    assert reply["time"].endswith("Z")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (None, "InvalidJson"),
        ("", "InvalidJson"),
        ("{", "InvalidJson"),
        ("hello", "InvalidJson"),
        ('{"action":NaN}', "InvalidJson"),
        ("[" * 100_000, "InvalidJson"),
        ("9" * 5_000, "InvalidJson"),
        ("[1]", "InvalidFrame"),
        ('"subscribe"', "InvalidFrame"),
        ("null", "InvalidFrame"),
        ("0", "InvalidFrame"),
        ("{}", "UnknownAction"),
        ('{"action":"nope"}', "UnknownAction"),
        ('{"action":{"a":1}}', "UnknownAction"),
        ('{"action":"\\ud800"}', "UnknownAction"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_frame_that_names_no_route_gets_a_coded_error(
    send: Callable[..., dict[str, Any]], body: str | None, code: str
) -> None:
    reply = send("default", body)

    assert (reply["type"], reply["code"]) == ("Error", code)
    assert reply["message"]


@pytest.mark.parametrize("route", HANDLERS)
@pytest.mark.parametrize("request_id", ["r-1", 0, 12345678901234567890, "é"])
def test_every_reply_echoes_the_request_id(
    send: Callable[..., dict[str, Any]], route: str, request_id: object
) -> None:
    assert send(route, {"requestId": request_id})["requestId"] == request_id


@pytest.mark.parametrize("request_id", ["", "x" * 129, True, 1.5, [], {}])
def test_a_request_id_that_cannot_be_echoed_is_refused(
    send: Callable[..., dict[str, Any]], request_id: object
) -> None:
    reply = send("ping", {"requestId": request_id})

    assert reply["code"] == "InvalidRequestId"
    assert "requestId" not in reply


@pytest.mark.parametrize("route", ["subscribe", "unsubscribe", "subscriptions"])
def test_a_table_that_does_not_answer_is_a_coded_error_and_logged(
    send: Callable[..., dict[str, Any]],
    dynamodb: Any,
    logs: StringIO,
    route: str,
) -> None:
    dynamodb.delete_table(TableName="connections")

    reply = send(route, {"entityId": ENTITY_ID, "requestId": "r"})

    assert (reply["code"], reply["requestId"]) == ("ServiceUnavailable", "r")
    assert "ResourceNotFoundException" in logs.getvalue()


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("count", [0, 1, 60])
def test_disconnect_removes_all_of_its_connection_and_nothing_of_others(
    context: Any,
    send: Callable[..., dict[str, Any]],
    rows: Rows,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    monkeypatch.setenv("MAX_SUBSCRIPTIONS_PER_CONNECTION", "100")
    table.connection_table.cache_clear()
    neighbour = events.load("connect")
    neighbour["requestContext"]["connectionId"] = "neighbour="
    connect.app.lambda_handler(neighbour, context)
    send("subscribe", {"entityId": "0"}, "neighbour=")
    for number in range(count):
        send("subscribe", {"entityId": str(number)})

    response = disconnect.app.lambda_handler(events.load("disconnect"), context)

    assert response["statusCode"] == 200
    assert [(row["pk"], row["connectionId"]) for row in rows()] == [
        ("CONNECTION#neighbour=", "neighbour="),
        ("ENTITY#0", "neighbour="),
    ]


def test_a_repeated_disconnect_is_a_success(context: Any) -> None:
    for _ in range(2):
        assert (
            disconnect.app.lambda_handler(events.load("disconnect"), context)["statusCode"] == 200
        )


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("route", "body", "metrics"),
    [
        ("subscribe", {"entityId": "1"}, {"Requests": 1, "SubscriptionsAdded": 1}),
        ("unsubscribe", {"entityId": "1"}, {"Requests": 1}),
        ("subscribe", {}, {"Requests": 1, "RequestsRejected": 1}),
        ("ping", {}, {"Requests": 1}),
    ],
)
def test_routes_publish_their_metrics(
    send: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    route: str,
    body: object,
    metrics: dict[str, int],
) -> None:
    capsys.readouterr()

    send(route, body)

    assert published(capsys) == metrics


def test_connections_are_counted(context: Any, capsys: pytest.CaptureFixture[str]) -> None:
    connect.app.lambda_handler(events.load("connect"), context)
    assert published(capsys) == {"Requests": 1, "ConnectionsOpened": 1}
    disconnect.app.lambda_handler(events.load("disconnect"), context)
    assert published(capsys) == {"Requests": 1, "ConnectionsClosed": 1}


def test_logs_name_the_connection_and_hold_nothing_that_the_client_sent(
    send: Callable[..., dict[str, Any]], logs: StringIO
) -> None:
    send("subscribe", {"entityId": "secret-entity", "token": "secret-token"})

    assert CONNECTION_ID in logs.getvalue()
    assert "secret" not in logs.getvalue()


@pytest.mark.parametrize("name", ["TABLE_NAME", "MAX_SUBSCRIPTIONS_PER_CONNECTION"])
def test_a_missing_variable_is_named(
    context: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name)

    with pytest.raises(RuntimeError, match=name):
        connect.app.lambda_handler(events.load("connect"), context)


def published(capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """Return the metrics that were printed, as CloudWatch reads them."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    blobs = [line for line in lines if "_aws" in line]
    names = [
        metric["Name"]
        for blob in blobs
        for directive in blob["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    ]
    return {name: sum(sum(blob.get(name, [])) for blob in blobs) for name in names}
