"""Everything at once, at random, with a seed."""

import asyncio
import random

import pytest

from clients.client import Command
from clients.scene import Scene
from clients.service import Connection, Request
from clients.topics import Frame

ENTITY_IDS = ("a", "b", "c")
EVENTS = 1500
SECONDS = 8.0


class Chaos:
    """Bend the service at random, until it is calm again."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self._scene = scene
        self._random = random.Random(seed)  # noqa: S311
        self._calm = False
        service = scene.service
        service.respond = self.respond
        service.deliver = self.deliver
        service.strict_delays = False

    async def respond(self, request: Request) -> None:
        """Reply, late or not at all."""
        chance = 1.0 if self._calm else self._random.random()
        if chance < 0.03:
            return
        if chance < 0.06:
            await request.fail_at_gateway("Internal server error")
            return
        if chance < 0.09:
            await request.fail("ServiceUnavailable")
            return
        if chance < 0.5:
            # Subscribed before, between and after what is published.
            request.admit()
            await asyncio.sleep(self._random.random() * 0.05)
            reply = request.answer()
            await asyncio.sleep(self._random.random() * 0.05)
            await request.send(reply)
            return
        await request.reply()

    async def deliver(self, connection: Connection, frame: Frame) -> None:
        """Push a frame: once, twice, late, never, or as the last one of a connection."""
        chance = 1.0 if self._calm else self._random.random()
        if chance < 0.01:
            # Lost for this connection, which nobody promised, but clients ask for it.
            return
        if chance < 0.3:
            self._scene.service.spawn(self._push(connection, frame))
        if chance < 0.25:
            return
        await connection.push(frame)
        if chance > 0.9 and not self._calm:
            self._scene.service.spawn(self._push(connection, frame))

    async def _push(self, connection: Connection, frame: Frame) -> None:
        await asyncio.sleep(self._random.random() * 0.1)
        await connection.push(frame)

    async def ends(self) -> None:
        """End connections, in every way."""
        while True:
            await asyncio.sleep(self._random.uniform(0.1, 0.8))
            is_open = [each for each in self._scene.service.connections if each.is_reached]
            for connection in is_open[-1:]:
                match self._random.randrange(5):
                    case 0 | 1:
                        connection.cut()
                    case 2:
                        connection.freeze()
                    case 3:
                        self._scene.service.spawn(connection.close(1001, "Going away"))
                    case 4:
                        await connection.disconnect("SlowClient", reconnect=True)
                        self._scene.service.spawn(connection.close(1000))
            if self._random.random() < 0.3:
                self._scene.service.refusals.append(503)

    def calm_down(self) -> None:
        """Be a good service from now on."""
        self._calm = True
        self._scene.service.refusals.clear()


@pytest.mark.least
@pytest.mark.minutes
@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
async def test_each_event_is_handed_on_once_and_in_order_whatever_happens(
    command: Command, seed: int
) -> None:
    times = {"ping": 0.5, "pong": 0.5, "reply": 0.5, "hold": 0.2, "stable": 0.3, "connect": 5.0}
    rotate = (0.6, 1.5) if seed % 2 else None
    async with Scene(command, rotate=rotate, **times) as scene:
        chaos = Chaos(scene, seed)
        await scene.follow(*ENTITY_IDS, since=scene.service.topic("a").at(0))
        ends = asyncio.create_task(chaos.ends())
        frames = []
        try:
            for number in range(EVENTS):
                frames += await scene.service.publish(ENTITY_IDS[number % 3])
                await asyncio.sleep(SECONDS / EVENTS)
        finally:
            ends.cancel()
        chaos.calm_down()
        # What the last ones were lost behind, the next ones show.
        for connection in scene.service.connections:
            if connection.frozen:
                connection.cut()
        await scene.service.settled()
        for entity_id in ENTITY_IDS:
            frames += await scene.service.publish(entity_id)
        await scene.hands_on(*frames)
        assert len(scene.service.connections) > 5, "much has happened"
