"""What the integration tests share: the deployed application, and clients of its WebSocket API."""

import asyncio
import json
import re
import socket
import subprocess
import time
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from itertools import count
from os import urandom
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from local import stack
from local.aws import HOST, LocalAws
from support.contract import Conversation, contract

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType

T = TypeVar("T")
Frame = dict[str, Any]
Row = dict[str, Any]

QUEUES = ("NotificationQueueUrl", "DeliveryQueueUrl")

# What a busy machine may take for what takes milliseconds on an idle one.
DEADLINE_SECONDS = 30.0
_POLL_SECONDS = 0.02
_CURSOR = re.compile(r"([0-9a-f]{12})-(0|[1-9][0-9]*)")


def event_file(name: str) -> Any:
    """Return the parsed content of a file in `events/`."""
    return json.loads((stack.ROOT / "events" / name).read_text())


def unique(name: str) -> str:
    """Return an id that no other test uses: all share one table and one queue."""
    return f"{name}-{uuid4().hex[:12]}"


def envelope(**detail: Any) -> dict[str, Any]:
    """Return an event as EventBridge hands it to the queue, with an id of its own."""
    event: dict[str, Any] = json.loads(event_file("notifier.json")["Records"][0]["body"])
    return event | {"id": str(uuid4()), "detail": detail}


def number_of(cursor: object) -> int:
    """Return the number in a cursor, `<epoch>-<number>`; fail the test if it is none."""
    match = _CURSOR.fullmatch(str(cursor))
    assert match, f"not a cursor: {cursor}"
    return int(match[2])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


async def eventually(
    condition: Callable[[], T], expectation: str, within_seconds: float = DEADLINE_SECONDS
) -> T:
    """Return the first true value of a condition; fail the test if there is none in time."""
    deadline = time.monotonic() + within_seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_seconds:g} s: {expectation}")
        await asyncio.sleep(_POLL_SECONDS)
    return value


class Client:
    """A client of the WebSocket API, connected.

    A reply is told from a push by its `requestId`; pushes that arrive meanwhile are kept.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._held = Conversation()
        self._request_ids = count(1)
        self._pushed: deque[Frame] = deque()

    async def request(self, action: str, **fields: Any) -> Frame:
        """Send a request and return its reply, without the `requestId`."""
        (reply,) = await self.requests([{"action": action, **fields}])
        return reply

    async def requests(self, frames: Sequence[Frame]) -> list[Frame]:
        """Send requests without waiting in between; return their replies, in the same order."""
        replies: dict[object, Frame | None] = {}
        for frame in frames:
            request_id = next(self._request_ids)
            replies[request_id] = None
            await self.send({**frame, "requestId": request_id})
        while None in replies.values():
            frame = await self._receive()
            if frame.get("requestId") in replies:
                replies[frame.pop("requestId")] = frame
            else:
                self._pushed.append(frame)
        return [reply for reply in replies.values() if reply is not None]

    async def subscribe(self, *entity_ids: str) -> list[str]:
        """Subscribe to entities, in one request; return the cursor of each."""
        if len(entity_ids) == 1:
            answers = [await self.request("subscribe", entityId=entity_ids[0])]
            assert answers[0].pop("type") == "Subscribed", answers
        else:
            entities = [{"entityId": entity_id} for entity_id in entity_ids]
            reply = await self.request("subscribe", entities=entities)
            assert reply["type"] == "Subscribed", reply
            answers = reply["entities"]
        cursors = [answer["cursor"] for answer in answers]
        assert answers == [
            {"entityId": entity_id, "cursor": cursor}
            for entity_id, cursor in zip(entity_ids, cursors, strict=True)
        ]
        for cursor in cursors:
            number_of(cursor)
        return cursors

    async def exchange(self, text: str) -> Frame:
        """Send a text as it is and return the frame that follows."""
        await self.say(text)
        return await self.next_frame()

    async def send(self, frame: Frame) -> None:
        await self.say(json.dumps(frame))

    async def say(self, text: str) -> None:
        """Send a text as it is."""
        self._held.says(text)
        await self.socket.send(text)

    async def next_frame(self, within_seconds: float = DEADLINE_SECONDS) -> Frame:
        """Return the next frame that has not been looked at."""
        return self._pushed.popleft() if self._pushed else await self._receive(within_seconds)

    async def arrived(self) -> list[Frame]:
        """Return all pushes up to now that have not been looked at.

        Frames keep their order, so whatever was posted before this call arrives before the pong to
        a ping that is sent now.
        """
        async with asyncio.timeout(DEADLINE_SECONDS):
            await (await self.socket.ping())
        with suppress(TimeoutError):
            while True:
                # What is there is returned all the same.
                async with asyncio.timeout(0):
                    self._pushed.append(self._heard(await self.socket.recv()))
        return self.kept()

    def kept(self) -> list[Frame]:
        """Return the pushes that came before a reply and have not been looked at."""
        pushes = list(self._pushed)
        self._pushed.clear()
        return pushes

    async def kill(self) -> None:
        """End the TCP connection without a closing handshake, as a crash or a lost network does."""
        self.socket.transport.abort()
        await self.socket.wait_closed()

    async def _receive(self, within_seconds: float = DEADLINE_SECONDS) -> Frame:
        async with asyncio.timeout(within_seconds):
            return self._heard(await self.socket.recv())

    def _heard(self, text: str | bytes) -> Frame:
        assert isinstance(text, str), "a frame must be text"
        frame = json.loads(text)
        assert isinstance(frame, dict), "a frame must be an object"
        self._held.hears(frame)
        return frame


class Poison(str):
    """A message that is to be a dead letter; every other one is an event of the contract."""


class Application:
    """The deployed stack, behind the gateway, and what its services hold."""

    def __init__(self, aws: LocalAws, ws_port: int, outputs: dict[str, str], folder: Path) -> None:
        self.outputs = outputs
        self.aws = aws
        self._ws_port = ws_port
        self._folder = folder
        self._gateway = ExitStack()
        self._dynamodb: DynamoDBClient = aws.client("dynamodb")
        self.sqs: SQSClient = aws.client("sqs")
        self._events = aws.client("events")
        self._dead_letters: list[dict[str, Any]] = []

    def environment(self) -> dict[str, str]:
        """Return an environment in which programs find this stack's emulator, and nothing else."""
        return self.aws.environment()

    def service(self, name: str) -> Any:
        """Return a boto3 client of a service."""
        return self.aws.client(name)

    def start_gateway(self, *options: str) -> None:
        """Start the gateway with options; the one that runs is stopped.

        It stops once the functions have answered whatever it had handed to them.
        """
        self.stop_gateway()
        api_id = self.outputs["WebSocketApiId"]
        self._gateway.enter_context(
            stack.gateway(self.aws, self._ws_port, api_id, self._folder, *options)
        )

    def stop_gateway(self) -> None:
        self._gateway.close()

    @asynccontextmanager
    async def client(
        self, receive_buffer_bytes: int | None = None, *, token: str = ""
    ) -> AsyncIterator[Client]:
        """Connect a client, with the header of the walkthrough, and close it in the end."""
        own_socket: dict[str, Any] = {}
        if receive_buffer_bytes:
            sock = socket.socket()
            # Before it connects: the window that it offers depends on it.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
            sock.connect((HOST, self._ws_port))
            own_socket = {"sock": sock}
        async with connect(
            self.outputs["WebsocketUri"],
            **own_socket,
            subprotocols=[Subprotocol(name) for name in ("websocket", token) if name],
            open_timeout=DEADLINE_SECONDS,
            # It reads also while nobody looks, and no pong is missed by who is slow.
            max_queue=None,
            ping_interval=None,
        ) as connection:
            yield Client(connection)

    @asynccontextmanager
    async def clients(self, number: int, *entity_ids: str) -> AsyncIterator[list[Client]]:
        """Connect clients, subscribe them to entities if any are given; close them in the end."""

        async def connect() -> Client:
            client = await sockets.enter_async_context(self.client())
            if entity_ids:
                await client.subscribe(*entity_ids)
            return client

        async with AsyncExitStack() as sockets:
            async with asyncio.TaskGroup() as tasks:
                connecting = [tasks.create_task(connect()) for _ in range(number)]
            yield [task.result() for task in connecting]

    def publish(self, entity_id: str, **detail: Any) -> str:
        """Put an `Entity Updated` event on the bus, and return its id."""
        return self.put_event({"entityId": entity_id, **detail})

    def put_event(self, detail: dict[str, Any], *, is_poison: bool = False) -> str:
        (entry,) = event_file("entity-updated.json")
        return self.put_entry(entry | {"Detail": json.dumps(detail)}, is_poison=is_poison)

    def put_entry(self, entry: dict[str, Any], *, is_poison: bool = False) -> str:
        """Put an entry on the bus of the stack, and return the id of the event.

        Whether it is to be refused has to be said: every other one is of the contract.
        """
        if not is_poison:
            detail = json.loads(entry["Detail"])
            _check_event(envelope() | {"detail-type": entry["DetailType"], "detail": detail})
        result = self._events.put_events(
            Entries=[{"EventBusName": self.outputs["EventBusName"], **entry}]
        )
        assert result["FailedEntryCount"] == 0, result
        return str(result["Entries"][0]["EventId"])

    def enqueue(self, *bodies: str) -> None:
        """Send up to ten messages to the notifier's queue at once, past EventBridge."""
        for body in bodies:
            if not isinstance(body, Poison):
                _check_event(json.loads(body))
        result = self.sqs.send_message_batch(
            QueueUrl=self.outputs["NotificationQueueUrl"],
            Entries=[{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies)],
        )
        assert not result.get("Failed"), result

    def send(self, queue: str, body: str) -> None:
        """Send a message to the queue of an output."""
        self.sqs.send_message(QueueUrl=self.outputs[queue], MessageBody=body)

    async def settled(self, within_seconds: float = 120) -> None:
        """Wait until all events are delivered.

        What waits on purpose is waited for: posts that failed, which are tried again after 1, 2, 4
        and more seconds, records that failed, and copies that met another at work.
        """
        await eventually(lambda: self.queued() == 0, "the queues are empty", within_seconds)

    def queued(self) -> int:
        """Return how many messages are on their way, in flight, delayed or waiting."""
        # A delivery is put into its queue before its event leaves the other.
        return sum(map(self.waiting, QUEUES))

    def waiting(self, queue: str) -> int:
        """Return how many messages the queue of an output holds, in flight or not."""
        attributes = self.sqs.get_queue_attributes(
            QueueUrl=self.outputs[queue],
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )["Attributes"]
        return sum(map(int, attributes.values()))

    def empty_queue(self) -> None:
        for queue in QUEUES:
            self.sqs.purge_queue(QueueUrl=self.outputs[queue])

    def dead_letters(
        self, marker: str, queue: str = "NotificationDeadLetterQueueUrl"
    ) -> list[dict[str, Any]]:
        """Return the dead letters whose body holds a marker: body and attributes of each."""
        while messages := self.sqs.receive_message(
            QueueUrl=self.outputs[queue], MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for message in messages:
                attributes = message.get("MessageAttributes", {})
                self._dead_letters.append(
                    {"body": message["Body"]}
                    | {name: value.get("StringValue") for name, value in attributes.items()}
                )
                self.sqs.delete_message(
                    QueueUrl=self.outputs[queue], ReceiptHandle=message["ReceiptHandle"]
                )
        return [letter for letter in self._dead_letters if marker in letter["body"]]

    async def dead_letter(
        self, marker: str, queue: str = "NotificationDeadLetterQueueUrl"
    ) -> dict[str, Any]:
        """Return the one dead letter whose body holds a marker, once it is there."""
        (letter,) = await eventually(
            lambda: self.dead_letters(marker, queue), f"a dead letter with {marker}"
        )
        return letter

    def jobs(self, event_id: str = "") -> list[Row]:
        """Return what the ledger knows of an event, or of all."""
        prefix = f"JOB#{event_id}#" if event_id else "JOB#"
        return self._scan("begins_with(pk, :prefix)", {":prefix": {"S": prefix}})

    def add_gone_subscribers(self, entity_id: str, number: int) -> None:
        """Write the rows of connections that are closed, and whose `$disconnect` was lost."""
        # In the form of API Gateway's: it answers anything else with 400.
        ids = [urlsafe_b64encode(urandom(11)).decode() for _ in range(number)]
        for start in range(0, number, 25):
            requests: list[Any] = [
                {
                    "PutRequest": {
                        "Item": {
                            "pk": {"S": f"ENTITY#{entity_id}"},
                            "sk": {"S": f"CONNECTION#{connection_id}"},
                            "connectionId": {"S": connection_id},
                            "ttl": {"N": str(int(time.time()) + 3600)},
                        }
                    }
                }
                for connection_id in ids[start : start + 25]
            ]
            self._dynamodb.batch_write_item(RequestItems={self.outputs["TableName"]: requests})

    @contextmanager
    def posting_within(self, seconds: int, *, visible_after_seconds: int) -> Iterator[None]:
        """Give the functions that post less time, and their messages another try sooner.

        A function that dies holds what it had claimed for that time, and two seconds.
        """
        functions = self.aws.client("lambda")

        def configure(timeout: int, visibility: int) -> None:
            for name in ("NotifierFunction", "DeliverFunction"):
                functions.update_function_configuration(
                    FunctionName=self._resource(name), Timeout=timeout
                )
            for queue in QUEUES:
                self._set(queue, "VisibilityTimeout", str(visibility))

        configure(seconds, visible_after_seconds)
        try:
            yield
        finally:
            configure(30, 180)

    @contextmanager
    def giving_up_after(self, receives: int) -> Iterator[None]:
        """Let an event that fails become a dead letter after fewer tries."""
        queue = "NotificationQueueUrl"
        attributes = self.sqs.get_queue_attributes(
            QueueUrl=self.outputs[queue], AttributeNames=["RedrivePolicy"]
        )["Attributes"]
        policy = json.loads(attributes["RedrivePolicy"])
        self._set(queue, "RedrivePolicy", json.dumps(policy | {"maxReceiveCount": receives}))
        try:
            yield
        finally:
            self._set(queue, "RedrivePolicy", json.dumps(policy))

    def _set(self, queue: str, name: "QueueAttributeNameType", value: str) -> None:
        self.sqs.set_queue_attributes(QueueUrl=self.outputs[queue], Attributes={name: value})

    def last_result(self, event_source: str) -> str:
        """Return how the last batch of an event source ended: "OK - ...", or "FAILED"."""
        mapping = self.aws.client("lambda").get_event_source_mapping(
            UUID=self._resource(event_source)
        )
        return str(mapping["LastProcessingResult"])

    def invoke(self, function: str) -> None:
        """Call a function, as its schedule does, and wait for its end."""
        answer = self.aws.client("lambda").invoke(FunctionName=self._resource(function))
        assert "FunctionError" not in answer, answer["Payload"].read()

    def secret(self, logical_id: str) -> str:
        """Return what a secret of the stack holds."""
        client = self.aws.client("secretsmanager")
        answer = client.get_secret_value(SecretId=self._resource(logical_id))
        return str(answer["SecretString"])

    def gateway_log(self) -> str:
        """Return what the gateway has logged since it was started."""
        return (self._folder / "gateway.log").read_text()

    def functions(self) -> dict[str, str]:
        """Return the role of each function that there is, by the function's name."""
        pages = self.aws.client("lambda").get_paginator("list_functions").paginate()
        return {row["FunctionName"]: row["Role"] for page in pages for row in page["Functions"]}

    def workers(self, function: str) -> list[int]:
        """Return the processes in which this stack's emulator runs a function."""
        found = subprocess.run(
            ["pgrep", "-f", f"{self._folder}/.*ministack-lambda-.*{function}"],
            capture_output=True,
            text=True,
            check=False,
        )
        return [int(line) for line in found.stdout.split()]

    @contextmanager
    def without_permissions(self, function: str) -> Iterator[None]:
        """Take a function's permissions on the table away."""
        iam, role = self.aws.client("iam"), self._resource(f"{function}Role")
        statement = {"Effect": "Deny", "Action": "dynamodb:*", "Resource": "*"}
        document = {"Version": "2012-10-17", "Statement": [statement]}
        iam.put_role_policy(RoleName=role, PolicyName="denied", PolicyDocument=json.dumps(document))
        try:
            yield
        finally:
            iam.delete_role_policy(RoleName=role, PolicyName="denied")

    def _resource(self, logical_id: str) -> str:
        resource = self.aws.client("cloudformation").describe_stack_resource(
            StackName=self.outputs["StackName"], LogicalResourceId=logical_id
        )["StackResourceDetail"]
        return str(resource["PhysicalResourceId"])

    def rows(self, **attributes: str) -> list[Row]:
        """Return the rows of the table with the given values, read from the table itself.

        Numbers are strings, as DynamoDB sends them.
        """
        return self._scan(
            " AND ".join(f"#{name} = :{name}" for name in attributes),
            {f":{name}": {"S": value} for name, value in attributes.items()},
            ExpressionAttributeNames={f"#{name}": name for name in attributes},
        )

    def _scan(self, condition: str, values: Any, **parameters: Any) -> list[Row]:
        pages = self._dynamodb.get_paginator("scan").paginate(
            TableName=self.outputs["TableName"],
            ConsistentRead=True,
            FilterExpression=condition,
            ExpressionAttributeValues=values,
            **parameters,
        )
        return [_plain(item) for page in pages for item in page["Items"]]

    def _partition(self, entity_id: str, prefix: str) -> list[Row]:
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self.outputs["TableName"],
            ConsistentRead=True,
            KeyConditionExpression="pk = :entity AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={
                ":entity": {"S": f"ENTITY#{entity_id}"},
                ":prefix": {"S": prefix},
            },
        )
        return [_plain(item) for page in pages for item in page["Items"]]

    def subscribers(self, entity_id: str) -> list[str]:
        """Return the ids of the connections that are subscribed to an entity."""
        return [row["connectionId"] for row in self._partition(entity_id, "CONNECTION#")]

    def log(self, entity_id: str) -> list[Row]:
        """Return the events that the log of an entity holds, in their order."""
        return self._partition(entity_id, "EVENT#")

    def head(self, entity_id: str) -> str:
        """Return the cursor of the head of an entity's log."""
        (row,) = self._partition(entity_id, "HEAD")
        return f"{row['epoch']}-{row['seq']}"

    def connection_id(self, entity_id: str) -> str:
        """Return the id of the only connection that is subscribed to an entity."""
        (connection_id,) = self.subscribers(entity_id)
        return connection_id

    def delete_row(self, row: Row) -> None:
        self._dynamodb.delete_item(
            TableName=self.outputs["TableName"],
            Key={"pk": {"S": row["pk"]}, "sk": {"S": row["sk"]}},
        )


def _check_event(event: Any) -> None:
    problem = contract().event_problem(event)
    assert problem is None, problem


def _plain(item: Any) -> Row:
    def value(typed: Any) -> Any:
        ((kind, content),) = typed.items()
        match kind:
            case "L":
                return [value(each) for each in content]
            case "SS":
                return set(content)
            case _:
                return content

    return {name: value(typed) for name, typed in item.items()}
