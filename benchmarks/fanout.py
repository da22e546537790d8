"""Publish one event to many subscribers of a local stack, and count the frames of each.

    make fanout SUBSCRIBERS=10000
    make fanout SUBSCRIBERS=1000 FAULTS="--fault-429 0.2 --fault-410 0.05 --fault-stall 0.01"

It starts a stack of its own, connects and subscribes real WebSocket clients, publishes one event,
and waits until the queues are empty, of stragglers that wait for their next try too. What FAULTS
says goes to the local gateway (`python -m local.gateway --help`). A connection that was answered
410 is gone for the application: its rows are removed and it gets no frame. Everybody else gets the
frame, with the number that follows the one of the reply to `subscribe`, and gets it once. Only a
post that was held for longer than the notifier waits (`--fault-stall`) may arrive all the same, and
make a second frame.
"""

import argparse
import asyncio
import json
import resource
import shlex
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from local import stack
from local.aws import HOST, LocalAws

ENTITY_ID = "fan-out"
# The emulator runs a process for each concurrent call of a function.
_CONCURRENT_CALLS = 8
_MOST_SECONDS = 900.0


class Subscriber:
    """A connected client that counts what it receives."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._subscribed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.cursor = ""
        """The one that the frame shall have."""
        self.received: list[tuple[str, float]] = []
        """The cursors of frames, and when they came."""
        self._reader = asyncio.create_task(self._read())

    async def subscribe(self) -> None:
        await self._connection.send(json.dumps({"action": "subscribe", "entityId": ENTITY_ID}))
        epoch, _, number = (await asyncio.wait_for(self._subscribed, 60)).partition("-")
        self.cursor = f"{epoch}-{int(number) + 1}"

    async def round_trip(self) -> None:
        with suppress(ConnectionClosed):
            await (await self._connection.ping())

    async def close(self) -> None:
        self._connection.transport.abort()
        await self._reader

    async def _read(self) -> None:
        with suppress(ConnectionClosed):
            async for text in self._connection:
                frame = json.loads(text)
                if frame["type"] == "Entity Updated":
                    self.received.append((frame["cursor"], time.monotonic()))
                elif frame["type"] == "Subscribed":
                    self._subscribed.set_result(frame["cursor"])
                else:
                    print(f"unexpected: {text!r}")


async def measure(aws: LocalAws, outputs: dict[str, str], number: int, *, twice: bool) -> bool:
    """Return whether every subscriber got its frame, unless it was taken for gone.

    And got it once, unless it may come `twice`.
    """
    subscribers: list[Subscriber] = []

    async def open_one() -> None:
        connection = await connect(
            outputs["WebsocketUri"], ping_interval=None, compression=None, open_timeout=60
        )
        subscribers.append(Subscriber(connection))

    started = time.monotonic()
    await _several([open_one] * number)
    await _several(subscriber.subscribe for subscriber in subscribers)
    print(f"{number:,} clients subscribed after {time.monotonic() - started:.0f} s", flush=True)

    published_at = time.monotonic()
    aws.client("events").put_events(
        Entries=[
            {
                "EventBusName": outputs["EventBusName"],
                "Source": "benchmark",
                "DetailType": "Entity Updated",
                "Detail": json.dumps({"entityId": ENTITY_ID, "message": "Hello world"}),
            }
        ]
    )
    await _settled(aws, outputs, published_at)
    for subscriber in subscribers:
        # A round trip later, whatever was posted before has arrived.
        await subscriber.round_trip()

    counts = Counter(len(subscriber.received) for subscriber in subscribers)
    arrivals = sorted(at - published_at for each in subscribers for _, at in each.received)
    left = await asyncio.to_thread(_subscribed, aws, outputs)
    for frames, clients in sorted(counts.items()):
        print(f"{clients:,} clients got {frames} frames")
    print(f"{number - left:,} connections were answered 410 and are forgotten")
    if arrivals:
        middle = arrivals[len(arrivals) // 2]
        print(f"first after {arrivals[0]:.2f} s, half {middle:.2f} s, last {arrivals[-1]:.2f} s")
    for subscriber in subscribers:
        await subscriber.close()
    return (
        counts[0] == number - left
        and (twice or max(counts) <= 1)
        and all(cursor == each.cursor for each in subscribers for cursor, _ in each.received)
    )


async def _several(calls: Iterable[Callable[[], Awaitable[None]]]) -> None:
    """Make calls, some at a time."""
    waiting = iter(calls)

    async def work() -> None:
        for call in waiting:
            await call()

    await asyncio.gather(*(work() for _ in range(_CONCURRENT_CALLS)))


async def _settled(aws: LocalAws, outputs: dict[str, str], since: float) -> None:
    """Wait until nothing of the event is in a queue: waiting, being handled, or delayed."""
    sqs = aws.client("sqs")

    def waiting() -> int:
        names = ["", "NotVisible", "Delayed"]
        return sum(
            int(value)
            for queue in ("NotificationQueueUrl", "DeliveryQueueUrl")
            for value in sqs.get_queue_attributes(
                QueueUrl=outputs[queue],
                AttributeNames=[f"ApproximateNumberOfMessages{name}" for name in names],
            )["Attributes"].values()
        )

    while await asyncio.to_thread(waiting):
        if time.monotonic() - since > _MOST_SECONDS:
            raise TimeoutError("the queues do not empty")
        await asyncio.sleep(0.2)


def _subscribed(aws: LocalAws, outputs: dict[str, str]) -> int:
    pages = (
        aws.client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=outputs["TableName"],
            KeyConditionExpression="pk = :entity AND begins_with(sk, :connection)",
            ExpressionAttributeValues={
                ":entity": {"S": f"ENTITY#{ENTITY_ID}"},
                ":connection": {"S": "CONNECTION#"},
            },
            ConsistentRead=True,
            Select="COUNT",
        )
    )
    return sum(page["Count"] for page in pages)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="make fanout", description=__doc__)
    parser.add_argument("--subscribers", type=int, default=1_000, help="SUBSCRIBERS")
    parser.add_argument("--faults", default="", help="options of the local gateway (FAULTS)")
    options = parser.parse_args(arguments)
    # A socket for each client here, and one in the gateway.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    tools, aws, port = stack.Tools(), LocalAws(_free_port()), _free_port()
    with TemporaryDirectory() as name:
        folder = Path(name)
        with stack.emulator(aws, tools, folder):
            outputs = stack.deploy(aws, tools, stack.build(aws, tools, folder), f"{HOST}:{port}")
            faults = shlex.split(options.faults)
            with stack.gateway(aws, port, outputs["WebSocketApiId"], folder, *faults):
                twice = "--fault-stall" in faults
                good = asyncio.run(measure(aws, outputs, options.subscribers, twice=twice))
    print("Everybody got the frame." if good else "NOT everybody got the frame, or not once.")
    return 0 if good else 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
