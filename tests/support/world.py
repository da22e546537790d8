"""A world in which the functions run: their services, every fault of these, and a schedule.

The code under test is the real one, from the handling of a batch down to the requests of the
adapters. What it stands on is made here: DynamoDB in memory, SQS, API Gateway, and clients with
browsers. An invocation's threads are greenlets. Every request to a service is one step; between any
two steps of one, every other may take any number of steps. A seed decides about everything.

Faults, each drawn per step:

  retry     the request was carried out, its answer was lost, the SDK sends it again
  unknown   the request was carried out, and the caller gets an error
  refuse    the request was not carried out, and the caller gets an error
  conflict  a write meets a transaction
  crash     the invocation dies before or after a request, with everything that runs in it
  copies    EventBridge sends an event twice, SQS brings a message twice; in any order anyway
  posts     429, timeouts, and posts of which nobody knows whether they arrived
  lost      `$disconnect` never comes
  skew      (only when asked for) clocks differ: leases are taken over while their owners run
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from botocore.exceptions import ClientError, ReadTimeoutError
from greenlet import getcurrent, greenlet

from management_api import Outcome, Payload, Request, Result
from push import delivery, jobs, topics
from push.adapters.queues import DeadLetters, Letters, Receipts
from push.adapters.table import Table
from push.batches import Batch, BatchFailed, RecordHandler
from push.batches import Message as Received
from push.connection import Connection as KnownConnection
from push.delivery import Delivery, Unresponsive
from push.errors import PushError
from push.jobs import Letter
from push.subscriptions import Subscriptions, forget
from push.topics import Log, Topic
from support import events
from support.contract import contract
from support.dynamodb import DynamoDB

T = TypeVar("T")
R = TypeVar("R")

FAULTS = ("retry", "unknown", "refuse", "conflict", "crash", "copies", "posts", "lost")
START = 1_795_484_800.0

# Small, so that a short schedule meets every limit.
INVOCATION_SECONDS = 30.0
VISIBILITY_SECONDS = 180.0
LIFETIME_SECONDS = 7_200.0
HISTORY_SECONDS = 20_000
MAX_TOPICS = 2
EVENTS_PER_ANSWER = 2
ROWS_PER_PAGE = 2
SUBSCRIBERS_PER_DELIVERY = 2


def make_small(monkeypatch: Any) -> None:
    """Set the limits of the code so that a short schedule meets each of them."""
    monkeypatch.setattr(jobs, "JOB_SECONDS", HISTORY_SECONDS)
    monkeypatch.setattr(topics, "HEAD_SECONDS", 60_000)
    monkeypatch.setattr(delivery, "POSTS_IN_FLIGHT", 3)
    monkeypatch.setattr(delivery, "POSTS_PER_NOTE", 4)
    monkeypatch.setattr(delivery, "RANGES_PER_PLAN", 2)
    monkeypatch.setattr(delivery, "STRAGGLER_DELAYS", (1, 2))


class Killed(BaseException):
    """The process is gone: nothing runs after it but what must not, and no clean-up either."""


class Broken(BaseException):
    """A promise was broken."""


@dataclass(eq=False)
class Invocation:
    """One run of a function. It dies at its deadline, or earlier, with all that runs in it."""

    world: "World"
    deadline: float
    clock_is_ahead: float = 0.0
    processes: "set[Process]" = field(default_factory=set)

    def now(self) -> float:
        """The time by this invocation's clock."""
        return self.world.now + self.clock_is_ahead

    def seconds_left(self) -> float:
        if self.world.random.random() < self.world.hurry:
            return 0.0
        return self.deadline - self.world.now


@dataclass
class Post:
    """A frame that arrived, as the audit remembers it."""

    connection_id: str
    event_id: str
    unknown: bool
    answered: float | None = None


class Process:
    """A greenlet, what it waits for, and what the audit remembers of it."""

    def __init__(self, name: str, run: Callable[[], Any], invocation: Invocation | None) -> None:
        self.name = name
        self.invocation = invocation
        self.greenlet = greenlet(run)
        self.operation: Operation | None = None
        self.wait_until: float | None = None
        self.condition: Callable[[], bool] | None = None
        self.ended: Callable[[Any], None] = lambda result: None
        self.retried = False
        self.slow = False
        self.spared = False
        self.killed = False
        self.started = False
        # For the audit.
        self.job: str | None = None
        self.owner = ""
        self.noted = -1.0
        self.posts: list[Post] = []
        self.sent: list[Letter] = []
        self.doubtful: list[Letter] = []
        self.forgetting: str | None = None


@dataclass
class Operation:
    """A request to a service: `run` carries it out and returns the answer."""

    service: str
    name: str
    run: Callable[[], Any]
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Message:
    body: str
    at: float
    number: int
    copied: bool = False
    receives: int = 0


@dataclass(eq=False)
class Connection:
    """A WebSocket: as API Gateway sees it (`open`), and as it is (`vanished`)."""

    id: str
    client: Any
    connected_at: float
    pending: bool = True
    open: bool = False
    vanished: bool = False
    stubborn_until: float = -1.0
    replies: dict[int, Any] = field(default_factory=dict)


class World:
    """The services, the processes, and the schedule."""

    def __init__(self, seed: int, faults: frozenset[str]) -> None:
        self.random = rnd = random.Random(seed)  # noqa: S311 - repeatable, no secret
        self.faults = faults
        self.now = START
        self.steps = 0
        self.step_seconds = rnd.choice((0.002, 0.02, 0.2))
        self.rate = rnd.choice((0.01, 0.03, 0.06))  # of each fault, per step
        self.post_rate = rnd.choice((0.1, 0.1, 0.4))  # of posts that fail
        self.ttl_rate = rnd.choice((0.02, 0.02, 0.3))  # how soon TTL deletes what is expired
        self.hurry = rnd.choice((0.0, 0.0, 0.01))  # of looks at a clock that say: time is up
        self.last_call = False
        self.dynamodb = DynamoDB()
        self.queues: dict[str, list[Message]] = {"events": [], "deliveries": [], "dead": []}
        self.connections: dict[str, Connection] = {}
        self.processes: list[Process] = []
        self.invocations: set[Invocation] = set()
        self.audit: Any = None
        self._numbers = 0
        self._main = getcurrent()

    # What processes ask for.

    @property
    def process(self) -> Process:
        process: Process = getcurrent().process  # type: ignore[attr-defined]
        return process

    def request(self, operation: Operation) -> Any:
        """Make a request to a service: the scheduler carries it out, or one of its faults."""
        if self.process.killed:
            raise Killed
        self.process.operation = operation
        return self._main.switch()

    def wait(self, seconds: float = 0.0, condition: Callable[[], bool] | None = None) -> None:
        """Let others go on, for a time, and until a condition holds."""
        if self.process.killed:
            raise Killed
        self.process.wait_until, self.process.condition = self.now + seconds, condition
        self._main.switch()

    def number(self) -> int:
        self._numbers += 1
        return self._numbers

    # Processes.

    def spawn(
        self,
        name: str,
        run: Callable[[], Any],
        invocation: Invocation | None = None,
        ended: Callable[[Any], None] = lambda result: None,
        *,
        spared: bool = False,
    ) -> Process:
        """Begin a process; `ended` gets what it returned, or the error that ended it."""

        def body() -> Any:
            try:
                return run()
            except (PushError, BatchFailed, Killed) as error:
                return error

        process = Process(name, body, invocation)
        process.greenlet.process = process  # type: ignore[attr-defined]
        # Whoever began it: it gives way, and ends, to the scheduler.
        process.greenlet.parent = self._main
        process.slow, process.spared = self.random.random() < 0.25, spared
        process.wait_until = self.now
        process.ended = ended
        self.processes.append(process)
        if invocation:
            invocation.processes.add(process)
        return process

    def invocation(self) -> Invocation:
        made = Invocation(self, self.now + INVOCATION_SECONDS)
        if "skew" in self.faults and self.random.random() < 0.5:
            made.clock_is_ahead = INVOCATION_SECONDS + 10
        self.invocations.add(made)
        return made

    def kill(self, invocation: Invocation) -> None:
        for process in list(invocation.processes):
            process.killed = True
        for process in list(invocation.processes):
            self._resume(process, error=Killed())

    def _resume(self, process: Process, answer: Any = None, error: Any = None) -> None:
        process.operation, process.condition, process.wait_until = None, None, None
        process.retried = False
        if process.started:
            result = process.greenlet.throw(error) if error else process.greenlet.switch(answer)
        elif error:
            result = error
        else:
            process.started = True
            result = process.greenlet.switch()
        if process.greenlet:
            return
        self.processes.remove(process)
        if process.invocation:
            process.invocation.processes.discard(process)
            if not process.invocation.processes:
                self.invocations.discard(process.invocation)
        if self.audit:
            self.audit.ended(process, result)
        process.ended(result)

    # The schedule.

    def run(self) -> None:
        """Until nothing is left to do: nobody runs, no message waits."""
        rnd = self.random
        while True:
            self.now += self.step_seconds
            self.steps += 1
            if self.steps > 50_000:
                raise Broken("this schedule does not come to an end")
            for invocation in list(self.invocations):
                if self.now > invocation.deadline:
                    self.kill(invocation)
            self._surroundings()
            ready = [process for process in self.processes if self._is_ready(process)]
            name = "events" if rnd.random() < 0.5 else "deliveries"
            visible = [m for m in self.queues[name] if m.at <= self.now]
            busy = len({p.invocation for p in self.processes if p.name == "batch"}) >= 8
            if visible and not busy and (not ready or rnd.random() < 0.2):
                size = min(len(visible), rnd.choice((1, 1, 2, 3)))
                self._receive(name, rnd.sample(visible, size))
            elif ready:
                process = rnd.choice(ready)
                if process.slow and len(ready) > 1 and rnd.random() < 0.9:
                    process = rnd.choice(ready)
                self._step(process)
            elif not self._jump():
                return

    def _is_ready(self, process: Process) -> bool:
        if process.operation:
            return True
        late = process.wait_until is None or process.wait_until <= self.now
        return late and (process.condition is None or process.condition())

    def _jump(self) -> bool:
        """Nothing can run: jump to what waits for its time."""
        times = [m.at for name in ("events", "deliveries") for m in self.queues[name]]
        times += [at for p in self.processes if (at := p.wait_until) and at > self.now]
        if not times:
            return False
        times += [c.connected_at + LIFETIME_SECONDS for c in self.connections.values() if c.open]
        self.now = max(self.now, min(times))
        return True

    def _surroundings(self) -> None:
        """TTL, the life of connections, and the discovery of clients that are no longer there."""
        draw = self.random.random()
        if draw < self.ttl_rate:
            self.dynamodb.expire(self.now, self.random.choice)
        for connection in list(self.connections.values()):
            old = self.now >= connection.connected_at + LIFETIME_SECONDS
            if connection.open and (old or (connection.vanished and draw > 0.99)):
                self.hang_up(connection.id)

    def _step(self, process: Process) -> None:
        """Carry out one request, or one of the ways in which it can go wrong."""
        operation = process.operation
        if operation is None:
            self._resume(process)
            return
        fault = self._fault(process, operation)
        if self.audit:
            self.audit.before(process, operation, fault)
        if fault == "crash before" and process.invocation:
            self.kill(process.invocation)
            return
        if fault in ("refuse", "conflict"):
            code = "InternalServerError" if fault == "refuse" else "TransactionConflictException"
            self._resume(process, error=_client_error(operation, code))
            return
        answer: Any = None
        error: Exception | None = None
        try:
            answer = operation.run()
        except ClientError as refused:
            error = refused
        if self.audit:
            self.audit.after(process, operation, error, fault)
        if fault == "retry":
            process.retried = True  # the same request will be carried out once more
        elif fault == "unknown":
            self._resume(process, error=ReadTimeoutError(endpoint_url="x"))
        elif fault == "crash after" and process.invocation:
            self.kill(process.invocation)
        else:
            self._resume(process, answer, error)

    def _fault(self, process: Process, operation: Operation) -> str:
        if not process.invocation or process.spared:
            return ""
        draw = self.random.random()
        if draw < self.rate / 2:
            return f"crash {self.random.choice(('before', 'after'))}" if self._has("crash") else ""
        if operation.service not in ("table", "queue") or process.retried:
            return ""
        draw -= self.rate / 2
        for name, rate in (
            ("retry", 2 * self.rate),
            ("unknown", self.rate / 2),
            ("refuse", self.rate),
            ("conflict", self.rate if operation.name in _WRITES else 0),
        ):
            if 0 <= draw < rate:
                return name if self._has(name) else ""
            draw -= rate
        return ""

    def _has(self, fault: str) -> bool:
        return fault in self.faults

    # Lambda and SQS.

    def send(self, queue: str, body: str, delay: float = 0.0) -> None:
        self.queues[queue].append(Message(body, self.now + delay, self.number()))

    def _receive(self, queue: str, messages: list[Message]) -> None:
        """An invocation of the function behind a queue takes a batch."""
        invocation = self.invocation()
        for message in list(messages):
            message.at = self.now + VISIBILITY_SECONDS
            message.receives += 1
            if self._has("copies") and not message.copied and self.random.random() < 0.15:
                delay = self.random.choice((0.0, 5.0, 1_000.0))
                copy = Message(message.body, self.now + delay, self.number(), copied=True)
                message.copied = True
                self.queues[queue].append(copy)
                if not delay and len(messages) < 3:
                    copy.receives, copy.at = 1, message.at
                    messages.append(copy)  # both in one batch
        records = [
            {
                "messageId": str(message.number),
                "receiptHandle": f"{queue} {message.number}",
                "body": message.body,
                "attributes": {
                    "ApproximateReceiveCount": str(message.receives),
                    "SentTimestamp": "1795484801000",
                },
            }
            for message in messages
        ]
        # After this many, the dead-letter queue; here, nothing goes wrong any more.
        spared = any(message.receives > 6 for message in messages)
        handler = _notify if queue == "events" else _carry

        def run() -> list[str]:
            batch = _Batch(_Posting(self, invocation), invocation, self)
            return batch.handle(records, handler)

        def ended(result: Any) -> None:
            # One that died, or failed as a whole, keeps all its messages.
            back = result if isinstance(result, list) else [r["messageId"] for r in records]
            for message in messages:
                if str(message.number) not in back:
                    self.queues[queue].remove(message)

        self.spawn("batch", run, invocation, ended, spared=spared)

    # API Gateway.

    def dial(self, client: Any) -> Connection:
        """Open a WebSocket: `$connect` decides whether it opens."""
        # Connection ids come in no order.
        connection_id = f"{self.random.randrange(1000):03}-{self.number()}"
        connection = Connection(connection_id, client, self.now)
        self.connections[connection_id] = connection

        def connected(result: Any) -> None:
            connection.pending = False
            connection.open = not isinstance(result, BaseException) and not connection.vanished

        invocation = self.invocation()
        table = self.table(invocation)
        run = partial(table.put_connection, self.described(connection))
        self.spawn("connect", run, invocation, connected)
        return connection

    def described(self, connection: Connection) -> KnownConnection:
        """The connection, as a route gets it."""
        connected_at = datetime.fromtimestamp(connection.connected_at, UTC)
        return KnownConnection(connection.id, "203.0.113.17", connected_at)

    def ask(self, connection: Connection, run: Callable[[Subscriptions, Any], Any]) -> int:
        """Send a request: its route runs, and `replies[number]` of the connection has the reply."""
        number = self.number()
        invocation = self.invocation()
        routes = Subscriptions(
            self.table(invocation),
            max_per_connection=MAX_TOPICS,
            side_by_side=_one_by_one,
            clock=invocation.now,
        )

        def reply(answer: Any) -> None:
            if connection.open and not connection.vanished and number not in connection.replies:
                connection.replies[number] = answer
                connection.client.hear_reply(answer)

        def route() -> None:
            answer = run(routes, self.described(connection))
            self.request(Operation("answer", "reply", partial(reply, answer)))

        def ended(result: Any) -> None:
            if isinstance(result, BaseException):
                reply(result)

        self.spawn("route", route, invocation, ended)
        return number

    def hang_up(self, connection_id: str) -> None:
        """The connection ends, whoever ended it; `$disconnect` follows, usually."""
        connection = self.connections[connection_id]
        if not connection.open:
            return
        connection.open = False

        def disconnected(result: Any) -> None:
            if isinstance(result, BaseException) and self.audit:
                self.audit.half_forgotten.add(connection_id)

        if self._has("lost") and self.random.random() < 0.5:
            disconnected(Killed())
            return
        invocation = self.invocation()
        run = partial(forget, self.table(invocation), connection_id)
        self.spawn("disconnect", run, invocation, disconnected)

    def post(self, connection_id: str, payload: Payload) -> tuple[Result, bool, bool]:
        """What becomes of a post: its result, whether it arrived, and whether nobody knows that."""
        connection = self.connections[connection_id]
        if not connection.open:
            return Result.GONE, False, False
        if connection.stubborn_until > self.now:
            return Result.THROTTLED, False, False
        arrived, unknown, result = True, False, Result.OK
        if self._has("posts") and self.random.random() < self.post_rate:
            result = Result.FAILED
            unknown = self.random.random() < 0.4  # a reset or a timeout: it may have arrived
            arrived = unknown and self.random.random() < 0.7
            if self.random.random() < 0.2:
                pause = self.random.choice((1.0, 10.0, 400.0))
                connection.stubborn_until = self.now + pause
        arrived = arrived and not connection.vanished
        return result, arrived, unknown

    # What an invocation is made of.

    def table(self, invocation: Invocation) -> Table:
        client: Any = _DynamoDBClient(self)
        return Table(client, "table", clock=invocation.now, sleep=self.wait)


_WRITES = ("put_item", "update_item", "delete_item", "transact_write_items")


def _client_error(operation: Operation, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "told so"}}, operation.name)


def _one_by_one(call: Callable[[T], R], arguments: Iterable[T], /) -> list[R]:
    return [call(argument) for argument in arguments]


class _DynamoDBClient:
    """The table's client: pages are short, and every request is a step."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def request(**parameters: Any) -> Any:
            if name == "query":
                most = parameters.get("Limit", ROWS_PER_PAGE)
                parameters["Limit"] = min(most, ROWS_PER_PAGE)
            run = partial(getattr(self._world.dynamodb, name), **parameters)
            return self._world.request(Operation("table", name, run, parameters))

        return request


class _SqsClient:
    """The queues' client; `QueueUrl` is the name of one."""

    def __init__(self, world: World) -> None:
        self._world = world

    def send_message_batch(self, **parameters: Any) -> Any:
        world = self._world

        def run() -> Any:
            failed = []
            for entry in parameters["Entries"]:
                if world._has("refuse") and world.random.random() < world.rate:
                    failed.append({"Id": entry["Id"]})
                    continue
                world.send(parameters["QueueUrl"], entry["MessageBody"], entry["DelaySeconds"])
            return {"Failed": failed}

        return world.request(Operation("queue", "send_message_batch", run, parameters))

    def send_message(self, **parameters: Any) -> Any:
        run = partial(self._world.send, parameters["QueueUrl"], parameters["MessageBody"])
        return self._world.request(Operation("queue", "send_message", run, parameters))

    def change_message_visibility(self, **parameters: Any) -> Any:
        queue, number = parameters["ReceiptHandle"].split()

        def run() -> None:
            for message in self._world.queues[queue]:
                if message.number == int(number):
                    message.at = self._world.now + parameters["VisibilityTimeout"]

        return self._world.request(Operation("queue", "change_message_visibility", run, parameters))


class _Window:
    """A walk's posts."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._in_flight: list[tuple[Outcome, Post | None]] = []

    def post(self, connection_id: str, payload: Payload) -> None:
        world, process = self._world, self._world.process

        def run() -> None:
            result, arrived, unknown = world.post(connection_id, payload)
            frame = json.loads(payload.body)
            contract().check_service(frame)
            post = None
            if "id" in frame:
                if world.audit:
                    post = world.audit.posted(process, connection_id, frame, arrived, unknown)
                if arrived:
                    world.connections[connection_id].client.hear(connection_id, frame)
            outcome = Outcome(Request(connection_id, payload), result, "told so")
            self._in_flight.append((outcome, post))

        world.request(Operation("gateway", "post", run))

    def close_connection(self, connection_id: str) -> None:
        def run() -> None:
            self._world.hang_up(connection_id)
            outcome = Outcome(Request(connection_id, None), Result.OK)
            self._in_flight.append((outcome, None))

        self._world.request(Operation("gateway", "close", run))

    def answer(self, within_seconds: float | None = None) -> Outcome | None:
        world = self._world
        if within_seconds is not None and world.random.random() < 0.1:
            world.wait(max(0.0, within_seconds))
            return None

        def run() -> Outcome:
            number = world.random.randrange(len(self._in_flight))
            outcome, post = self._in_flight.pop(number)
            if post:
                post.answered = world.now
            return outcome

        answer: Outcome = world.request(Operation("gateway", "answer", run))
        return answer


class _Exchange:
    def __init__(self, world: World, invocation: Invocation) -> None:
        self._world, self._invocation = world, invocation

    def run(self, calls: Sequence[Callable[[], None]]) -> None:
        left = len(calls)

        def ended(result: Any) -> None:
            nonlocal left
            left -= 1

        spared = self._world.process.spared
        for call in calls:
            self._world.spawn("record", call, self._invocation, ended, spared=spared)
        self._world.wait(condition=lambda: not left)


class _Posting:
    """The parts of a function that reads a queue, for one invocation."""

    def __init__(self, world: World, invocation: Invocation) -> None:
        self._world, self._invocation = world, invocation
        self.with_tenants, self.revoked_seconds = False, 0
        self.exchange = _Exchange(world, invocation)
        sqs: Any = _SqsClient(world)
        self.letters = Letters(
            sqs, "deliveries", turn=nullcontext(), clock=lambda: world.now, sleep=world.wait
        )
        self.dead_letters = DeadLetters(sqs, "dead")
        self.receipts = Receipts(sqs, "unused")

    def delivery(self, seconds_left: Callable[[], float]) -> Delivery:
        world, invocation = self._world, self._invocation
        table = world.table(invocation)

        @contextmanager
        def window() -> Iterator[_Window]:
            yield _Window(world)

        return Delivery(
            table,
            Log(table, kept_seconds=HISTORY_SECONDS, clock=invocation.now),
            self.letters,
            self.dead_letters,
            window,
            subscribers_per_delivery=SUBSCRIBERS_PER_DELIVERY,
            seconds_left=seconds_left,
            unresponsive=Unresponsive(clock=lambda: world.now),
            side_by_side=_one_by_one,
            clock=lambda: world.now,
            wall_clock=invocation.now,
        )


class _Batch(Batch):
    def __init__(self, posting: Any, invocation: Invocation, world: World) -> None:
        super().__init__(posting, invocation.seconds_left, invocation.now)
        self._world = world
        self._held: set[Topic] = set()

    def turn(self, topic: Topic) -> AbstractContextManager[Any]:
        return self._turn(topic)

    @contextmanager
    def _turn(self, topic: Topic) -> Iterator[None]:
        self._world.wait(condition=lambda: topic not in self._held)
        self._held.add(topic)
        try:
            yield
        finally:
            self._held.discard(topic)


def _no_bug(handler: RecordHandler) -> RecordHandler:
    """Let what is no fault of a service end the test, instead of the message's try."""

    def handle(record: Received, batch: Batch) -> None:
        try:
            handler(record, batch)
        except PushError:
            raise
        except Exception as error:
            raise Broken("the code raised") from error

    return handle


@_no_bug
def _notify(record: Received, batch: Batch) -> None:
    event = events.parsed(record.body)
    batch.delivery.notify(event, batch.turn(event.topic), record.sent_at_ms)


@_no_bug
def _carry(record: Received, batch: Batch) -> None:
    batch.delivery.carry(Letter.parse(record.body))
