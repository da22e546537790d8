"""What a program takes, when it does, and what is kept for it meanwhile."""

import asyncio
import logging
from collections.abc import Callable

import pytest

from notifications_client import Event, Gap, NotificationsClient
from unit.client_python.service import Service
from unit.client_python.virtual_time import now, run

Make = Callable[..., NotificationsClient]


def test_a_slow_program_holds_up_nobody_and_loses_nothing(client: Make, service: Service) -> None:
    async def main() -> None:
        async with client() as made:
            slow = made.subscribe("a", queue_size=10)
            fast = made.subscribe("a", queue_size=10)
            other = made.subscribe("b")
            await asyncio.sleep(1)
            for number in range(1, 501):
                service.publish("a")
                assert (await anext(fast)).cursor == service.log("a").at(number)
            assert len(slow._queue) == 10
            service.publish("b")
            assert (await anext(other)).entity_id == "b"
            # Also over another connection: it is not the time yet.
            service.connections[0].end()
            await asyncio.sleep(30)
            assert len(slow._queue) == 10
            began = now()
            for number in range(1, 501):
                assert (await anext(slow)).cursor == service.log("a").at(number)
                await asyncio.sleep(0.01)
                assert 5 < len(slow._queue) < 10 + 100 or number > 490
            assert now() - began == pytest.approx(500 * 0.01)

    run(main())


def test_a_slow_program_is_told_what_is_kept_no_more(client: Make, service: Service) -> None:
    gaps: list[Gap] = []

    async def main() -> None:
        async with client() as made:
            slow = made.subscribe("a", queue_size=4, on_gap=gaps.append)
            await asyncio.sleep(1)
            log = service.log("a")
            service.publish("a", 9)
            await asyncio.sleep(1)
            log.trim()
            for number in (1, 2):
                assert (await anext(slow)).cursor == log.at(number)
            await asyncio.sleep(1)
            service.publish("a")
            for number in (3, 4):
                assert (await anext(slow)).cursor == log.at(number)
            assert gaps == [], "it is told between the events, not before"
            assert (await anext(slow)).cursor == log.at(10)
            assert gaps == [Gap("a", log.at(4), log.at(9))]

    run(main())


def test_gaps_can_be_iterated_over_or_are_logged(
    client: Make, service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    log = service.log("a")
    for _ in range(2):
        log.append()
    log.trim()

    async def main() -> None:
        async with client() as made:
            both = made.subscribe("a", since=log.at(0))
            events = made.subscribe("a", since=log.at(1))
            await asyncio.sleep(1)
            (frame,) = service.publish("a")
            with caplog.at_level(logging.WARNING):
                assert (await anext(events)).frame == frame
            items = both.with_gaps()
            assert [await anext(items), await anext(items)] == [
                Gap("a", log.at(0), log.at(2)),
                Event(frame),
            ]
            both.unsubscribe()
            assert [each async for each in items] == []

    run(main())
    assert log.at(1) in caplog.text


def test_the_cursor_is_that_of_what_was_taken(client: Make, service: Service) -> None:
    log = service.log("a")
    log.append()

    async def main() -> None:
        async with client() as made:
            subscription = made.subscribe("a")
            assert subscription.cursor is None
            await asyncio.sleep(1)
            assert subscription.cursor == log.at(1)
            service.publish("a", 2)
            await asyncio.sleep(1)
            assert subscription.cursor == log.at(1)
            await anext(subscription)
            assert subscription.cursor == log.at(2)
            subscription.unsubscribe()
            assert subscription.cursor == log.at(2)
            last = made.subscribe("a", since="last")
            await asyncio.sleep(1)
            assert last.cursor is None
            await anext(last)
            assert last.cursor == log.at(3)

    run(main())


@pytest.mark.parametrize("how", ["unsubscribe", "block", "close"])
def test_the_iteration_ends_and_nothing_is_handed_on_after_it(
    client: Make, service: Service, how: str
) -> None:
    async def main() -> None:
        async with client() as made:
            subscription = made.subscribe("a")
            waiting = asyncio.create_task(anext(made.subscribe("b"), None))
            await asyncio.sleep(1)
            service.publish("a", 5)
            await asyncio.sleep(1)
            with subscription:
                if how == "unsubscribe":
                    subscription.unsubscribe()
                elif how == "close":
                    await made.close()
                    assert await waiting is None
            service.publish("a", 5)
            assert [each async for each in subscription] == []
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    run(main())


def test_an_event_that_waits_for_a_program_is_not_lost_when_the_program_gives_up_waiting(
    client: Make, service: Service
) -> None:
    async def main() -> None:
        async with client() as made:
            subscription = made.subscribe("a")
            for number in range(1, 4):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(subscription), 1)
                service.publish("a")
                assert (await anext(subscription)).cursor == service.log("a").at(number)

    run(main())


@pytest.mark.parametrize("size", [0, -1])
def test_a_queue_has_room_for_one_at_least(client: Make, size: int) -> None:
    with pytest.raises(ValueError, match="queue_size"):
        client().subscribe("a", queue_size=size)
