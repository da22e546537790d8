"""What is asked for, in how few requests, and what becomes of the answers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from notifications_client import NotificationsClient, SubscriptionRefused, Times
from notifications_client.conversation import Conversation
from notifications_client.feed import Frame
from unit.client_python.service import Connection, Service, error
from unit.client_python.virtual_time import now, run

Make = Callable[..., NotificationsClient]


def asked_for(request: Frame) -> list[str]:
    return [each["entityId"] for each in request["entities"]]


def test_what_comes_up_meanwhile_is_gathered(client: Make, service: Service) -> None:
    async def main() -> None:
        async with client() as made:
            first = [made.subscribe(each) for each in "abc"]
            await asyncio.sleep(1)
            for each in first[:2]:
                each.unsubscribe()
            for name in "de":
                made.subscribe(name)
            await asyncio.sleep(1)

    run(main())
    (connection,) = service.connections
    assert [asked_for(each) for each in connection.asked("subscribe")] == [list("abc"), list("de")]
    assert [each["entityIds"] for each in connection.asked("unsubscribe")] == [["a", "b"]]
    assert [each["action"] for each in connection.requests] == [
        "subscribe",
        "unsubscribe",
        "subscribe",
    ]


def test_one_request_is_under_way_at_a_time(client: Make, service: Service) -> None:
    async def main() -> None:
        service.respond = lambda connection, request: None
        async with client() as made:
            made.subscribe("a")
            await asyncio.sleep(1)
            made.subscribe("b")
            await asyncio.sleep(1)
            (connection,) = service.connections
            assert len(connection.requests) == 1
            connection.push(service.reply(connection, connection.requests[0]))
            await asyncio.sleep(1)
            assert len(connection.requests) == 2

    run(main())


@pytest.mark.parametrize(("name", "at_least"), [("x", 2), ("\U0001f30d" * 256, 15)])
def test_a_request_holds_99_entities_and_32_kilobytes(
    client: Make, service: Service, name: str, at_least: int
) -> None:
    names = [f"{number}{name}"[:256] for number in range(150)]

    async def main() -> None:
        async with client() as made:
            for each in names:
                made.subscribe(each)
            await asyncio.sleep(10)

    run(main())
    (connection,) = service.connections
    requests = [asked_for(each) for each in connection.asked("subscribe")]
    assert [name for names in requests for name in names] == names
    assert max(map(len, requests)) <= 99
    assert len(requests) >= at_least


def test_an_entity_that_no_request_can_hold_is_refused(client: Make, service: Service) -> None:
    async def main() -> None:
        async with client() as made:
            made.subscribe("a")
            for refused, code in (
                (made.subscribe("x" * 40_000), "InvalidEntityId"),
                (made.subscribe("b", since="yesterday"), "InvalidSince"),
            ):
                with pytest.raises(SubscriptionRefused) as caught:
                    await anext(refused)
                assert caught.value.code == code
            await asyncio.sleep(1)

    run(main())
    assert service.connections[0].subscribed.keys() == {"a"}


def test_those_that_came_first_get_the_room(client: Make, service: Service) -> None:
    def respond(connection: Connection, request: Frame) -> Frame:
        wanted = connection.subscribed.keys() | asked_for(request)
        if len(wanted) > 3:
            return error("TooManySubscriptions", request)
        return service.reply(connection, request)

    service.respond = respond

    async def main() -> None:
        async with client() as made:
            subscriptions = [made.subscribe(each) for each in "abcdef"]
            for each in subscriptions[3:]:
                with pytest.raises(SubscriptionRefused, match="TooManySubscriptions"):
                    await anext(each)
            await asyncio.sleep(1)
            assert [each.ended for each in subscriptions] == [False] * 3 + [True] * 3

    run(main())
    (connection,) = service.connections
    assert list(connection.subscribed) == list("abc")
    assert len(connection.requests) == len(["abcdef", "abc", "def", "de", "d", "e", "f"])


def test_one_that_is_refused_ends_alone_even_without_its_name(
    client: Make, service: Service
) -> None:
    def respond(connection: Connection, request: Frame) -> Frame:
        reply = service.reply(connection, request)
        if "b" in asked_for(request):
            place = asked_for(request).index("b")
            reply["entities"][place] = {"code": "Forbidden", "message": "no"}
        return reply

    service.respond = respond

    async def main() -> None:
        async with client() as made:
            subscriptions = [made.subscribe(each) for each in "abc"]
            with pytest.raises(SubscriptionRefused, match="b: Forbidden: no"):
                await anext(subscriptions[1])
            service.publish("c")
            assert (await anext(subscriptions[2])).entity_id == "c"

    run(main())
    assert len(service.connections[0].requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"message": "Too Many Requests", "connectionId": "x", "requestId": "theirs"},
        {"type": "Error", "code": "ServiceUnavailable", "message": "later"},
        {"type": "Subscribed", "requestId": "1", "entities": []},
        {"type": "Subscribed", "requestId": "1", "entities": [{"entityId": "a"}]},
        {
            "type": "Subscribed",
            "requestId": "1",
            "entities": [{"entityId": "a", "code": "ServiceUnavailable", "message": "later"}],
        },
    ],
)
def test_what_passes_is_asked_again_on_the_same_connection(
    client: Make, service: Service, answer: Frame
) -> None:
    times: list[float] = []

    def respond(connection: Connection, request: Frame) -> Frame:
        times.append(now())
        return answer if len(times) == 1 else service.reply(connection, request)

    service.respond, service.is_bent = respond, True

    async def main() -> None:
        async with client() as made:
            subscription = made.subscribe("a")
            await asyncio.sleep(2)
            service.publish("a")
            await anext(subscription)

    run(main())
    assert len(service.attempts) == 1
    first, second = times
    assert 0.5 <= second - first <= 1


def test_a_reply_to_something_else_is_dropped(client: Make, service: Service) -> None:
    async def main() -> None:
        service.respond = lambda connection, request: None
        async with client() as made:
            subscription = made.subscribe("a")
            await asyncio.sleep(1)
            (connection,) = service.connections
            reply = service.reply(connection, connection.requests[0])
            elsewhere = [{"entityId": "a", "cursor": service.log("a").at(9)}]
            for other in ("late", None, 1):
                connection.push(reply | {"entities": elsewhere, "requestId": other}, is_bent=True)
            connection.push({"type": "Pong", "requestId": "1"}, is_bent=True)
            connection.push({"message": "about nothing"}, is_bent=True)
            await asyncio.sleep(1)
            assert subscription.cursor is None
            connection.push(reply)
            await asyncio.sleep(1)
            assert subscription.cursor == service.log("a").at(0)

    run(main())


@pytest.mark.parametrize("text", ["", "null", "[]", "1", "{", "[" * 100_000, '{"type":[]}'])
def test_what_cannot_be_read_is_ignored(client: Make, service: Service, text: str) -> None:
    async def main() -> None:
        async with client() as made:
            subscription = made.subscribe("a")
            await asyncio.sleep(1)
            (connection,) = service.connections
            connection._arriving.put_nowait(text)
            connection.push({"type": "Entity Updated", "entityId": "a"}, is_bent=True)
            service.publish("a")
            await anext(subscription)

    run(main())
    assert len(service.attempts) == 1


def test_a_hole_that_stays_is_asked_for_after_two_seconds(client: Make, service: Service) -> None:
    asked: list[float] = []

    def respond(connection: Connection, request: Frame) -> Frame:
        if request["action"] == "history":
            asked.append(now())
        return service.reply(connection, request)

    service.respond = respond

    async def main() -> None:
        async with client() as made:
            subscription = made.subscribe("a")
            await asyncio.sleep(1)
            service.log("a").append()
            began = now()
            service.publish("a", 3)
            cursors = [(await anext(subscription)).cursor for _ in range(4)]
            assert cursors == [service.log("a").at(number) for number in (1, 2, 3, 4)]
            assert asked == [pytest.approx(began + 2)]

    run(main())


def test_subscriptions_of_one_entity_share_one_on_the_wire(client: Make, service: Service) -> None:
    async def main() -> None:
        async with client() as made:
            first = made.subscribe("a")
            await asyncio.sleep(1)
            service.publish("a", 3)
            await asyncio.sleep(1)
            second = made.subscribe("a")
            await asyncio.sleep(1)
            assert len(service.connections[0].requests) == 1
            third = made.subscribe("a", since=service.log("a").at(1))
            last = made.subscribe("a", since="last")
            await asyncio.sleep(1)
            service.publish("a")
            await asyncio.sleep(1)
            for each, begin in ((first, 1), (second, 4), (third, 2), (last, 3)):
                for number in range(begin, 5):
                    assert (await anext(each)).cursor == service.log("a").at(number)
            for each in (second, third, last):
                each.unsubscribe()
            await asyncio.sleep(1)
            (connection,) = service.connections
            assert connection.asked("unsubscribe") == []
            service.publish("a")
            assert (await anext(first)).cursor == service.log("a").at(5)
            first.unsubscribe()
            await asyncio.sleep(1)
            assert connection.subscribed == {}

    run(main())


def test_one_that_comes_back_after_all_left_begins_anew(client: Make, service: Service) -> None:
    async def main() -> None:
        async with client() as made:
            made.subscribe("a").unsubscribe()
            first = made.subscribe("a")
            await asyncio.sleep(1)
            first.unsubscribe()
            again = made.subscribe("a")
            await asyncio.sleep(1)
            service.publish("a")
            assert (await anext(again)).cursor == service.log("a").at(1)

    run(main())


class FakeLine:
    """A line on which nothing but pings is ever asked."""

    def __init__(self) -> None:
        self.heard_at = now()
        self.pings: list[float] = []

    async def request(self, action: str, **fields: Any) -> Frame:
        assert action == "ping"
        self.pings.append(now())
        self.heard_at = now()
        return {"type": "Pong"}


def test_a_machine_that_slept_asks_whether_the_connection_is_alive() -> None:
    slept = 0.0

    def wall_clock() -> float:
        # The loop's clock stands still while the machine sleeps.
        return now() + slept

    async def main() -> None:
        nonlocal slept
        line = FakeLine()
        conversation = Conversation(line, {}, Times(), wall_clock=wall_clock)
        task = asyncio.create_task(conversation.run())
        await asyncio.sleep(30.5)
        slept += 9
        await asyncio.sleep(30)
        assert line.pings == []
        slept += 11
        await asyncio.sleep(2)
        assert len(line.pings) == 1
        await asyncio.sleep(30)
        assert len(line.pings) == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())
