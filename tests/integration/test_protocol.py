"""The wire protocol through a real socket: replies, coded errors, and the echo of `requestId`."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.harness import Application, number_of, unique


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("subscribe me", "InvalidJson", id="plain text"),
        pytest.param('{"action":"ping"', "InvalidJson", id="cut off"),
        pytest.param('{"action":NaN}', "InvalidJson", id="not a number"),
        pytest.param("[" * 20_000, "InvalidJson", id="nested too deeply"),
        pytest.param("[]", "InvalidFrame", id="array"),
        pytest.param('"ping"', "InvalidFrame", id="string"),
        pytest.param("null", "InvalidFrame", id="null"),
        pytest.param("{}", "UnknownAction", id="no action"),
        pytest.param('{"action":"shout"}', "UnknownAction", id="unknown action"),
        pytest.param('{"action":"Subscribe"}', "UnknownAction", id="another case"),
        pytest.param('{"action":7}', "UnknownAction", id="number as action"),
        pytest.param('{"action":["ping"]}', "UnknownAction", id="array as action"),
        pytest.param('{"action":"$connect"}', "UnknownAction", id="action of the gateway"),
        pytest.param('{"action":"ping","requestId":true}', "InvalidRequestId", id="request id"),
    ],
)
async def test_a_bad_frame_is_answered_with_a_code_and_the_connection_stays_open(
    application: Application, text: str, code: str
) -> None:
    async with application.client() as client:
        reply = await client.exchange(text)
        assert set(reply) == {"type", "code", "message"}
        assert (reply["type"], reply["code"]) == ("Error", code)
        assert isinstance(reply["message"], str)
        assert reply["message"]

        assert (await client.request("ping"))["type"] == "Pong"


BAD_ENTITY_IDS = [
    pytest.param({}, id="missing"),
    pytest.param({"entityId": ""}, id="empty"),
    pytest.param({"entityId": None}, id="null"),
    pytest.param({"entityId": 42}, id="number"),
    pytest.param({"entityId": ["a"]}, id="array"),
    pytest.param({"entityId": "e" * 257}, id="too long"),
    pytest.param({"entityId": "a\nb"}, id="control character"),
    pytest.param({"entityId": "a\ud800"}, id="half a surrogate pair"),
]


@pytest.mark.parametrize("action", ["subscribe", "history", "unsubscribe"])
@pytest.mark.parametrize("fields", BAD_ENTITY_IDS)
async def test_an_unusable_entity_id_is_refused(
    application: Application, action: str, fields: dict[str, object]
) -> None:
    async with application.client() as client:
        reply = await client.request(action, **fields)

        assert (reply["type"], reply["code"]) == ("Error", "InvalidEntityId")


async def test_an_entity_id_of_256_characters_is_accepted(application: Application) -> None:
    entity_id = unique("é" * 300)[-256:]
    async with application.client() as client:
        await client.subscribe(entity_id)

        assert await client.request("subscriptions") == {
            "type": "Subscriptions",
            "entityIds": [entity_id],
        }


async def test_subscribing_twice_succeeds_and_is_one_subscription(
    application: Application,
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        assert await client.subscribe(entity_id) == await client.subscribe(entity_id)
        assert (await client.request("subscriptions"))["entityIds"] == [entity_id]
        application.publish(entity_id)
        await application.settled()

        assert len(await client.arrived()) == 1


async def test_several_entities_are_subscribed_to_in_one_request_without_those_refused(
    application: Application,
) -> None:
    first, second, third = (unique("entity") for _ in range(3))
    entities: list[Any] = [
        {"entityId": first},
        {"entityId": "a\nb"},
        {"entityId": second, "since": "last"},
        {"entityId": third, "since": "yesterday"},
        {"since": "last"},
        "fourth",
    ]
    async with application.client() as client:
        reply = await client.request("subscribe", entities=entities)
        listed = (await client.request("subscriptions"))["entityIds"]
        event_id = application.publish(second)
        frame = await client.next_frame()

    answers = reply.pop("entities")
    assert reply == {"type": "Subscribed"}
    assert [answer.get("entityId") for answer in answers] == [
        *(first, "a\nb", second, third),
        *(None, None),
    ]
    codes = ["InvalidEntityId", "InvalidSince", "InvalidEntityId", "InvalidEntityId"]
    refused = [answers[place] for place in (1, 3, 4, 5)]
    assert [answer["code"] for answer in refused] == codes
    assert all(answer["message"] for answer in refused)
    assert answers[0] == {"entityId": first, "cursor": answers[0]["cursor"]}
    assert (answers[2]["recovered"], answers[2]["events"]) == (True, [])
    assert [number_of(answers[place]["cursor"]) for place in (0, 2)] == [0, 0]
    assert listed == sorted([first, second])
    assert frame["id"] == event_id


async def test_entities_that_are_all_refused_are_told_why(application: Application) -> None:
    async with application.client() as client:
        reply = await client.request("subscribe", entities=[{"entityId": ""}, {"entityId": 7}])

        assert reply["type"] == "Subscribed", reply
        assert [answer["code"] for answer in reply["entities"]] == ["InvalidEntityId"] * 2
        assert (await client.request("subscriptions"))["entityIds"] == []


async def test_several_entities_are_subscribed_to_all_or_none(application: Application) -> None:
    held = [unique("entity") for _ in range(60)]
    async with application.client() as client:
        await client.subscribe(*held)
        more = [{"entityId": unique("entity")} for _ in range(41)]
        reply = await client.request("subscribe", entities=more)

        assert (reply["type"], reply["code"]) == ("Error", "TooManySubscriptions")
        assert (await client.request("subscriptions"))["entityIds"] == sorted(held)
        # What it is subscribed to already takes no room.
        await client.subscribe(*held[:30], *(entity["entityId"] for entity in more[:40]))


async def test_unsubscribe_ends_several_subscriptions_at_once(application: Application) -> None:
    left, kept = [unique("entity") for _ in range(3)], unique("entity")
    async with application.client() as client:
        await client.subscribe(*left[:2], kept)
        # Also one to which it is not subscribed.
        reply = await client.request("unsubscribe", entityIds=left)
        for entity_id in (*left, kept):
            application.publish(entity_id)
        await application.settled()

        assert reply == {"type": "Unsubscribed", "entityIds": left}
        assert (await client.request("subscriptions"))["entityIds"] == [kept]
        assert [frame["entityId"] for frame in await client.arrived()] == [kept]


@pytest.mark.parametrize(
    ("action", "fields", "code"),
    [
        pytest.param("subscribe", {"entities": []}, "InvalidEntities", id="none"),
        pytest.param("subscribe", {"entities": {"entityId": "a"}}, "InvalidEntities", id="object"),
        pytest.param(
            "subscribe", {"entities": [{"entityId": "a"}] * 2}, "InvalidEntities", id="one twice"
        ),
        pytest.param(
            "subscribe",
            {"entities": [{"entityId": f"many-{number}"} for number in range(100)]},
            "InvalidEntities",
            id="a hundred",
        ),
        pytest.param(
            "subscribe",
            {"entityId": "a", "entities": [{"entityId": "b"}]},
            "InvalidEntities",
            id="one and several",
        ),
        pytest.param("unsubscribe", {"entityIds": []}, "InvalidEntities", id="unsubscribe none"),
        pytest.param(
            "unsubscribe", {"entityIds": ["a", ""]}, "InvalidEntityId", id="unsubscribe empty"
        ),
    ],
)
async def test_an_unusable_list_of_entities_is_refused_whole(
    application: Application, action: str, fields: dict[str, Any], code: str
) -> None:
    async with application.client() as client:
        reply = await client.request(action, **fields)

        assert (reply["type"], reply["code"]) == ("Error", code)
        assert (await client.request("subscriptions"))["entityIds"] == []


async def test_unsubscribing_from_nothing_succeeds(application: Application) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        reply = await client.request("unsubscribe", entityId=entity_id)

        assert reply == {"type": "Unsubscribed", "entityId": entity_id}
        assert (await client.request("subscriptions"))["entityIds"] == []


async def test_unsubscribe_removes_the_subscription_alone(application: Application) -> None:
    left, kept = unique("entity"), unique("entity")
    async with application.client() as client:
        await client.subscribe(left, kept)
        await client.request("unsubscribe", entityId=left)

        assert (await client.request("subscriptions"))["entityIds"] == [kept]
        assert application.subscribers(left) == []


async def test_subscriptions_lists_those_of_this_connection_alone(
    application: Application,
) -> None:
    mine, theirs = sorted([unique("entity"), unique("entity")]), unique("entity")
    async with application.client() as client, application.client() as other:
        await client.subscribe(*mine)
        await other.subscribe(theirs)

        reply = await client.request("subscriptions")

    assert reply == {"type": "Subscriptions", "entityIds": mine}


async def test_a_ping_is_answered_with_the_time(application: Application) -> None:
    async with application.client() as client:
        reply = await client.request("ping")

    assert set(reply) == {"type", "time"}
    assert reply["type"] == "Pong"
    age = datetime.now(UTC) - datetime.fromisoformat(reply["time"])
    assert timedelta(0) <= age < timedelta(minutes=1)


@pytest.mark.parametrize("request_id", [0, 17, "a", "r" * 128, "№ 5"])
@pytest.mark.parametrize(
    "frame",
    [
        {"action": "ping"},
        {"action": "subscriptions"},
        {"action": "subscribe", "entityId": "echo"},
        {"action": "history", "entityId": "echo"},
        {"action": "unsubscribe", "entityId": "echo"},
        {"action": "subscribe"},
        {"action": "shout"},
    ],
    ids=lambda frame: " ".join(frame.values()),
)
async def test_every_reply_echoes_the_request_id(
    application: Application, frame: dict[str, str], request_id: str | int
) -> None:
    async with application.client() as client:
        reply = await client.exchange(json.dumps({**frame, "requestId": request_id}))

    assert reply["requestId"] == request_id


@pytest.mark.parametrize("action", ["subscribe", "subscriptions"])
async def test_a_connection_that_the_table_does_not_know_is_told_that_it_is_gone(
    application: Application, action: str
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        await client.subscribe(entity_id)
        connection_id = application.connection_id(entity_id)
        (item,) = application.rows(sk="CONNECTION", connectionId=connection_id)
        application.delete_row(item)

        reply = await client.request(action, entityId=unique("entity"))

    assert (reply["type"], reply["code"]) == ("Error", "ConnectionGone")
