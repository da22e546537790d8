"""Everybody hears everything once: with clients that come and go, copies of messages, and deaths.

Clients keep the cursor up to which they miss nothing; at the end each has heard all numbers of its
entities since its first `Subscribed`, and the numbers are those of the events, one each.
"""

import asyncio
import json
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from integration.harness import Application, envelope, eventually, number_of, unique
from integration.recovering import Follower
from push.jobs import Letter
from push.topics import Cursor, LoggedEvent, Topic

HOT, COLD = 3, 3
# Of three publishers each.
EVENTS = 50
CROWD, CROWD_EVENTS = 300, 20
# Who dies holds its events for as long as it might have run, and two seconds.
POSTING_SECONDS = 12


class Publishers:
    """Publish events about some entities, most of them about the first three, and copies of them.

    Attributes:
        ids: of the events, by entity.
    """

    def __init__(
        self, application: Application, entity_ids: Sequence[str], rnd: random.Random
    ) -> None:
        self.ids: dict[str, list[str]] = {entity_id: [] for entity_id in entity_ids}
        self._application = application
        self._random = rnd
        self._bodies: list[str] = []

    async def over_the_bus(self) -> None:
        for _ in range(EVENTS):
            entity_id = self._some_entity()
            event_id = await asyncio.to_thread(self._application.publish, entity_id)
            self.ids[entity_id].append(event_id)
            await asyncio.sleep(self._random.uniform(0, 0.3))

    async def by_the_batch(self) -> None:
        """Send batches to the queue; in most is a copy, of one in it or of an earlier one."""
        for start in range(0, EVENTS, 5):
            batch = []
            for _ in range(5):
                entity_id = self._some_entity()
                event = envelope(entityId=entity_id, message=start)
                self.ids[entity_id].append(event["id"])
                batch.append(json.dumps(event))
            self._bodies += batch
            # Of the first half: a copy of one that is being delivered comes back only after it.
            batch += self._random.sample(self._bodies[: EVENTS // 2], 2)
            await asyncio.to_thread(self._application.enqueue, *batch)
            await asyncio.sleep(self._random.uniform(0, 1.5))

    async def copy_letters(self) -> None:
        """Send letters to the delivery queue whose jobs are under way or done."""

        def copy_some() -> None:
            letters = list(letters_of(self._application, self.ids))
            for letter in self._random.sample(letters, min(len(letters), 5)):
                self._application.send("DeliveryQueueUrl", letter.encode())

        for _ in range(5):
            await asyncio.sleep(self._random.uniform(0, 3))
            await asyncio.to_thread(copy_some)

    def _some_entity(self) -> str:
        entity_ids = list(self.ids)
        hot, cold = entity_ids[:HOT], entity_ids[HOT:]
        return self._random.choice(hot if self._random.random() < 0.8 else cold)


def letters_of(application: Application, entity_ids: Iterable[str]) -> Iterable[Letter]:
    """Return letters of walks and ranges, as the ledger and the logs know them."""
    logged = {row["id"]: row for entity_id in entity_ids for row in application.log(entity_id)}
    for job in application.jobs():
        _, event_id, name = job["pk"].split("#", 2)
        row = logged.get(event_id)
        if row is None or name.startswith("stragglers"):
            continue
        event = LoggedEvent(Cursor.parse(json.loads(row["frame"])["cursor"]), row["frame"])
        whole = Letter(event_id, Topic.of_key(row["pk"]), event, "whole")
        if name == whole.name:
            yield whole
        else:
            after, _, upto = name[1:-1].partition(",")
            yield whole.range(after, upto)


async def come_and_go(follower: Follower, rnd: random.Random, end: asyncio.Event) -> None:
    """Come and go until the end, and be there then."""
    while not end.is_set():
        if not follower.is_connected:
            await asyncio.sleep(rnd.uniform(0, 2))
            await follower.come()
        entity_id = rnd.choice(list(follower.feeds))
        await asyncio.sleep(rnd.uniform(0, 4))
        match rnd.choice(["leave", "vanish", "change", "stay"]):
            case "leave":
                await follower.hear_all_of(entity_id)
                await follower.leave()
            case "vanish":
                await follower.vanish()
            case "change":
                await follower.unsubscribe(entity_id)
                await asyncio.sleep(rnd.uniform(0, 1))
                await follower.subscribe(entity_id)
    if not follower.is_connected:
        await follower.come()


@asynccontextmanager
async def followers_of(
    application: Application, entity_ids: Sequence[str], number: int, rnd: random.Random
) -> AsyncIterator[list[Follower]]:
    """Connect clients that follow some of the entities; the last tenth comes later."""
    hot, cold = entity_ids[:HOT], entity_ids[HOT:]
    followers = []
    async with AsyncExitStack() as connected:
        for place in range(number):
            wanted = {entity_ids[place % len(entity_ids)], *rnd.sample(hot, rnd.randint(1, HOT))}
            wanted |= {entity_id for entity_id in cold if rnd.random() < 0.1}
            follower = Follower(application, *sorted(wanted))
            followers.append(await connected.enter_async_context(follower))
        async with asyncio.TaskGroup() as tasks:
            for follower in followers[: number - number // 10]:
                tasks.create_task(follower.come())
        yield followers


async def check(
    application: Application, followers: list[Follower], publishers: Publishers
) -> None:
    """Check that each follower has heard all, and that each event has one number."""
    logs = {entity_id: application.log(entity_id) for entity_id in publishers.ids}
    for entity_id, log in logs.items():
        cursors = [json.loads(row["frame"])["cursor"] for row in log]
        assert [number_of(cursor) for cursor in cursors] == list(range(1, len(log) + 1))
        assert cursors[-1] == application.head(entity_id)
        assert sorted(row["id"] for row in log) == sorted(publishers.ids[entity_id])
        for queue in ("NotificationDeadLetterQueueUrl", "DeliveryDeadLetterQueueUrl"):
            assert application.dead_letters(entity_id, queue) == []
    for follower in followers:
        await follower.look()
        for entity_id, feed in follower.feeds.items():
            assert feed.missing_up_to(len(logs[entity_id])) == set()
            ids = [row["id"] for row in logs[entity_id]]
            assert [frame["id"] for frame in feed.heard] == ids[len(ids) - len(feed.heard) :]
            assert feed.number == len(ids)
    published = {event_id for ids in publishers.ids.values() for event_id in ids}
    jobs = [job for job in application.jobs() if job["pk"].split("#")[1] in published]
    assert [job["pk"] for job in jobs if not job["done"]] == []


async def churn(
    application: Application, clients: int, *disturbances: Callable[[], Coroutine[Any, Any, None]]
) -> list[Follower]:
    """Publish while clients come and go, check what they heard, and return them."""
    rnd = random.Random(20261124)  # noqa: S311 - repeatable, no secret
    entity_ids = [unique("hot") for _ in range(HOT)] + [unique("cold") for _ in range(COLD)]
    publishers = Publishers(application, entity_ids, rnd)
    async with followers_of(application, entity_ids, clients, rnd) as followers:
        end = asyncio.Event()
        async with asyncio.TaskGroup() as coming_and_going:
            # A third stays.
            for follower in followers[clients // 3 :]:
                coming_and_going.create_task(come_and_go(follower, rnd, end))
            async with asyncio.TaskGroup() as publishing:
                publishing.create_task(publishers.over_the_bus())
                publishing.create_task(publishers.over_the_bus())
                publishing.create_task(publishers.by_the_batch())
                publishing.create_task(publishers.copy_letters())
                for disturbance in disturbances:
                    publishing.create_task(disturbance())
            end.set()
        await application.settled()
        await check(application, followers, publishers)
    return followers


async def test_who_comes_and_goes_misses_nothing_and_nobody_hears_anything_twice(
    application: Application,
) -> None:
    with application.posting_within(POSTING_SECONDS, visible_after_seconds=60):
        followers = await churn(application, 60)

    assert sum(follower.repeats for follower in followers) == 0


@pytest.fixture
def application_losing_half_the_disconnects(application: Application) -> Iterator[Application]:
    """The application, which often learns that a client has vanished only when it posts to it."""
    application.start_gateway("--fault-lose-disconnect", "0.5", "--fault-seed", "7")
    yield application
    application.start_gateway()


async def test_who_stays_in_a_crowd_gets_each_frame_once_while_others_vanish(
    application_losing_half_the_disconnects: Application,
) -> None:
    application = application_losing_half_the_disconnects
    entity_id = unique("entity")
    async with application.clients(CROWD, entity_id) as clients:
        vanishing = clients[::10]
        staying = [client for client in clients if client not in vanishing]
        for number in range(CROWD_EVENTS - 1):
            application.publish(entity_id)
            for client in vanishing[number :: CROWD_EVENTS - 1]:
                await client.kill()
        await application.settled()
        application.publish(entity_id)
        await application.settled()

        for client in staying:
            numbers = [number_of(frame["cursor"]) for frame in await client.arrived()]
            assert sorted(numbers) == list(range(1, CROWD_EVENTS + 1))
        assert len(application.subscribers(entity_id)) == len(staying)
        connections = application.rows(sk="CONNECTION")
        subscribed = [row for row in connections if f"ENTITY#{entity_id}" in row.get("topics", ())]
        assert len(subscribed) == len(staying)


async def test_functions_that_are_killed_cost_nobody_a_frame_and_repeat_few(
    application: Application,
) -> None:
    killed = []

    async def kill() -> None:
        for _ in range(4):
            await asyncio.sleep(2)
            await eventually(application.queued, "messages are under way")
            for function in ("NotifierFunction", "DeliverFunction"):
                for pid in application.workers(function):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.append(pid)

    with application.posting_within(POSTING_SECONDS, visible_after_seconds=5):
        followers = await churn(application, 30, kill)

    assert killed
    # What was under way: a share of the frames, and far from all of those of the killed.
    repeats = sum(follower.repeats for follower in followers)
    heard = sum(len(feed.heard) for follower in followers for feed in follower.feeds.values())
    assert repeats < heard / 10
