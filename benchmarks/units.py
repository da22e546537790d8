"""Count what operations cost: requests to DynamoDB, and the units that it bills.

    PYTHONPATH=functions:tests python -m benchmarks.units

The functions' own code runs against the table of tests/support/dynamodb.py, which counts as
DynamoDB does. Nothing fails, and posts are answered at once. Connection ids have 16 characters,
entity ids 36, frames 300 bytes unless said. What was designed are the counts of the design's model,
which notes a walk after 1,000 posts.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from itertools import count
from uuid import uuid4

from benchmarks.machine import table
from management_api import Result
from push.adapters.table import Table
from push.connection import Connection
from push.delivery import Delivery, Unresponsive
from push.errors import EventRejected, Unclaimed
from push.events import Event
from push.jobs import Letter
from push.observability import logger
from push.protocol import Wanted
from push.subscriptions import Subscriptions, forget, room_for_one
from push.topics import LONGEST_CURSOR, Cursor, Log, Topic
from support import events
from support.dynamodb import DynamoDB, Meter
from support.exchange import FakeExchange

_FRAME_BYTES = 300
_KEPT_SECONDS = 7 * 24 * 3600
_PER_DELIVERY = 1_000
Call = Callable[[], object]
# Requests, write units and read units.
Designed = tuple[int, int, int]


class Letters:
    """The delivery queue."""

    def __init__(self) -> None:
        self.waiting: list[Letter] = []

    def send(self, letters: Sequence[Letter], delay_seconds: int = 0) -> None:
        self.waiting += letters


class NoDeadLetters:
    """A dead-letter queue that gets nothing."""

    def send(self, body: str, rejection: EventRejected) -> None:
        raise AssertionError(rejection)


class Stack:
    """The functions' parts on a table that counts."""

    def __init__(self) -> None:
        self._dynamodb = DynamoDB(Meter())
        self.table = Table(self._dynamodb, "table")  # type: ignore[arg-type]
        self.subscriptions = Subscriptions(
            self.table,
            max_per_connection=100,
            side_by_side=lambda call, arguments: [call(each) for each in arguments],
        )
        self.exchange = FakeExchange()
        self._letters = Letters()
        self._numbers = count()

    def cost(self, *calls: Call) -> Meter:
        """Return what calls cost, one after another, with what couriers then do for them."""
        meter = self._dynamodb.meter = Meter()
        for call in calls:
            call()
        while self._letters.waiting:
            self._delivery().carry(self._letters.waiting.pop(0))
        self._dynamodb.meter = Meter()
        return meter

    def connection(self, *topics: Topic) -> Connection:
        """Return a connection that is known, and subscribed to some topics."""
        connection = self.new_connection()
        self.table.put_connection(connection)
        if topics:
            self.subscribe(connection, *topics)
        return connection

    def new_connection(self) -> Connection:
        id_ = f"L0SM{next(self._numbers):08x}IhQ="
        return Connection(id_, "203.0.113.7", datetime.now(UTC))

    def watched(self, subscribers: int, events: int = 1) -> Topic:
        """Return a topic with some subscribers, and some events in its log."""
        new = topic()
        first = self.connection(new)
        for _ in range(events):
            self.publish(new)
        if not subscribers:
            forget(self.table, first.connection_id)
        for _ in range(subscribers - 1):
            self.connection(new)
        return new

    def subscribe(
        self, connection: Connection, *topics: Topic, since: Cursor | None = None
    ) -> None:
        wanted = [Wanted(each, since) for each in topics]
        self.subscriptions.subscribe(connection, wanted, room_for_one())

    def start(self, of: Topic) -> Cursor:
        """Return the cursor before the first event of a topic."""
        head = self.table.head(of)
        assert head
        return Cursor(head.cursor.epoch, 0)

    def publish(self, to: Topic, frame_bytes: int = _FRAME_BYTES, event_id: str = "") -> None:
        event = an_event(to, frame_bytes, event_id or str(uuid4()))
        with suppress(Unclaimed):
            self._delivery().notify(event, nullcontext())

    def _delivery(self) -> Delivery:
        return Delivery(
            self.table,
            Log(self.table, kept_seconds=_KEPT_SECONDS),
            self._letters,
            NoDeadLetters(),
            self.exchange.window,
            subscribers_per_delivery=_PER_DELIVERY,
            seconds_left=lambda: 30.0,
            # Each function has its own.
            unresponsive=Unresponsive(),
        )


def topic() -> Topic:
    return Topic.entity(str(uuid4()))


def an_event(of: Topic, frame_bytes: int, event_id: str) -> Event:
    """Return an event whose frame has about so many bytes."""

    def parsed(message: str) -> Event:
        return events.parsed(
            json.dumps(
                {
                    "detail-type": "Entity Updated",
                    "id": event_id,
                    "time": "2026-11-24T01:46:41Z",
                    "detail": {"entityId": of.id, "message": message},
                }
            )
        )

    return parsed("x" * (frame_bytes - len(parsed("").frame(LONGEST_CURSOR))))


def measure(large: Sequence[int]) -> Iterator[tuple[str, Meter, Designed | None]]:
    """Yield what operations cost; `large` are numbers of subscribers."""
    stack = Stack()

    def cost(call: Callable[..., object], *arguments: object, **options: object) -> Meter:
        return stack.cost(lambda: call(*arguments, **options))

    def topics(number: int, watched: bool = False) -> list[Topic]:
        return [stack.watched(1) if watched else topic() for _ in range(number)]

    yield "connect", cost(stack.table.put_connection, stack.new_connection()), (1, 1, 0)
    yield (
        "subscribe, first on its topic",
        cost(stack.subscribe, stack.connection(), topic()),
        (3, 5, 1),
    )
    yield "subscribe, later", cost(stack.subscribe, stack.connection(), stack.watched(1)), (2, 4, 1)
    yield (
        "subscribe, as the 50th topic",
        cost(stack.subscribe, stack.connection(*topics(49)), stack.watched(1)),
        (2, 8, 1),
    )
    yield (
        "subscribe 10 at once, first on their topics",
        cost(stack.subscribe, stack.connection(), *topics(10)),
        (21, 32, 10),
    )
    yield (
        "subscribe 10 at once, later",
        cost(stack.subscribe, stack.connection(), *topics(10, watched=True)),
        (11, 22, 10),
    )
    for number, designed in ((1, (3, 4, 2)), (10, (3, 4, 2)), (100, (3, 4, 10))):
        of = stack.watched(1, events=number)
        yield (
            f"subscribe, later, and recover {number} events",
            cost(stack.subscribe, stack.connection(), of, since=stack.start(of)),
            designed,
        )
    of = stack.watched(1, events=100)
    reader, since = stack.connection(of).connection_id, stack.start(of)
    yield (
        "history, 100 events",
        cost(stack.subscriptions.history, reader, Wanted(of, since), room_for_one()),
        None,
    )
    yield (
        "unsubscribe",
        cost(stack.subscriptions.unsubscribe, stack.connection(of).connection_id, [of]),
        (2, 2, 0),
    )
    for number, designed in ((0, (1, 1, 0)), (1, (2, 2, 0)), (10, (2, 11, 0)), (50, (3, 53, 0))):
        leaving = stack.connection(*topics(number)).connection_id
        yield f"disconnect with {number} topics", cost(forget, stack.table, leaving), designed
    yield "event nobody watches", cost(stack.publish, topic()), (1, 0, 1)
    for number in (0, 1, 5):
        yield (
            f"event, {number} subscribers",
            cost(stack.publish, stack.watched(number)),
            (6, 4, 2),
        )
    for frame_bytes, designed_or_none in ((850, None), (1_024, None), (10_000, (6, 13, 2))):
        of = stack.watched(1)
        yield (
            f"event with a frame of {frame_bytes:,} bytes, 1 subscriber",
            cost(stack.publish, of, frame_bytes),
            designed_or_none,
        )
    for number in large:
        yield (
            f"event, {number:,} subscribers",
            cost(stack.publish, stack.watched(number)),
            {1_000: (7, 7, 47), 10_000: (50, 49, 921)}.get(number),
        )
    of = stack.watched(1)
    stack.publish(of, event_id="twice")
    yield "event, a second copy", cost(stack.publish, of, event_id="twice"), (2, 1, 1)
    for result, what in ((Result.GONE, "gone"), (Result.THROTTLED, "throttled once")):
        of = stack.watched(1)
        stack.exchange.tell(stack.connection(of).connection_id, result)
        yield f"event, 2 subscribers, one of them {what}", cost(stack.publish, of), (8, 6, 2)
    of = stack.watched(1)
    yield "10 events of one topic", stack.cost(*[lambda: stack.publish(of)] * 10), (60, 40, 20)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="no large topics")
    options = parser.parse_args(arguments)
    logger.setLevel("CRITICAL")
    rows = []
    for what, meter, designed in measure((100,) if options.quick else (1_000, 10_000)):
        counted = (meter.requests, meter.write_units, int(meter.read_units))
        figures = [f"{each:,}" for each in counted]
        planned = "/".join(f"{each:,}" for each in designed) if designed else ""
        differs = "differs" if designed and designed != counted else ""
        rows.append((what, *figures, planned, differs))
    print(table(("operation", "requests", "write units", "read units", "designed", ""), rows))


if __name__ == "__main__":
    main()
