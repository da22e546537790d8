"""DynamoDB and SQS on loopback, each with a service time, for boto3 clients with `endpoint_url`.

    PYTHONPATH=tests python -m benchmarks.services --table-ms 4 --queue-ms 4

prints its port. The tables are those of tests/support/dynamodb.py, behind the service's own JSON
protocol; queues are lists in memory, one for each queue URL, and any URL will do. Requests are
carried out in the order in which they arrive, and answered when their service time is over: what
the server itself takes is a part of it, not more.

    GET /meter    requests and units since the last reset, as JSON
    POST /reset   count from zero; tables and queues stay as they are
"""

import argparse
import asyncio
import json
import re
import sys
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import md5
from time import monotonic
from typing import Any
from uuid import uuid4

from botocore.exceptions import ClientError, ParamValidationError

from support.dynamodb import DynamoDB, Meter

_HOST = "127.0.0.1"
_HEAD_END = b"\r\n\r\n"
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_TARGET = re.compile(rb"\r\nx-amz-target: *([A-Za-z0-9_]+)\.([A-Za-z]+)", re.IGNORECASE)

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAX_BATCH_MESSAGES = 10
MAX_MESSAGE_BYTES = 1024 * 1024
VISIBILITY_SECONDS = 30

Body = dict[str, Any]
Operation = Callable[..., Body]


@dataclass
class Message:
    """A message of a queue, and when it can be received."""

    body: str
    attributes: Body
    visible_at: float
    message_id: str = field(default_factory=lambda: str(uuid4()))
    receipt_handle: str = ""
    receives: int = 0


class QueueError(Exception):
    """What SQS refuses; the argument is its code."""


class SQS:
    """Queues, by their URLs."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._queues: dict[str, list[Message]] = {}

    def send_message(
        self,
        *,
        QueueUrl: str,
        MessageBody: str,
        DelaySeconds: int = 0,
        MessageAttributes: Body | None = None,
    ) -> Body:
        if not 1 <= len(MessageBody.encode()) <= MAX_MESSAGE_BYTES:
            raise QueueError("InvalidParameterValue")
        message = Message(MessageBody, MessageAttributes or {}, self._clock() + DelaySeconds)
        self._queues.setdefault(QueueUrl, []).append(message)
        return {"MessageId": message.message_id, "MD5OfMessageBody": _md5(MessageBody)}

    def send_message_batch(self, *, QueueUrl: str, Entries: list[Body]) -> Body:
        if not Entries:
            raise QueueError("EmptyBatchRequest")
        if len(Entries) > MAX_BATCH_MESSAGES:
            raise QueueError("TooManyEntriesInBatchRequest")
        ids = [entry["Id"] for entry in Entries]
        if len(set(ids)) < len(ids):
            raise QueueError("BatchEntryIdsNotDistinct")
        if sum(len(entry["MessageBody"].encode()) for entry in Entries) > MAX_MESSAGE_BYTES:
            raise QueueError("BatchRequestTooLong")
        sent = [
            {"Id": entry.pop("Id"), **self.send_message(QueueUrl=QueueUrl, **entry)}
            for entry in Entries
        ]
        return {"Successful": sent, "Failed": []}

    def receive_message(
        self,
        *,
        QueueUrl: str,
        MaxNumberOfMessages: int = 1,
        VisibilityTimeout: int = VISIBILITY_SECONDS,
        WaitTimeSeconds: int = 0,
        **wanted: Any,
    ) -> Body:
        """Return what is visible now, whatever the wait; with all attributes that there are."""
        now = self._clock()
        visible = [each for each in self._queues.get(QueueUrl, []) if each.visible_at <= now]
        messages = visible[:MaxNumberOfMessages]
        for message in messages:
            message.visible_at = now + VisibilityTimeout
            message.receipt_handle = str(uuid4())
            message.receives += 1
        return {"Messages": [_received(message) for message in messages]} if messages else {}

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> Body:
        queue = self._queues.get(QueueUrl, [])
        queue[:] = [each for each in queue if each.receipt_handle != ReceiptHandle]
        return {}

    def change_message_visibility(
        self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int
    ) -> Body:
        """Change it, if this queue has handed out the receipt: a benchmark may make up its own."""
        for message in self._queues.get(QueueUrl, []):
            if message.receipt_handle == ReceiptHandle:
                message.visible_at = self._clock() + VisibilityTimeout
        return {}

    def lengths(self) -> dict[str, int]:
        return {url: len(queue) for url, queue in self._queues.items()}


def _received(message: Message) -> Body:
    return {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "Body": message.body,
        "MD5OfBody": _md5(message.body),
        "Attributes": {"ApproximateReceiveCount": str(message.receives)},
        "MessageAttributes": message.attributes,
    }


def _md5(text: str) -> str:
    return md5(text.encode(), usedforsecurity=False).hexdigest()


class Services:
    """What is behind the server: it answers requests, and says how long that should take."""

    def __init__(self, table_seconds: float, queue_seconds: float) -> None:
        self.tables, self.queues = DynamoDB(Meter()), SQS()
        self._queue_requests: Counter[str] = Counter()
        tables = ("get_item", "put_item", "update_item", "delete_item", "query", "scan")
        many = ("batch_get_item", "batch_write_item", "transact_write_items")
        queues = ("send_message", "send_message_batch", "receive_message", "delete_message")
        self._services: dict[str, tuple[float, dict[str, Operation]]] = {
            "DynamoDB_20120810": (table_seconds, _operations(self.tables, *tables, *many)),
            "AmazonSQS": (
                queue_seconds,
                _operations(self.queues, *queues, "change_message_visibility"),
            ),
        }

    def answer(self, head: bytes, body: bytes) -> tuple[float, bytes]:
        """Return the service time in seconds, and the response."""
        if not (target := _TARGET.search(head)):
            return 0, self._control(head.partition(b" HTTP/")[0])
        service, name = target[1].decode(), target[2].decode()
        seconds, operations = self._services.get(service, (0, {}))
        if name not in operations:
            return seconds, _error(400, "UnknownOperationException", name)
        if service == "AmazonSQS":
            self._queue_requests[name] += 1
        return seconds, _carried_out(operations[name], body)

    def _control(self, line: bytes) -> bytes:
        if line == b"POST /reset":
            self.tables.meter = Meter()
            self._queue_requests.clear()
            return _response(200, {})
        if line != b"GET /meter":
            return _error(404, "NotFound", line.decode())
        meter = self.tables.meter
        assert meter
        tables = {
            "requests": meter.requests,
            "operations": meter.operations,
            "read_units": meter.read_units,
            "write_units": meter.write_units,
        }
        queues = {
            "requests": self._queue_requests.total(),
            "operations": self._queue_requests,
            "messages": self.queues.lengths(),
        }
        return _response(200, {"tables": tables, "queues": queues})


def _operations(service: object, *methods: str) -> dict[str, Operation]:
    return {method.title().replace("_", ""): getattr(service, method) for method in methods}


def _carried_out(operation: Operation, body: bytes) -> bytes:
    try:
        # A hook for each object takes time: most requests have no binary.
        parameters = json.loads(body, object_hook=_binary if b'"B' in body else None)
        return _response(200, operation(**parameters))
    except ClientError as refused:
        response: Any = refused.response
        members = {name: response[name] for name in response.keys() - {"Error", "ResponseMetadata"}}
        error = response["Error"]
        return _error(400, error["Code"], error["Message"], members)
    except QueueError as refused:
        return _error(400, str(refused), "refused")
    except json.JSONDecodeError as broken:
        return _error(400, "SerializationException", str(broken))
    except ParamValidationError as refused:
        return _error(400, "ValidationException", str(refused))
    except (TypeError, NotImplementedError) as unknown:
        # 501 is not tried again: the caller shall see it.
        return _error(501, "NotImplemented", f"{type(unknown).__name__}: {unknown}")


def _binary(value: Body) -> Body:
    """Decode a binary value, or a set of them."""
    match value:
        case {"B": str(text)} if len(value) == 1:
            return {"B": b64decode(text)}
        case {"BS": [*texts]} if len(value) == 1:
            return {"BS": [b64decode(text) for text in texts]}
    return value


def _encoded(value: Any) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _error(status: int, code: str, message: str, members: Body | None = None) -> bytes:
    body = {"message": message, **(members or {}), "__type": f"com.amazonaws#{code}"}
    return _response(status, body)


def _response(status: int, answer: Body) -> bytes:
    body = json.dumps(answer, separators=(",", ":"), default=_encoded).encode()
    head = (
        f"HTTP/1.1 {status} {'OK' if status == 200 else 'Refused'}\r\n"
        "Content-Type: application/x-amz-json-1.0\r\n"
        f"Content-Length: {len(body)}\r\n"
        "x-amzn-RequestId: 7b1c2d3e-0000-4000-8000-000000000000\r\n\r\n"
    )
    return head.encode() + body


class _Connection(asyncio.Protocol):
    """One client's connection: it has one request answered at a time, as SDKs send them."""

    _transport: asyncio.Transport

    def __init__(self, services: Services) -> None:
        self._services = services
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._next()

    def _next(self) -> None:
        """Carry out the next request, if all of it is here and its turn has come."""
        head_end = self._received.find(_HEAD_END)
        if self._busy or head_end < 0:
            return
        head, start = self._received[:head_end], head_end + len(_HEAD_END)
        length = _CONTENT_LENGTH.search(head)
        end = start + (int(length[1]) if length else 0)
        if len(self._received) < end:
            return
        began = self._loop.time()
        body, self._received = self._received[start:end], self._received[end:]
        seconds, response = self._services.answer(head, body)
        self._busy = True
        self._loop.call_at(began + seconds, self._send, response)

    def _send(self, response: bytes) -> None:
        self._busy = False
        if not self._transport.is_closing():
            self._transport.write(response)
            self._next()


async def serve(services: Services, port: int = 0) -> None:
    """Serve until cancelled; print the port when it is open."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(services), _HOST, port, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table-ms", type=float, default=4, help="DynamoDB's service time")
    parser.add_argument("--queue-ms", type=float, default=4, help="SQS's service time")
    parser.add_argument("--port", type=int, default=0, help="a free one if left out")
    arguments = parser.parse_args()
    services = Services(arguments.table_ms / 1000, arguments.queue_ms / 1000)
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(services, arguments.port))


if __name__ == "__main__":
    main()
