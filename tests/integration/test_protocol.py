"""The wire protocol through a real socket: replies, coded errors, and the echo of `requestId`."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from integration.harness import Application, unique


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


@pytest.mark.parametrize("action", ["subscribe", "unsubscribe"])
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
        await client.subscribe(entity_id, entity_id)
        assert (await client.request("subscriptions"))["entityIds"] == [entity_id]
        application.publish(entity_id)
        await application.settled()

        assert len(await client.arrived()) == 1


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
