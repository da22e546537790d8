"""How connections begin, end, and follow one another."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest

from notifications_client import (
    ClosedForGood,
    NotificationsClient,
    State,
    Subscription,
    Times,
    UnauthorizedError,
)
from notifications_client.feed import Frame
from notifications_client.line import LineEndedError, _refusal, subprotocols
from unit.client_python.service import Connection, Service, error
from unit.client_python.virtual_time import now, run

Make = Callable[..., NotificationsClient]
PASSING = LineEndedError(1006, "passing")


async def numbers(subscription: Subscription, count: int) -> list[int]:
    """Return the numbers of the next events."""
    return [int((await anext(subscription)).cursor.rpartition("-")[2]) for _ in range(count)]


def test_it_says_its_states_and_leaves_nothing_behind(
    client: Make, service: Service, states: list[State]
) -> None:
    async def main() -> None:
        async with client() as made:
            made.subscribe("a")
            await asyncio.sleep(1)
            assert made.state == State("connected")
        assert made.state == states[-1]

    run(main())
    assert states == [
        State("connecting"),
        State("connected"),
        State("closed", "ClientClosed", "", False),
    ]
    assert [each.closed_with for each in service.connections] == [1000]


def test_leaving_while_it_connects_or_waits_leaves_nothing_behind(
    client: Make, service: Service
) -> None:
    async def main() -> None:
        for failure, seconds in ((3600.0, 1.0), (PASSING, 0.1)):
            service.failures.append(failure)
            async with client() as made:
                made.subscribe("a")
                await asyncio.sleep(seconds)

    run(main())
    assert service.connections == []


def test_leaving_just_when_it_is_connected_closes_the_connection(
    client: Make, service: Service
) -> None:
    async def main() -> None:
        async with client() as made:
            while not service.connections:
                await asyncio.sleep(0)
            await made.close()

    run(main())
    assert [each.closed_with for each in service.connections] == [1000]


def test_the_time_between_attempts_grows_and_is_random(
    client: Make, service: Service, states: list[State]
) -> None:
    service.failures.extend([PASSING] * 40)

    async def main() -> None:
        async with client():
            await asyncio.sleep(600)

    run(main())
    delays = [each.delay for each in states if each.delay is not None]
    between = [after - before for (before, _), (after, _) in pairwise(service.attempts)]
    assert between == pytest.approx(delays)
    for attempt, delay in enumerate(delays, 1):
        assert 0.5 <= delay <= min(20, 0.5 * 2**attempt)
    assert max(delays) > 10
    assert len(set(delays)) == 40


@pytest.mark.parametrize(("seconds", "is_anew"), [(4.9, False), (5.1, True)])
def test_attempts_are_counted_anew_after_a_connection_that_lasted(
    client: Make, service: Service, states: list[State], seconds: float, is_anew: bool
) -> None:
    async def main() -> None:
        # By chance, a long time may be short: not all of thirty.
        for _ in range(30):
            service.failures.extend([PASSING] * 5)
            async with client():
                while not service.connections:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(seconds - 0.1)
                service.connections.pop().end(1001)
                await asyncio.sleep(0.1)

    run(main())
    delays = [each.delay for each in states if each.code == 1001 and each.delay]
    assert (max(delays) <= 1) == is_anew


@pytest.mark.parametrize(
    ("status", "code", "is_final"),
    [
        *((status, 1006, False) for status in (408, 425, 429, 500, 502, 503, 504)),
        *((status, "Unauthorized", True) for status in (401, 403)),
        *((status, "Refused", True) for status in (200, 302, 400, 404, 410, 426)),
    ],
)
def test_what_a_status_means(status: int, code: str | int, is_final: bool) -> None:
    ending = _refusal(status)

    assert (ending.code, ending.is_final) == (code, is_final)


@pytest.mark.parametrize(
    ("token", "offered"),
    [
        (None, ["websocket"]),
        ("abc.DEF-_~!#$%&'*+^`|", ["websocket", "abc.DEF-_~!#$%&'*+^`|"]),
        ("a b=", ["websocket", "base64url.bearer.authorization.YSBiPQ"]),
        ("\xff\xfe?", ["websocket", "base64url.bearer.authorization.w7_Dvj8"]),
    ],
)
def test_a_token_travels_as_a_subprotocol(token: str | None, offered: list[str]) -> None:
    assert subprotocols(token) == offered


def test_a_token_is_fetched_for_each_attempt_and_who_does_is_told_why(
    client: Make, service: Service
) -> None:
    told: list[str] = []

    async def get_token(why: str) -> str:
        told.append(why)
        return f"token{len(told)}"

    async def main() -> None:
        async with client(get_token=get_token):
            await asyncio.sleep(1)
            service.connections[0].end()
            await asyncio.sleep(1.1)
            service.failures.append(PASSING)
            service.connections[1].push({"type": "Disconnect", "code": "Expired"}, is_bent=True)
            await asyncio.sleep(30)

    run(main())
    assert told == ["connect", "reconnect", "Expired", "Expired"]
    assert [token for _, token in service.attempts] == [f"token{n}" for n in (1, 2, 3, 4)]


def test_a_token_that_cannot_be_had_this_time_is_asked_for_again(
    client: Make, service: Service, states: list[State]
) -> None:
    tokens = iter([OSError("no network"), None, "token"])

    def get_token(why: str) -> object:
        token = next(tokens)
        if isinstance(token, Exception):
            raise token
        return token

    async def main() -> None:
        async with client(get_token=get_token):
            await asyncio.sleep(30)

    run(main())
    assert [each.code for each in states[:-1]] == [None, "TokenFailed"] * 2 + [None, None]
    assert [token for _, token in service.attempts] == ["token"]


async def raises_unauthorized(why: str) -> str:
    raise UnauthorizedError("nobody is signed in")


async def gives_a_token(why: str) -> str:
    return "token"


@pytest.mark.parametrize(
    ("get_token", "attempts"), [(None, 1), (gives_a_token, 2), (raises_unauthorized, 0)]
)
def test_without_a_token_that_is_taken_it_closes_for_good(
    client: Make,
    service: Service,
    states: list[State],
    get_token: Callable[[str], Awaitable[str]] | None,
    attempts: int,
) -> None:
    refused = LineEndedError("Unauthorized", "401", is_final=True, token_refused=True)
    service.failures.extend([refused] * 5)

    async def main() -> None:
        async with client(get_token=get_token) as made:
            subscription = made.subscribe("a")
            for each in (subscription, subscription, made.subscribe("b")):
                with pytest.raises(ClosedForGood) as caught:
                    await anext(each)
                assert caught.value.code == "Unauthorized"
            with pytest.raises(ClosedForGood):
                await anext(made.subscribe("late"))

    run(main())
    assert len(service.attempts) == attempts
    assert (states[-1].name, states[-1].code) == ("closed", "Unauthorized")


def test_a_disconnect_that_is_final_closes_for_good_after_what_came_before(
    client: Make, service: Service
) -> None:
    async def main() -> None:
        async with client() as made:
            subscription = made.subscribe("a")
            await asyncio.sleep(1)
            service.publish("a", 2)
            service.connections[0].push(
                {"type": "Disconnect", "code": "Kicked", "reconnect": False}
            )
            await asyncio.sleep(1)
            assert await numbers(subscription, 2) == [1, 2]
            with pytest.raises(ClosedForGood, match="Kicked"):
                await anext(subscription)
            assert service.connections[0].closed_with == 1000

    run(main())
    assert len(service.attempts) == 1


def silent_on(action: str, service: Service) -> Callable[[Connection, Frame], Frame | None]:
    """Answer all but one action."""

    def respond(connection: Connection, request: Frame) -> Frame | None:
        return None if request["action"] == action else service.reply(connection, request)

    return respond


@pytest.mark.parametrize(("action", "seconds"), [("subscribe", 5), ("ping", 485)])
def test_a_connection_that_does_not_reply_is_dead(
    client: Make, service: Service, states: list[State], action: str, seconds: float
) -> None:
    service.respond = silent_on(action, service)

    async def main() -> None:
        async with client() as made:
            made.subscribe("a")
            began = now()
            while made.state.name != "disconnected":
                await asyncio.sleep(0.1)
            assert now() - began == pytest.approx(seconds, abs=0.5)

    run(main())
    assert states[2].code == "ReplyTimeout"


def test_what_comes_proves_that_a_connection_is_alive(client: Make, service: Service) -> None:
    async def main() -> None:
        async with client() as made:
            made.subscribe("a")
            for _ in range(10):
                await asyncio.sleep(470)
                service.publish("a")
            assert service.connections[0].asked("ping") == []
            await asyncio.sleep(485)
            assert len(service.connections[0].asked("ping")) == 1

    run(main())
    assert len(service.connections) == 1


def test_it_moves_to_a_second_connection_before_the_first_is_closed(
    client: Make, service: Service, states: list[State]
) -> None:
    held: list[tuple[Connection, Frame]] = []

    def respond(connection: Connection, request: Frame) -> Frame | None:
        if len(service.connections) == 2 and request["action"] == "subscribe":
            held.append((connection, service.reply(connection, request)))
            return None
        return service.reply(connection, request)

    service.respond = respond
    failures = [PASSING, LineEndedError("TokenFailed")]

    async def main() -> None:
        async with client() as made:
            subscription = made.subscribe("a")
            await asyncio.sleep(6299)
            assert len(service.attempts) == 1
            service.failures.extend(failures)
            while not held:
                service.publish("a")
                await asyncio.sleep(1)
            service.publish("a", 3)
            await asyncio.sleep(1)
            first, second = service.connections
            assert (first.is_open, second.is_open) == (True, True)
            second.push(held[0][1])
            await asyncio.sleep(1)
            assert (first.closed_with, second.is_open) == (1000, True)
            service.publish("a", 2)
            published = int(service.log("a").cursor.rpartition("-")[2])
            assert await numbers(subscription, published) == list(range(1, published + 1))
            assert made.state.name == "connected"

    run(main())
    assert 6300 < service.attempts[1][0] - service.attempts[0][0] < 6900
    assert len(service.attempts) == 4
    assert [each.name for each in states] == ["connecting", "connected", "closed"]


def test_the_second_takes_the_place_of_the_first_that_ends(
    client: Make, service: Service, states: list[State]
) -> None:
    service.respond = lambda connection, request: (
        service.reply(connection, request) if len(service.connections) == 1 else None
    )

    async def main() -> None:
        async with client(times=Times(rotate_after=(60, 60))) as made:
            subscription = made.subscribe("a")
            await asyncio.sleep(61)
            first, second = service.connections
            request = second.asked("subscribe")[0]
            service.log("a").append()
            first.end()
            await asyncio.sleep(1)
            second.push(service.reply(second, request))
            service.respond = service.reply
            assert await numbers(subscription, 1) == [1]
            # It also asks for what is missing now.
            service.log("a").append()
            service.publish("a")
            assert await numbers(subscription, 2) == [2, 3]

    run(main())
    assert len(service.attempts) == 2
    assert [each.name for each in states] == ["connecting", "connected", "closed"]


def test_a_second_that_is_refused_for_good_ends_the_client(
    client: Make, service: Service, states: list[State]
) -> None:
    async def main() -> None:
        async with client(times=Times(rotate_after=(60, 60))) as made:
            subscription = made.subscribe("a")
            await asyncio.sleep(59)
            service.failures.append(LineEndedError("Refused", "404", is_final=True))
            with pytest.raises(ClosedForGood):
                await anext(subscription)

    run(main())
    assert service.connections[0].closed_with == 1000


def test_callbacks_that_fail_harm_nobody(client: Make, service: Service) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("not mine")

    async def main() -> None:
        async with client(on_state=fail) as made:
            service.log("a").append()
            service.log("a").trim()
            subscription = made.subscribe("a", since=service.log("a").at(0), on_gap=fail)
            await asyncio.sleep(1)
            service.publish("a")
            assert await numbers(subscription, 1) == [2]

    run(main())
    assert len(service.attempts) == 1


def test_a_connection_that_the_service_has_forgotten_is_left(
    client: Make, service: Service, states: list[State]
) -> None:
    async def main() -> None:
        async with client() as made:
            made.subscribe("a")
            await asyncio.sleep(1)
            service.respond = lambda _, request: error("ConnectionGone", request)
            made.subscribe("b")
            await asyncio.sleep(0.1)
            service.respond = service.reply
            await asyncio.sleep(30)
            assert service.connections[1].subscribed.keys() == {"a", "b"}

    run(main())
    assert states[2].code == "ConnectionGone"


def test_what_is_no_address_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="https"):
        NotificationsClient("https://example.com")


def test_a_wrong_connect_option_is_no_reason_to_try_again(states: list[State]) -> None:
    client = NotificationsClient(
        "ws://localhost:1", on_state=states.append, connect_options={"ssl": 1}
    )

    async def main() -> None:
        async with client as made:
            with pytest.raises(ClosedForGood, match="ssl"):
                await anext(made.subscribe("a"))

    run(main())
