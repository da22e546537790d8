"""Clients that come back get exactly what they missed, or are told that they cannot."""

import asyncio
import json
from typing import Any

import pytest

from integration.harness import Application, Client, Frame, envelope, number_of, unique
from integration.recovering import Follower

ANOTHER_EPOCH = "0" * 12


def publish_at_once(application: Application, entity_id: str, number: int, **detail: Any) -> None:
    """Publish events past EventBridge; which of them comes first is not settled."""
    bodies = [json.dumps(envelope(entityId=entity_id, **detail)) for _ in range(number)]
    for start in range(0, number, 10):
        application.enqueue(*bodies[start : start + 10])


def numbers(frames: list[Frame]) -> list[int]:
    return [number_of(frame["cursor"]) for frame in frames]


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "killed"])
async def test_who_comes_back_gets_exactly_what_was_missed_in_order(
    application: Application, closes: bool
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        (first,) = await client.subscribe(entity_id)
        heard = [application.publish(entity_id) for _ in range(3)]
        frames = [await client.next_frame() for _ in heard]
        await (client.socket.close() if closes else client.kill())
    cursor = max((frame["cursor"] for frame in frames), key=number_of)
    missed = [application.publish(entity_id) for _ in range(2)]
    publish_at_once(application, entity_id, 3)
    await application.settled()

    async with application.client() as client:
        reply = await client.request("subscribe", entityId=entity_id, since=cursor)
        later = application.publish(entity_id)
        live = await client.next_frame()

    assert sorted(numbers(frames)) == [1, 2, 3]
    events = reply.pop("events")
    assert reply == {
        "type": "Subscribed",
        "entityId": entity_id,
        "cursor": events[-1]["cursor"],
        "recovered": True,
    }
    assert numbers(events) == [4, 5, 6, 7, 8]
    ids = [event["id"] for event in events]
    assert len(set(ids)) == 5
    assert set(missed) <= set(ids)
    assert not set(ids) & set(heard)
    assert (live["id"], number_of(live["cursor"])) == (later, 9)
    # All of one log.
    assert {frame["cursor"][:13] for frame in [*frames, *events, live]} == {first[:13]}


async def test_what_is_recovered_is_the_frame_that_others_got(application: Application) -> None:
    entity_id = unique("entity")
    async with application.client() as there, application.client() as client:
        (cursor,) = await there.subscribe(entity_id)
        application.publish(entity_id, message="Grüße 🚀", data={"n": 1.50, "a\ud800b": [None]})
        frame = await there.next_frame()

        reply = await client.request("subscribe", entityId=entity_id, since=cursor)

    assert reply["events"] == [frame]


async def test_who_missed_nothing_is_told_so(application: Application) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        (cursor,) = await client.subscribe(entity_id)

        reply = await client.request("subscribe", entityId=entity_id, since=cursor)

    assert reply == {
        "type": "Subscribed",
        "entityId": entity_id,
        "cursor": cursor,
        "recovered": True,
        "events": [],
    }


async def test_whatever_comes_after_the_cursor_of_subscribed_comes_live(
    application: Application,
) -> None:
    # The others take time, between what is done about the first and the reply.
    entity_id, *others = (unique("entity") for _ in range(20))
    async with application.client() as there, application.clients(20) as clients:
        # Without a head, events are dropped.
        await there.subscribe(entity_id)
        subscribing = [
            asyncio.create_task(client.subscribe(entity_id, *others)) for client in clients
        ]
        while not all(task.done() for task in subscribing):
            await asyncio.to_thread(publish_at_once, application, entity_id, 2)
        await application.settled()

        published = number_of(application.head(entity_id))
        for client, task in zip(clients, subscribing, strict=True):
            cursor, *_ = task.result()
            came = numbers(await client.arrived())
            assert {*range(number_of(cursor) + 1, published + 1)} <= set(came)
            assert len(came) == len(set(came))


async def test_more_than_a_hundred_missed_events_come_in_pages(application: Application) -> None:
    entity_id = unique("entity")
    async with Follower(application, entity_id) as follower, application.client() as client:
        await follower.come()
        await follower.leave()
        feed = follower.feeds[entity_id]
        publish_at_once(application, entity_id, 120)
        await application.settled()

        first = await client.request("subscribe", **feed.wanted())
        rest = await client.request("history", entityId=entity_id, since=first["cursor"])
        await follower.come()

    assert (numbers(first["events"]), first["more"]) == (list(range(1, 101)), True)
    assert (first["recovered"], number_of(first["cursor"])) == (True, 100)
    assert (rest["type"], numbers(rest["events"])) == ("History", list(range(101, 121)))
    assert (rest["recovered"], rest["cursor"]) == (True, application.head(entity_id))
    assert "more" not in rest
    assert feed.heard == first["events"] + rest["events"]


async def test_missed_frames_of_any_size_come_in_replies_that_fit(
    application: Application,
) -> None:
    entity_ids = [unique("entity") for _ in range(3)]
    async with Follower(application, *entity_ids) as follower:
        await follower.come()
        await follower.leave()
        for entity_id in entity_ids:
            # Two of these fit into one reply, and one of those is nearly as large as may be.
            for size in (40_000, 40_000, 120_000):
                publish_at_once(application, entity_id, 1, message="m" * size)
        await application.settled()

        await follower.come()

    assert [feed.number for feed in follower.feeds.values()] == [3, 3, 3]


async def test_since_last_brings_the_last_event_alone(application: Application) -> None:
    entity_id = unique("entity")
    async with application.client() as there, application.client() as client:
        await there.subscribe(entity_id)
        nothing = await client.request("subscribe", entityId=entity_id, since="last")
        for message in range(3):
            application.publish(entity_id, message=message)
            last = await there.next_frame()

        reply = await client.request("subscribe", entityId=entity_id, since="last")

    assert (nothing["recovered"], nothing["events"]) == (True, [])
    assert (reply["recovered"], reply["events"]) == (True, [last])
    assert reply["cursor"] == last["cursor"]


@pytest.mark.parametrize("action", ["subscribe", "history"])
@pytest.mark.parametrize(
    "since",
    [
        pytest.param(f"{ANOTHER_EPOCH}-0", id="before another log"),
        pytest.param(f"{ANOTHER_EPOCH}-2", id="in another log"),
        pytest.param("{epoch}-3", id="not yet given"),
    ],
)
async def test_who_cannot_recover_is_told_so_with_the_cursor_to_go_on_from(
    application: Application, action: str, since: str
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        (cursor,) = await client.subscribe(entity_id)
        for _ in range(2):
            application.publish(entity_id)
            await client.next_frame()

        epoch, _, _ = cursor.partition("-")
        reply = await client.request(action, entityId=entity_id, since=since.format(epoch=epoch))

        assert (reply["recovered"], reply["events"]) == (False, [])
        assert reply["cursor"] == f"{epoch}-2" == application.head(entity_id)
        # And it is subscribed all the same.
        application.publish(entity_id)
        assert numbers([await client.next_frame()]) == [3]


async def test_an_event_that_is_no_longer_kept_is_not_left_out_in_silence(
    application: Application,
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        (cursor,) = await client.subscribe(entity_id)
        for _ in range(3):
            application.publish(entity_id)
            await client.next_frame()
        # As TTL does, in any order.
        application.delete_row(application.log(entity_id)[1])

        reply = await client.request("history", entityId=entity_id, since=cursor)
        after = await client.request("history", entityId=entity_id, since=f"{cursor[:12]}-2")

    assert (reply["recovered"], reply["events"]) == (False, [])
    assert number_of(reply["cursor"]) == 3
    assert (after["recovered"], numbers(after["events"])) == (True, [3])


async def refusal(client: Client, action: str, **fields: Any) -> str:
    reply = await client.request(action, **fields)
    assert reply["type"] == "Error", reply
    return str(reply["code"])


@pytest.mark.parametrize(
    "since", ["", "first", 7, "0", "abc-1", f"{ANOTHER_EPOCH}-", f"{ANOTHER_EPOCH}-01", ["last"]]
)
async def test_a_since_that_is_no_cursor_is_refused(application: Application, since: Any) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        code = await refusal(client, "subscribe", entityId=entity_id, since=since)
        assert code == "InvalidSince"
        assert (await client.request("subscriptions"))["entityIds"] == []


async def test_history_is_for_subscribers_and_from_a_cursor_on(application: Application) -> None:
    entity_id = unique("entity")
    async with application.client() as there, application.client() as client:
        (cursor,) = await there.subscribe(entity_id)

        assert await refusal(there, "history", entityId=entity_id) == "InvalidSince"
        code = await refusal(client, "history", entityId=entity_id, since=cursor)
        assert code == "NotSubscribed"
        await client.subscribe(entity_id)
        await client.request("unsubscribe", entityId=entity_id)
        code = await refusal(client, "history", entityId=entity_id, since=cursor)
        assert code == "NotSubscribed"
