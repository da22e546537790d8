"""The walkthrough: connect, subscribe, publish an event, receive the frame."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.harness import Application, event_file, number_of, unique

WALKTHROUGH_ENTITY = "myTestEntityId"


async def test_the_handshake_returns_the_subprotocol_of_the_walkthrough(
    application: Application,
) -> None:
    async with application.client() as client:
        assert client.socket.subprotocol == "websocket"


async def test_a_connection_is_remembered_with_its_id_its_address_and_its_time(
    application: Application,
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        await client.subscribe(entity_id)
        connection_id = application.connection_id(entity_id)
        (item,) = application.rows(sk="CONNECTION", connectionId=connection_id)

    assert item["ipAddress"] == "127.0.0.1"
    age = datetime.now(UTC) - datetime.fromisoformat(item["connectedAt"])
    assert timedelta(0) <= age < timedelta(minutes=2)


async def test_a_subscription_is_remembered_under_its_entity(application: Application) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        await client.subscribe(entity_id)
        (item,) = application.rows(entityId=entity_id)

        (connection,) = application.rows(sk="CONNECTION", connectionId=item["connectionId"])

    assert item["pk"] == f"ENTITY#{entity_id}"
    assert item["sk"] == f"CONNECTION#{item['connectionId']}"
    # By which it is found again when the connection ends.
    assert connection["topics"] == {item["pk"]}


async def test_hello_world_from_the_events_folder_reaches_the_subscriber(
    application: Application,
) -> None:
    async with application.client() as client:
        reply = await client.exchange('{"action":"subscribe","entityId":"myTestEntityId"}')
        cursor = reply.pop("cursor")
        assert reply == {"type": "Subscribed", "entityId": WALKTHROUGH_ENTITY}
        (entry,) = event_file("entity-updated.json")
        event_id = application.put_entry(entry)

        frame = await client.next_frame()

    assert datetime.fromisoformat(frame.pop("time"))
    assert number_of(frame.pop("cursor")) == number_of(cursor) + 1
    assert frame == {
        "type": "Entity Updated",
        "entityId": WALKTHROUGH_ENTITY,
        "message": "Hello world",
        "id": event_id,
    }


async def test_only_subscribers_of_the_entity_receive_its_events(application: Application) -> None:
    entity_id, other_id = unique("entity"), unique("entity")
    async with application.client() as subscriber, application.client() as other:
        await subscriber.subscribe(entity_id)
        await other.subscribe(other_id)
        application.publish(entity_id, message="for the subscriber")
        await application.settled()

        assert [frame["entityId"] for frame in await subscriber.arrived()] == [entity_id]
        assert await other.arrived() == []


async def test_nothing_arrives_after_unsubscribed(application: Application) -> None:
    entity_id = unique("entity")
    async with application.client() as leaving, application.client() as staying:
        await leaving.subscribe(entity_id)
        await staying.subscribe(entity_id)
        reply = await leaving.request("unsubscribe", entityId=entity_id)
        assert reply == {"type": "Unsubscribed", "entityId": entity_id}
        application.publish(entity_id, message="for those who stay")
        await application.settled()

        assert len(await staying.arrived()) == 1
        assert await leaving.arrived() == []


async def test_a_client_receives_the_events_of_each_entity_it_is_subscribed_to(
    application: Application,
) -> None:
    first, second = unique("entity"), unique("entity")
    async with application.client() as client:
        await client.subscribe(first, second)
        application.publish(first)
        application.publish(second)
        await application.settled()

        assert {frame["entityId"] for frame in await client.arrived()} == {first, second}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param({"message": ""}, id="empty message"),
        pytest.param({"message": 0}, id="zero as message"),
        pytest.param({"message": False}, id="false as message"),
        pytest.param({"message": None}, id="null as message"),
        pytest.param({"message": "", "data": 0}, id="zero as data"),
        pytest.param({"data": {"status": "shipped", "lines": [1, 2.5]}}, id="data alone"),
        pytest.param({"message": "Grüße, 世界 🚀 \u2028"}, id="text beyond ASCII"),
        pytest.param({"message": "a\ud800b"}, id="half a surrogate pair"),
        pytest.param({}, id="neither"),
    ],
)
async def test_message_and_data_arrive_as_they_were_sent(
    application: Application, content: dict[str, Any]
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        await client.subscribe(entity_id)
        event_id = application.publish(entity_id, **content)

        frame = await client.next_frame()

    assert frame.pop("time")
    assert number_of(frame.pop("cursor")) == 1
    assert frame == {"type": "Entity Updated", "entityId": entity_id, "id": event_id, **content}


async def test_an_entity_id_beyond_ascii_finds_its_subscriber(application: Application) -> None:
    entity_id = unique("commande n° 42 / 注文 🚀 #")
    async with application.client() as client:
        await client.subscribe(entity_id)
        application.publish(entity_id)

        assert (await client.next_frame())["entityId"] == entity_id


async def test_an_event_published_right_after_subscribed_always_arrives(
    application: Application,
) -> None:
    async with application.client() as client:
        for entity_id in [unique("entity") for _ in range(20)]:
            await client.subscribe(entity_id)
            event_id = application.publish(entity_id)

            assert (await client.next_frame())["id"] == event_id
