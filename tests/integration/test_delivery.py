"""Delivery end to end: large fan-outs, faults of API Gateway, copies, and dead letters."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from integration.harness import Application, Client, envelope, eventually, number_of, unique
from operations.redrive import ROUTES, redrive


@pytest.fixture
def faulty(application: Application) -> Iterator[Application]:
    """The application, behind a gateway on a bad day: nobody is gone, but much fails."""
    application.start_gateway(
        *("--fault-429", "0.1", "--fault-5xx", "0.06", "--fault-reset", "0.04"),
        *("--fault-stall", "0.02", "--fault-stall-seconds", "2", "--fault-seed", "7"),
    )
    yield application
    application.start_gateway()


async def received(clients: list[Client]) -> Counter[int]:
    """Return how many frames the clients have got, by how many clients got as many."""
    return Counter([len(await client.arrived()) for client in clients])


async def test_more_subscribers_than_a_delivery_holds_get_one_frame_each(
    application: Application,
) -> None:
    entity_id = unique("entity")
    async with application.clients(50, entity_id) as clients:
        there = application.subscribers(entity_id)
        # Among them connections that are gone: their rows go, and nobody else is delayed.
        application.add_gone_subscribers(entity_id, 20)

        event_id = application.publish(entity_id)
        await application.settled()

        for client in clients:
            assert [frame["id"] for frame in await client.arrived()] == [event_id]
        jobs = application.jobs(event_id)
        # The walk over the subscribers, and three ranges.
        assert [job["done"] for job in jobs] == [True] * 4
        assert application.subscribers(entity_id) == there


async def test_faults_of_the_gateway_cost_nobody_a_frame_and_repeat_none(
    faulty: Application,
) -> None:
    entity_id = unique("entity")
    async with faulty.clients(30, entity_id) as clients:
        for _ in range(3):
            faulty.publish(entity_id)
        await faulty.settled()

        assert await received(clients) == {3: 30}


async def test_a_copy_of_an_event_reaches_nobody_twice(application: Application) -> None:
    entity_id = unique("entity")
    event = json.dumps(envelope(entityId=entity_id))
    async with application.client() as client:
        await client.subscribe(entity_id)
        for copies in (1, 2):
            application.enqueue(*[event] * copies)
            await application.settled()

        assert [number_of(frame["cursor"]) for frame in await client.arrived()] == [1]


async def test_what_is_no_delivery_ends_in_the_dead_letter_queue(application: Application) -> None:
    marker = unique("poison")

    application.send("DeliveryQueueUrl", marker)

    letter = await application.dead_letter(marker, "DeliveryDeadLetterQueueUrl")
    assert letter["errorCode"] == "InvalidDelivery"


async def test_an_event_that_the_table_refuses_is_delivered_once_it_takes_it_again(
    application: Application,
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        await client.subscribe(entity_id)
        with application.without_permissions("NotifierFunction"):
            event_id = application.publish(entity_id)
            await eventually(
                lambda: application.last_result("NotifierEventSource") == "FAILED",
                "the notifier fails",
            )
        # It comes back by itself, after seconds and not after the visibility timeout.
        await application.settled(within_seconds=30)

        assert [frame["id"] for frame in await client.arrived()] == [event_id]


async def test_an_event_that_the_table_refused_too_often_is_delivered_once_redriven(
    application: Application,
) -> None:
    entity_id = unique("entity")
    async with application.client() as client:
        await client.subscribe(entity_id)
        with (
            application.without_permissions("NotifierFunction"),
            application.giving_up_after(receives=2),
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
