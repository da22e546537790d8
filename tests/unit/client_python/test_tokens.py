"""Tokens that are renewed, or come to their end; and what the service says about grants."""

import asyncio
import base64
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from notifications_client import (
    ClosedForGood,
    NotificationsClient,
    State,
    SubscriptionRefused,
    Times,
    UnauthorizedError,
)
from notifications_client import line as line_module
from notifications_client import tokens as tokens_module
from notifications_client.feed import Frame
from notifications_client.line import LineEndedError
from notifications_client.tokens import Life
from unit.client_python.service import Connection, Service, error
from unit.client_python.virtual_time import now, run

Make = Callable[..., NotificationsClient]
# What the virtual clock shows at first.
BEGIN = 1000.0
EPOCH_BEGAN = -1_000_000.0


@pytest.fixture(autouse=True)
def one_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens know the time of day, which goes as that of the loop here."""
    monkeypatch.setattr(tokens_module, "wall_clock", lambda: now() - EPOCH_BEGAN)


def jwt(issued: Any, end: Any) -> str:
    """Return a token with these times, in seconds from the beginning."""
    begin = BEGIN - EPOCH_BEGAN
    return of_claims({"sub": "ü?>", "iat": begin + issued, "exp": begin + end})


def of_claims(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"e30.{payload}.none"


class Source:
    """Gives tokens in their order, the last one again and again; raises what is an error."""

    def __init__(self, *tokens: str | Exception) -> None:
        self._tokens = list(tokens)
        self.asked: list[tuple[float, str]] = []

    async def __call__(self, why: str) -> str:
        self.asked.append((now() - BEGIN, why))
        token = self._tokens.pop(0) if len(self._tokens) > 1 else self._tokens[0]
        if isinstance(token, Exception):
            raise token
        return token

    @property
    def reasons(self) -> list[str]:
        return [why for _, why in self.asked]


def sent(service: Service) -> list[str]:
    return [
        str(request.get("token", request["action"]))
        for connection in service.connections
        for request in connection.requests
    ]


def refusing(service: Service, *answers: Frame | str) -> None:
    """Answer the next renewals with these, a code or a frame."""
    left = list(answers)

    def respond(connection: Connection, request: Frame) -> Frame | None:
        if request["action"] != "authenticate" or not left:
            return service.reply(connection, request)
        answer = left.pop(0)
        return error(answer, request) if isinstance(answer, str) else answer

    service.respond = respond


@pytest.mark.parametrize(
    "token",
    [
        "",
        "opaque",
        "a.b.c",
        of_claims(None),
        of_claims([1, 2]),
        of_claims({"iat": 1}),
        of_claims({"exp": 2}),
        of_claims({"iat": None, "exp": 2}),
        of_claims({"iat": "then", "exp": "soon"}),
        of_claims({"iat": 2, "exp": 1}),
        of_claims({"iat": 0, "exp": 1}),
        of_claims({"iat": 1, "exp": float("inf")}),
        of_claims({"iat": float("nan"), "exp": 2}),
        of_claims({"iat": 1, "exp": 10**400}),
        "ü.ü.ü",
    ],
)
def test_what_does_not_say_how_long_it_lives_has_no_life(token: str) -> None:
    assert Life.of(token) is None


def test_a_token_is_renewed_at_four_fifths_of_its_life_on_the_same_connection(
    client: Make, service: Service
) -> None:
    second, third = jwt(360, 660), jwt(600, 9000)
    source = Source(jwt(-120, 480), second, third)

    async def main() -> None:
        async with client(get_token=source):
            await asyncio.sleep(1000)

    run(main())
    assert source.asked == [
        (0, "connect"),
        (pytest.approx(360), "authenticate"),
        (pytest.approx(600), "authenticate"),
    ]
    assert sent(service)[:2] == [second, third]
    assert len(service.connections) == 1


def test_a_token_is_renewed_a_second_after_connecting_at_the_earliest(
    client: Make, service: Service
) -> None:
    source = Source(jwt(-6000, 60), jwt(0, 3600))
    sent_at: list[float] = []

    def respond(connection: Connection, request: Frame) -> Frame | None:
        sent_at.append(now() - BEGIN)
        return service.reply(connection, request)

    service.respond = respond

    async def main() -> None:
        service.failures.append(5.0)
        async with client(get_token=source):
            await asyncio.sleep(100)

    run(main())
    assert source.asked == [(0, "connect"), (pytest.approx(6), "authenticate")]
    assert sent_at == [pytest.approx(6)]


@pytest.mark.parametrize("token", ["opaque", jwt(-600, -1)])
def test_what_cannot_be_renewed_is_not(client: Make, service: Service, token: str) -> None:
    source = Source(token)

    async def main() -> None:
        async with client(get_token=source):
            await asyncio.sleep(400)

    run(main())
    assert source.reasons == ["connect"]


def test_a_renewal_takes_its_place_among_the_requests_before_others(
    client: Make, service: Service
) -> None:
    source = Source(jwt(-6000, 60), "new")

    async def main() -> None:
        service.respond = lambda connection, request: None
        async with client(get_token=source) as made:
            made.subscribe("a")
            await asyncio.sleep(0.5)
            made.subscribe("b")
            await asyncio.sleep(1)
            assert source.reasons == ["connect", "authenticate"]
            assert sent(service) == ["subscribe"]
            service.respond = service.reply
            (connection,) = service.connections
            connection.push(service.reply(connection, connection.requests[0]))
            await asyncio.sleep(1)

    run(main())
    assert sent(service) == ["subscribe", "new", "subscribe"]


def test_a_renewal_is_tried_again_until_the_end_if_there_is_no_other_token_yet(
    client: Make, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    same = jwt(-1000, 10)
    source = Source(same, OSError("no network"), same, OSError("no network"))

    async def main() -> None:
        async with client(get_token=source):
            await asyncio.sleep(60)

    run(main())
    # After 1 s, then 1 s, 2 s and 4 s; the next would be after the end.
    assert [at for at, _ in source.asked] == pytest.approx([0, 1, 2, 4, 8])
    assert sent(service) == []
    assert len(service.connections) == 1


def test_renewals_are_tried_again_soon_at_first_each_time(
    client: Make, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    failing = [OSError()] * 4
    source = Source(jwt(-6000, 60), *failing, jwt(20, 120), *failing)

    async def main() -> None:
        async with client(get_token=source):
            await asyncio.sleep(101.5)

    run(main())
    assert [at for at, _ in source.asked] == pytest.approx([0, 1, 2, 4, 8, 16, 100, 101])


def test_renewals_do_not_run_in_circles_where_the_clock_is_wrong(
    client: Make, service: Service
) -> None:
    source = Source(*(jwt(-60_000, 6000 + number) for number in range(999)))

    async def main() -> None:
        async with client(get_token=source):
            await asyncio.sleep(200)

    run(main())
    # On average half of 20 s apart; each second would be two hundred.
    assert len(source.asked) < 60


def test_who_can_have_no_token_any_more_is_closed_for_good(
    client: Make, service: Service, states: list[State]
) -> None:
    source = Source(jwt(-6000, 60), UnauthorizedError("signed out"))

    async def main() -> None:
        async with client(get_token=source) as made:
            with pytest.raises(ClosedForGood, match="signed out"):
                await anext(made.subscribe("a"))
            assert now() - BEGIN == pytest.approx(1)

    run(main())
    assert (states[-1].name, states[-1].code) == ("closed", "Unauthorized")


@pytest.mark.parametrize(
    "answer",
    ["ServiceUnavailable", {"message": "Too Many Requests", "connectionId": "x", "requestId": "y"}],
)
def test_a_renewal_that_cannot_be_served_is_made_again(
    client: Make, service: Service, answer: Frame | str
) -> None:
    source = Source(jwt(-6000, 60), "new")
    refusing(service, answer, answer)

    async def main() -> None:
        async with client(get_token=source):
            await asyncio.sleep(60)

    run(main())
    assert sent(service) == ["new"] * 3
    assert source.reasons == ["connect", "authenticate"]


@pytest.mark.parametrize("code", ["Forbidden", "TokenExpired", "UnknownAction"])
def test_a_renewal_that_is_refused_ends_the_connection_alone(
    client: Make, service: Service, states: list[State], code: str
) -> None:
    source = Source(jwt(-6000, 60), "refused", "new")
    refusing(service, code)

    async def main() -> None:
        async with client(get_token=source) as made:
            subscription = made.subscribe("a")
            await asyncio.sleep(60)
            service.publish("a")
            assert (await anext(subscription)).cursor == service.log("a").at(1)

    run(main())
    assert [token for _, token in service.attempts][1:] == ["new"]
    assert source.reasons == ["connect", "authenticate", code]
    assert (states[2].name, states[2].code, states[2].will_retry) == ("disconnected", code, True)
    assert service.connections[0].closed_with == 1000


def test_a_connection_that_is_forgotten_is_no_matter_of_the_token(
    client: Make, service: Service, states: list[State]
) -> None:
    source = Source(jwt(-6000, 60), "new")
    refusing(service, "ConnectionGone")

    async def main() -> None:
        async with client(get_token=source):
            await asyncio.sleep(60)

    run(main())
    assert states[2].code == "ConnectionGone"
    assert source.reasons == ["connect", "authenticate", "reconnect"]


@pytest.mark.parametrize("action", ["subscribe", "history"])
def test_a_token_that_is_over_ends_the_connection_not_the_subscription(
    client: Make, service: Service, states: list[State], action: str
) -> None:
    source = Source("old", "new")

    def respond(connection: Connection, request: Frame) -> Frame | None:
        if request["action"] == action and len(service.connections) == 1:
            return error("TokenExpired", request)
        return service.reply(connection, request)

    service.respond = respond

    async def main() -> None:
        async with client(get_token=source) as made:
            subscription = made.subscribe("a", since=service.log("a").at(0))
            await asyncio.sleep(1)
            service.log("a").append()
            service.publish("a")
            for number in (1, 2):
                assert (await anext(subscription)).cursor == service.log("a").at(number)

    run(main())
    assert source.reasons == ["connect", "TokenExpired"]
    assert states[2].code == "TokenExpired"


def test_grants_that_do_not_cover_a_subscription_any_more_end_it_alone(
    client: Make, service: Service
) -> None:
    async def main() -> None:
        async with client() as made:
            ended, beside = made.subscribe("a"), made.subscribe("a")
            other, own = made.subscribe("b"), made.subscribe_user()
            await asyncio.sleep(1)
            (connection,) = service.connections
            del connection.subscribed["a"]
            connection.push({"type": "Unsubscribed", "entityId": "strange", "code": "Forbidden"})
            connection.push({"type": "Unsubscribed", "code": "Forbidden"}, is_bent=True)
            connection.push({"type": "Unsubscribed", "entityId": "b"})
            connection.push({"type": "Unsubscribed", "entityId": "a", "code": "Forbidden"})
            for each in (ended, beside):
                with pytest.raises(SubscriptionRefused) as caught:
                    await anext(each)
                assert (caught.value.entity_id, caught.value.code) == ("a", "Forbidden")
            service.publish("b")
            service.publish("")
            assert [(await anext(each)).entity_id for each in (other, own)] == ["b", ""]
            assert sent(service) == ["subscribe"], "there is nothing to unsubscribe from"
            again = made.subscribe("a")
            await asyncio.sleep(1)
            service.publish("a")
            assert (await anext(again)).entity_id == "a"

    run(main())
    assert sent(service) == ["subscribe", "subscribe"]


@pytest.mark.parametrize("said", [{}, {"reason": "not you"}])
def test_who_is_kicked_is_told_why(
    client: Make, service: Service, states: list[State], said: Frame
) -> None:
    async def main() -> None:
        # Also while a second connection is open.
        async with client(times=Times(rotate_after=(60, 60))) as made:
            made.subscribe("a")
            service.respond = lambda connection, request: (
                service.reply(connection, request) if len(service.connections) == 1 else None
            )
            await asyncio.sleep(61)
            kicked = {"type": "Disconnect", "code": "Kicked", "reconnect": False}
            service.connections[0].push(kicked | said)
            await asyncio.sleep(1)

    run(main())
    assert states[-1] == State("closed", "Kicked", said.get("reason", ""), False)
    assert [each.is_open for each in service.connections] == [False, False]


def test_the_users_own_is_recovered_like_an_entity(client: Make, service: Service) -> None:
    async def main() -> None:
        async with client() as made:
            entity = made.subscribe("a")
            await asyncio.sleep(1)
            service.connections[0].push(service.log("").append(message="nobody asked"))
            own = made.subscribe_user(since="last")
            await asyncio.sleep(1)
            service.publish("", callback="f", message="m", data=[1])
            service.log("").append()
            service.publish("")
            await asyncio.sleep(3)
            service.connections[0].end()
            service.log("").append()
            events = [await anext(own) for _ in range(5)]
            assert [each.cursor for each in events] == [service.log("").at(n) for n in range(1, 6)]
            assert (events[1].callback, events[1].message, events[1].data) == ("f", "m", [1])
            assert {each.entity_id for each in events} == {""}
            await asyncio.sleep(1)
            service.publish("a")
            assert (await anext(entity)).entity_id == "a"

    run(main())
    first, second = service.connections
    requests = [
        {name: member for name, member in each.items() if name != "requestId"}
        for each in first.requests
    ]
    assert requests[1:] == [
        {"action": "subscribe", "entities": [{"user": True, "since": "last"}]},
        {"action": "history", "user": True, "since": service.log("").at(2)},
    ]
    assert second.requests[0]["entities"] == [
        {"entityId": "a", "since": service.log("a").at(0)},
        {"user": True, "since": service.log("").at(4)},
    ]


def test_the_users_own_is_not_unsubscribed_from_on_the_wire(client: Make, service: Service) -> None:
    async def main() -> None:
        async with client() as made:
            own = made.subscribe_user()
            await asyncio.sleep(1)
            own.unsubscribe()
            await asyncio.sleep(1)
            service.publish("")
            again = made.subscribe_user(since=service.log("").at(0))
            assert (await anext(again)).cursor == service.log("").at(1)
            await asyncio.sleep(1)

    run(main())
    assert sent(service) == ["subscribe", "subscribe"]


def test_the_users_own_may_be_refused_and_an_entity_without_name_is(
    client: Make, service: Service
) -> None:
    refused = {"code": "Forbidden", "message": "This connection has no user."}
    service.respond = lambda connection, request: {
        "type": "Subscribed",
        "entities": [refused for _ in request["entities"]],
        "requestId": request["requestId"],
    }

    async def main() -> None:
        async with client() as made:
            with pytest.raises(SubscriptionRefused, match="the user: Forbidden"):
                await anext(made.subscribe_user())
            with pytest.raises(SubscriptionRefused, match="InvalidSince"):
                await anext(made.subscribe_user(since="yesterday"))
            with pytest.raises(SubscriptionRefused, match="InvalidEntityId"):
                await anext(made.subscribe(""))

    run(main())
    assert len(sent(service)) == 1


def test_a_token_is_never_said(
    client: Make, service: Service, states: list[State], caplog: pytest.LogCaptureFixture
) -> None:
    tokens = [jwt(-6000, 60), jwt(0, 70), jwt(0, 80)]
    refusing(service, "ServiceUnavailable", "Forbidden")
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        async with client(get_token=Source(*tokens)) as made:
            made.subscribe("a")
            await asyncio.sleep(5)
            kicked = {"type": "Disconnect", "code": "Kicked", "reconnect": False}
            service.connections[-1].push(kicked)
            await asyncio.sleep(1)
            said = [repr(states), caplog.text, repr(vars(made))]
            assert not [token for token in tokens if token.split(".")[1] in "".join(said)]

    run(main())
    assert len(service.attempts) == 2
    assert caplog.text


def test_the_library_does_not_write_tokens_down(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: Mapping[str, Any] = {}

    class Connect:
        def __init__(self, url: str, **options: Any) -> None:
            nonlocal seen
            seen = options

        def __await__(self) -> Any:
            raise OSError

    async def main() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("notifications_client.line._Connect", Connect)
            with pytest.raises(LineEndedError):
                await line_module.open_socket("wss://example.com", "token", Times(), {})

    run(main())
    assert not seen["logger"].isEnabledFor(logging.DEBUG)
