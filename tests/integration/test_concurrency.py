"""Many frames at once, many clients at once, and clients that leave in the midst of it."""

import asyncio
from collections.abc import Iterable

import pytest

from integration.harness import Application, Frame, eventually, unique

MAX_SUBSCRIPTIONS = 100
BURST = 50

# The emulator starts a worker for each invocation beyond those under way, and keeps it. Fifty
# that start together can take so long on a small machine that the gateway gives up on them, so
# they start in steps.
pytestmark = pytest.mark.usefixtures("workers_for_a_burst")


@pytest.fixture(scope="module")
def workers_for_a_burst(deployed: Application) -> None:
    async def start() -> None:
        for number in range(10, BURST + 1, 10):
            async with deployed.client() as client:
                await client.requests(subscribes(unique("entity") for _ in range(number)))

    asyncio.run(start())


def subscribes(entity_ids: Iterable[str]) -> list[Frame]:
    return [{"action": "subscribe", "entityId": entity_id} for entity_id in entity_ids]


async def test_a_burst_of_fifty_subscribes_on_one_connection_succeeds_whole(
    application: Application,
) -> None:
    entity_ids = sorted(unique("entity") for _ in range(BURST))
    async with application.client() as client:
        replies = await client.requests(subscribes(entity_ids))

        assert replies == [{"type": "Subscribed", "entityId": entity} for entity in entity_ids]
        assert (await client.request("subscriptions"))["entityIds"] == entity_ids


async def test_concurrent_subscribes_beyond_the_limit_are_all_refused(
    application: Application,
) -> None:
    entity_ids = [unique("entity") for _ in range(MAX_SUBSCRIPTIONS + 20)]
    async with application.client() as client:
        replies = []
        # The last forty meet the limit in their midst.
        for start in range(0, len(entity_ids), 40):
            replies += await client.requests(subscribes(entity_ids[start : start + 40]))

        listed = (await client.request("subscriptions"))["entityIds"]

    succeeded = [reply["entityId"] for reply in replies if reply["type"] == "Subscribed"]
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
        for start in range(0, MAX_SUBSCRIPTIONS, 20):
            await client.requests(subscribes(entity_ids[start : start + 20]))
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


async def test_a_hundred_subscribers_of_an_entity_receive_one_frame_each(
    application: Application,
) -> None:
    entity_id = unique("entity")
    async with application.clients(100) as clients:
        for client in clients:
            await client.subscribe(entity_id)
        event_id = application.publish(entity_id, message="to everyone")
        await application.settled()

        arrived = [await client.arrived() for client in clients]

        assert [[frame["id"] for frame in frames] for frames in arrived] == [[event_id]] * 100
        # Ends that are handled at once need a worker each, so the next waits for the one before.
        for left, client in enumerate(reversed(clients)):
            await eventually(
                lambda: len(application.subscribers(entity_id)) == len(clients) - left,  # noqa: B023
                "the closed connection is not subscribed",
            )
            await client.socket.close()
