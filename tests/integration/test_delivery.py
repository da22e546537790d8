"""Delivery end to end: large fan-outs, faults of API Gateway, copies, deaths, and dead letters."""

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator

import pytest

from integration.harness import Application, Client, envelope, eventually, unique
from operations.redrive import ROUTES, redrive


@pytest.fixture
def faulty(application: Application) -> Iterator[Application]:
    """The application, behind a gateway on a bad day: nobody is gone, but much fails."""
    application.start_gateway(
        *("--fault-429", "0.15", "--fault-5xx", "0.1", "--fault-reset", "0.05"),
        *("--fault-stall", "0.02", "--fault-stall-seconds", "2", "--fault-seed", "7"),
    )
    yield application
    application.start_gateway()


async def received(clients: list[Client]) -> Counter[int]:
    """Return how many frames the clients have got, by how many clients got as many."""
    # One after the other: the emulator starts a process for each concurrent call of a function.
    return Counter([len(await client.arrived()) for client in clients])


async def test_more_subscribers_than_a_delivery_holds_get_one_frame_each(
    application: Application,
) -> None:
    entity_id = unique("entity")
    async with application.clients(120) as clients:
        for client in clients:
            await client.subscribe(entity_id)
        there = application.subscribers(entity_id)
        # Among them connections that are gone: their rows go, and nobody else is delayed.
        application.add_gone_subscribers(entity_id, 30)

        event_id = application.publish(entity_id)
        await application.settled()

        for client in clients:
            assert [frame["id"] for frame in await client.arrived()] == [event_id]
        jobs = application.jobs(event_id)
        # The walk over the subscribers, and three deliveries.
        assert [job["state"] for job in jobs] == ["DONE"] * 4
        assert application.subscribers(entity_id) == there


async def test_faults_of_the_gateway_cost_nobody_a_frame_and_repeat_none(
    faulty: Application,
) -> None:
    entity_id = unique("entity")
    async with faulty.clients(30) as clients:
        for client in clients:
            await client.subscribe(entity_id)

        for _ in range(3):
            faulty.publish(entity_id)
        await faulty.settled()

        assert await received(clients) == {3: 30}


async def test_a_copy_of_an_event_reaches_nobody_twice(application: Application) -> None:
    entity_id = unique("entity")
    event = json.dumps(envelope(entityId=entity_id))
    async with application.client() as client:
        await client.subscribe(entity_id)
        # Two at once: one of them meets the other at work, and comes back to find it done.
        with application.notifier_within(60, visible_after_seconds=5):
            application.enqueue(event, event)
            await application.settled()
            application.enqueue(event)
            await application.settled()

        assert len(await client.arrived()) == 1


async def test_a_notifier_that_is_killed_loses_nothing(application: Application) -> None:
    entity_id = unique("entity")
    # Slow posts, to have the time to kill it among them.
    application.start_gateway("--fault-latency-ms", "1500")
    # The lease is as long as the function may run, and its queue waits six times as long.
    with application.notifier_within(12, visible_after_seconds=5):
        async with application.clients(20) as clients:
            for client in clients:
                await client.subscribe(entity_id)
            event_id = application.publish(entity_id)
            await eventually(lambda: application.jobs(event_id), "the event is being delivered")
            for pid in workers("NotifierFunction"):
                os.kill(pid, signal.SIGKILL)
            await application.settled()

            counts = await received(clients)
    application.start_gateway()
    assert counts[0] == 0
    assert sum(counts.values()) == 20


def workers(function: str) -> list[int]:
    """Return the processes in which the emulator runs a function."""
    found = subprocess.run(
        ["pgrep", "-f", f"ministack-lambda-.*{function}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(line) for line in found.stdout.split()]


async def test_what_is_no_delivery_ends_in_the_dead_letter_queue(application: Application) -> None:
    marker = unique("poison")

    application.send("DeliveryQueueUrl", marker)

    letter = await application.dead_letter(marker, "DeliveryDeadLetterQueueUrl")
    assert letter["errorCode"] == "InvalidDelivery"


async def test_an_event_that_a_table_refused_is_delivered_once_redriven(
    application: Application,
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        await client.subscribe(entity_id)
        with (
            application.without_permissions("NotifierFunction"),
            application.notifier_within(60, visible_after_seconds=0),
        ):
            event_id = application.publish(entity_id)
            await eventually(
                lambda: application.waiting("NotificationDeadLetterQueueUrl"),
                "the event is a dead letter",
            )
        assert await client.arrived() == []

        source, target = "NotificationDeadLetterQueueUrl", ROUTES["NotificationDeadLetterQueueUrl"]
        moved = redrive(application.sqs, application.outputs[source], application.outputs[target])
        await application.settled()

        assert moved == 1
        assert [frame["id"] for frame in await client.arrived()] == [event_id]
