"""A connection is replaced before API Gateway closes it, and nobody notices."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from clients.client import Command
from clients.scene import Scene
from clients.service import Connection
from clients.topics import Frame

pytestmark = pytest.mark.minutes

AFTER = (0.5, 0.6)


async def overlap(scene: Scene) -> tuple[Connection, Connection]:
    """Wait for two connections of which the first is still open."""
    first = await scene.service.connection(1)
    second = await scene.service.connection(2)
    assert first.is_open and not first.closed_by_client
    return first, second


@asynccontextmanager
async def publishing(scene: Scene, *entity_ids: str) -> AsyncIterator[list[Frame]]:
    """Publish all the time."""
    published: list[Frame] = []

    async def publish() -> None:
        while True:
            for entity_id in entity_ids:
                published.extend(await scene.service.publish(entity_id))
            await asyncio.sleep(0.005)

    task = asyncio.create_task(publish())
    async with AsyncExitStack() as stack:
        stack.callback(task.cancel)
        yield published


async def test_it_moves_to_another_connection_while_events_flow(command: Command) -> None:
    async with Scene(command, rotate=AFTER) as scene:
        # Connections overlap, and none is an attempt after another.
        scene.service.strict_delays = False
        await scene.follow("a", "b")
        await scene.service.subscribed(1)
        async with publishing(scene, "a", "b") as published:
            for number in (1, 2, 3):
                connection = await scene.service.connection(number)
                assert await scene.service.left(connection) == 1000
                assert connection.closed_by_client
                following = scene.service.connections[number]
                assert following.subscribed.keys() == {"a", "b"} and not following.under_way
        await scene.hands_on(*published)
        assert not [each for each in scene.client.told_of("state") if "delayMs" in each]


async def test_the_first_one_is_heard_until_the_second_has_its_replies(command: Command) -> None:
    async with Scene(command, rotate=AFTER) as scene:
        hold = scene.service.hold("subscribe")
        await scene.follow("a")
        await (await hold).reply()
        hold = scene.service.hold("subscribe")
        await scene.hands_on(*await scene.service.publish("a", 2))
        request = await hold
        first, second = await overlap(scene)
        assert request.connection is second
        assert request.since == scene.service.topic("a").at(2)
        # No pause: what comes on the first one does not wait for the second.
        await scene.hands_on(*await scene.service.publish("a", 2))
        # Both say the same.
        request.admit()
        await scene.hands_on(*await scene.service.publish("a", 2))
        # The second one alone: the reply's events are all that is known otherwise.
        frames = scene.service.log("a", 2)
        await second.push(*frames)
        assert first.is_open
        await request.reply()
        await scene.hands_on(*frames)
        assert await scene.service.left(first) == 1000
        assert first.closed_by_client
        await scene.hands_on(*await scene.service.publish("a"))


async def test_the_first_one_is_closed_after_all_replies_of_the_second(command: Command) -> None:
    entity_ids = [f"entity {number}" for number in range(100)]
    async with Scene(command, rotate=AFTER) as scene:
        await scene.follow(*entity_ids)
        first = await scene.service.subscribed(1)
        request = await scene.service.hold("subscribe")
        hold = scene.service.hold("subscribe")
        await request.reply()
        request = await hold
        # They do not fit into one request.
        for entity_id in entity_ids[::33]:
            await scene.hands_on(*await scene.service.publish(entity_id))
        assert first.is_open and first.close_code is None
        await request.reply()
        assert await scene.service.left(first) == 1000
        for entity_id in entity_ids[::33]:
            await scene.hands_on(*await scene.service.publish(entity_id))


async def test_a_second_one_that_fails_is_tried_again(command: Command) -> None:
    async with Scene(command, rotate=AFTER) as scene:
        await scene.follow("a")
        first = await scene.service.subscribed(1)
        scene.service.refusals.extend([503, 503])
        # The third of them opens, but does not get its reply.
        request = await scene.service.hold("subscribe")
        await scene.hands_on(*await scene.service.publish("a"))
        hold = scene.service.hold("subscribe")
        request.connection.cut()
        request = await hold
        await scene.hands_on(*await scene.service.publish("a"))
        assert first.is_open and first.close_code is None
        await request.reply()
        assert await scene.service.left(first) == 1000
        await scene.hands_on(*await scene.service.publish("a"))


async def test_the_second_takes_the_place_of_the_first_that_ends_meanwhile(
    command: Command,
) -> None:
    async with Scene(command, rotate=(2.0, 2.1)) as scene:
        await scene.follow("a")
        first = await scene.service.subscribed(1)
        request = await scene.service.hold("subscribe")
        assert request.connection is not first
        missed = scene.service.log("a", 2)
        first.cut()
        await scene.service.left(first)
        # More than an attempt would take, and less than the second lasts itself.
        await scene.passes(scene.times.min_delay * 10)
        assert len(scene.service.attempts) == 2
        await request.reply()
        await scene.hands_on(*missed)
        await scene.hands_on(*await scene.service.publish("a"))


async def test_the_first_that_says_disconnect_meanwhile_is_left(command: Command) -> None:
    async with Scene(command, rotate=AFTER) as scene:
        scene.service.strict_delays = False
        await scene.follow("a")
        first = await scene.service.subscribed(1)
        request = await scene.service.hold("subscribe")
        await first.disconnect("SlowClient", reconnect=True)
        await scene.service.left(first)
        assert first.closed_by_client
        await request.reply()
        await scene.service.settled()
        await scene.hands_on(*await scene.service.publish("a"))
