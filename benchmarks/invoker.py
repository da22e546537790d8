"""One measured part of `benchmarks.notifier`, in a process of its own; prints its figures as JSON.

It calls the handlers as Lambda does, one invocation after another: those of `$connect` and
`subscribe` to have subscribers, and the notifier's to be measured. What they log goes nowhere.
Each edition of the functions has these handlers, so each can be measured.
"""

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from importlib import import_module
from itertools import count, cycle, islice
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import botocore.session

from benchmarks.machine import ROOT

TOPICS = [f"order-{number}" for number in range(10)]
_TIMEOUT_SECONDS = 30
_BATCH_WRITES = 25
# An invocation that took so long has waited for a client.
_WAITED_SECONDS = 1.0


class Context:
    """What Lambda tells a handler of its invocation."""

    function_name = "notifier"
    memory_limit_in_mb = 1769
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:notifier"

    def __init__(self) -> None:
        self.aws_request_id = str(uuid4())
        self._ends_at = time.monotonic() + _TIMEOUT_SECONDS

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int(1000 * (self._ends_at - time.monotonic())))


class Functions:
    """The handlers, with events of each as the folder `events` has them."""

    def __init__(self) -> None:
        self._events: dict[str, Any] = {}
        self._handlers: dict[str, Callable[[Any, Context], Any]] = {}
        for name in ("connect", "subscribe", "notifier"):
            self._events[name] = json.loads((ROOT / "events" / f"{name}.json").read_text())
            self._handlers[name] = import_module(f"{name}.app").lambda_handler

    def subscribe(self, connection_id: str, entity_ids: Iterable[str]) -> None:
        """Connect a client, and subscribe it."""
        self._route("connect", connection_id)
        for entity_id in entity_ids:
            body = json.dumps({"action": "subscribe", "entityId": entity_id})
            reply = json.loads(self._route("subscribe", connection_id, body=body)["body"])
            assert reply["type"] == "Subscribed", reply

    def events(self, entity_ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yield messages of the notification queue, each an event of its own."""
        (example,) = self._events["notifier"]["Records"]
        event = json.loads(example["body"])
        for entity_id in cycle(entity_ids):
            event |= {"id": str(uuid4()), "detail": event["detail"] | {"entityId": entity_id}}
            yield example | {"messageId": str(uuid4()), "body": json.dumps(event)}

    def notify(self, records: Iterable[dict[str, Any]]) -> float:
        """Invoke the notifier; return how long it took, in seconds."""
        event, context, start = {"Records": list(records)}, Context(), time.perf_counter()
        answer = self._handlers["notifier"](event, context)
        seconds = time.perf_counter() - start
        assert not answer["batchItemFailures"], answer
        return seconds

    def _route(self, name: str, connection_id: str, **fields: str) -> Any:
        event = deepcopy(self._events[name]) | fields
        now_ms = int(1000 * time.time())
        event["requestContext"] |= {"connectionId": connection_id, "connectedAt": now_ms}
        return self._handlers[name](event, Context())


class Services:
    """The services' own count, and the rows of large topics."""

    def __init__(self) -> None:
        self._address = urlsplit(os.environ["AWS_ENDPOINT_URL"]).netloc

    def reset(self) -> None:
        self._ask("POST", "/reset")

    def meter(self) -> dict[str, Any]:
        return self._ask("GET", "/meter")

    def subscribe_others(self, connection_id: str, entity_id: str, others: Iterable[str]) -> None:
        """Subscribe others as one is: thousands of calls of handlers would take minutes."""
        dynamodb: Any = botocore.session.get_session().create_client("dynamodb")
        table = os.environ["TABLE_NAME"]
        key = {"pk": {"S": f"ENTITY#{entity_id}"}, "sk": {"S": f"CONNECTION#{connection_id}"}}
        row = dynamodb.get_item(TableName=table, Key=key)["Item"]
        rows = (
            row | {"sk": {"S": f"CONNECTION#{other}"}, "connectionId": {"S": other}}
            for other in others
        )
        while batch := [{"PutRequest": {"Item": each}} for each in islice(rows, _BATCH_WRITES)]:
            dynamodb.batch_write_item(RequestItems={table: batch})

    def _ask(self, method: str, path: str) -> dict[str, Any]:
        with closing(HTTPConnection(self._address)) as connection:
            connection.request(method, path)
            answer: dict[str, Any] = json.load(connection.getresponse())
            return answer


def connection_ids(start: str = "L0SM") -> Iterator[str]:
    """Yield ids that look like those of API Gateway."""
    for number in count():
        yield f"{start}{number:08x}IhQ="


@dataclass
class Taken:
    """What invocations took, and what they asked of the services meanwhile."""

    events: int
    seconds: float
    billed_ms: int
    cpu_ms: float
    meter: dict[str, Any]


def batches(functions: Functions, services: Services, options: argparse.Namespace) -> Taken:
    """Invoke the notifier with events of ten topics, back to back, for some seconds."""
    ids = connection_ids()
    for topic in TOPICS:
        for connection_id in islice(ids, options.subscribers):
            functions.subscribe(connection_id, [topic])
    events = functions.events(TOPICS)
    for _ in range(options.warm_up):
        functions.notify(islice(events, options.batch))
    return _measure(functions, services, events, options.batch, options.seconds)


def large(functions: Functions, services: Services, options: argparse.Namespace) -> Taken:
    """Invoke the notifier once, with an event of a large topic."""
    ids = connection_ids()
    connection_id, small, topic = next(ids), *TOPICS[:2]
    functions.subscribe(connection_id, [small, topic])
    services.subscribe_others(connection_id, topic, islice(ids, options.subscribers - 1))
    # The first event opens the connections.
    functions.notify(islice(functions.events([small]), 1))
    return _measure(functions, services, islice(functions.events([topic]), 1), 1, math.inf)


def _measure(
    functions: Functions,
    services: Services,
    events: Iterator[dict[str, Any]],
    batch: int,
    at_most_seconds: float,
) -> Taken:
    services.reset()
    taken: list[float] = []
    number, cpu_seconds, start = 0, 0.0, time.perf_counter()
    while time.perf_counter() - start < at_most_seconds:
        if not (records := list(islice(events, batch))):
            break
        before = time.process_time()
        taken.append(functions.notify(records))
        cpu_seconds += time.process_time() - before
        number += len(records)
    return Taken(
        events=number,
        seconds=sum(taken),
        # Lambda rounds up.
        billed_ms=sum(math.ceil(1000 * seconds) for seconds in taken),
        cpu_ms=1000 * cpu_seconds,
        meter=services.meter(),
    )


@dataclass
class Beside:
    """Batches with one more client among the subscribers of all events, beside batches without.

    Attributes:
        without_ms, with_ms: medians, of those that did not wait for it.
        waited_ms: how long the one that waited for it took, 0 if none did.
        cycle_seconds: from one that waited for it to the next.
    """

    without_ms: float
    with_ms: float
    waited_ms: float
    cycle_seconds: float


def beside(functions: Functions, services: Services, options: argparse.Namespace) -> Beside:
    """Invoke the notifier with batches with and without another client, in turns.

    For some seconds. If one waits for that client, until another does: that is as often as it were
    without the batches between.
    """
    ids, topics_with = connection_ids(), [f"{topic}-with" for topic in TOPICS]
    for topic in (*TOPICS, *topics_with):
        for connection_id in islice(ids, options.subscribers):
            functions.subscribe(connection_id, [topic])
    events_without, events_with = functions.events(TOPICS), functions.events(topics_with)

    def pair() -> tuple[float, float]:
        without = functions.notify(islice(events_without, options.batch))
        return without, functions.notify(islice(events_with, options.batch))

    for _ in range(options.warm_up):
        pair()
    functions.subscribe(next(connection_ids(options.other)), topics_with)
    pairs: list[tuple[float, float]] = []
    waited_at: list[float] = []
    start = time.perf_counter()
    while len(waited_at) < 2 and (now := time.perf_counter()) - start < options.seconds:
        pairs.append(pair())
        if pairs[-1][1] > _WAITED_SECONDS:
            waited_at.append(now)
    cycle_seconds = (waited_at[1] if len(waited_at) > 1 else time.perf_counter()) - start
    waited = [each for each in pairs if each[1] > _WAITED_SECONDS]
    # Where all of them wait, that is how long they take.
    if quick := [each for each in pairs if each not in waited]:
        pairs = quick
    else:
        waited = []
    without, with_ = zip(*pairs, strict=True)
    return Beside(
        without_ms=1000 * median(without),
        with_ms=1000 * median(with_),
        waited_ms=1000 * waited[0][1] if waited else 0,
        cycle_seconds=cycle_seconds,
    )


Part = Callable[[Functions, Services, argparse.Namespace], Taken | Beside]
_PARTS: dict[str, Part] = {"batches": batches, "beside": beside, "large": large}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=_PARTS)
    parser.add_argument("--subscribers", type=int, required=True, help="of each topic")
    parser.add_argument("--other", default="", help="how the id of the other client begins")
    parser.add_argument("--batch", type=int, default=10, help="events of an invocation")
    parser.add_argument("--warm-up", type=int, default=10, help="invocations before it is measured")
    parser.add_argument("--seconds", type=float, default=5)
    options = parser.parse_args()
    # Logs and metrics are printed too.
    results = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    json.dump(asdict(_PARTS[options.part](Functions(), Services(), options)), results)
    results.flush()


if __name__ == "__main__":
    main()
