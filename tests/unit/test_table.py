"""The table adapter where DynamoDB is slow, contended, throttled or behind."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from push.adapters.table import ConnectionTable
from push.connection import Connection
from push.errors import ConnectionGone, ServiceUnavailable, TooManySubscriptions
from push.settings import StoreSettings

NOW = 1795484900.0
CONNECTION = Connection("c1=", "203.0.113.7", datetime.fromtimestamp(NOW - 100, UTC))
OTHER = Connection("c2=", "203.0.113.8", datetime.fromtimestamp(NOW - 50, UTC))

Rows = Callable[[], list[dict[str, Any]]]


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = NOW
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(seconds, 0.01)


class Instead:
    """A client of which some methods are replaced."""

    def __init__(self, client: Any, **methods: Callable[..., Any]) -> None:
        self._client = client
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Callable[[Any], ConnectionTable]:
    def make(client: Any) -> ConnectionTable:
        settings = StoreSettings("connections", max_subscriptions_per_connection=3)
        return ConnectionTable(client, settings, clock=clock, sleep=clock.sleep)

    return make


@pytest.fixture
def table(make: Callable[[Any], ConnectionTable], dynamodb: Any) -> ConnectionTable:
    table = make(dynamodb)
    table.add_connection(CONNECTION)
    table.add_connection(OTHER)
    return table


def refusal(code: str, operation: str, **more: Any) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": code}, **more}
    return ClientError(response, operation)


def cancelled(*codes: str) -> ClientError:
    reasons = [{"Code": code} for code in codes]
    return refusal(
        "TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons
    )


def raising(errors: list[ClientError], method: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that raises these errors first."""
    remaining = iter(errors)

    def call(**arguments: Any) -> Any:
        for error in remaining:
            raise error
        return method(**arguments)

    return call


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
)
def test_a_transaction_that_meets_another_is_tried_again(
    make: Callable[[Any], ConnectionTable],
    table: ConnectionTable,
    dynamodb: Any,
    clock: Clock,
    codes: tuple[str, str],
) -> None:
    errors = [cancelled(*codes)] * 5
    contended = make(
        Instead(dynamodb, transact_write_items=raising(errors, dynamodb.transact_write_items))
    )

    assert contended.subscribe(CONNECTION, "e") is True
    assert list(table.subscribers("e")) == ["c1="]
    assert len(clock.slept) == 5
    assert all(0 <= seconds <= 0.2 for seconds in clock.slept)


def test_a_transaction_that_never_succeeds_ends_as_service_unavailable(
    make: Callable[[Any], ConnectionTable], table: ConnectionTable, dynamodb: Any, clock: Clock
) -> None:
    errors = [cancelled("None", "TransactionConflict")] * 10_000
    contended = make(
        Instead(dynamodb, transact_write_items=raising(errors, dynamodb.transact_write_items))
    )

    with pytest.raises(ServiceUnavailable):
        contended.subscribe(CONNECTION, "e")
    assert 5 <= clock.now - NOW < 6
    assert list(table.subscribers("e")) == []


def test_a_transaction_cancelled_for_a_lasting_reason_is_not_tried_again(
    make: Callable[[Any], ConnectionTable], dynamodb: Any, clock: Clock
) -> None:
    errors = [cancelled("ValidationError", "None")]
    broken = make(
        Instead(dynamodb, transact_write_items=raising(errors, dynamodb.transact_write_items))
    )

    with pytest.raises(ServiceUnavailable):
        broken.subscribe(CONNECTION, "e")
    assert clock.slept == []


@pytest.mark.parametrize(
    "error",
    [
        refusal("ThrottlingException", "PutItem"),
        refusal("InternalServerError", "PutItem"),
        ReadTimeoutError(endpoint_url="https://dynamodb"),
    ],
)
def test_a_service_that_fails_is_service_unavailable(
    make: Callable[[Any], ConnectionTable], dynamodb: Any, error: Exception
) -> None:
    def fail(**_: Any) -> None:
        raise error

    with pytest.raises(ServiceUnavailable) as caught:
        make(Instead(dynamodb, put_item=fail)).add_connection(CONNECTION)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("existing", "reasons", "error"),
    [
        (False, [{"Code": "None"}, {"Code": "ConditionalCheckFailed"}], ConnectionGone),
        # DynamoDB names the reason of every item: an orphan's row is no subscription.
        (True, [{"Code": "ConditionalCheckFailed"}] * 2, ConnectionGone),
        (
            False,
            [{"Code": "None"}, {"Code": "ConditionalCheckFailed", "Item": {"pk": {"S": "x"}}}],
            TooManySubscriptions,
        ),
        (
            True,
            [
                {"Code": "ConditionalCheckFailed"},
                {"Code": "ConditionalCheckFailed", "Item": {"pk": {"S": "x"}}},
            ],
            None,
        ),
    ],
)
def test_the_reasons_of_a_refused_subscribe_are_told_apart(
    make: Callable[[Any], ConnectionTable],
    dynamodb: Any,
    existing: bool,
    reasons: list[dict[str, Any]],
    error: type[Exception] | None,
) -> None:
    refused = refusal(
        "TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons
    )
    table = make(Instead(dynamodb, transact_write_items=raising([refused], lambda **_: None)))

    if error:
        with pytest.raises(error):
            table.subscribe(CONNECTION, "e")
    else:
        assert existing
        assert table.subscribe(CONNECTION, "e") is False


class LaggingIndex:
    """Hides some rows of the index from the first queries."""

    def __init__(self, client: Any, clock: Clock, seconds: float) -> None:
        self._client, self._clock, self._until = client, clock, clock.now + seconds

    def get_paginator(self, operation: str) -> "LaggingIndex":
        return self

    def paginate(self, **arguments: Any) -> Iterator[dict[str, Any]]:
        for page in self._client.get_paginator("query").paginate(**arguments):
            if "IndexName" in arguments and self._clock.now < self._until:
                yield {"Items": page["Items"][:1]}
            else:
                yield page


@pytest.fixture
def lagging(
    make: Callable[[Any], ConnectionTable], dynamodb: Any, clock: Clock
) -> Callable[[float], ConnectionTable]:
    def lagging(seconds: float) -> ConnectionTable:
        index = LaggingIndex(dynamodb, clock, seconds)
        return make(Instead(dynamodb, get_paginator=index.get_paginator))

    return lagging


def test_disconnect_waits_for_the_index(
    table: ConnectionTable, lagging: Callable[[float], ConnectionTable], rows: Rows
) -> None:
    for entity_id in "abc":
        table.subscribe(CONNECTION, entity_id)

    assert lagging(0.5).remove_connection("c1=") == 3
    assert [row["connectionId"] for row in rows()] == ["c2="]


def test_disconnect_does_not_wait_for_ever(
    table: ConnectionTable, lagging: Callable[[float], ConnectionTable], clock: Clock
) -> None:
    for entity_id in "abc":
        table.subscribe(CONNECTION, entity_id)

    lagging(1e9).remove_connection("c1=")

    assert 1 <= clock.now - NOW < 1.5


def test_subscriptions_shows_what_was_just_subscribed(
    table: ConnectionTable, lagging: Callable[[float], ConnectionTable]
) -> None:
    table.subscribe(CONNECTION, "b")
    table.subscribe(CONNECTION, "a")

    assert lagging(0.5).subscriptions("c1=") == ["a", "b"]


def test_a_known_row_is_removed_even_if_the_index_never_shows_it(
    table: ConnectionTable, lagging: Callable[[float], ConnectionTable]
) -> None:
    for entity_id in "ab":
        table.subscribe(CONNECTION, entity_id)

    lagging(1e9).remove_connection("c1=", "b")

    assert list(table.subscribers("b")) == []


def test_subscribe_after_disconnect_leaves_nothing_behind(
    table: ConnectionTable, rows: Rows
) -> None:
    table.remove_connection("c1=")

    with pytest.raises(ConnectionGone):
        table.subscribe(CONNECTION, "e")
    assert [row["connectionId"] for row in rows()] == ["c2="]


def test_subscribers_are_read_past_the_first_page(table: ConnectionTable, dynamodb: Any) -> None:
    connections = [
        Connection(f"{number:02}=", "203.0.113.7", CONNECTION.connected_at) for number in range(9)
    ]
    for connection in connections:
        table.add_connection(connection)
        table.subscribe(connection, "e")
    pages = 0

    def small_pages(params: dict[str, Any], **_: Any) -> None:
        nonlocal pages
        pages += 1
        params["Limit"] = 2

    dynamodb.meta.events.register("provide-client-params.dynamodb.Query", small_pages)

    assert list(table.subscribers("e")) == [connection.connection_id for connection in connections]
    assert pages > 4
    # Disconnect reads its index in the same way.
    pages = 0
    table.remove_connection(connections[0].connection_id)
    assert pages > 0


@pytest.mark.parametrize("after", ["03=", "03>"])
def test_subscribers_are_read_from_a_connection_on_whether_or_not_it_still_exists(
    table: ConnectionTable, after: str
) -> None:
    for number in range(6):
        connection = Connection(f"{number:02}=", "203.0.113.7", CONNECTION.connected_at)
        table.add_connection(connection)
        table.subscribe(connection, "e")

    assert list(table.subscribers("e", after=after)) == ["04=", "05="]


def test_what_a_connection_holds_is_read_past_the_first_page(
    table: ConnectionTable, dynamodb: Any, rows: Rows
) -> None:
    for entity_id in "abc":
        table.subscribe(CONNECTION, entity_id)

    def small_pages(params: dict[str, Any], **_: Any) -> None:
        params["Limit"] = 1

    dynamodb.meta.events.register("provide-client-params.dynamodb.Query", small_pages)

    assert table.remove_connection("c1=") == 3
    assert [row["connectionId"] for row in rows()] == ["c2="]


def test_subscribers_that_expired_are_left_out(
    make: Callable[[Any], ConnectionTable], table: ConnectionTable, dynamodb: Any, clock: Clock
) -> None:
    table.subscribe(CONNECTION, "e")
    table.subscribe(OTHER, "e")
    assert list(table.subscribers("e")) == ["c1=", "c2="]

    # Two hours and ten minutes after the first connection, and 50 s less after the second.
    clock.now = CONNECTION.ttl_seconds

    assert list(table.subscribers("e")) == ["c2="]


def test_subscribers_are_only_those_of_the_entity(table: ConnectionTable) -> None:
    table.subscribe(CONNECTION, "e")
    table.subscribe(OTHER, "e2")

    assert list(table.subscribers("e")) == ["c1="]


def test_subscribers_reads_consistently_and_only_the_keys(
    table: ConnectionTable, dynamodb: Any
) -> None:
    seen: list[dict[str, Any]] = []
    dynamodb.meta.events.register(
        "provide-client-params.dynamodb.Query", lambda params, **_: seen.append(params)
    )

    list(table.subscribers("e"))

    assert seen[0]["ConsistentRead"] is True
    assert seen[0]["ProjectionExpression"] == "sk"


def test_what_a_batch_did_not_delete_is_deleted_again(
    make: Callable[[Any], ConnectionTable], table: ConnectionTable, dynamodb: Any, rows: Rows
) -> None:
    for entity_id in "abc":
        table.subscribe(CONNECTION, entity_id)

    def one_at_a_time(RequestItems: dict[str, list[Any]]) -> dict[str, Any]:
        (requests,) = RequestItems.values()
        dynamodb.batch_write_item(RequestItems={"connections": requests[:1]})
        rest = requests[1:]
        return {"UnprocessedItems": {"connections": rest} if rest else {}}

    make(Instead(dynamodb, batch_write_item=one_at_a_time)).remove_connection("c1=")

    assert [row["connectionId"] for row in rows()] == ["c2="]


def test_a_table_that_stays_throttled_is_service_unavailable(
    make: Callable[[Any], ConnectionTable], table: ConnectionTable, dynamodb: Any
) -> None:
    table.subscribe(CONNECTION, "e")

    def nothing(RequestItems: dict[str, Any]) -> dict[str, Any]:
        return {"UnprocessedItems": RequestItems}

    with pytest.raises(ServiceUnavailable):
        make(Instead(dynamodb, batch_write_item=nothing)).remove_connection("c1=")


def test_every_row_expires_in_seconds_and_not_before_its_connection_can_end(
    table: ConnectionTable, rows: Rows
) -> None:
    table.subscribe(CONNECTION, "e")

    connected = CONNECTION.connected_at.timestamp()
    for row in rows():
        assert 2 * 3600 <= int(row["ttl"]) - connected <= 3 * 3600
