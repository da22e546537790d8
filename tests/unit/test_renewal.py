"""Another token for a connection that is open."""

import json
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import StringIO
from typing import Any, cast

import pytest

import authenticate.app
from identity.claims import Identity
from identity.errors import InvalidToken, KeysUnavailable
from management_api import Result
from push import wiring
from push.access import Access
from push.connection import Connection
from push.errors import ConnectionGone, Forbidden, TokenExpired
from push.events import Event
from push.protocol import Answer, Refused, Wanted
from push.renewal import Renewal
from push.subscriptions import Subscriptions, forget, remember, room_for_one
from push.topics import Log, Topic
from support import events
from support.exchange import NOW, Clock, FakeExchange, Told
from support.rows import topics_of
from support.services import Services

A, B, C = map(Topic.entity, "abc")
USER = Topic.user("alice")
HERE = Connection("c=", "203.0.113.7", datetime.fromtimestamp(NOW - 100, UTC))


def token(*grants: str, issued: int = 0, lives: int = 600, **changes: Any) -> Identity:
    at = int(NOW) + issued
    return replace(Identity("alice", "", grants or ("**",), at, at + lives), **changes)


OLD = token(issued=-60, lives=120)


class FakeVerifier:
    """Knows tokens by name."""

    def __init__(self) -> None:
        self.known: dict[str, Identity | Exception] = {}

    def verify(self, name: str) -> Identity:
        found = self.known.get(name, InvalidToken("not one of ours"))
        if isinstance(found, Exception):
            raise found
        return found


@dataclass
class Stack(Services):
    verifier: FakeVerifier = field(default_factory=FakeVerifier)

    def renewal(self, *, has_tenants: bool = False) -> Renewal:
        return Renewal(
            self.table,
            cast(Any, self.verifier),
            Access("/", has_tenants),
            cast(Any, self.exchange),
            clock=self.clock,
            side_by_side=one_by_one,
        )

    def renew(self, identity: Identity) -> None:
        self.renewal().renew(HERE, identity)

    def admit(self, identity: Identity = OLD, *topics: Topic) -> None:
        """Connect, and subscribe to topics."""
        remember(self.table, HERE, identity, 10)
        if topics:
            assert self.table.add_subscriptions(HERE, topics, (), 99, identity) is None

    def subscribe(self, *topics: Topic) -> list[Answer | Refused]:
        subscriptions = Subscriptions(
            self.table,
            access=Access("/", has_tenants=False),
            max_per_connection=9,
            side_by_side=one_by_one,
            clock=self.clock,
        )
        return subscriptions.subscribe(HERE, [Wanted(each) for each in topics], room_for_one())

    def ends(self, *topics: Topic) -> list[int]:
        """Return when subscriptions end, 0 where there is none."""
        return [self.table.ends_at(HERE.connection_id, topic) for topic in topics]

    def identity(self) -> Identity | None:
        row = self.table.connection(HERE.connection_id)
        return row and row.identity

    def frames(self) -> list[dict[str, Any]]:
        return self.frames_of(HERE.connection_id)

    def before(self, number: int, act: Callable[[], object], *names: str) -> None:
        """Have something happen before the n-th request of some kinds."""
        requests = 0

        def happen(name: str, _: Any) -> None:
            nonlocal requests
            requests += not names or name in names
            if requests == number:
                self.dynamodb.before = None
                act()

        self.dynamodb.before = happen

    def items(self) -> list[Any]:
        items = self.dynamodb.scan(TableName="table")["Items"]
        return sorted(items, key=lambda item: (item["pk"]["S"], item["sk"]["S"]))


def one_by_one(call: Callable[[Any], Any], arguments: Iterable[Any]) -> list[Any]:
    return [call(each) for each in sorted(arguments)]


@pytest.fixture
def stack(clock: Clock) -> Stack:
    return Stack(clock)


def test_another_token_prolongs_what_it_allows(stack: Stack) -> None:
    stack.admit(OLD, A, B)
    new = token()

    stack.renew(new)

    assert stack.identity() == new
    assert stack.ends(A, B, USER) == [new.expires_at] * 3
    assert stack.frames() == []


def test_a_subscription_outlives_its_connection_no_more_than_before(stack: Stack) -> None:
    stack.admit(OLD, A)

    stack.renew(token(lives=86_400))

    rows = [item for item in stack.items() if "until" in item]
    assert {int(row["ttl"]["N"]) for row in rows} == {HERE.ttl_seconds}


def test_what_it_does_not_allow_ends_and_the_client_is_told_of_each(stack: Stack) -> None:
    stack.admit(OLD, A, B, C)

    stack.renew(token("b"))

    assert stack.ends(A, C) == [0, 0]
    assert topics_of(stack.table, "c=") == frozenset({USER, B})
    told = sorted(stack.frames(), key=lambda frame: str(frame["entityId"]))
    assert told == [
        {"type": "Unsubscribed", "entityId": each, "code": "Forbidden"} for each in ("a", "c")
    ]


@pytest.mark.parametrize("result", [Told(Result.FAILED, 3.0), Told(Result.GONE)])
def test_who_cannot_be_told_has_lost_it_all_the_same(stack: Stack, result: Told) -> None:
    stack.admit(OLD, A, B)
    stack.exchange.always("c=", result)

    stack.renew(token("x"))

    assert topics_of(stack.table, "c=") == frozenset({USER})


def test_what_is_lost_ends_before_the_client_is_told(stack: Stack) -> None:
    stack.admit(OLD, A)
    seen: list[list[int]] = []
    stack.exchange.before = lambda: seen.append(stack.ends(A))

    stack.renew(token("x"))

    assert seen == [[0]]


def test_a_shorter_token_shortens(stack: Stack) -> None:
    stack.admit(OLD, A)
    new = token(lives=10)

    stack.renew(new)

    assert stack.ends(A, USER) == [new.expires_at] * 2


def test_its_end_is_noted(stack: Stack) -> None:
    stack.admit(OLD)
    new = token(lives=1_200)

    stack.renew(new)

    assert stack.table.expiring(new.expires_at // 60) == ["c="]


@pytest.mark.parametrize(
    ("identity", "error"),
    [
        (token(user_id="bob"), Forbidden),
        (token(user_id="alice2"), Forbidden),
        (token(tenant="acme"), Forbidden),
        (token(user_id="acme#USER#alice"), Forbidden),
    ],
    ids=str,
)
def test_somebody_else_s_token_is_refused_and_changes_nothing(
    stack: Stack, identity: Identity, error: type[Exception]
) -> None:
    stack.admit(OLD, A)
    before = stack.items()

    with pytest.raises(error):
        stack.renew(identity)

    assert stack.items() == before


@pytest.mark.parametrize("seconds", [60, 61, 3_600])
def test_when_the_old_one_has_ended_it_is_too_late(stack: Stack, seconds: int) -> None:
    stack.admit(OLD, A)
    before = stack.items()
    stack.clock.now += seconds

    with pytest.raises(TokenExpired):
        stack.renew(token(issued=seconds))

    assert stack.items() == before


def test_a_token_that_has_ended_itself_is_refused(stack: Stack) -> None:
    stack.admit(OLD, A)

    with pytest.raises(Forbidden):
        stack.renew(token(issued=-120, lives=110))

    assert stack.identity() == OLD


def test_a_revoked_token_is_refused_and_changes_nothing(stack: Stack) -> None:
    """Else a token that was stolen opens again what a good one may not."""
    mine = token("b", lives=60)
    stolen = token("**", issued=-3_600, lives=86_400)
    stack.table.revoke(USER, int(NOW) - 1_800, 2_000_000_000)
    stack.admit(mine, B)
    before = stack.items()

    with pytest.raises(Forbidden):
        stack.renew(stolen)

    assert stack.items() == before
    assert isinstance(stack.subscribe(A)[0], Refused)


def test_who_is_not_known_is_told_so(stack: Stack) -> None:
    with pytest.raises(ConnectionGone):
        stack.renew(token())

    assert stack.items() == []


def test_who_came_without_a_token_needs_to_come_again(stack: Stack) -> None:
    remember(stack.table, HERE, None, 10)

    with pytest.raises(TokenExpired):
        stack.renew(token())


@pytest.mark.parametrize("number", range(1, 8))
def test_who_leaves_meanwhile_is_not_made_again(stack: Stack, number: int) -> None:
    stack.admit(OLD, A, B)
    stack.before(number, lambda: forget(stack.table, "c="))

    with suppress(Forbidden, ConnectionGone):
        stack.renew(token("a"))
    stack.dynamodb.before = None
    forget(stack.table, "c=")

    assert topics_of(stack.table, "c=") is None
    assert stack.ends(A, B, USER) == [0, 0, 0]


@pytest.mark.parametrize("number", range(1, 10))
@pytest.mark.parametrize("allowed", [True, False])
def test_who_subscribes_meanwhile_is_as_the_new_token_says(
    stack: Stack, number: int, allowed: bool
) -> None:
    """Before any request of a renewal in turn."""
    stack.admit(OLD, A)
    new = token("a", "b") if allowed else token("a")
    stack.before(number, lambda: stack.subscribe(B))

    stack.renew(new)
    stack.dynamodb.before = None

    assert stack.ends(A, USER) == [new.expires_at] * 2
    assert stack.ends(B)[0] in (new.expires_at, 0)
    held = topics_of(stack.table, "c=") or frozenset()
    assert (B in held) is bool(stack.ends(B)[0])
    assert allowed or B not in held


@pytest.mark.parametrize("number", range(1, 6))
@pytest.mark.parametrize("allowed", [True, False])
def test_who_is_renewed_while_it_subscribes_has_what_the_new_token_allows(
    stack: Stack, number: int, allowed: bool
) -> None:
    """Before any request of a subscribe in turn."""
    stack.admit(OLD, A)
    new = token("a", "b") if allowed else token("a")
    stack.before(number, lambda: stack.renew(new))

    (answer,) = stack.subscribe(B)
    if stack.dynamodb.before:
        stack.dynamodb.before = None
        stack.renew(new)

    if allowed:
        assert isinstance(answer, Answer)
        assert stack.ends(A, B) == [new.expires_at] * 2
    else:
        assert stack.ends(B) == [0]
        # If it had subscribed before, it is told that this has ended.
        assert isinstance(answer, Refused) or [each["entityId"] for each in stack.frames()] == ["b"]


@pytest.mark.parametrize("number", range(1, 4))
def test_of_two_tokens_at_once_the_last_to_be_written_counts(stack: Stack, number: int) -> None:
    stack.admit(OLD, A)
    first, second = token(lives=600), token(issued=1, lives=1_200)

    stack.before(number, lambda: stack.renew(second))
    try:
        stack.renew(first)
    except Forbidden:
        assert stack.identity() == second
        assert stack.ends(A, USER) == [second.expires_at] * 2
    else:
        assert stack.identity() == first
        assert stack.ends(A, USER) == [first.expires_at] * 2


@pytest.mark.parametrize("number", [1, 2])
def test_what_is_prolonged_lives_as_long_as_the_token_that_counts(
    stack: Stack, number: int
) -> None:
    """The first is written, and the second before the subscriptions of the first are prolonged."""
    stack.admit(OLD, A)
    first, second = token(lives=600), token(issued=1, lives=1_200)
    stack.before(number + 1, lambda: stack.renew(second), "UpdateItem")

    stack.renew(first)

    assert stack.identity() == second
    assert stack.ends(A, USER) == [second.expires_at] * 2


@pytest.mark.parametrize("dies_at", range(1, 12))
def test_wherever_a_renewal_dies_the_client_hears_what_it_may_or_is_closed(
    stack: Stack, dies_at: int
) -> None:
    """And it never asks again."""
    stack.admit(OLD, A, B)
    for topic in (A, B):
        Log(stack.table, clock=stack.clock).open(topic)
    new = token("a")

    def die() -> None:
        raise KeyboardInterrupt

    stack.before(dies_at, die)
    with suppress(KeyboardInterrupt):
        stack.renew(new)
    stack.dynamodb.before = None
    told = {frame["entityId"] for frame in stack.frames()}
    stack.clock.now = float(OLD.expires_at)
    for topic in (A, B):
        frame = {"type": "Entity Updated", "entityId": topic.id, "id": topic.id}
        content = json.dumps(frame | {"time": "2026-11-24T12:00:00Z"}).removesuffix("}")
        event = Event(topic.id, topic, content)
        stack.delivery(Access("/", has_tenants=False)).notify(event, nullcontext())
    heard = {frame["entityId"] for frame in stack.frames() if "cursor" in frame}

    if stack.identity() == OLD:
        # Who looks every minute closes it.
        assert heard == set()
    else:
        assert heard == {"a"}
        assert told == {"b"}
        assert topics_of(stack.table, "c=") == frozenset({A, USER})


def test_who_got_no_answer_may_show_the_same_token_again(stack: Stack) -> None:
    stack.admit(OLD, A)
    new = token()

    def die() -> None:
        raise KeyboardInterrupt

    stack.before(2, die, "UpdateItem")
    with pytest.raises(KeyboardInterrupt):
        stack.renew(new)
    assert OLD.expires_at in stack.ends(A, USER)

    stack.renew(new)

    assert stack.ends(A, USER) == [new.expires_at] * 2


# The route.


@pytest.fixture
def authenticate_with(
    stack: Stack, context: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Send a frame to `authenticate`, and return the reply."""
    renewal = stack.renewal()
    monkeypatch.setattr(authenticate.app, "renewal", lambda: renewal)

    def send(**fields: object) -> dict[str, Any]:
        event = events.message("subscribe", {"action": "authenticate", **fields}, "c=")
        event["requestContext"] |= {"routeKey": "authenticate", "connectedAt": (NOW - 100) * 1000}
        response = authenticate.app.lambda_handler(event, context)
        assert response["statusCode"] == 200
        reply: dict[str, Any] = json.loads(response["body"])
        return reply

    return send


Authenticate = Callable[..., dict[str, Any]]


def test_the_reply_says_until_when(stack: Stack, authenticate_with: Authenticate) -> None:
    stack.admit(OLD)
    stack.verifier.known["good"] = new = token()

    assert authenticate_with(token="good", requestId=7) == {
        "type": "Authenticated",
        "expiresAt": new.expires_at,
        "requestId": 7,
    }


@pytest.mark.parametrize("shown", [{}, {"token": None}, {"token": 7}, {"token": "bad"}], ids=str)
def test_a_token_that_is_not_accepted_is_forbidden_and_the_connection_goes_on(
    stack: Stack, authenticate_with: Authenticate, shown: dict[str, object]
) -> None:
    stack.admit(OLD, A)
    before = stack.items()

    assert authenticate_with(**shown)["code"] == "Forbidden"
    assert stack.items() == before


def test_without_keys_the_same_token_may_be_accepted_later(
    stack: Stack, authenticate_with: Authenticate
) -> None:
    stack.admit(OLD)
    stack.verifier.known["good"] = KeysUnavailable("they cannot be had")

    assert authenticate_with(token="good")["code"] == "ServiceUnavailable"
    assert stack.identity() == OLD


@pytest.mark.parametrize("outcome", [token(), InvalidToken("why"), KeysUnavailable("why"), None])
def test_nothing_of_a_token_that_is_shown_is_logged(
    stack: Stack, authenticate_with: Authenticate, logs: StringIO, outcome: Any
) -> None:
    if outcome:
        stack.admit(OLD)
        stack.verifier.known["secret.token.shown"] = outcome

    authenticate_with(token="secret.token.shown")

    said = logs.getvalue()
    assert ("token renewed" in said) is isinstance(outcome, Identity)
    assert said
    assert "secret" not in logs.getvalue()


def test_where_no_tokens_are_asked_for_there_is_none_to_renew(
    context: Any, dynamodb: Any, exchange: FakeExchange
) -> None:
    assert wiring.renewal() is None
    event = events.message("subscribe", {"action": "authenticate", "token": "x"}, "c=")

    response = authenticate.app.lambda_handler(event, context)

    assert json.loads(response["body"])["code"] == "Forbidden"
