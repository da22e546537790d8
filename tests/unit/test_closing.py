"""Who is shut out: users who are kicked, and connections whose tokens have ended."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from identity.claims import Identity
from management_api import Result
from push.closing import ShuttingOut
from push.connection import Connection
from push.errors import Finished, Forbidden, ServiceUnavailable
from push.events import Kick
from push.subscriptions import forget, remember
from push.topics import Topic
from support.exchange import NOW, Clock, Told
from support.rows import topics_of
from support.services import Services

MINUTES = 15
DAY_SECONDS = 86_400
ENTITY = Topic.entity("e")


@dataclass
class Stack(Services):
    """The services, and who shuts out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.out = ShuttingOut(self.table, self.exchange.window, clock=self.clock)

    def admit(
        self,
        *connection_ids: str,
        user: str = "alice",
        tenant: str = "",
        seconds: float = 600,
        age: float = 60,
    ) -> Identity:
        """Connect a user, who is subscribed to an entity."""
        now = self.clock.now
        identity = Identity(user, tenant, ("**",), int(now - age), int(now + seconds))
        for connection_id in connection_ids:
            connection = self.connection(connection_id)
            remember(self.table, connection, identity, 1_000)
            topic = Topic.entity("e", tenant)
            assert self.table.add_subscriptions(connection, {topic}, (), 99, identity) is None
        return identity

    def connection(self, connection_id: str) -> Connection:
        at = datetime.fromtimestamp(self.clock.now, UTC)
        return Connection(connection_id, "203.0.113.7", at)

    def kick(self, user: str = "alice", tenant: str = "", **kick: Any) -> None:
        self.out.kick(kicked(user, tenant, **kick), DAY_SECONDS)

    def known(self) -> list[str]:
        """Return the connections that are known, and see that nothing is left of others."""
        items = self.dynamodb.scan(TableName="table")["Items"]
        rows = {
            item["sk"]["S"] for item in items if item["pk"]["S"].startswith(("ENT", "US", "TE"))
        }
        pks = [item["pk"]["S"] for item in items if item["sk"]["S"] == "CONNECTION"]
        assert {row for row in rows if row.startswith("CONNECTION#")} == set(pks)
        return sorted(pk.partition("#")[2] for pk in pks)

    def noted(self) -> list[tuple[int, str]]:
        minute = int(self.clock.now) // 60
        minutes = range(minute - 200, minute + 200)
        return [(each, note) for each in minutes for note in self.table.expiring(each)]


def kicked(
    user: str = "alice", tenant: str = "", reason: str | None = None, before: float | None = None
) -> Kick:
    return Kick("1", Topic.user(user, tenant), reason, before)


@pytest.fixture
def stack(clock: Clock) -> Stack:
    return Stack(clock)


# A kick.


def test_a_kicked_user_is_told_closed_and_forgotten_everywhere(stack: Stack) -> None:
    stack.admit("phone=", "laptop=")

    stack.kick(reason="lost phone")

    goodbye = {"type": "Disconnect", "code": "Kicked", "reconnect": False, "reason": "lost phone"}
    assert stack.frames_of("phone=") == stack.frames_of("laptop=") == [goodbye]
    assert sorted(stack.exchange.closed) == ["laptop=", "phone="]
    assert stack.known() == []


def test_a_kick_without_a_reason_says_none(stack: Stack) -> None:
    stack.admit("c=")

    stack.kick()

    assert stack.frames_of("c=") == [{"type": "Disconnect", "code": "Kicked", "reconnect": False}]


def test_what_it_hears_ends_before_it_is_told_and_it_is_forgotten_after_it_is_closed(
    stack: Stack,
) -> None:
    stack.admit("c=")
    seen: list[tuple[bool, bool, bool]] = []

    def look() -> None:
        is_subscribed = stack.table.is_subscribed("c=", ENTITY)
        # By which whoever comes back after a failure finds it.
        is_found = stack.table.is_subscribed("c=", Topic.user("alice"))
        seen.append((is_subscribed, is_found, topics_of(stack.table, "c=") is not None))

    stack.exchange.before = look
    stack.kick()

    assert seen == [(False, True, True)] * 2
    assert stack.known() == []


@pytest.mark.parametrize(
    ("user", "tenant"), [("bob", "acme"), ("alice", "other"), ("alice", ""), ("alice2", "acme")]
)
def test_nobody_else_is_kicked(stack: Stack, user: str, tenant: str) -> None:
    stack.admit("c=", tenant="acme")
    stack.admit("other=", user=user, tenant=tenant)

    stack.kick(tenant="acme")

    assert stack.known() == ["other="]
    assert stack.exchange.posted == stack.exchange.closed == ["c="]


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250])
def test_however_many_connections_a_user_has_all_are_closed(stack: Stack, count: int) -> None:
    stack.admit(*(f"{number:03}=" for number in range(count)))
    stack.admit("other=", user="bob")

    stack.kick()

    assert len(stack.exchange.closed) == len(set(stack.exchange.closed)) == count
    assert stack.known() == ["other="]


def test_who_cannot_be_told_is_closed_all_the_same(stack: Stack) -> None:
    stack.admit("a=", "b=", "c=")
    stack.exchange.tell("a=", Told(Result.FAILED, 3.0))
    stack.exchange.tell("b=", Result.GONE)
    stack.exchange.tell("c=", Result.TOO_LARGE)

    stack.kick()

    assert stack.exchange.closed == ["a=", "b=", "c="]
    assert stack.known() == []


def test_who_is_gone_already_is_forgotten(stack: Stack) -> None:
    stack.admit("gone=", "c=")
    stack.exchange.tell("gone=", Result.GONE)
    stack.exchange.tell_closing("gone=", Result.GONE)
    stack.clock.now += 60

    stack.kick()

    assert stack.known() == []


def test_who_is_still_connecting_is_not_taken_for_gone(stack: Stack) -> None:
    """API Gateway says so until the handshake is done."""
    stack.admit("a=", "new=")
    stack.exchange.tell("new=", Result.GONE)
    stack.exchange.tell_closing("new=", Result.GONE)

    with pytest.raises(ServiceUnavailable):
        stack.kick()
    assert stack.known() == ["new="]

    stack.kick()
    assert stack.known() == []


def test_a_row_of_the_user_that_no_set_names_is_deleted(stack: Stack) -> None:
    stack.admit("a=")
    stack.table.delete_connection("a=")

    stack.kick()

    assert stack.table.subscribers(Topic.user("alice"), "", "~") == ([], False)


@pytest.mark.parametrize("result", [Result.FAILED, Result.THROTTLED, Result.REFUSED])
def test_who_could_not_be_closed_stays_known_and_once_more_closes_it(
    stack: Stack, result: Result
) -> None:
    stack.admit("a=", "b=", "c=")
    stack.exchange.tell_closing("b=", result)

    with pytest.raises(ServiceUnavailable):
        stack.kick()
    assert stack.known() == ["b="]
    assert not stack.table.is_subscribed("b=", ENTITY)

    stack.kick()
    assert stack.known() == []
    assert stack.exchange.closed == ["a=", "c=", "b="]


def test_who_cannot_be_closed_keeps_nobody_else_open(stack: Stack) -> None:
    stack.admit(*(f"{number:03}=" for number in range(250)))
    stack.exchange.tell_closing("000=", *[Result.REFUSED] * 20)

    with pytest.raises(ServiceUnavailable):
        stack.kick()

    assert stack.known() == ["000="]


@pytest.mark.parametrize("dies_at", range(1, 13))
def test_wherever_a_kick_dies_once_more_closes_all(stack: Stack, dies_at: int) -> None:
    stack.admit("a=", "b=")
    requests = 0

    def die(*_: Any) -> None:
        nonlocal requests
        requests += 1
        if requests == dies_at:
            raise KeyboardInterrupt

    stack.dynamodb.before = die
    with suppress(KeyboardInterrupt):
        stack.kick(before=NOW)
    stack.dynamodb.before = None
    stack.kick(before=NOW)

    assert {"a=", "b="} == set(stack.exchange.closed)
    assert topics_of(stack.table, "a=") is topics_of(stack.table, "b=") is None


def test_a_copy_of_the_event_kicks_nobody_twice(stack: Stack) -> None:
    stack.admit("a=")
    stack.delivery().kick(kicked(), DAY_SECONDS)
    stack.admit("back=")

    with pytest.raises(Finished):
        stack.delivery().kick(kicked(), DAY_SECONDS)

    assert stack.known() == ["back="]


def test_a_kick_that_failed_can_be_taken_up_at_once(stack: Stack) -> None:
    stack.admit("a=", "b=")
    stack.exchange.tell_closing("a=", Result.FAILED)
    with pytest.raises(ServiceUnavailable):
        stack.delivery().kick(kicked(), DAY_SECONDS)

    stack.delivery().kick(kicked(), DAY_SECONDS)

    assert stack.known() == []


# Those who close have only so much time.


@pytest.fixture
def slow(stack: Stack) -> Stack:
    """A stack of 250 clients, of whom no answer comes before a post times out."""
    for number in range(250):
        stack.admit(f"{number:03}=", seconds=1)
        stack.exchange.tell(f"{number:03}=", Told(Result.FAILED, 3.0))
        stack.exchange.tell_closing(f"{number:03}=", Told(Result.OK, 3.0))
    stack.clock.now += 120
    return stack


def closed_in_time(stack: Stack, close: Callable[[], None]) -> list[int]:
    """Close in invocations of 20 s; return how many are closed after each."""
    closed = []
    for _ in range(2):
        ends_at = stack.clock.now + 20
        stack.seconds_left = partial(lambda at: at - stack.clock.now, ends_at)
        with suppress(ServiceUnavailable):
            close()
        assert stack.clock.now < ends_at - 5
        # Nobody is closed and not forgotten.
        assert len(stack.known()) == 250 - len(stack.exchange.closed)
        closed.append(len(stack.exchange.closed))
    return closed


def test_a_kick_that_runs_out_of_time_stops_and_the_next_try_goes_on(slow: Stack) -> None:
    assert closed_in_time(slow, lambda: slow.delivery().kick(kicked(), DAY_SECONDS)) == [200, 250]


def test_where_there_was_no_time_left_the_next_minute_closes_the_others(slow: Stack) -> None:
    assert closed_in_time(slow, lambda: slow.out.expire(MINUTES, slow.seconds_left)) == [200, 250]
    assert slow.noted() == []


# A revocation.


@pytest.mark.parametrize(
    ("before", "is_revoked"),
    [(-61.0, False), (-60.0, False), (-59.5, True), (-59.0, True), (0.0, True), (None, False)],
)
def test_tokens_that_were_issued_before_are_refused(
    stack: Stack, before: float | None, is_revoked: bool
) -> None:
    stack.kick(before=None if before is None else NOW + before)

    if is_revoked:
        with pytest.raises(Forbidden):
            stack.admit("c=", age=60)
    else:
        stack.admit("c=", age=60)
    assert stack.known() == ([] if is_revoked else ["c="])


def test_an_earlier_revocation_takes_no_later_one_back(stack: Stack) -> None:
    stack.kick(before=NOW)
    stack.kick(before=NOW - 1_000)
    stack.kick()

    with pytest.raises(Forbidden):
        stack.admit("c=", age=60)


def revocation(stack: Stack) -> dict[str, int]:
    key = {"pk": {"S": "USER#alice"}, "sk": {"S": "REVOKED"}}
    item = stack.dynamodb.get_item(TableName="table", Key=key)["Item"]
    return {name: int(item[name]["N"]) for name in ("issuedBefore", "ttl")}


@pytest.mark.parametrize("ahead", [-1_000, 0, 3_600])
def test_a_revocation_is_kept_as_long_as_a_token_may_live_that_it_refuses(
    stack: Stack, ahead: int
) -> None:
    stack.kick(before=NOW + ahead)

    kept = revocation(stack)
    assert kept["ttl"] >= kept["issuedBefore"] + DAY_SECONDS


def test_a_revocation_is_written_before_the_connections_are_read(stack: Stack) -> None:
    """So whoever connects meanwhile is either found, or sees that it is revoked."""
    stack.admit("a=")
    names: list[str] = []
    stack.dynamodb.before = lambda name, _: names.append(name)

    stack.kick(before=NOW)

    assert names.index("UpdateItem") < names.index("Query")


@pytest.mark.parametrize("at", range(1, 9))
def test_whoever_connects_while_a_user_is_kicked_does_not_slip_through(
    stack: Stack, at: int
) -> None:
    """The kick comes between any two requests of `$connect`."""
    kicks: list[Callable[..., None]] = [stack.kick]
    requests = 0

    def kick(*_: Any) -> None:
        nonlocal requests
        requests += 1
        if requests == at and kicks:
            kicks.pop()(before=NOW)

    stack.dynamodb.before = kick
    with suppress(Forbidden):
        identity = Identity("alice", "", (), int(NOW) - 60, int(NOW) + 600)
        remember(stack.table, stack.connection("c="), identity, 10)
    stack.dynamodb.before = None

    assert stack.known() == [] or (kicks and requests < at)


# Tokens that have ended.


def test_whose_token_has_ended_is_told_closed_and_forgotten(stack: Stack) -> None:
    stack.admit("a=", seconds=30)
    stack.admit("b=", seconds=600)
    stack.clock.now += 30

    stack.out.expire(MINUTES)

    assert stack.frames_of("a=") == [
        {"type": "Disconnect", "code": "TokenExpired", "reconnect": True}
    ]
    assert stack.exchange.posted == stack.exchange.closed == ["a="]
    assert stack.known() == ["b="]
    assert [note for _, note in stack.noted()] == ["b="]


def test_who_ends_later_in_this_minute_is_not_due_yet(stack: Stack) -> None:
    stack.clock.now = NOW // 60 * 60
    stack.admit("a=", seconds=10)
    stack.admit("b=", seconds=50)
    stack.clock.now += 20

    stack.out.expire(MINUTES)
    assert stack.known() == ["b="]

    stack.clock.now += 60
    stack.out.expire(MINUTES)
    assert stack.known() == []
    assert stack.noted() == []


@pytest.mark.parametrize(("missed", "is_closed"), [(1, True), (14, True), (15, True), (17, False)])
def test_what_some_minutes_could_not_do_a_later_one_does(
    stack: Stack, missed: int, is_closed: bool
) -> None:
    stack.admit("a=", seconds=1)
    stack.clock.now += 60 * missed

    stack.out.expire(MINUTES)

    assert (stack.known() == []) is is_closed


def renewed(stack: Stack, connection_id: str, seconds: float) -> None:
    row = stack.table.connection(connection_id)
    assert row
    assert row.identity
    old = row.identity
    ends_at = int(stack.clock.now + seconds)
    new = Identity(old.user_id, old.tenant, old.grants, int(stack.clock.now), ends_at)
    stack.table.note_expiry(connection_id, ends_at)
    assert stack.table.renew(connection_id, old, new)


def test_whose_token_was_renewed_is_left_alone_until_that_ends(stack: Stack) -> None:
    stack.admit("a=", seconds=60)
    renewed(stack, "a=", 300)
    stack.clock.now += 180

    stack.out.expire(MINUTES)
    assert stack.known() == ["a="]
    assert stack.exchange.posted == []
    # The first note is seen to.
    assert len(stack.noted()) == 1

    stack.clock.now += 180
    stack.out.expire(MINUTES)
    assert stack.known() == []


def test_whose_token_was_renewed_within_its_minute_stays_noted(stack: Stack) -> None:
    stack.clock.now = NOW // 60 * 60
    stack.admit("a=", seconds=10)
    renewed(stack, "a=", 50)
    stack.clock.now += 20

    stack.out.expire(MINUTES)
    assert stack.known() == ["a="]

    stack.clock.now += 60
    stack.out.expire(MINUTES)
    assert stack.known() == []


def test_of_who_has_left_only_the_note_is_there_to_see_to(stack: Stack) -> None:
    stack.admit("a=", seconds=1)
    forget(stack.table, "a=")
    # A connection that is just being written would be there by then.
    stack.clock.now += 180

    stack.out.expire(MINUTES)

    assert stack.exchange.posted == []
    assert stack.noted() == []


@pytest.mark.parametrize("result", [Result.FAILED, Result.THROTTLED])
def test_who_could_not_be_closed_is_found_by_the_next_minute(stack: Stack, result: Result) -> None:
    stack.admit("a=", "b=", seconds=1)
    stack.exchange.tell_closing("a=", result)
    stack.clock.now += 60

    with pytest.raises(ServiceUnavailable):
        stack.out.expire(MINUTES)
    assert stack.known() == ["a="]
    assert "a=" in [note for _, note in stack.noted()]

    stack.clock.now += 60
    stack.out.expire(MINUTES)
    assert stack.known() == []
    assert stack.noted() == []


def test_who_cannot_be_closed_keeps_no_later_minute_waiting(stack: Stack) -> None:
    stack.admit("a=", seconds=1)
    stack.admit("b=", seconds=61)
    stack.exchange.tell_closing("a=", *[Result.REFUSED] * 20)
    stack.clock.now += 180

    with suppress(ServiceUnavailable):
        stack.out.expire(MINUTES)

    assert stack.known() == ["a="]


@pytest.mark.parametrize("count", [99, 100, 101, 250])
def test_however_many_end_in_a_minute_all_are_closed(stack: Stack, count: int) -> None:
    stack.admit(*(f"{number:03}=" for number in range(count)), seconds=1)
    stack.clock.now += 60

    stack.out.expire(MINUTES)

    assert len(stack.exchange.closed) == count
    assert stack.known() == []
    assert stack.noted() == []


def test_who_is_noted_and_not_written_yet_is_found_later(stack: Stack) -> None:
    """The note goes first; the minute may be over before the connection is there."""
    identity = Identity("alice", "", (), int(NOW) - 60, int(NOW) + 1)

    def expire(name: str, _: Any) -> None:
        if name == "TransactWriteItems":
            stack.dynamodb.before = None
            stack.clock.now += 62
            stack.out.expire(MINUTES)

    stack.dynamodb.before = expire
    remember(stack.table, stack.connection("c="), identity, 10)
    stack.clock.now += 60
    stack.out.expire(MINUTES)

    assert stack.known() == []
