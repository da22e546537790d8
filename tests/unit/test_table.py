"""The table's adapter on moto: what each method does, and where DynamoDB is in the way."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from identity.claims import Identity
from push.adapters.table import FIRST, LAST, ConnectionRow, JobRow, SubscribeRefused, Table
from push.connection import Connection
from push.errors import ServiceUnavailable
from push.subscriptions import forget
from push.topics import Cursor, Head, LoggedEvent, Topic
from support.exchange import NOW, Clock
from support.rows import topics_of

Rows = Callable[[], list[dict[str, Any]]]
Make = Callable[..., Table]

CONNECTION = Connection("c1=", "203.0.113.7", datetime.fromtimestamp(NOW - 100, UTC))
OTHER = Connection("c2=", "203.0.113.8", datetime.fromtimestamp(NOW - 50, UTC))
THIRD = Connection("c3=", "203.0.113.9", datetime.fromtimestamp(NOW - 50, UTC))
A, B, C = map(Topic.entity, "abc")
USER = Topic.user("alice")
ALICE = Identity("alice", "", ("alice/*", "b"), int(NOW) - 60, int(NOW) + 600)
LATER = Identity("alice", "", ("alice/*",), int(NOW), int(NOW) + 3600)
EPOCH = "5f0c2a9be41d"
START = Cursor(EPOCH, 6)
JOB_TTL = 1_800_000_000
LONGEST = "\U0001f600" * 256  # 1,024 bytes


@pytest.fixture
def make(dynamodb: Any, clock: Clock) -> Make:
    """Return a table behind a client of which some methods are others."""

    class Instead:
        def __init__(self, **methods: Callable[..., Any]) -> None:
            self.__dict__.update(methods)

        def __getattr__(self, name: str) -> Any:
            return getattr(dynamodb, name)

    def make(**methods: Callable[..., Any]) -> Table:
        client: Any = Instead(**methods)
        return Table(client, "connections", clock=clock, sleep=clock.sleep)

    return make


@pytest.fixture
def requests(dynamodb: Any) -> list[tuple[str, dict[str, Any]]]:
    """Every request from here on: its operation, and its parameters."""
    seen: list[tuple[str, dict[str, Any]]] = []
    dynamodb.meta.events.register(
        "provide-client-params.dynamodb.*",
        lambda params, model, **_: seen.append((model.name, dict(params))),
    )
    return seen


@pytest.fixture
def short_pages(dynamodb: Any) -> list[dict[str, Any]]:
    """Have a page hold two items, as it holds a megabyte; return the queries."""
    queries: list[dict[str, Any]] = []

    def shorten(params: dict[str, Any], **_: Any) -> None:
        queries.append(dict(params))
        params["Limit"] = min(2, params.get("Limit", 2))

    dynamodb.meta.events.register("provide-client-params.dynamodb.Query", shorten)
    return queries


def connected(table: Table, *connections: Connection) -> None:
    for connection in connections or (CONNECTION,):
        table.put_connection(connection)


def subscribed(table: Table, connection: Connection, *topics: Topic) -> None:
    assert table.add_subscriptions(connection, set(topics), (), 100) is None


def crowd(table: Table, count: int, topic: Topic = A) -> list[str]:
    """Subscribe many connections; return their ids in order."""
    ids = [f"{number:02}=" for number in range(count)]
    for connection_id in reversed(ids):
        connection = Connection(connection_id, "203.0.113.7", CONNECTION.connected_at)
        connected(table, connection)
        subscribed(table, connection, topic)
    return ids


def logged(*numbers: int, size: int = 1) -> list[LoggedEvent]:
    return [LoggedEvent(Cursor(EPOCH, number), f"frame {number}" * size) for number in numbers]


# Connections and subscriptions.


def test_a_connection_is_written_with_what_is_known_of_it(table: Table, rows: Rows) -> None:
    table.put_connection(CONNECTION)

    assert rows() == [
        {
            "pk": "CONNECTION#c1=",
            "sk": "CONNECTION",
            "connectionId": "c1=",
            "ipAddress": "203.0.113.7",
            "connectedAt": "2026-11-24T01:46:40.000Z",
            "ttl": NOW - 100 + 2 * 3600 + 600,
        }
    ]


def test_a_subscription_is_a_row_and_a_topic_of_the_set(table: Table, rows: Rows) -> None:
    connected(table)

    assert table.add_subscriptions(CONNECTION, {A, B}, (), 0) is None

    connection, first, second = rows()
    assert connection["topics"] == ["ENTITY#a", "ENTITY#b"]
    assert first == {
        "pk": "ENTITY#a",
        "sk": "CONNECTION#c1=",
        "entityId": "a",
        "connectionId": "c1=",
        "subscribedAt": "2026-11-24T01:48:20.000Z",
        "ttl": connection["ttl"],
    }
    assert second["pk"] == "ENTITY#b"


def test_what_expires_does_so_in_seconds_and_not_before_its_connection_can_end(
    table: Table, rows: Rows
) -> None:
    connected(table)
    subscribed(table, CONNECTION, A)

    connected_at = CONNECTION.connected_at.timestamp()
    for row in rows():
        assert 2 * 3600 <= row["ttl"] - connected_at <= 3 * 3600


def test_a_subscription_without_its_connection_is_refused_and_writes_nothing(
    table: Table, rows: Rows
) -> None:
    refused = table.add_subscriptions(CONNECTION, {A, B}, (), 100)

    assert refused == SubscribeRefused(None)
    assert rows() == []


@pytest.mark.parametrize(("room", "taken"), [(0, False), (1, True), (2, True)])
def test_a_set_that_holds_more_than_there_is_room_for_is_refused_with_what_it_holds(
    table: Table, rows: Rows, room: int, taken: bool
) -> None:
    connected(table)
    subscribed(table, CONNECTION, A)
    before = rows()

    refused = table.add_subscriptions(CONNECTION, {B, C}, (), room)

    assert refused == (None if taken else SubscribeRefused(ConnectionRow(frozenset({A}), None)))
    assert taken or rows() == before


def test_a_set_that_is_not_there_yet_has_room_in_any_case(table: Table) -> None:
    connected(table)

    assert table.add_subscriptions(CONNECTION, {A}, (), 0) is None


def test_what_must_be_held_already_is_looked_for(table: Table) -> None:
    connected(table)
    subscribed(table, CONNECTION, A, B)

    assert table.add_subscriptions(CONNECTION, {A, C}, {A}, 2) is None
    assert table.add_subscriptions(CONNECTION, {A, B}, {A, B}, 3) is None
    refused = table.add_subscriptions(CONNECTION, {A, Topic.entity("d")}, {A, C, B}, 2)
    assert refused == SubscribeRefused(ConnectionRow(frozenset({A, B, C}), None))


def test_nothing_is_held_by_a_set_that_is_not_there(table: Table) -> None:
    connected(table)

    assert table.add_subscriptions(CONNECTION, {A}, {A}, 0) == SubscribeRefused(
        ConnectionRow(frozenset(), None)
    )


def test_as_many_subscriptions_as_a_request_may_have_are_one_transaction(
    table: Table, requests: list[tuple[str, dict[str, Any]]]
) -> None:
    connected(table)
    requests.clear()
    topics = {Topic.entity(f"{number:02}" + LONGEST[2:]) for number in range(99)}

    assert table.add_subscriptions(CONNECTION, topics, (), 0) is None
    assert table.add_subscriptions(CONNECTION, topics, topics, 99) is None

    assert [name for name, _ in requests] == ["TransactWriteItems"] * 2
    assert topics_of(table, "c1=") == frozenset(topics)


def test_what_is_held_is_checked_within_what_an_expression_may_have(
    table: Table, requests: list[tuple[str, dict[str, Any]]]
) -> None:
    topics = {Topic.entity(str(number)) for number in range(99)}

    table.add_subscriptions(CONNECTION, topics, topics, 0)

    (_, parameters), *_ = requests
    update = parameters["TransactItems"][0]["Update"]
    assert len(update["ConditionExpression"]) < 4_096
    assert len(update["ExpressionAttributeValues"]) < 300  # operands and operators


def test_the_topics_of_a_connection_are_its_set(table: Table) -> None:
    connected(table, CONNECTION, OTHER)
    subscribed(table, CONNECTION, A, B)

    assert topics_of(table, "c1=") == frozenset({A, B})
    assert topics_of(table, "c2=") == frozenset()
    assert topics_of(table, "c3=") is None


def test_taking_topics_leaves_the_others(table: Table, rows: Rows) -> None:
    connected(table)
    subscribed(table, CONNECTION, A, B, C)

    table.take_topics("c1=", {A, C})

    assert topics_of(table, "c1=") == frozenset({B})


def test_taking_all_topics_or_those_that_are_not_there_leaves_the_connection(table: Table) -> None:
    connected(table)
    subscribed(table, CONNECTION, A)

    table.take_topics("c1=", {A, B})
    table.take_topics("c1=", {A})

    assert topics_of(table, "c1=") == frozenset()
    subscribed(table, CONNECTION, C)
    assert topics_of(table, "c1=") == frozenset({C})


def test_taking_topics_makes_no_connection_out_of_nothing(table: Table, rows: Rows) -> None:
    table.take_topics("c1=", {A})

    assert rows() == []


def test_deleting_a_connection_answers_with_what_it_was_subscribed_to(
    table: Table, rows: Rows
) -> None:
    connected(table, CONNECTION, OTHER)
    subscribed(table, CONNECTION, A, B)

    assert table.delete_connection("c1=") == {A, B}
    assert table.delete_connection("c1=") == frozenset()
    assert table.delete_connection("c2=") == frozenset()
    assert [row["pk"] for row in rows()] == ["ENTITY#a", "ENTITY#b"]


@pytest.mark.parametrize("count", [0, 1, 25, 26, 60])
def test_rows_are_deleted_in_batches_that_dynamodb_takes(
    table: Table, rows: Rows, requests: list[tuple[str, dict[str, Any]]], count: int
) -> None:
    connected(table, CONNECTION, OTHER)
    topics = [Topic.entity(str(number)) for number in range(60)]
    subscribed(table, CONNECTION, *topics)
    subscribed(table, OTHER, topics[0])
    requests.clear()

    table.delete_subscriptions("c1=", topics[:count])

    sizes = [len(params["RequestItems"]["connections"]) for _, params in requests]
    assert sum(sizes) == count
    assert all(size <= 25 for size in sizes)
    left = [row for row in rows() if row["pk"].startswith("ENTITY#")]
    assert len(left) == 60 - count + 1
    assert "c2=" in {row["connectionId"] for row in left}


def test_who_is_subscribed_is_told_from_who_is_not(table: Table) -> None:
    connected(table)
    subscribed(table, CONNECTION, A)

    assert table.is_subscribed("c1=", A)
    assert not table.is_subscribed("c1=", B)
    assert not table.is_subscribed("c2=", A)


# Subscribers.


def everybody(table: Table, after: str = FIRST, upto: str = LAST) -> list[str]:
    """Read all pages."""
    ids: list[str] = []
    more = True
    while more:
        page, more = table.subscribers(A, after, upto)
        ids += page
        after = page[-1] if page else after
    return ids


def test_subscribers_are_those_of_the_topic_in_the_order_of_their_ids(table: Table) -> None:
    ids = crowd(table, 6)
    crowd(table, 2, B)

    assert table.subscribers(A, FIRST, LAST) == (ids, False)
    assert table.subscribers(C, FIRST, LAST) == ([], False)


def test_what_else_a_topic_has_is_no_subscriber(table: Table) -> None:
    crowd(table, 1)
    table.open_head(A, EPOCH, 0)
    table.fill_slot(A, "1", logged(1)[0], 0)

    assert table.subscribers(A, FIRST, LAST) == (["00="], False)


@pytest.mark.parametrize(
    ("after", "upto", "expected"),
    [
        ("", "~", ["00=", "01=", "02=", "03=", "04=", "05="]),
        ("02=", "~", ["03=", "04=", "05="]),
        ("", "02=", ["00=", "01=", "02="]),
        ("01=", "03=", ["02=", "03="]),
        ("03=", "03=", []),
        # Boundaries that are not there (any more).
        ("02>", "~", ["03=", "04=", "05="]),
        ("", "02>", ["00=", "01=", "02="]),
        ("05=", "~", []),
        ("!", "05<", ["00=", "01=", "02=", "03=", "04="]),
    ],
)
@pytest.mark.parametrize("pages", ["long", "short"])
def test_a_range_is_behind_its_first_boundary_up_to_its_last(
    request: pytest.FixtureRequest,
    table: Table,
    pages: str,
    after: str,
    upto: str,
    expected: list[str],
) -> None:
    crowd(table, 6)
    if pages == "short":
        request.getfixturevalue("short_pages")

    assert everybody(table, after, upto) == expected


def test_subscribers_are_read_page_by_page(table: Table, short_pages: list[dict[str, Any]]) -> None:
    ids = crowd(table, 5)

    assert table.subscribers(A, FIRST, LAST) == (ids[:2], True)
    assert table.subscribers(A, ids[1], LAST) == (ids[2:4], True)
    assert table.subscribers(A, ids[3], LAST) == (ids[4:], False)


def test_a_page_may_be_asked_to_be_short(table: Table) -> None:
    ids = crowd(table, 5)

    assert table.subscribers(A, FIRST, LAST, 3) == (ids[:3], True)
    assert table.subscribers(A, ids[2], LAST, 3) == (ids[3:], False)


def test_of_subscribers_only_the_key_is_read(
    table: Table, requests: list[tuple[str, dict[str, Any]]]
) -> None:
    table.subscribers(A, FIRST, LAST)

    ((_, query),) = requests
    assert query["ProjectionExpression"] == "#sk"


# Logs.


def test_a_head_is_made_once_and_prolonged(table: Table) -> None:
    assert table.head(A) is None
    assert table.open_head(A, EPOCH, 100) == Head(Cursor(EPOCH, 0), 100)
    table.move_head(A, Cursor(EPOCH, 0))

    assert table.open_head(A, "000000000000", 200) == Head(Cursor(EPOCH, 1), 200)
    assert table.head(A) == Head(Cursor(EPOCH, 1), 200)


def test_a_head_is_moved_from_where_it_is(table: Table) -> None:
    table.open_head(A, EPOCH, 100)

    assert table.move_head(A, Cursor(EPOCH, 0)) == Head(Cursor(EPOCH, 1), 100)
    assert table.move_head(A, Cursor(EPOCH, 1)) == Head(Cursor(EPOCH, 2), 100)


@pytest.mark.parametrize(
    "at", [Cursor(EPOCH, 1), Cursor(EPOCH, 3), Cursor("000000000000", 2)], ids=str
)
def test_a_head_that_is_elsewhere_stays_there_and_is_told(table: Table, at: Cursor) -> None:
    table.open_head(A, EPOCH, 100)
    for seq in range(2):
        table.move_head(A, Cursor(EPOCH, seq))

    assert table.move_head(A, at) == Head(Cursor(EPOCH, 2), 100)
    assert table.head(A) == Head(Cursor(EPOCH, 2), 100)


def test_a_head_that_is_gone_is_not_made_by_moving_it(table: Table, rows: Rows) -> None:
    assert table.move_head(A, Cursor(EPOCH, 1)) is None
    assert rows() == []


def test_a_slot_is_filled_once_but_for_its_own_event(table: Table, rows: Rows) -> None:
    (event,) = logged(1)

    assert table.fill_slot(A, "1", event, 100)
    assert table.fill_slot(A, "1", event, 100)
    assert not table.fill_slot(A, "2", LoggedEvent(event.cursor, "other"), 100)
    assert table.fill_slot(B, "2", event, 100)
    assert [row["id"] for row in rows()] == ["1", "2"]


@pytest.mark.parametrize("pages", ["long", "short"])
@pytest.mark.parametrize(
    ("after", "upto", "found"), [(0, 12, True), (8, 9, True), (9, 12, False), (0, 8, False)]
)
def test_an_event_is_found_at_any_number_of_a_range(
    request: pytest.FixtureRequest,
    table: Table,
    pages: str,
    after: int,
    upto: int,
    found: bool,
) -> None:
    for event in logged(*range(1, 13)):
        table.fill_slot(A, f"id {event.cursor.seq}", event, 0)
    if pages == "short":
        request.getfixturevalue("short_pages")

    (ninth,) = logged(9)

    assert table.find(A, "id 9", Cursor(EPOCH, after), upto) == (ninth if found else None)


def test_an_event_is_found_behind_a_megabyte_of_others(
    table: Table, requests: list[tuple[str, dict[str, Any]]]
) -> None:
    for event in logged(*range(1, 13), size=20_000):
        table.fill_slot(A, f"id {event.cursor.seq}", event, 0)
    requests.clear()

    found = table.find(A, "id 12", Cursor(EPOCH, 0), 12)

    assert found
    assert found.cursor.seq == 12
    assert len(requests) > 1
    assert table.find(A, "id 13", Cursor(EPOCH, 0), 12) is None


def test_events_are_read_in_the_order_of_their_numbers(table: Table) -> None:
    events = logged(*range(1, 13))
    for event in reversed(events):
        table.fill_slot(A, "1", event, 0)
    table.fill_slot(A, "1", LoggedEvent(Cursor("6f0c2a9be41d", 1), "another log"), 0)
    table.fill_slot(B, "1", events[0], 0)

    assert table.logged(A, Cursor(EPOCH, 0), 99) == events
    assert table.logged(A, Cursor(EPOCH, 9), 11) == events[9:11]
    assert table.logged(A, Cursor(EPOCH, 12), 99) == []


# Jobs.


def claim(table: Table, clock: Clock, owner: str = "me", key: str = "1#whole") -> JobRow:
    lease = int(clock.now) + 30
    return table.claim_job(key, owner, lease, START, "a=", JOB_TTL)


def test_a_claim_begins_a_job_that_is_new(table: Table, clock: Clock) -> None:
    assert claim(table, clock) == JobRow(
        mine=True,
        lease=int(clock.now) + 30,
        start=START,
        reached="a=",
        open=(),
        plan=(),
        done=False,
    )


def test_a_claim_of_another_s_job_is_refused_with_what_is_there(
    table: Table, clock: Clock, rows: Rows
) -> None:
    claim(table, clock, "other")
    table.write_job("1#whole", "other", reached="b=", open=["b="], plan=["c=", "d="])
    before = rows()

    row = claim(table, clock)

    assert row == JobRow(
        mine=False,
        lease=int(clock.now) + 30,
        start=START,
        reached="b=",
        open=("b=",),
        plan=("c=", "d="),
        done=False,
    )
    assert rows() == before


def test_a_claim_of_one_s_own_job_succeeds_also_when_it_is_done(table: Table, clock: Clock) -> None:
    claim(table, clock)
    assert claim(table, clock).mine
    table.write_job("1#whole", "me", done=True)

    assert claim(table, clock).mine


def test_a_claim_takes_a_job_whose_lease_is_past_unless_it_is_done(
    table: Table, clock: Clock
) -> None:
    claim(table, clock, "other")
    claim(table, clock, "other", "2#whole")
    table.write_job("2#whole", "other", done=True)
    clock.now += 30

    assert claim(table, clock).mine
    assert claim(table, clock, key="2#whole") == JobRow(
        False, int(clock.now), START, "a=", (), (), True
    )


def test_only_the_owner_writes_into_a_job_and_only_what_is_said(
    table: Table, clock: Clock, rows: Rows
) -> None:
    claim(table, clock)
    (before,) = rows()

    assert not table.write_job("1#whole", "other", reached="b=")
    assert not table.write_job("2#whole", "me", reached="b=")
    assert rows() == [before]
    assert table.write_job("1#whole", "me", reached="b=", open=["a=", "b="], done=True, lease=0)
    assert rows() == [before | {"reached": "b=", "open": ["a=", "b="], "done": True, "lease": 0}]


# Keys.


def keys_in(parameters: Any) -> Iterator[tuple[str, str]]:
    """Yield every key that a request names, however deep."""
    if isinstance(parameters, dict):
        if "pk" in parameters and "sk" in parameters:
            yield parameters["pk"]["S"], parameters["sk"]["S"]
        parameters = list(parameters.values())
    if isinstance(parameters, list):
        for each in parameters:
            yield from keys_in(each)


def test_the_longest_ids_make_keys_that_dynamodb_takes(
    table: Table, clock: Clock, requests: list[tuple[str, dict[str, Any]]]
) -> None:
    """2,048 bytes of a partition key, 1,024 of a sort key."""
    topic = Topic.entity(LONGEST)
    connected(table)
    subscribed(table, CONNECTION, topic)
    head = table.open_head(topic, EPOCH, 0)
    (event,) = logged(1)

    assert table.fill_slot(topic, LONGEST, event, 0)
    assert table.move_head(topic, head.cursor)
    assert table.find(topic, LONGEST, head.cursor, 1) == event
    assert table.subscribers(topic, FIRST, LAST) == (["c1="], False)
    for name in ("whole", f"({'x' * 64},{'y' * 64}]", "stragglers-" + "f" * 32):
        assert claim(table, clock, key=f"{LONGEST}#{name}").mine
    assert forget(table, "c1=") == 1
    keys = list(keys_in([parameters for _, parameters in requests]))
    assert len(keys) > 10
    assert max(len(pk.encode()) for pk, _ in keys) <= 2_048
    assert max(len(sk.encode()) for _, sk in keys) <= 1_024


@pytest.mark.parametrize("entity_id", ["a#b", "CONNECTION", "HEAD", "#", "JOB#1#whole"])
def test_no_id_leads_into_another_s_key(table: Table, entity_id: str) -> None:
    topic = Topic.entity(entity_id)
    connected(table)
    subscribed(table, CONNECTION, topic)

    assert topics_of(table, "c1=") == frozenset({topic})
    assert table.subscribers(topic, FIRST, LAST) == (["c1="], False)
    assert table.head(topic) is None


# Connections with a user, and tokens that end.


def test_a_connection_with_a_user_is_subscribed_to_it_until_its_token_ends(
    table: Table, rows: Rows
) -> None:
    table.put_connection(CONNECTION, ALICE)

    connection, subscription = rows()
    assert connection == {
        "pk": "CONNECTION#c1=",
        "sk": "CONNECTION",
        "connectionId": "c1=",
        "ipAddress": "203.0.113.7",
        "connectedAt": "2026-11-24T01:46:40.000Z",
        "userId": "alice",
        "tenant": "",
        "grants": ["alice/*", "b"],
        "issuedAt": NOW - 60,
        "expiresAt": NOW + 600,
        "topics": ["USER#alice"],
        "ttl": NOW - 100 + 2 * 3600 + 600,
    }
    assert subscription == {
        "pk": "USER#alice",
        "sk": "CONNECTION#c1=",
        "entityId": "alice",
        "connectionId": "c1=",
        "subscribedAt": "2026-11-24T01:48:20.000Z",
        "until": NOW + 600,
        "ttl": NOW + 600,
    }
    assert table.connection("c1=") == ConnectionRow(frozenset({USER}), ALICE)


def test_a_late_copy_of_a_connection_with_a_user_writes_nothing(table: Table, rows: Rows) -> None:
    table.put_connection(CONNECTION, ALICE)
    table.add_subscriptions(CONNECTION, {A}, (), 9, ALICE)
    before = rows()

    table.put_connection(CONNECTION, LATER)

    assert rows() == before


@pytest.mark.parametrize("identity", [ALICE, LATER, None], ids=["same", "another", "none asked"])
def test_a_subscription_needs_the_token_that_it_was_allowed_by(
    table: Table, identity: Identity | None
) -> None:
    table.put_connection(CONNECTION, ALICE)

    refused = table.add_subscriptions(CONNECTION, {A}, (), 9, identity)

    met = SubscribeRefused(ConnectionRow(frozenset({USER}), ALICE))
    assert refused == (met if identity is LATER else None)
    assert bool(table.is_subscribed("c1=", A)) is (refused is None)


def test_a_subscription_outlives_neither_its_token_nor_its_connection(
    table: Table, rows: Rows
) -> None:
    long = Identity("alice", "", (), int(NOW), int(NOW) + 86_400)
    table.put_connection(CONNECTION, ALICE)
    table.put_connection(OTHER, long)
    table.add_subscriptions(CONNECTION, {A}, (), 9, ALICE)
    table.add_subscriptions(OTHER, {A}, (), 9, long)

    first, second = (row for row in rows() if row["pk"] == "ENTITY#a")
    assert (first["until"], first["ttl"]) == (ALICE.expires_at, ALICE.expires_at)
    assert (second["until"], second["ttl"]) == (long.expires_at, OTHER.ttl_seconds)


def test_when_a_subscription_ends_is_told_beside_its_connection(table: Table) -> None:
    table.put_connection(CONNECTION, ALICE)
    table.add_subscriptions(CONNECTION, {A}, (), 9, ALICE)
    connected(table, OTHER)
    subscribed(table, OTHER, A)
    ends: dict[str, int] = {}

    assert table.subscribers(A, FIRST, LAST, ends=ends) == (["c1=", "c2="], False)

    # One without a token has nothing that could end later.
    assert ends == {"c1=": ALICE.expires_at, "c2=": 0}
    assert table.ends_at("c1=", A) == ALICE.expires_at
    assert table.ends_at("c2=", A) == 0
    assert table.ends_at("c1=", B) == table.ends_at("c3=", A) == 0


def test_another_token_takes_the_place_of_the_one_that_it_is_for(table: Table) -> None:
    table.put_connection(CONNECTION, ALICE)
    table.add_subscriptions(CONNECTION, {A}, (), 9, ALICE)

    assert table.renew("c1=", ALICE, LATER) == frozenset({USER, A})
    assert table.connection("c1=") == ConnectionRow(frozenset({USER, A}), LATER)
    assert table.renew("c1=", ALICE, ALICE) is None
    assert table.renew("c2=", ALICE, LATER) is None
    assert table.connection("c1=") == ConnectionRow(frozenset({USER, A}), LATER)
    assert table.connection("c2=") is None


def test_what_is_prolonged_lives_as_long_as_the_token_and_nothing_is_made(
    table: Table, rows: Rows
) -> None:
    table.put_connection(CONNECTION, ALICE)

    table.prolong(CONNECTION, USER, LATER)
    table.prolong(CONNECTION, A, LATER)

    _, subscription = rows()
    assert (subscription["until"], subscription["ttl"]) == (LATER.expires_at, LATER.expires_at)


def test_of_several_revocations_the_one_that_says_most_counts(table: Table, rows: Rows) -> None:
    for before, ttl in ((ALICE.issued_at, 1), (ALICE.issued_at + 5, 2), (ALICE.issued_at + 1, 3)):
        table.revoke(USER, before, ttl)

    (revocation,) = rows()
    assert revocation == {
        "pk": "USER#alice",
        "sk": "REVOKED",
        "issuedBefore": ALICE.issued_at + 5,
        "ttl": 2,
    }


@pytest.mark.parametrize(("seconds", "revoked"), [(-1, False), (0, False), (1, True)])
def test_a_token_is_revoked_if_it_was_issued_before(
    table: Table, seconds: int, revoked: bool
) -> None:
    table.revoke(USER, ALICE.issued_at + seconds, 1)
    table.revoke(Topic.user("alice", "other"), ALICE.issued_at + 99, 1)
    table.revoke(Topic.entity("alice"), ALICE.issued_at + 99, 1)

    assert table.is_revoked(ALICE) is revoked


def test_a_revocation_is_no_subscriber(table: Table) -> None:
    table.put_connection(CONNECTION, ALICE)
    table.revoke(USER, 1, 1)
    table.open_head(USER, EPOCH, 1)

    assert table.subscribers(USER, FIRST, LAST) == (["c1="], False)


def test_notes_of_a_minute_are_found_on_however_many_pages(
    table: Table, short_pages: list[dict[str, Any]]
) -> None:
    ids = [f"{number}=" for number in range(5)]
    for connection_id in ids:
        table.note_expiry(connection_id, 3_660 + 59)
        table.note_expiry(connection_id, 3_720)

    table.forget_expiring(61, ids[:2])

    assert table.expiring(61) == ids[2:]
    assert table.expiring(62) == ids
    assert table.expiring(60) == []


def test_a_note_outlives_the_look_back_and_not_for_long(table: Table, rows: Rows) -> None:
    table.note_expiry("c1=", 3_660)

    (note,) = rows()
    assert 3_660 + 3_600 < note["ttl"] <= 3_660 + 86_400


# Reads are consistent: who wrote before is seen.


def test_every_read_is_strongly_consistent(
    table: Table, requests: list[tuple[str, dict[str, Any]]]
) -> None:
    topics_of(table, "c1=")
    table.is_subscribed("c1=", A)
    table.subscribers(A, FIRST, LAST)
    table.head(A)
    table.find(A, "1", START, 9)
    table.logged(A, START, 9)
    table.ends_at("c1=", A)
    table.is_revoked(ALICE)
    table.expiring(1)

    assert len(requests) == 9
    for name, parameters in requests:
        assert parameters["ConsistentRead"] is True, name


# Where DynamoDB is in the way.


def refusal(code: str, operation: str, **more: Any) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": code}, **more}
    return ClientError(response, operation)


def cancelled(*codes: str, item: dict[str, Any] | None = None) -> ClientError:
    reasons = [{"Code": code, **({"Item": item} if item else {})} for code in codes]
    return refusal(
        "TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons
    )


def raising(errors: Iterable[Exception], method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that raises these errors first."""
    remaining = iter(errors)

    def call(**arguments: Any) -> Any:
        for error in remaining:
            raise error
        return method(**arguments)

    return call


Use = Callable[[Table, Clock], object]

# Every method, with the operation that it makes.
METHODS: dict[str, tuple[str, Use]] = {
    "put_connection": ("put_item", lambda table, _: table.put_connection(OTHER)),
    "put_connection, with a user": (
        "transact_write_items",
        lambda table, _: table.put_connection(OTHER, ALICE),
    ),
    "revoke": ("update_item", lambda table, _: table.revoke(USER, 9, 10)),
    "is_revoked": ("get_item", lambda table, _: table.is_revoked(ALICE)),
    "renew": ("update_item", lambda table, _: table.renew("c3=", ALICE, LATER)),
    "prolong": ("update_item", lambda table, _: table.prolong(CONNECTION, A, ALICE)),
    "note_expiry": ("put_item", lambda table, _: table.note_expiry("c1=", 60)),
    "expiring": ("query", lambda table, _: table.expiring(1)),
    "forget_expiring": ("batch_write_item", lambda table, _: table.forget_expiring(1, ["c1="])),
    "connected_since": ("get_item", lambda table, _: table.connected_since("c1=", 0)),
    "delete_connection": ("delete_item", lambda table, _: table.delete_connection("c1=")),
    "connection": ("get_item", lambda table, _: table.connection("c1=")),
    "ends_at": ("get_item", lambda table, _: table.ends_at("c1=", A)),
    "add_subscriptions": (
        "transact_write_items",
        lambda table, _: table.add_subscriptions(CONNECTION, {B}, (), 9),
    ),
    "take_topics": ("update_item", lambda table, _: table.take_topics("c1=", {A})),
    "delete_subscriptions": (
        "batch_write_item",
        lambda table, _: table.delete_subscriptions("c1=", [A]),
    ),
    "is_subscribed": ("get_item", lambda table, _: table.is_subscribed("c1=", A)),
    "subscribers": ("query", lambda table, _: table.subscribers(A, FIRST, LAST)),
    "head": ("get_item", lambda table, _: table.head(A)),
    "open_head": ("update_item", lambda table, _: table.open_head(B, EPOCH, 1)),
    "move_head": ("update_item", lambda table, _: table.move_head(A, Cursor(EPOCH, 0))),
    "fill_slot": ("put_item", lambda table, _: table.fill_slot(A, "1", logged(1)[0], 1)),
    "find": ("query", lambda table, _: table.find(A, "1", START, 9)),
    "logged": ("query", lambda table, _: table.logged(A, START, 9)),
    "claim_job": ("update_item", lambda table, clock: claim(table, clock, key="2#whole")),
    "write_job": ("update_item", lambda table, _: table.write_job("1#whole", "me", done=True)),
}


@pytest.fixture
def with_something(table: Table, clock: Clock) -> None:
    connected(table)
    subscribed(table, CONNECTION, A)
    table.put_connection(THIRD, ALICE)
    table.open_head(A, EPOCH, 0)
    claim(table, clock)


def test_every_method_is_known_here() -> None:
    public = {name for name in vars(Table) if not name.startswith("_")}

    assert {name.partition(",")[0] for name in METHODS} == public


PASSING = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionConflictException",
    "TransactionInProgressException",
]


@pytest.mark.usefixtures("with_something")
@pytest.mark.parametrize("method", METHODS)
def test_what_meets_another_request_or_is_throttled_is_tried_again(
    make: Make, dynamodb: Any, clock: Clock, method: str
) -> None:
    operation, use = METHODS[method]
    errors = [refusal(code, operation) for code in PASSING]
    contended = make(**{operation: raising(errors, getattr(dynamodb, operation))})

    use(contended, clock)

    assert len(clock.slept) == len(PASSING)
    assert all(0 <= seconds <= 0.5 for seconds in clock.slept)


@pytest.mark.usefixtures("with_something")
@pytest.mark.parametrize("method", METHODS)
def test_what_never_passes_is_service_unavailable_after_five_seconds(
    make: Make, rows: Rows, clock: Clock, method: str
) -> None:
    operation, use = METHODS[method]
    before = rows()
    for code in ("ThrottlingException", "TransactionConflictException"):

        def refuse(code: str = code, **_: Any) -> None:
            raise refusal(code, operation)

        begun = clock.now
        with pytest.raises(ServiceUnavailable):
            use(make(**{operation: refuse}), clock)
        assert 5 <= clock.now - begun < 6
    assert rows() == before


LASTING = [
    refusal("InternalServerError", "?"),
    refusal("ValidationException", "?"),
    refusal("ResourceNotFoundException", "?"),
    refusal("AccessDeniedException", "?"),
    ReadTimeoutError(endpoint_url="https://dynamodb"),
    EndpointConnectionError(endpoint_url="https://dynamodb"),
]


@pytest.mark.parametrize("method", METHODS)
def test_a_service_that_fails_is_service_unavailable_at_once(
    make: Make, clock: Clock, method: str
) -> None:
    operation, use = METHODS[method]
    for error in LASTING:

        def fail(error: Exception = error, **_: Any) -> None:
            raise error

        with pytest.raises(ServiceUnavailable) as unavailable:
            use(make(**{operation: fail}), clock)
        assert unavailable.value.__cause__ is error
    assert clock.slept == []


@pytest.mark.parametrize(
    "codes",
    [
        ("None", "TransactionConflict"),
        ("TransactionConflict", "None"),
        ("None", "ThrottlingError"),
        ("None", "ProvisionedThroughputExceeded"),
        # The condition was read while another transaction was writing: it has to be read again.
        ("ConditionalCheckFailed", "TransactionConflict"),
    ],
    ids=str,
)
def test_a_transaction_that_meets_another_is_tried_again(
    make: Make, table: Table, dynamodb: Any, clock: Clock, codes: tuple[str, str]
) -> None:
    connected(table)
    write = raising([cancelled(*codes)] * 5, dynamodb.transact_write_items)

    assert make(transact_write_items=write).add_subscriptions(CONNECTION, {A}, (), 9) is None
    assert table.subscribers(A, FIRST, LAST) == (["c1="], False)
    assert len(clock.slept) == 5


def test_a_transaction_cancelled_for_a_lasting_reason_is_not_tried_again(
    make: Make, dynamodb: Any, clock: Clock
) -> None:
    write = raising([cancelled("ValidationError", "None")], dynamodb.transact_write_items)

    with pytest.raises(ServiceUnavailable):
        make(transact_write_items=write).add_subscriptions(CONNECTION, {A}, (), 9)
    assert clock.slept == []


def test_a_refused_subscribe_says_what_it_met(make: Make) -> None:
    """As DynamoDB says it: a reason for each item, and the item where the condition failed."""
    item = {"pk": {"S": "CONNECTION#c1="}, "topics": {"SS": ["ENTITY#a"]}}

    def met(error: ClientError) -> SubscribeRefused | None:
        table = make(transact_write_items=raising([error], lambda **_: {}))
        return table.add_subscriptions(CONNECTION, {B}, (), 9)

    assert met(cancelled("ConditionalCheckFailed", "None", item=item)) == SubscribeRefused(
        ConnectionRow(frozenset({A}), None)
    )
    assert met(cancelled("ConditionalCheckFailed", "None")) == SubscribeRefused(None)


def test_what_a_batch_did_not_delete_is_deleted_again(
    make: Make, table: Table, dynamodb: Any, rows: Rows
) -> None:
    connected(table)
    topics = [Topic.entity(str(number)) for number in range(30)]
    subscribed(table, CONNECTION, *topics)

    def some(RequestItems: dict[str, list[Any]]) -> dict[str, Any]:
        (requests,) = RequestItems.values()
        dynamodb.batch_write_item(RequestItems={"connections": requests[:4]})
        rest = requests[4:]
        return {"UnprocessedItems": {"connections": rest} if rest else {}}

    make(batch_write_item=some).delete_subscriptions("c1=", topics)

    assert [row["pk"] for row in rows()] == ["CONNECTION#c1="]


def test_a_batch_of_which_something_is_always_left_is_service_unavailable(
    make: Make, clock: Clock
) -> None:
    begun = clock.now

    def nothing(RequestItems: dict[str, Any]) -> dict[str, Any]:
        return {"UnprocessedItems": RequestItems}

    with pytest.raises(ServiceUnavailable):
        make(batch_write_item=nothing).delete_subscriptions("c1=", [A])
    assert 5 <= clock.now - begun < 6


def test_a_disconnect_that_meets_a_running_subscribe_leaves_no_rows(
    make: Make, table: Table, dynamodb: Any, rows: Rows
) -> None:
    """The conflict is over when the transaction is; what that has added is deleted too."""
    connected(table)
    subscribed(table, CONNECTION, A, B)
    conflicts = 3

    def delete(**arguments: Any) -> Any:
        nonlocal conflicts
        if conflicts:
            conflicts -= 1
            if not conflicts:
                subscribed(table, CONNECTION, C)
            raise refusal("TransactionConflictException", "DeleteItem")
        return dynamodb.delete_item(**arguments)

    assert forget(make(delete_item=delete), "c1=") == 3
    assert rows() == []


def test_a_subscribe_behind_a_disconnect_leaves_nothing(table: Table, rows: Rows) -> None:
    connected(table)
    forget(table, "c1=")

    refused = table.add_subscriptions(CONNECTION, {A}, (), 9)

    assert refused == SubscribeRefused(None)
    assert rows() == []


@pytest.mark.usefixtures("with_something")
@pytest.mark.parametrize("method", METHODS)
def test_a_request_that_is_carried_out_twice_has_its_effect_once(
    make: Make, dynamodb: Any, clock: Clock, rows: Rows, method: str
) -> None:
    """The answer was lost, and the SDK sends the same request again."""
    operation, use = METHODS[method]
    call = getattr(dynamodb, operation)
    between: list[dict[str, Any]] = []

    def twice(**request: Any) -> Any:
        # A transaction is known again by its token, which the SDK makes once for all its tries.
        token = {"ClientRequestToken": "t"} if operation == "transact_write_items" else {}
        call(**request, **token)
        between.extend(rows())
        return call(**request, **token)

    answer = use(make(**{operation: twice}), clock)

    assert rows() == between
    if method == "delete_connection":
        # What its set named is met again by the next event of each topic.
        assert answer == frozenset()
    elif method == "move_head":
        assert answer == Head(Cursor(EPOCH, 1), 0)
    elif method == "claim_job":
        assert isinstance(answer, JobRow)
        assert answer.mine
    elif method in ("fill_slot", "write_job"):
        assert answer is True
    elif method == "renew":
        assert answer == {USER}
    elif method == "add_subscriptions":
        assert answer is None
