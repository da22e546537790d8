"""What `make cost` takes a load to use: held to the functions' own code, which runs here."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from io import StringIO
from itertools import count
from typing import Any

import pytest

import connect.app
import disconnect.app
import ping.app
import subscribe.app
from benchmarks.units import Stack, an_event, topic
from identity.claims import Identity
from operations.cost import usage
from operations.cost.usage import Log, Units
from push import observability
from push.access import Access
from push.protocol import Wanted
from push.subscriptions import Subscriptions, forget, remember, room_for_several
from push.topics import LONGEST_CURSOR
from support import events
from support.dynamodb import Meter
from support.exchange import FakeExchange
from support.queues import Queues


@pytest.fixture
def stack() -> Iterator[Stack]:
    yield Stack()
    # What no invocation's end has printed would be printed by the next test's.
    observability._counts.clear()
    observability._measures.clear()


def counted(meter: Meter) -> Units:
    return Units(meter.write_units, meter.read_units)


@pytest.mark.parametrize("topics", [1, 5, 10, 20, 21, 30, 50, 99])
def test_units_of_a_connection_that_comes_subscribes_pings_and_goes(
    stack: Stack, topics: int
) -> None:
    of = [stack.watched(1) for _ in range(topics)]
    connection = stack.new_connection()

    came = stack.cost(lambda: stack.table.put_connection(connection))
    subscribed = stack.cost(lambda: stack.subscribe(connection, *of))
    pinged = stack.cost(lambda: stack.subscriptions.require(connection.connection_id))
    went = stack.cost(lambda: forget(stack.table, connection.connection_id))

    assert counted(came) == usage.connect(tokens=False)
    assert counted(subscribed) == usage.subscribe(topics, 0, 300, tokens=False)
    assert counted(pinged) == usage.ping(topics)
    assert counted(went) == usage.disconnect(topics, tokens=False)


def test_units_of_a_connection_with_a_token(stack: Stack) -> None:
    now = int(datetime.now(UTC).timestamp())
    alice = Identity("alice", "", ("*",), now - 60, now + 3_600)
    remember(stack.table, stack.new_connection(), alice, 100)
    connection, of = stack.new_connection(), [stack.watched(1) for _ in range(3)]
    subscriptions = Subscriptions(
        stack.table,
        access=Access("/", has_tenants=False),
        max_per_connection=100,
        side_by_side=lambda call, arguments: [call(each) for each in arguments],
    )
    wanted = [Wanted(each, None) for each in of]

    came = stack.cost(lambda: remember(stack.table, connection, alice, 100))
    subscribed = stack.cost(
        lambda: subscriptions.subscribe(connection, wanted, room_for_several(wanted, None))
    )
    went = stack.cost(lambda: forget(stack.table, connection.connection_id))

    assert counted(came) == usage.connect(tokens=True)
    assert counted(subscribed) == usage.subscribe(3, 0, 300, tokens=True)
    assert counted(went) == usage.disconnect(3, tokens=True)


@pytest.mark.parametrize("missed", [0, 1, 10, 50, 100])
def test_units_of_what_is_recovered(stack: Stack, missed: int) -> None:
    of = stack.watched(1, events=missed)
    since = stack.start(of)

    cost = stack.cost(lambda: stack.subscribe(stack.connection(), of, since=since))

    assert counted(cost).reads == usage.subscribe(1, missed, 300, tokens=False).reads


@pytest.mark.parametrize("frame", [120, 300, 850, 900, 1_000, 2_000, 10_000, 33_000, 119_000])
def test_units_of_an_event_by_the_size_of_its_frame(stack: Stack, frame: int) -> None:
    of = stack.watched(1)
    # The example's own fields take more than the least.
    size = max(frame, len(an_event(of, 1_000, "x" * 36).frame(LONGEST_CURSOR)) - 700)

    cost = stack.cost(lambda: stack.publish(of, size))

    assert counted(cost) == usage.event(1, size)


@pytest.mark.parametrize(
    "subscribers",
    [0, 1, 22, 150, 199, 200, 999, 1_000, 1_001, 2_000],
)
def test_units_of_an_event_by_its_subscribers(stack: Stack, subscribers: int) -> None:
    of = stack.watched(subscribers)

    found, expected = counted(stack.cost(lambda: stack.publish(of))), usage.event(subscribers, 300)

    assert found.writes == expected.writes
    # A query for each plan begins anew, with what is left of a unit.
    assert found.reads == pytest.approx(expected.reads, abs=2)


@pytest.mark.parametrize("subscribers", [110, 111, 150, 200, 310])
def test_units_of_an_event_that_takes_more_than_one_plan(
    monkeypatch: pytest.MonkeyPatch, stack: Stack, subscribers: int
) -> None:
    """Ranges of ten are read in a unit each, as a thousand are in 47."""
    monkeypatch.setattr("benchmarks.units._PER_DELIVERY", 10)
    of = stack.watched(subscribers)

    found = counted(stack.cost(lambda: stack.publish(of)))

    expected = usage.event(subscribers, 300, walk=10)
    assert found.writes == expected.writes
    assert found.reads == pytest.approx(expected.reads, abs=4)


def test_units_of_an_event_that_nobody_watches(stack: Stack) -> None:
    assert counted(stack.cost(lambda: stack.publish(topic()))) == usage.unwatched()


# Logs.

Took = Callable[[Callable[[], object]], Log]


@pytest.fixture
def took(logs: StringIO, capsys: pytest.CaptureFixture[str]) -> Took:
    """Return what an invocation prints; latencies as if they had three digits."""

    def took(invocation: Callable[[], object]) -> Log:
        logs.seek(0)
        logs.truncate()
        capsys.readouterr()
        invocation()
        told = logs.getvalue().splitlines()
        metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        for line in metrics:
            for name in line.keys() & {"DeliveryLatency", "DeliveryLatencyFromQueue"}:
                line[name] = [100] * len(line[name])
        printed = [json.dumps(line, separators=(",", ":")) for line in metrics]
        return Log(len(told), sum(map(len, told)), len(printed), sum(map(len, printed)))

    return took


@pytest.fixture
def connected(context: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    monkeypatch.setenv("MAX_SUBSCRIPTIONS_PER_CONNECTION", "100")
    numbers = count()

    def connected() -> str:
        connection_id = f"{next(numbers):015}="
        event = events.load("connect")
        event["requestContext"]["connectionId"] = connection_id
        connect.app.lambda_handler(event, context)
        return connection_id

    return connected


def same(found: Log, expected: Log) -> None:
    assert (found.told, found.metrics) == (expected.told, expected.metrics)
    assert found.told_bytes == pytest.approx(expected.told_bytes, rel=0.1)
    assert found.metrics_bytes == pytest.approx(expected.metrics_bytes, rel=0.1)


def test_bytes_that_the_routes_log(
    queues: Queues, context: Any, took: Took, connected: Callable[[], str]
) -> None:
    # It prints what tests before this one have counted and left.
    connected()
    same(
        took(lambda: connect.app.lambda_handler(events.load("connect"), context)),
        usage.log_of_connect(),
    )
    for topics in (1, 10, 99):
        entities = [{"entityId": f"{number:036}"} for number in range(topics)]
        body = {"action": "subscribe", "entities": entities}
        event = events.message("subscribe", body, connected())
        same(
            took(partial(subscribe.app.lambda_handler, event, context)),
            usage.log_of_subscribe(topics),
        )
    asked = events.message("ping", {"action": "ping"})
    same(took(lambda: ping.app.lambda_handler(asked, context)), usage.log_of_ping())
    same(
        took(lambda: disconnect.app.lambda_handler(events.load("disconnect"), context)),
        usage.log_of_disconnect(),
    )


@pytest.mark.parametrize(("subscribers", "number"), [(1, 1), (1, 10), (30, 1), (30, 4), (110, 1)])
def test_bytes_that_the_notifier_logs(
    queues: Queues, exchange: FakeExchange, context: Any, took: Took,
    connected: Callable[[], str], subscribers: int, number: int,
) -> None:  # fmt: skip
    entity_id = "3bd5fa0e-3bf8-4c8a-9d39-2e0112345678"
    for _ in range(subscribers):
        body = {"action": "subscribe", "entityId": entity_id}
        subscribe.app.lambda_handler(events.message("subscribe", body, connected()), context)
    for each in range(number):
        queues.send("events", events.entity_updated(f"{each:036}", entityId=entity_id))

    found = took(lambda: queues.run("events"))

    same(found, usage.log_of_walks(number, number * subscribers, number))
    assert len(exchange.receivers()) == number * subscribers


def test_bytes_of_a_post_in_the_log_of_debug(
    queues: Queues, exchange: FakeExchange, context: Any, took: Took,
    connected: Callable[[], str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    entity_id = "3bd5fa0e-3bf8-4c8a-9d39-2e0112345678"
    body = {"action": "subscribe", "entityId": entity_id}
    for _ in range(10):
        subscribe.app.lambda_handler(events.message("subscribe", body, connected()), context)
    queues.send("events", events.entity_updated(f"{1:036}", entityId=entity_id))
    queues.send("events", events.entity_updated(f"{2:036}", entityId=entity_id))
    usual = took(lambda: queues.run("events", most=1))
    before = observability.logger.log_level
    observability.logger.setLevel("DEBUG")
    try:
        found = took(lambda: queues.run("events", most=1))
    finally:
        observability.logger.setLevel(before)

    assert found.told - usual.told == 10
    assert (found.told_bytes - usual.told_bytes) / 10 == pytest.approx(usage.DEBUG_BYTES, rel=0.1)
