"""What operations cost: requests to DynamoDB, write units and read units, as in the design.

Connection ids have 16 characters, entity ids and event ids 36, frames about 300 bytes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from time import sleep
from typing import Any, NamedTuple, cast
from uuid import UUID

import pytest

from identity.claims import Identity
from push.access import Access
from push.adapters.table import Table
from push.batches import Batch, Message, Posting
from push.connection import Connection
from push.delivery import Delivery, Unresponsive
from push.errors import Finished
from push.events import Event
from push.jobs import Letter
from push.protocol import Wanted
from push.subscriptions import Subscriptions, forget, remember, room_for_one, room_for_several
from push.topics import Cursor, Log, Topic
from support import events
from support.dynamodb import DynamoDB, Meter
from support.exchange import NOW, Clock, FakeExchange


class Cost(NamedTuple):
    requests: int
    write_units: int
    read_units: float


class Queue:
    """The delivery queue."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []

    def send(self, letters: Any, *_: Any) -> None:
        self.letters += letters


class Stack:
    """The functions on a table that counts."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.dynamodb = DynamoDB()
        client: Any = self.dynamodb
        self.table = Table(client, "table", clock=clock, sleep=clock.sleep)
        self.log = Log(self.table, kept_seconds=604_800, clock=clock)
        self.exchange = FakeExchange(clock)
        self.queue = Queue()
        self.subscriptions = self.those_of(None)
        self.numbers = count(1)
        self.with_tokens = False

    def those_of(self, access: Access | None) -> Subscriptions:
        return Subscriptions(
            self.table,
            access=access,
            max_per_connection=100,
            side_by_side=lambda call, arguments: [call(each) for each in arguments],
            clock=self.clock,
        )

    @contextmanager
    def counted(self) -> Iterator[Callable[[], Cost]]:
        """Count the requests of a block; what it yields says what they cost."""
        meter = self.dynamodb.meter = Meter()
        yield lambda: Cost(meter.requests, meter.write_units, meter.read_units)
        self.dynamodb.meter = None

    def cost(self, operation: Callable[[], object]) -> Cost:
        with self.counted() as cost:
            operation()
        return cost()

    # What there is.

    def topic(self) -> Topic:
        return Topic.entity(str(UUID(int=next(self.numbers) << 64)))

    def connection(self) -> Connection:
        connection = self.unknown()
        remember(self.table, connection, None, 100)
        return connection

    def unknown(self) -> Connection:
        connection_id = f"{next(self.numbers):015}="
        return Connection(connection_id, "203.0.113.7", datetime.fromtimestamp(NOW, UTC))

    def guest(self) -> Connection:
        """Return a connection that came with a token, and was not the first of its user."""
        connection = self.unknown()
        for each in (self.unknown(), connection):
            remember(self.table, each, ALICE, 100)
        return connection

    def subscriber(self, *topics: Topic) -> Connection:
        connection = self.connection()
        self.subscribe(connection, *topics)
        return connection

    def watched(self, subscribers: int = 1, logged: int = 1) -> Topic:
        topic = self.topic()
        for _ in range(subscribers):
            self.subscriber(topic)
        self.log.open(topic)
        for _ in range(logged):
            self.notify(self.event(topic))
        return topic

    def event(self, topic: Topic, size: int = 120) -> Event:
        event_id = str(UUID(int=next(self.numbers)))
        detail = {"entityId": topic.id, "data": "x" * size}
        return events.parsed(events.encoded(events.entity_updated(event_id, **detail)))

    # What happens.

    def subscribe(
        self, connection: Connection, *topics: Topic, since: Cursor | None = None
    ) -> None:
        wanted = [Wanted(topic, since) for topic in topics]
        room = room_for_several(wanted, None) if len(wanted) > 1 else room_for_one()
        self.subscriptions.subscribe(connection, wanted, room)

    def delivery(self) -> Delivery:
        return Delivery(
            self.table,
            self.log,
            self.queue,
            self.queue,
            self.exchange.window,
            subscribers_per_delivery=1_000,
            seconds_left=lambda: 30.0,
            unresponsive=Unresponsive(self.clock),
            side_by_side=lambda call, arguments: [call(each) for each in arguments],
            clock=self.clock,
            wall_clock=self.clock,
            access=Access("/", has_tenants=False) if self.with_tokens else None,
        )

    def notify(self, event: Event) -> None:
        """Deliver an event, and the letters that it makes."""
        self.delivery().notify(event, nullcontext())
        while self.queue.letters:
            self.delivery().carry(self.queue.letters.pop(0))


ALICE = Identity("alice", "", ("alice/*", "*"), int(NOW) - 60, int(NOW) + 3600)


@pytest.fixture
def stack(clock: Clock) -> Stack:
    return Stack(clock)


def test_connect(stack: Stack) -> None:
    assert stack.cost(stack.connection) == Cost(1, 1, 0)


def test_the_first_subscription_of_a_topic_opens_its_log(stack: Stack) -> None:
    connection, topic = stack.connection(), stack.topic()

    assert stack.cost(lambda: stack.subscribe(connection, topic)) == Cost(3, 5, 1)


def test_a_later_subscription_finds_it_open(stack: Stack) -> None:
    connection, topic = stack.connection(), stack.watched()

    assert stack.cost(lambda: stack.subscribe(connection, topic)) == Cost(2, 4, 1)


def test_the_50th_subscription_of_a_connection_costs_for_its_set(stack: Stack) -> None:
    connection = stack.subscriber(*(stack.topic() for _ in range(49)))
    topic = stack.watched()

    assert stack.cost(lambda: stack.subscribe(connection, topic)) == Cost(2, 8, 1)


def test_ten_subscriptions_at_once(stack: Stack) -> None:
    connection, topics = stack.connection(), [stack.watched() for _ in range(10)]

    assert stack.cost(lambda: stack.subscribe(connection, *topics)) == Cost(11, 22, 10)


@pytest.mark.parametrize(("missed", "read_units"), [(0, 0), (10, 2), (100, 11)])
def test_what_is_recovered_is_one_read_beside_the_subscription(
    stack: Stack, missed: int, read_units: int
) -> None:
    connection, topic = stack.connection(), stack.watched(logged=missed)
    head = stack.table.head(topic)
    assert head
    since = Cursor(head.cursor.epoch, 0)

    cost = stack.cost(lambda: stack.subscribe(connection, topic, since=since))

    assert cost == Cost(2 + bool(missed), 4, 1 + read_units)


def test_history_is_three_reads(stack: Stack) -> None:
    connection, topic = stack.connection(), stack.watched(logged=10)
    stack.subscribe(connection, topic)
    head = stack.table.head(topic)
    assert head
    wanted = Wanted(topic, Cursor(head.cursor.epoch, 5))

    cost = stack.cost(
        lambda: stack.subscriptions.history(connection.connection_id, wanted, room_for_one())
    )

    assert cost == Cost(3, 0, 3)


def test_unsubscribe(stack: Stack) -> None:
    topic = stack.watched()
    connection = stack.subscriber(topic)

    cost = stack.cost(lambda: stack.subscriptions.unsubscribe(connection.connection_id, [topic]))

    assert cost == Cost(2, 2, 0)


def test_the_list_of_subscriptions_is_one_read(stack: Stack) -> None:
    connection = stack.subscriber(*(stack.topic() for _ in range(10)))

    cost = stack.cost(lambda: stack.subscriptions.entity_ids(connection.connection_id))

    assert cost == Cost(1, 0, 1)


@pytest.mark.parametrize(("topics", "requests"), [(0, 1), (1, 2), (10, 2)])
def test_a_disconnect_is_one_write_and_one_for_each_topic(
    stack: Stack, topics: int, requests: int
) -> None:
    connection = stack.connection()
    if topics:
        stack.subscribe(connection, *(stack.topic() for _ in range(topics)))

    cost = stack.cost(lambda: forget(stack.table, connection.connection_id))

    assert cost == Cost(requests, 1 + topics, 0)


def test_an_event_that_nobody_watches_is_one_read_and_no_write(stack: Stack) -> None:
    event = stack.event(stack.topic())

    assert stack.cost(lambda: stack.notify(event)) == Cost(1, 0, 1)


@pytest.mark.parametrize("subscribers", [0, 1, 20])
def test_a_small_event_is_four_writes(stack: Stack, subscribers: int) -> None:
    event = stack.event(stack.watched(subscribers))

    assert stack.cost(lambda: stack.notify(event)) == Cost(6, 4, 2)


def test_a_large_frame_is_written_once(stack: Stack) -> None:
    event = stack.event(stack.watched(logged=3), size=9_600)

    assert stack.cost(lambda: stack.notify(event)) == Cost(6, 13, 2)


def test_a_second_copy_is_one_write(stack: Stack) -> None:
    """A condition that fails costs what it read."""
    event = stack.event(stack.watched())
    stack.notify(event)

    def again() -> None:
        with pytest.raises(Finished):
            stack.notify(event)

    assert stack.cost(again) == Cost(2, 1, 1)


def test_ten_events_of_one_topic_in_one_batch_cost_ten_times_as_much_as_one(stack: Stack) -> None:
    """They take turns, in threads of their own; else they would meet in every slot."""
    topic = stack.watched()
    ten = {event.id: event for event in (stack.event(topic) for _ in range(10))}
    unused: Any = None
    batch = Batch(
        Posting(
            table=stack.table,
            log=stack.log,
            log_unwatched=False,
            subscribers_per_delivery=1_000,
            exchange=cast(Any, FakeExchange(threads=10)),
            letters=unused,
            dead_letters=unused,
            receipts=unused,
            unresponsive=Unresponsive(),
        ),
        lambda: 30.0,
    )

    def notify(message: Message, batch: Batch) -> None:
        batch.delivery.notify(ten[message.body], batch.turn(topic))

    # So that each has begun before one is through.
    stack.dynamodb.before = lambda *_: sleep(0.001)

    cost = stack.cost(
        lambda: batch.handle([events.batch(each)["Records"][0] for each in ten], notify)
    )

    assert cost == Cost(60, 40, 20)


@pytest.mark.parametrize(
    ("subscribers", "at_most"), [(1_000, Cost(12, 15, 48)), (10_000, Cost(92, 130, 940))]
)
def test_an_event_with_many_subscribers_costs_for_its_notes(
    stack: Stack, subscribers: int, at_most: Cost
) -> None:
    """One for 200 posts, which names those that are in flight; and whom it posts to is read."""
    event = stack.event(stack.watched(subscribers))

    cost = stack.cost(lambda: stack.notify(event))

    assert all(each <= most for each, most in zip(cost, at_most, strict=True)), cost


# With tokens.


def test_a_connection_with_a_user_is_noted_and_subscribed_and_may_be_revoked(stack: Stack) -> None:
    """The note of its end, a transaction of two, and reads: head, revocation, how many it has."""
    stack.guest()
    connection = stack.unknown()

    cost = stack.cost(lambda: remember(stack.table, connection, ALICE, 100))

    assert cost == Cost(5, 5, 3)


def test_the_first_connection_of_a_user_opens_its_log(stack: Stack) -> None:
    connection = stack.unknown()

    cost = stack.cost(lambda: remember(stack.table, connection, ALICE, 100))

    assert cost == Cost(6, 6, 3)


def test_a_token_that_outlives_its_connection_needs_no_note(stack: Stack) -> None:
    stack.guest()
    connection = stack.unknown()
    long = replace(ALICE, expires_at=int(NOW) + 86_400)

    cost = stack.cost(lambda: remember(stack.table, connection, long, 100))

    assert cost == Cost(4, 4, 3)


def test_a_subscription_with_a_token_is_one_read_more(stack: Stack) -> None:
    connection, topic = stack.guest(), stack.watched()
    stack.subscriptions = stack.those_of(Access("/", has_tenants=False))

    assert stack.cost(lambda: stack.subscribe(connection, topic)) == Cost(3, 4, 2)


def test_history_with_a_token_is_three_reads_as_without(stack: Stack) -> None:
    connection, topic = stack.guest(), stack.watched(logged=10)
    stack.subscriptions = stack.those_of(Access("/", has_tenants=False))
    stack.subscribe(connection, topic)
    head = stack.table.head(topic)
    assert head
    wanted = Wanted(topic, Cursor(head.cursor.epoch, 5))

    cost = stack.cost(
        lambda: stack.subscriptions.history(connection.connection_id, wanted, room_for_one())
    )

    assert cost == Cost(3, 0, 3)


@pytest.mark.parametrize("has_user", [False, True])
def test_a_ping_is_one_read(stack: Stack, has_user: bool) -> None:
    connection = stack.guest() if has_user else stack.connection()

    assert stack.cost(lambda: stack.subscriptions.require(connection.connection_id)) == Cost(
        1, 0, 1
    )


def test_to_leave_out_who_has_ended_costs_nothing(stack: Stack) -> None:
    """That is read with the subscribers."""
    topic = stack.watched(0)
    for _ in range(20):
        connection = stack.guest()
        refused = stack.table.add_subscriptions(connection, {topic}, (), 99, ALICE)
        assert refused is None
    stack.with_tokens = True
    event = stack.event(topic)

    assert stack.cost(lambda: stack.notify(event)) == Cost(6, 4, 2)
