"""The routes, called as API Gateway calls them, with the events in `events/`."""

import json
from collections.abc import Callable
from io import StringIO
from itertools import count
from typing import Any

import pytest

import authenticate.app
import connect.app
import default.app
import disconnect.app
import history.app
import ping.app
import subscribe.app
import subscriptions.app
import unsubscribe.app
from push import wiring
from push.errors import ServiceUnavailable
from push.events import MAX_FRAME_BYTES
from push.protocol import ACTIONS, MAX_MESSAGE_BYTES
from push.subscriptions import forget
from push.topics import Log, Topic
from support import events, template
from support.events import CONNECTED_AT, CONNECTION_ID, ENTITY_ID

Rows = Callable[[], list[dict[str, Any]]]
Send = Callable[..., dict[str, Any]]
Publish = Callable[..., list[str]]

HANDLERS = {
    "subscribe": subscribe.app.lambda_handler,
    "history": history.app.lambda_handler,
    "unsubscribe": unsubscribe.app.lambda_handler,
    "subscriptions": subscriptions.app.lambda_handler,
    "ping": ping.app.lambda_handler,
    "authenticate": authenticate.app.lambda_handler,
    "default": default.app.lambda_handler,
}
TTL = CONNECTED_AT + 2 * 3600 + 600
LONGEST = "\U0001f600" * 256
UNUSABLE_IDS: list[object] = [
    *("", "x" * 257, "a\x00b", "\ud800", "a\x7f"),
    *(None, 7, True, ["a"], {}),
]

pytestmark = pytest.mark.usefixtures("dynamodb")


@pytest.fixture
def connected(context: Any, dynamodb: Any) -> None:
    connect.app.lambda_handler(events.load("connect"), context)


@pytest.fixture
def send(context: Any) -> Send:
    """Send a frame to a route and return its reply."""

    def send(route: str, body: object, connection_id: str = CONNECTION_ID) -> dict[str, Any]:
        response = HANDLERS[route](events.message(route, body, connection_id), context)
        # Other statuses may have their body replaced; see docs/adr.
        assert response["statusCode"] == 200
        assert len(response["body"].encode()) <= MAX_MESSAGE_BYTES
        reply = json.loads(response["body"])
        assert isinstance(reply, dict)
        return reply

    return send


@pytest.fixture
def publish(dynamodb: Any) -> Publish:
    """Log events of an entity that is watched; return their ids."""
    numbers = count()

    def publish(how_many: int, entity_id: str = ENTITY_ID, **detail: object) -> list[str]:
        log = Log(wiring.table(), kept_seconds=604_800)
        ids = [f"event {next(numbers)}" for _ in range(how_many)]
        for event_id in ids:
            body = events.encoded(events.entity_updated(event_id, entityId=entity_id, **detail))
            event = events.parsed(body)
            head = wiring.table().head(event.topic)
            assert head
            assert log.append(event, head, head.cursor)
        return ids

    return publish


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch, remade: Callable[[], None]) -> None:
    """Let connections hold as many subscriptions as the template lets them."""
    parameter = template.written()["Parameters"]["MaxSubscriptionsPerConnection"]
    monkeypatch.setenv("MAX_SUBSCRIPTIONS_PER_CONNECTION", str(parameter["Default"]))
    remade()


def rows_of(rows: Rows, kind: str) -> list[str]:
    """Return the partition keys of the items of a kind: HEAD, CONNECTION#…"""
    return [row["pk"] for row in rows() if row["sk"].startswith(kind)]


def before(cursor: str, count: int = 1) -> str:
    epoch, _, seq = cursor.partition("-")
    return f"{epoch}-{int(seq) - count}"


# $connect and $disconnect.


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


def test_connect_fails_when_the_table_does_not_answer(context: Any, dynamodb: Any) -> None:
    """API Gateway refuses the handshake, and the client tries again."""
    dynamodb.delete_table(TableName="connections")

    with pytest.raises(ServiceUnavailable):
        connect.app.lambda_handler(events.load("connect"), context)


@pytest.mark.usefixtures("connected", "many")
@pytest.mark.parametrize("held", [0, 1, 60])
def test_disconnect_removes_all_of_its_connection_and_nothing_of_others(
    context: Any, send: Send, rows: Rows, held: int
) -> None:
    neighbour = events.load("connect")
    neighbour["requestContext"]["connectionId"] = "neighbour="
    connect.app.lambda_handler(neighbour, context)
    send("subscribe", {"entityId": "0"}, "neighbour=")
    if held:
        parts = [{"entityId": str(number)} for number in range(held)]
        send("subscribe", {"entities": parts})

    response = disconnect.app.lambda_handler(events.load("disconnect"), context)

    assert response["statusCode"] == 200
    left = [(row["pk"], row["connectionId"]) for row in rows() if row["sk"] != "HEAD"]
    assert left == [("CONNECTION#neighbour=", "neighbour="), ("ENTITY#0", "neighbour=")]


def test_a_repeated_disconnect_is_a_success(context: Any) -> None:
    for _ in range(2):
        response = disconnect.app.lambda_handler(events.load("disconnect"), context)
        assert response["statusCode"] == 200


def test_disconnect_fails_when_the_table_does_not_answer(context: Any, dynamodb: Any) -> None:
    dynamodb.delete_table(TableName="connections")

    with pytest.raises(ServiceUnavailable):
        disconnect.app.lambda_handler(events.load("disconnect"), context)


# subscribe, to one entity.


@pytest.mark.usefixtures("connected")
def test_subscribe_writes_the_subscription_and_answers_where_the_log_stands(
    send: Send, rows: Rows
) -> None:
    reply = send("subscribe", {"entityId": ENTITY_ID})

    cursor = reply.pop("cursor")
    assert reply == {"type": "Subscribed", "entityId": ENTITY_ID}
    connection, subscription, head = rows()
    assert connection["topics"] == [f"ENTITY#{ENTITY_ID}"]
    assert subscription.pop("subscribedAt").startswith("20")
    assert subscription == {
        "pk": f"ENTITY#{ENTITY_ID}",
        "sk": f"CONNECTION#{CONNECTION_ID}",
        "entityId": ENTITY_ID,
        "connectionId": CONNECTION_ID,
        "ttl": TTL,
    }
    assert (head["sk"], cursor) == ("HEAD", f"{head['epoch']}-0")


@pytest.mark.usefixtures("connected")
def test_the_cursor_is_read_after_the_subscription_was_written(
    send: Send, publish: Publish, dynamodb: Any
) -> None:
    """An event in between is in the cursor, and finds the row."""
    send("subscribe", {"entityId": ENTITY_ID})
    send("unsubscribe", {"entityId": ENTITY_ID})
    rows_at_event: list[int] = []

    def event_comes(**_: Any) -> None:
        if not rows_at_event:
            rows_at_event.append(1)
            publish(1)

    dynamodb.meta.events.register("after-call.dynamodb.TransactWriteItems", event_comes)

    assert send("subscribe", {"entityId": ENTITY_ID})["cursor"].endswith("-1")


@pytest.mark.usefixtures("connected")
def test_subscribing_twice_is_a_success_and_counts_once(send: Send, rows: Rows) -> None:
    first = send("subscribe", {"entityId": ENTITY_ID})
    second = send("subscribe", {"entityId": ENTITY_ID})

    assert first == second
    assert rows()[0]["topics"] == [f"ENTITY#{ENTITY_ID}"]


@pytest.mark.parametrize("frame", [{"entityId": "e"}, {"entities": [{"entityId": "e"}]}], ids=str)
def test_subscribe_on_a_connection_that_is_gone_writes_nothing(
    send: Send, rows: Rows, frame: dict[str, object]
) -> None:
    reply = send("subscribe", frame)

    assert (reply["type"], reply["code"]) == ("Error", "ConnectionGone")
    assert rows() == []


@pytest.mark.usefixtures("connected")
def test_one_subscription_too_many_is_refused_and_the_others_stay(send: Send) -> None:
    for number in range(3):
        send("subscribe", {"entityId": str(number)})

    assert send("subscribe", {"entityId": "3"})["code"] == "TooManySubscriptions"
    assert send("subscriptions", {})["entityIds"] == ["0", "1", "2"]
    assert send("unsubscribe", {"entityId": "0"})["type"] == "Unsubscribed"
    assert send("subscribe", {"entityId": "3"})["type"] == "Subscribed"


@pytest.mark.usefixtures("connected")
def test_subscribing_again_at_the_limit_is_a_success(send: Send) -> None:
    for number in range(3):
        send("subscribe", {"entityId": str(number)})

    assert send("subscribe", {"entityId": "2"})["type"] == "Subscribed"
    assert send("subscriptions", {})["entityIds"] == ["0", "1", "2"]


# subscribe, with `since`.


@pytest.mark.usefixtures("connected")
def test_who_comes_back_gets_what_it_missed_in_order(send: Send, publish: Publish) -> None:
    send("subscribe", {"entityId": ENTITY_ID})
    publish(2)
    cursor = send("subscribe", {"entityId": ENTITY_ID})["cursor"]
    missed = publish(3, message="Hello")

    reply = send("subscribe", {"entityId": ENTITY_ID, "since": cursor})

    frames = reply.pop("events")
    assert [frame["id"] for frame in frames] == missed
    assert frames[0] == {
        "type": "Entity Updated",
        "entityId": ENTITY_ID,
        "message": "Hello",
        "id": missed[0],
        "time": "2026-11-24T01:46:41Z",
        "cursor": before(reply["cursor"], 2),
    }
    assert frames[-1]["cursor"] == reply["cursor"]
    assert reply == {
        "type": "Subscribed",
        "entityId": ENTITY_ID,
        "cursor": before(cursor, -3),
        "recovered": True,
    }


@pytest.mark.usefixtures("connected")
def test_who_missed_nothing_is_told_so(send: Send, publish: Publish) -> None:
    send("subscribe", {"entityId": ENTITY_ID})
    publish(2)
    cursor = send("subscribe", {"entityId": ENTITY_ID})["cursor"]

    assert send("subscribe", {"entityId": ENTITY_ID, "since": cursor}) == {
        "type": "Subscribed",
        "entityId": ENTITY_ID,
        "cursor": cursor,
        "recovered": True,
        "events": [],
    }


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("since", ["another epoch", "not yet given"])
def test_who_cannot_recover_is_told_so_and_where_the_log_stands(
    send: Send, publish: Publish, since: str
) -> None:
    send("subscribe", {"entityId": ENTITY_ID})
    publish(2)
    cursor = send("subscribe", {"entityId": ENTITY_ID})["cursor"]
    ahead = "000000000000-1" if since == "another epoch" else before(cursor, -1)

    assert send("subscribe", {"entityId": ENTITY_ID, "since": ahead}) == {
        "type": "Subscribed",
        "entityId": ENTITY_ID,
        "cursor": cursor,
        "recovered": False,
        "events": [],
    }


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(("published", "came"), [(0, 0), (1, 1), (3, 1)])
def test_the_last_event_alone_can_be_asked_for(
    send: Send, publish: Publish, published: int, came: int
) -> None:
    send("subscribe", {"entityId": ENTITY_ID})
    ids = publish(published)

    reply = send("subscribe", {"entityId": ENTITY_ID, "since": "last"})

    assert reply["recovered"] is True
    assert "more" not in reply
    assert [frame["id"] for frame in reply["events"]] == ids[len(ids) - came :]


@pytest.mark.usefixtures("connected")
def test_a_since_that_is_null_is_none(send: Send) -> None:
    assert "recovered" not in send("subscribe", {"entityId": ENTITY_ID, "since": None})


NO_CURSORS = ["", "first", "LAST", "7", 7, 0, 1.5, True, False, [], {}, "5f0c2a9be41d--1"]


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("route", ["subscribe", "history"])
def test_a_since_that_is_no_cursor_is_refused(send: Send, rows: Rows, route: str) -> None:
    for since in (*NO_CURSORS, "\ud800"):
        reply = send(route, {"entityId": ENTITY_ID, "since": since, "requestId": "r"})

        assert (reply["code"], reply["requestId"]) == ("InvalidSince", "r"), since
    assert len(rows()) == 1


# Answers are bounded, and the rest is asked for.


def pages(send: Send, since: str) -> list[dict[str, Any]]:
    """Subscribe since a cursor, and ask for the rest; return all replies."""
    replies = [send("subscribe", {"entityId": ENTITY_ID, "since": since})]
    while replies[-1].get("more"):
        frame = {"entityId": ENTITY_ID, "since": replies[-1]["cursor"]}
        replies.append(send("history", frame))
        assert len(replies) < 100
    assert all(reply["recovered"] for reply in replies)
    return replies


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("sizes", [[100], [100, 1], [100, 100, 30]], ids=str)
def test_an_answer_has_at_most_100_events(send: Send, publish: Publish, sizes: list[int]) -> None:
    cursor = send("subscribe", {"entityId": ENTITY_ID})["cursor"]
    ids = publish(sum(sizes))

    replies = pages(send, cursor)

    assert [len(reply["events"]) for reply in replies] == sizes
    assert [frame["id"] for reply in replies for frame in reply["events"]] == ids
    assert [reply["type"] for reply in replies] == ["Subscribed"] + ["History"] * (len(sizes) - 1)


@pytest.mark.usefixtures("connected")
def test_an_answer_has_at_most_100_kb_of_events(send: Send, publish: Publish) -> None:
    cursor = send("subscribe", {"entityId": ENTITY_ID})["cursor"]
    ids = publish(5, data="x" * 40_000)

    replies = pages(send, cursor)

    assert [len(reply["events"]) for reply in replies] == [2, 2, 1]
    assert [frame["id"] for reply in replies for frame in reply["events"]] == ids


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("missed", [1, 3])
def test_an_answer_has_one_event_at_least_also_the_largest(
    send: Send, publish: Publish, missed: int
) -> None:
    """`send` looks at the size of every reply."""
    request_id = "\U0001f600" * 127 + "\ud800"
    cursor = send("subscribe", {"entityId": ENTITY_ID})["cursor"]
    publish(missed, data="x" * (MAX_FRAME_BYTES - 250))

    for page in range(missed):
        route = "history" if page else "subscribe"
        reply = send(route, {"entityId": ENTITY_ID, "since": cursor, "requestId": request_id})
        cursor = reply["cursor"]
        assert len(reply["events"]) == 1
        assert reply.get("more", False) is (page < missed - 1)
        assert reply["requestId"] == request_id


# subscribe, to several entities.


@pytest.mark.usefixtures("connected")
def test_several_entities_are_subscribed_to_and_answered_in_order(
    send: Send, publish: Publish, rows: Rows
) -> None:
    since = send("subscribe", {"entityId": "b"})["cursor"]
    (event_id,) = publish(1, "b")

    reply = send(
        "subscribe",
        {
            "entities": [
                {"entityId": "c"},
                {"entityId": "b", "since": since},
                {"entityId": "a", "since": "last"},
            ],
            "requestId": 5,
        },
    )

    c, b, a = reply.pop("entities")
    assert reply == {"type": "Subscribed", "requestId": 5}
    assert c.keys() == {"entityId", "cursor"}
    assert [frame["id"] for frame in b.pop("events")] == [event_id]
    assert b == {"entityId": "b", "cursor": before(since, -1), "recovered": True}
    assert (a["entityId"], a["recovered"], a["events"]) == ("a", True, [])
    assert rows()[0]["topics"] == ["ENTITY#a", "ENTITY#b", "ENTITY#c"]
    assert rows_of(rows, "CONNECTION#") == ["ENTITY#a", "ENTITY#b", "ENTITY#c"]


@pytest.mark.usefixtures("connected")
def test_parts_that_are_refused_for_their_own_sake_do_not_keep_the_others_from_it(
    send: Send, rows: Rows
) -> None:
    reply = send(
        "subscribe",
        {
            "entities": [
                {"entityId": "x" * 257},
                {"entityId": "a"},
                {"entityId": "b", "since": "yesterday"},
                {"entityId": "\ud800"},
                {"entityId": 7},
                {},
                "c",
                None,
                {"entityId": "d", "since": None},
            ]
        },
    )

    assert [(part.get("entityId"), part.get("code")) for part in reply["entities"]] == [
        (None, "InvalidEntityId"),
        ("a", None),
        ("b", "InvalidSince"),
        ("\ud800", "InvalidEntityId"),
        (None, "InvalidEntityId"),
        (None, "InvalidEntityId"),
        (None, "InvalidEntityId"),
        (None, "InvalidEntityId"),
        ("d", None),
    ]
    for part in reply["entities"]:
        assert ("code" in part) == ("message" in part) == ("cursor" not in part)
    assert rows_of(rows, "CONNECTION#") == ["ENTITY#a", "ENTITY#d"]
    assert rows_of(rows, "HEAD") == ["ENTITY#a", "ENTITY#d"]


@pytest.mark.usefixtures("connected")
def test_a_request_of_which_every_part_is_refused_is_answered_all_the_same(
    send: Send, rows: Rows
) -> None:
    unchanged = rows()

    reply = send("subscribe", {"entities": [{"entityId": ""}, {"entityId": "a", "since": "x"}]})

    assert reply["type"] == "Subscribed"
    codes = [part["code"] for part in reply["entities"]]
    assert codes == ["InvalidEntityId", "InvalidSince"]
    assert rows() == unchanged


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("wanted", [2, 3, 4])
def test_several_entities_are_all_subscribed_to_or_none(
    send: Send, rows: Rows, wanted: int
) -> None:
    send("subscribe", {"entityId": "held"})
    parts = [{"entityId": str(number)} for number in range(wanted)]

    reply = send("subscribe", {"entities": parts})

    fits = wanted == 2
    assert reply.get("code") == (None if fits else "TooManySubscriptions")
    assert len(rows_of(rows, "CONNECTION#")) == (3 if fits else 1)
    assert len(rows_of(rows, "HEAD")) == (3 if fits else 1)


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("wanted", "fits"), [("ab", True), ("abc", True), ("bcd", False), ("cd", False), ("c", True)]
)
def test_what_is_held_already_takes_no_room(send: Send, wanted: str, fits: bool) -> None:
    for held in "ab":
        send("subscribe", {"entityId": held})

    reply = send("subscribe", {"entities": [{"entityId": each} for each in wanted]})

    assert (reply["type"] == "Subscribed") is fits
    assert send("subscriptions", {})["entityIds"] == sorted({*"ab", *(wanted if fits else "")})


@pytest.mark.usefixtures("connected")
def test_a_full_connection_may_subscribe_to_all_that_it_holds(send: Send) -> None:
    frame = {"entities": [{"entityId": each} for each in "abc"]}

    assert send("subscribe", frame) == send("subscribe", frame)


@pytest.mark.usefixtures("connected")
def test_what_was_held_and_is_left_meanwhile_takes_room_again(send: Send, dynamodb: Any) -> None:
    """Frames of one connection are handled side by side."""
    for held in "ab":
        send("subscribe", {"entityId": held})
    tries = []

    def left_before_the_second_try(**_: Any) -> None:
        tries.append(1)
        if len(tries) == 2:
            send("unsubscribe", {"entityId": "b"})

    dynamodb.meta.events.register(
        "provide-client-params.dynamodb.TransactWriteItems", left_before_the_second_try
    )

    reply = send("subscribe", {"entities": [{"entityId": "b"}, {"entityId": "c"}]})

    assert reply["type"] == "Subscribed"
    assert send("subscriptions", {})["entityIds"] == ["a", "b", "c"]
    assert len(tries) == 3


@pytest.mark.usefixtures("connected", "many")
@pytest.mark.parametrize("most", [1, 99])
def test_as_many_as_99_may_be_asked_for_at_once(send: Send, most: int) -> None:
    ids = [f"{number:02}" for number in range(most)]

    reply = send("subscribe", {"entities": [{"entityId": each} for each in ids]})

    assert [part["entityId"] for part in reply["entities"]] == ids
    assert send("subscriptions", {})["entityIds"] == ids
    assert send("unsubscribe", {"entityIds": ids}) == {"type": "Unsubscribed", "entityIds": ids}
    assert send("subscriptions", {})["entityIds"] == []


def several(route: str, ids: list[Any]) -> dict[str, Any]:
    """Return a request about several entities."""
    if route == "unsubscribe":
        return {"entityIds": ids}
    return {"entities": [{"entityId": each} for each in ids]}


@pytest.mark.usefixtures("connected", "many")
@pytest.mark.parametrize("route", ["subscribe", "unsubscribe"])
@pytest.mark.parametrize(
    "wrong", ["none", "100", "twice", "no list", "null", "both", "the other's"]
)
def test_no_list_of_1_to_99_different_ones_is_refused_as_a_whole(
    send: Send, rows: Rows, route: str, wrong: str
) -> None:
    name = "entityIds" if route == "unsubscribe" else "entities"
    frame = {
        "none": several(route, []),
        "100": several(route, [str(number) for number in range(100)]),
        "twice": several(route, ["a", "b", "a"]),
        "no list": {name: {"entityId": "a"}},
        "null": {name: None},
        "both": several(route, ["a"]) | {"entityId": "b"},
        "the other's": several("subscribe" if route == "unsubscribe" else "unsubscribe", ["a"]),
    }[wrong]

    reply = send(route, frame | {"requestId": "r"})

    assert (reply["type"], reply["code"], reply["requestId"]) == ("Error", "InvalidEntities", "r")
    assert len(rows()) == 1


@pytest.mark.usefixtures("connected", "many")
def test_99_of_the_longest_ids_with_large_events_fit_into_a_reply(
    send: Send, publish: Publish
) -> None:
    """`send` looks at the size of every reply; what does not fit is there to be asked for."""
    ids = [f"{number:02}{LONGEST[2:]}" for number in range(99)]
    reply = send("subscribe", several("subscribe", ids))
    cursors = {part["entityId"]: part["cursor"] for part in reply["entities"]}
    # Ids and cursors alone are some 110 KB.
    missed = {entity_id: publish(1, entity_id, data="x" * 3_000) for entity_id in ids[::6]}
    request = {"entities": [{"entityId": each, "since": cursors[each]} for each in ids]}

    reply = send("subscribe", request | {"requestId": "\U0001f600" * 127 + "\ud800"})

    parts = reply["entities"]
    assert [part["entityId"] for part in parts] == ids
    assert all(part["recovered"] for part in parts)
    assert 0 < sum(len(part["events"]) for part in parts) < len(missed)
    for part in parts:
        entity_id, came = part["entityId"], part["events"]
        if part.get("more"):
            assert (came, part["cursor"]) == ([], cursors[entity_id])
            came = send("history", {"entityId": entity_id, "since": part["cursor"]})["events"]
        assert [frame["id"] for frame in came] == missed.get(entity_id, [])


@pytest.mark.usefixtures("connected", "many")
def test_the_events_of_an_answer_about_several_are_bounded_together(
    send: Send, publish: Publish
) -> None:
    ids = [f"{number:02}" for number in range(30)]
    reply = send("subscribe", several("subscribe", ids))
    for entity_id in ids:
        publish(5, entity_id)
    parts = [{"entityId": part["entityId"], "since": part["cursor"]} for part in reply["entities"]]

    reply = send("subscribe", {"entities": parts})

    assert sum(len(part["events"]) for part in reply["entities"]) == 100
    assert all(part.get("more", False) is (len(part["events"]) < 5) for part in reply["entities"])


@pytest.mark.usefixtures("connected", "many")
def test_one_large_event_among_several_entities_does_not_make_the_reply_too_large(
    send: Send, publish: Publish
) -> None:
    reply = send("subscribe", several("subscribe", ["a", "b"]))
    for entity_id in "ab":
        publish(1, entity_id, data="x" * (MAX_FRAME_BYTES - 250))
    parts = [{"entityId": part["entityId"], "since": part["cursor"]} for part in reply["entities"]]

    reply = send("subscribe", {"entities": parts})

    for part in reply["entities"]:
        assert part["more"] is True
        rest = send("history", {"entityId": part["entityId"], "since": part["cursor"]})
        assert len(rest["events"]) == 1


# history.


@pytest.mark.usefixtures("connected")
def test_history_answers_what_came_after_a_cursor_and_writes_nothing(
    send: Send, publish: Publish, rows: Rows
) -> None:
    cursor = send("subscribe", {"entityId": ENTITY_ID})["cursor"]
    ids = publish(3)
    unchanged = rows()

    reply = send("history", {"entityId": ENTITY_ID, "since": before(cursor, -1), "requestId": 0})

    assert [frame["id"] for frame in reply.pop("events")] == ids[1:]
    assert reply == {
        "type": "History",
        "entityId": ENTITY_ID,
        "cursor": before(cursor, -3),
        "recovered": True,
        "requestId": 0,
    }
    assert rows() == unchanged


@pytest.mark.usefixtures("connected")
def test_history_brings_the_last_event_too(send: Send, publish: Publish) -> None:
    send("subscribe", {"entityId": ENTITY_ID})
    ids = publish(2)

    reply = send("history", {"entityId": ENTITY_ID, "since": "last"})

    assert [frame["id"] for frame in reply["events"]] == ids[1:]


@pytest.mark.usefixtures("connected")
def test_history_of_what_cannot_be_recovered_says_so(send: Send) -> None:
    cursor = send("subscribe", {"entityId": ENTITY_ID})["cursor"]

    assert send("history", {"entityId": ENTITY_ID, "since": "000000000000-3"}) == {
        "type": "History",
        "entityId": ENTITY_ID,
        "cursor": cursor,
        "recovered": False,
        "events": [],
    }


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("who", ["a stranger", "who has unsubscribed", "nobody watches it"])
def test_history_is_for_subscribers(send: Send, publish: Publish, who: str) -> None:
    cursor = send("subscribe", {"entityId": ENTITY_ID})["cursor"]
    publish(1)
    frame = {"entityId": ENTITY_ID, "since": cursor, "requestId": "r"}
    if who == "a stranger":
        reply = send("history", frame, "stranger=")
    elif who == "who has unsubscribed":
        send("unsubscribe", {"entityId": ENTITY_ID})
        reply = send("history", frame)
    else:
        reply = send("history", frame | {"entityId": "unwatched"})

    assert (reply["type"], reply["code"], reply["requestId"]) == ("Error", "NotSubscribed", "r")
    assert "events" not in reply


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("since", [{}, {"since": None}], ids=str)
def test_history_needs_a_cursor(send: Send, since: dict[str, object]) -> None:
    send("subscribe", {"entityId": ENTITY_ID})

    assert send("history", {"entityId": ENTITY_ID} | since)["code"] == "InvalidSince"


# unsubscribe, and subscriptions.


@pytest.mark.usefixtures("connected")
def test_unsubscribe_removes_the_subscription(send: Send, rows: Rows) -> None:
    send("subscribe", {"entities": [{"entityId": ENTITY_ID}, {"entityId": "other"}]})

    assert send("unsubscribe", {"entityId": ENTITY_ID}) == {
        "type": "Unsubscribed",
        "entityId": ENTITY_ID,
    }
    assert rows()[0]["topics"] == ["ENTITY#other"]
    assert rows_of(rows, "CONNECTION#") == ["ENTITY#other"]


@pytest.mark.usefixtures("connected")
def test_several_are_unsubscribed_from_at_once(send: Send, rows: Rows) -> None:
    send("subscribe", several("subscribe", ["a", "b", "c"]))

    reply = send("unsubscribe", {"entityIds": ["c", "never", "a"], "requestId": "r"})

    assert reply == {
        "type": "Unsubscribed",
        "entityIds": ["c", "never", "a"],
        "requestId": "r",
    }
    assert rows()[0]["topics"] == ["ENTITY#b"]
    assert rows_of(rows, "CONNECTION#") == ["ENTITY#b"]


@pytest.mark.usefixtures("connected")
def test_one_unusable_id_ends_no_subscription(send: Send, rows: Rows) -> None:
    send("subscribe", {"entityId": "a"})
    unchanged = rows()

    for unusable in UNUSABLE_IDS:
        reply = send("unsubscribe", {"entityIds": ["a", unusable]})
        assert reply["code"] == "InvalidEntityId", unusable
    assert rows() == unchanged


@pytest.mark.usefixtures("connected")
def test_unsubscribing_from_nothing_is_a_success(send: Send, rows: Rows) -> None:
    unchanged = rows()

    assert send("unsubscribe", {"entityId": ENTITY_ID})["type"] == "Unsubscribed"
    assert rows() == unchanged


@pytest.mark.usefixtures("connected")
def test_unsubscribe_after_the_connection_item_is_gone_still_removes_the_row(
    send: Send, rows: Rows, dynamodb: Any
) -> None:
    send("subscribe", {"entityId": ENTITY_ID})
    key = {"pk": {"S": f"CONNECTION#{CONNECTION_ID}"}, "sk": {"S": "CONNECTION"}}
    dynamodb.delete_item(TableName="connections", Key=key)

    assert send("unsubscribe", {"entityId": ENTITY_ID})["type"] == "Unsubscribed"
    assert [row["sk"] for row in rows()] == ["HEAD"]


@pytest.mark.usefixtures("connected")
def test_unsubscribe_deletes_the_row_before_it_takes_the_topic_from_the_set(
    send: Send, context: Any, dynamodb: Any, rows: Rows
) -> None:
    """Whoever dies in between leaves nothing that the set does not name."""
    send("subscribe", {"entityId": ENTITY_ID})

    def die(**_: Any) -> None:
        raise KeyboardInterrupt

    dynamodb.meta.events.register("provide-client-params.dynamodb.UpdateItem", die)
    with pytest.raises(KeyboardInterrupt):
        send("unsubscribe", {"entityId": ENTITY_ID})

    assert rows()[0]["topics"] == [f"ENTITY#{ENTITY_ID}"]
    assert rows_of(rows, "CONNECTION#") == []
    disconnect.app.lambda_handler(events.load("disconnect"), context)
    assert [row["sk"] for row in rows()] == ["HEAD"]


@pytest.mark.usefixtures("connected")
def test_subscriptions_are_listed_in_order(send: Send) -> None:
    assert send("subscriptions", {}) == {"type": "Subscriptions", "entityIds": []}
    send("subscribe", several("subscribe", ["b", "\u00e9", "a"]))

    assert send("subscriptions", {"requestId": 1}) == {
        "type": "Subscriptions",
        "entityIds": ["a", "b", "\u00e9"],
        "requestId": 1,
    }


def test_subscriptions_of_a_connection_that_is_gone(send: Send) -> None:
    assert send("subscriptions", {})["code"] == "ConnectionGone"


@pytest.mark.usefixtures("connected", "many")
def test_as_many_subscriptions_as_there_may_be_fit_into_a_reply(send: Send) -> None:
    """`send` looks at its size; a quarter of it is the ids' own."""
    ids = [f"{number:03}{LONGEST[3:]}" for number in range(100)]
    send("subscribe", several("subscribe", ids[:99]))
    send("subscribe", {"entityId": ids[99]})

    assert send("subscriptions", {})["entityIds"] == ids


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("route", ["subscribe", "unsubscribe", "history"])
def test_an_unusable_entity_id_is_refused(send: Send, rows: Rows, route: str) -> None:
    frames: list[dict[str, object]] = [{}, *({"entityId": each} for each in UNUSABLE_IDS)]
    for frame in frames:
        reply = send(route, frame | {"requestId": "r", "since": "last"})

        assert (reply["type"], reply["code"]) == ("Error", "InvalidEntityId"), frame
        assert "entityId" in reply["message"]
        assert reply["requestId"] == "r"
    assert len(rows()) == 1


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    "entity_id", ["x", "x" * 256, LONGEST, "a#b", " ", "CONNECTION#1", "HEAD", "\u2028", "\uffff"]
)
def test_an_entity_id_is_any_text_of_1_to_256_characters(send: Send, entity_id: str) -> None:
    assert send("subscribe", {"entityId": entity_id})["entityId"] == entity_id
    assert send("subscriptions", {})["entityIds"] == [entity_id]
    history = send("history", {"entityId": entity_id, "since": "last"})
    assert history["entityId"] == entity_id
    assert send("unsubscribe", {"entityId": entity_id})["entityId"] == entity_id
    assert send("subscriptions", {})["entityIds"] == []


# ping and $default.


@pytest.mark.usefixtures("connected")
def test_ping_answers_the_time(send: Send) -> None:
    reply = send("ping", {})

    assert reply["type"] == "Pong"
    assert reply["time"].endswith("Z")


@pytest.mark.usefixtures("connected")
def test_ping_tells_a_connection_that_it_is_forgotten(send: Send) -> None:
    assert send("ping", {}, connection_id="another")["code"] == "ConnectionGone"

    forget(wiring.table(), CONNECTION_ID)

    assert send("ping", {})["code"] == "ConnectionGone"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (None, "InvalidJson"),
        ("", "InvalidJson"),
        ("{", "InvalidJson"),
        ("hello", "InvalidJson"),
        ('{"action":NaN}', "InvalidJson"),
        ('{"action":1e999}', "InvalidJson"),
        ('{"action":"\ud800"}', "InvalidJson"),
        ("[" * 100_000, "InvalidJson"),
        ("9" * 5_000, "InvalidJson"),
        ('{"action":' + "9" * 5_000 + "}", "InvalidJson"),
        ("[1]", "InvalidFrame"),
        ('"subscribe"', "InvalidFrame"),
        ("null", "InvalidFrame"),
        ("0", "InvalidFrame"),
        ("9" * 308, "InvalidFrame"),
        ("{}", "UnknownAction"),
        ('{"action":null}', "UnknownAction"),
        ('{"action":5}', "UnknownAction"),
        ('{"action":"nope"}', "UnknownAction"),
        ('{"action":{"a":1}}', "UnknownAction"),
        ('{"action":["ping"]}', "UnknownAction"),
        ('{"action":"\\ud800"}', "UnknownAction"),
        ('{"action":"' + "x" * 100_000 + '"}', "UnknownAction"),
        ('{"action":"$connect"}', "UnknownAction"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_frame_that_names_no_route_gets_a_coded_error(
    send: Send, body: str | None, code: str
) -> None:
    reply = send("default", body)

    assert (reply["type"], reply["code"]) == ("Error", code)
    assert 10 < len(reply["message"]) < 200


def test_why_a_frame_is_no_json_is_said_in_words_for_its_author(send: Send) -> None:
    def message(body: str) -> str:
        return str(send("default", body)["message"])

    assert "out of range" in message("9" * 5_000)
    assert "set_int_max_str_digits" not in message("9" * 5_000)
    assert "NaN is not a JSON value" in message('{"action":NaN}')
    assert "half a surrogate pair at character 11" in message('{"action":"\ud800"}')
    assert "nested too deeply" in message("[" * 100_000)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_an_action_that_there_is_in_a_frame_that_was_not_routed_is_no_unknown_action(
    send: Send, action: str
) -> None:
    """The router of API Gateway gives up on frames that Python still reads."""
    nested = "[" * 300 + "]" * 300

    reply = send("default", f'{{"action":"{action}","requestId":"r","x":{nested}}}')

    assert (reply["code"], reply["requestId"]) == ("InvalidFrame", "r")
    assert "There is no action" not in reply["message"]
    assert "nested too deeply" in reply["message"]


def test_the_actions_are_the_routes_of_the_template() -> None:
    routes = template.written()["Resources"]["WebSocketApi"]["Properties"]["Routes"]

    assert {route for route in routes if not route.startswith("$")} == ACTIONS
    assert HANDLERS.keys() - {"default"} == ACTIONS


# requestId.


FRAMES: dict[str, dict[str, Any]] = {
    "subscribe": {"entityId": "a"},
    "history": {"entityId": "a", "since": "last"},
    "unsubscribe": {"entityId": "b"},
    "subscriptions": {},
    "ping": {},
    "default": {"action": "nope"},
}
# `authenticate` answers where tokens are asked for: see test_renewal.py.
ANYBODYS = [route for route in HANDLERS if route != "authenticate"]


REQUEST_IDS = ["r-1", 0, -1, 12345678901234567890, 10**307, "\u00e9", "x" * 128, "\ud800"]


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize("route", ANYBODYS)
def test_every_reply_echoes_the_request_id(send: Send, route: str) -> None:
    send("subscribe", {"entityId": "a"})
    for request_id in REQUEST_IDS:
        done = send(route, FRAMES[route] | {"requestId": request_id})
        refused = send(route, {"requestId": request_id})

        assert (done["type"] == "Error") is (route == "default")
        assert done["requestId"] == request_id
        assert (refused["type"] == "Error") is (route not in ("subscriptions", "ping"))
        assert refused["requestId"] == request_id


@pytest.mark.parametrize("route", ANYBODYS)
def test_a_reply_to_a_request_without_an_id_has_none(send: Send, route: str) -> None:
    assert "requestId" not in send(route, {})
    assert "requestId" not in send(route, {"requestId": None})


@pytest.mark.parametrize("route", ANYBODYS)
def test_a_request_id_that_cannot_be_echoed_is_refused(send: Send, rows: Rows, route: str) -> None:
    unusable: list[object] = ["", "x" * 129, True, False, 1.5, 1e300, 10**308, [], {}]
    for request_id in unusable:
        reply = send(route, FRAMES[route] | {"requestId": request_id})

        assert (reply["type"], reply["code"]) == ("Error", "InvalidRequestId"), request_id
        assert "requestId" not in reply
    assert rows() == []


# Failures, logs and metrics.


@pytest.mark.parametrize("route", [route for route in ANYBODYS if route != "default"])
def test_a_table_that_does_not_answer_is_a_coded_error_and_logged(
    send: Send, dynamodb: Any, logs: StringIO, route: str
) -> None:
    dynamodb.delete_table(TableName="connections")

    reply = send(route, {"entityId": "secret", "since": "last", "requestId": "r"})

    assert (reply["code"], reply["requestId"]) == ("ServiceUnavailable", "r")
    assert "ResourceNotFoundException" in logs.getvalue()
    assert "secret" not in logs.getvalue()


SECRETS: list[tuple[str, object]] = [
    ("subscribe", {"entityId": "secret", "token": "secret", "requestId": "secret"}),
    ("subscribe", {"entityId": "secret", "since": "secret"}),
    ("subscribe", {"entityId": "secret" * 100}),
    ("subscribe", {"entities": [{"entityId": "secret"}, {"entityId": "secret\x00"}]}),
    ("subscribe", {"entities": ["secret", "secret"]}),
    ("history", {"entityId": "secret", "since": "secret"}),
    ("history", {"entityId": "secret", "since": "last"}),
    ("unsubscribe", {"entityId": "secret"}),
    ("unsubscribe", {"entityIds": ["secret", "secret\x00"]}),
    ("subscriptions", {"secret": "secret"}),
    ("ping", {"requestId": "secret" * 100}),
    ("default", {"action": "secret"}),
    ("default", {"action": {"secret": "secret"}}),
    ("default", "secret"),
    ("default", '{"action":"secret\ud800"}'),
    ("default", '["secret"]'),
]


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(("route", "body"), SECRETS, ids=lambda value: str(value)[:50])
def test_logs_name_the_connection_and_hold_nothing_that_the_client_sent(
    send: Send, logs: StringIO, route: str, body: object
) -> None:
    reply = send(route, body)["type"]

    assert "secret" not in logs.getvalue()
    assert {line["connection_id"] for line in lines(logs)} <= {CONNECTION_ID}
    # Of what only reads, there is no line.
    assert bool(logs.getvalue()) is (reply in ("Error", "Subscribed", "Unsubscribed", "History"))


def test_a_request_that_is_refused_leaves_its_code_in_the_log_and_no_more(
    send: Send, logs: StringIO
) -> None:
    reply = send("default", {"action": "nope"})

    (line,) = [json.loads(line) for line in logs.getvalue().splitlines()]
    assert (line["message"], line["code"]) == ("request rejected", reply["code"])
    assert (line["connection_id"], line["route_key"]) == (CONNECTION_ID, "$default")
    assert reply["message"] not in logs.getvalue()


@pytest.mark.usefixtures("connected")
@pytest.mark.parametrize(
    ("route", "body", "metrics"),
    [
        ("subscribe", {"entityId": "1"}, {"Requests": 1, "SubscriptionsAdded": 1}),
        (
            "subscribe",
            {"entities": [{"entityId": "1"}, {"entityId": "2"}, {}]},
            {"Requests": 1, "SubscriptionsAdded": 2},
        ),
        ("unsubscribe", {"entityId": "1"}, {"Requests": 1, "SubscriptionsRemoved": 1}),
        ("unsubscribe", {"entityIds": ["1", "2"]}, {"Requests": 1, "SubscriptionsRemoved": 2}),
        ("subscribe", {}, {"Requests": 1, "RequestsRejected": 1}),
        ("default", "x", {"Requests": 1, "RequestsRejected": 1}),
        ("ping", {}, {"Requests": 1}),
    ],
    ids=str,
)
def test_routes_publish_their_metrics(
    send: Send,
    capsys: pytest.CaptureFixture[str],
    route: str,
    body: object,
    metrics: dict[str, int],
) -> None:
    capsys.readouterr()

    send(route, body)

    assert published(capsys) == metrics


def test_a_failing_service_is_ours_and_no_refusal(
    send: Send, dynamodb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    dynamodb.delete_table(TableName="connections")
    capsys.readouterr()

    send("subscriptions", {})

    assert published(capsys) == {"Requests": 1, "ServiceErrors": 1}


def test_connections_are_counted(context: Any, capsys: pytest.CaptureFixture[str]) -> None:
    connect.app.lambda_handler(events.load("connect"), context)
    assert published(capsys) == {"Requests": 1, "ConnectionsOpened": 1}
    disconnect.app.lambda_handler(events.load("disconnect"), context)
    # It was idle for ten minutes, as the event says.
    assert published(capsys) == {"Requests": 1, "ConnectionsClosed": 1, "ConnectionSeconds": 600}


@pytest.mark.parametrize("name", ["TABLE_NAME", "MAX_SUBSCRIPTIONS_PER_CONNECTION"])
def test_a_missing_variable_is_named(
    context: Any, monkeypatch: pytest.MonkeyPatch, remade: Callable[[], None], name: str
) -> None:
    monkeypatch.delenv(name)
    remade()

    with pytest.raises(RuntimeError, match=name):
        subscribe.app.lambda_handler(events.message("subscribe", {"entityId": "a"}), context)


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


@pytest.mark.usefixtures("connected", "many")
def test_as_many_refusals_as_a_request_holds_fit_into_a_reply(send: Send) -> None:
    """An id with half a surrogate pair can only be echoed in escapes, three times as long."""
    unusable = [f"{number:02}" + "\U0001f600" * 253 + "\ud800" for number in range(98)]
    entities = [{"entityId": "ok"}, *({"entityId": entity_id} for entity_id in unusable)]
    body = json.dumps({"entities": entities}, ensure_ascii=False).replace("\ud800", "\\ud800")

    reply = send("subscribe", body)

    assert len(json.dumps(reply, ensure_ascii=False).encode(errors="replace")) <= 128 * 1024
    assert [part.get("code") for part in reply["entities"]] == [None] + ["InvalidEntityId"] * 98


def test_the_reason_of_a_client_that_leaves_is_not_logged(
    context: Any, dynamodb: Any, logs: StringIO
) -> None:
    event = events.load("disconnect")
    event["requestContext"]["disconnectReason"] = "secret"

    disconnect.app.lambda_handler(event, context)

    assert "secret" not in logs.getvalue()


@pytest.mark.usefixtures("connected")
def test_a_late_copy_of_connect_keeps_the_topics(context: Any, send: Send) -> None:
    send("subscribe", {"entityId": "a"})

    connect.app.lambda_handler(events.load("connect"), context)

    assert send("subscriptions", {})["entityIds"] == ["a"]


def lines(logs: StringIO) -> list[dict[str, Any]]:
    """Return what was logged."""
    return [json.loads(line) for line in logs.getvalue().splitlines()]


def test_what_a_connection_saw_can_be_told_from_its_lines(
    context: Any, send: Send, logs: StringIO
) -> None:
    """By digests of topics, and cursors: nothing that a client or publisher wrote is logged."""
    connect.app.lambda_handler(events.load("connect"), context)
    cursor = send("subscribe", {"entityId": "secret-1"})["cursor"]
    entities = [{"entityId": "secret-2", "since": cursor}, {"entityId": "secret\x00"}]
    other = send("subscribe", {"entities": entities})["entities"][0]["cursor"]
    send("history", {"entityId": "secret-1", "since": cursor})
    send("unsubscribe", {"entityId": "secret-1"})
    send("default", {"action": "secret"})
    disconnect.app.lambda_handler(events.load("disconnect"), context)

    found = lines(logs)
    assert "secret" not in logs.getvalue()
    assert {line["connection_id"] for line in found} == {events.CONNECTION_ID}
    assert all(line["api_request_id"] and line["route_key"] for line in found)
    one, two = Topic.entity("secret-1").digest, Topic.entity("secret-2").digest
    told = [
        (line["message"], line.get("subscriptions", line.get("topics", line.get("code"))))
        for line in found
    ]
    assert told == [
        ("connection opened", None),
        ("subscribed", [{"topic": one, "cursor": cursor}]),
        (
            "subscribed",
            [
                {
                    "topic": two,
                    "cursor": other,
                    "since": cursor,
                    "recovered": False,
                    "events": 0,
                }
            ],
        ),
        (
            "history read",
            [{"topic": one, "cursor": cursor, "since": cursor, "recovered": True, "events": 0}],
        ),
        ("unsubscribed", [one]),
        ("request rejected", "UnknownAction"),
        ("connection closed", None),
    ]
    assert [line["refused"] for line in found if line["message"] == "subscribed"] == [0, 1]
