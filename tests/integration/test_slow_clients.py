"""A client that does not read: nobody else waits for it, and it misses nothing in the end."""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from websockets.exceptions import ConnectionClosed

from integration.harness import Application, Client, Frame, eventually, number_of, unique
from push.jobs import Letter
from push.topics import Cursor, LoggedEvent, Topic

# Far less than one post that is tried again on the spot would take.
PROMPTLY_SECONDS = 5
# So many kilobytes that some dozens are more than the sockets on the way hold.
LARGE = "m" * 110_000


@pytest.fixture
def application_with_small_buffers(application: Application) -> Iterator[Application]:
    """The application, behind a gateway that keeps one message for a client that does not read."""
    application.start_gateway("--client-buffer-bytes", "1")
    yield application
    application.start_gateway()


@dataclass
class Crowd:
    """Subscribers of an entity, one of which does not read any more."""

    entity_id: str
    stuck: Client
    others: list[Client]
    stuck_id: str
    published: int = 0

    async def publish(self, application: Application) -> None:
        """Publish a large event, and see that the others get it promptly."""
        started = time.monotonic()
        event_id = application.publish(self.entity_id, message=LARGE)
        self.published += 1
        for client in self.others:
            assert (await client.next_frame())["id"] == event_id
        assert time.monotonic() - started < PROMPTLY_SECONDS


@asynccontextmanager
async def crowd_with_one_stuck(application: Application) -> AsyncIterator[Crowd]:
    """Connect clients, and let one of them be stuck: posts to it fail, and are handed on."""
    entity_id = unique("entity")
    async with (
        application.client(receive_buffer_bytes=4096) as stuck,
        application.clients(3) as others,
    ):
        await stuck.subscribe(entity_id)
        crowd = Crowd(entity_id, stuck, others, application.connection_id(entity_id))
        for client in others:
            await client.subscribe(entity_id)
        stuck.socket.transport.pause_reading()
        while not application.waiting("DeliveryQueueUrl"):
            assert crowd.published < 100, "a client that does not read is full at some time"
            await crowd.publish(application)
        yield crowd


def numbers(frames: list[Frame]) -> list[int]:
    return sorted(number_of(frame["cursor"]) for frame in frames)


async def test_a_client_that_does_not_read_delays_nobody_and_gets_all_when_it_reads_again(
    application_with_small_buffers: Application,
) -> None:
    application = application_with_small_buffers
    other_id = unique("entity")
    async with (
        crowd_with_one_stuck(application) as crowd,
        application.clients(2, other_id) as elsewhere,
    ):
        for _ in range(3):
            await crowd.publish(application)
            started = time.monotonic()
            event_id = application.publish(other_id)
            for client in elsewhere:
                assert (await client.next_frame())["id"] == event_id
            assert time.monotonic() - started < PROMPTLY_SECONDS
        assert application.waiting("DeliveryQueueUrl")

        crowd.stuck.socket.transport.resume_reading()
        await application.settled()

        frames = await crowd.stuck.arrived()
        assert numbers(frames) == list(range(1, crowd.published + 1))
        for client in crowd.others:
            assert await client.arrived() == []


async def test_a_client_that_cannot_be_reached_for_minutes_is_closed_and_can_recover(
    application_with_small_buffers: Application,
) -> None:
    application = application_with_small_buffers
    async with crowd_with_one_stuck(application) as crowd:
        # The letter of the last try, which would be sent minutes from now.
        (*_, row) = application.log(crowd.entity_id)
        event = LoggedEvent(Cursor.parse(application.head(crowd.entity_id)), row["frame"])
        letter = Letter("id", Topic.entity(crowd.entity_id), event, "whole")
        last = letter.for_stragglers([crowd.stuck_id], attempt=10)
        application.send("DeliveryQueueUrl", last.encode())
        await eventually(
            lambda: application.rows(connectionId=crowd.stuck_id) == [],
            "the client that does not read is forgotten",
        )

        crowd.stuck.socket.transport.resume_reading()
        frames = []
        with pytest.raises(ConnectionClosed):
            while True:
                frames.append(await crowd.stuck.next_frame())

    await application.settled()
    heard = numbers(frames)
    assert heard == list(range(1, len(heard) + 1))
    assert len(heard) < crowd.published
    async with application.client() as client:
        asked = {"entityId": crowd.entity_id, "since": frames[-1]["cursor"]}
        reply = await client.request("subscribe", **asked)
        while reply.get("more"):
            frames += reply["events"]
            asked["since"] = reply["cursor"]
            reply = await client.request("history", **asked)
        frames += reply["events"]

    assert numbers(frames) == list(range(1, crowd.published + 1))
