"""Many frames at once, many clients at once, and clients that leave in the midst of it."""

import asyncio
import re
import time
from collections.abc import Iterable

import pytest

from integration.harness import Application, Frame, eventually, unique
from local.stack import CONCURRENT_CALLS

MAX_SUBSCRIPTIONS = 100
BURST = 50


def subscribes(entity_ids: Iterable[str]) -> list[Frame]:
    return [{"action": "subscribe", "entityId": entity_id} for entity_id in entity_ids]


async def test_a_burst_of_fifty_subscribes_on_one_connection_succeeds_whole(
    application: Application,
) -> None:
    entity_ids = sorted(unique("entity") for _ in range(BURST))
    async with application.client() as client:
        replies = await client.requests(subscribes(entity_ids))

        assert [(reply["type"], reply.get("entityId")) for reply in replies] == [
            ("Subscribed", entity_id) for entity_id in entity_ids
        ]
        assert (await client.request("subscriptions"))["entityIds"] == entity_ids


async def test_concurrent_subscribes_beyond_the_limit_are_all_refused(
    application: Application,
) -> None:
    entity_ids = [unique("entity") for _ in range(MAX_SUBSCRIPTIONS + 20)]
    async with application.client() as client:
        await client.subscribe(*entity_ids[:80])
        # These meet the limit in their midst.
        replies = await client.requests(subscribes(entity_ids[80:]))

        listed = (await client.request("subscriptions"))["entityIds"]

    succeeded = entity_ids[:80]
    succeeded += [reply["entityId"] for reply in replies if reply["type"] == "Subscribed"]
    refused = [reply["code"] for reply in replies if reply["type"] == "Error"]
    assert len(succeeded) == MAX_SUBSCRIPTIONS
    assert refused == ["TooManySubscriptions"] * 20
    assert sorted(succeeded) == listed


async def test_a_full_connection_may_repeat_a_subscription_and_replace_one(
    application: Application,
) -> None:
    entity_ids = [unique("entity") for _ in range(MAX_SUBSCRIPTIONS)]
    one_more = unique("entity")
    async with application.client() as client:
        await client.subscribe(*entity_ids[:50])
        await client.subscribe(*entity_ids[50:])
        refused = await client.request("subscribe", entityId=one_more)
        assert (refused["type"], refused["code"]) == ("Error", "TooManySubscriptions")

        await client.subscribe(entity_ids[0])
        await client.request("unsubscribe", entityId=entity_ids[0])
        await client.subscribe(one_more)


@pytest.mark.parametrize("closes", [True, False], ids=["closed", "killed"])
async def test_subscribes_that_race_the_end_of_their_connection_leave_no_row(
    application: Application, closes: bool
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        await client.subscribe(entity_id)
        connection_id = application.connection_id(entity_id)
        # So many that some are handled before the end of the connection, and some after.
        for frame in subscribes(unique("race") for _ in range(BURST)):
            await client.send(frame)
        await (client.socket.close() if closes else client.kill())
    # It stops once the functions have answered, so no subscribe is under way after that.
    application.start_gateway()

    assert application.rows(connectionId=connection_id) == []


async def test_a_hundred_clients_that_come_and_go_at_the_same_moment_are_all_served(
    application: Application,
) -> None:
    """In about three seconds on two idle processors; the bound is for busy ones."""
    entity_ids = [unique("crowd") for _ in range(5)]
    before = len(application.gateway_log())
    async with application.clients(100) as clients:
        started = time.monotonic()
        replies = await asyncio.gather(
            *(client.requests(subscribes(entity_ids)) for client in clients)
        )
        seconds = time.monotonic() - started

        kinds = [reply["type"] for each in replies for reply in each]
        assert kinds == ["Subscribed"] * 500
        assert seconds < 15
        assert 1 <= len(application.workers("Subscribe")) <= CONCURRENT_CALLS

    def leaves() -> list[str]:
        lines = application.gateway_log()[before:].splitlines()
        return [line for line in lines if "route $disconnect " in line]

    await eventually(lambda: len(leaves()) == 100, "every $disconnect is answered")
    assert [line for line in leaves() if not re.search(": 200$", line)] == []
    assert len(application.workers("Disconnect")) <= CONCURRENT_CALLS
    assert [row for entity_id in entity_ids for row in application.subscribers(entity_id)] == []
