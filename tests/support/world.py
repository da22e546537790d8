"""Stand-ins for the services that a delivery meets, with a clock and with crashes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from push.delivery import Courier, Delivery
from push.errors import EventRejected, ServiceUnavailable
from push.fanout import FanOut
from push.notification import Notification
from support.poster import FakePoster

INVOCATION_SECONDS = 60.0
VISIBILITY_SECONDS = 360.0


class Killed(BaseException):
    """The process is gone: nothing runs after it, no clean-up either."""


@dataclass
class Job:
    state: str = ""
    lease: float = 0.0
    done: set[str] = field(default_factory=set)
    cursor: str = ""


@dataclass
class Message:
    """What waits in a queue: an event of the notifier's, or a delivery."""

    content: Notification | Delivery
    after: str = ""
    at: float = 0.0


@dataclass
class World:
    """One entity's subscribers, two queues, a ledger, and functions that may die at any step.

    `kill_at` counts the steps of all invocations together: a step is a post, a note of the ledger,
    a message sent, or a page read.
    """

    subscribers_now: list[str]
    poster: FakePoster = field(default_factory=FakePoster)
    kill_at: set[int] = field(default_factory=set)
    refuse_at: set[int] = field(default_factory=set)
    chunk_size: int = 3
    step_seconds: float = 0.0
    now: float = 0.0
    steps: int = 0
    kills: int = 0
    messages: list[Message] = field(default_factory=list)
    dead: list[tuple[str, str]] = field(default_factory=list)
    jobs: dict[tuple[str, str], Job] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    invocation_ends: float = 0.0
    delays: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.poster.before = self.step

    def step(self) -> None:
        """Take a step, on which the process may die."""
        self.steps += 1
        self.now += self.step_seconds
        if self.steps in self.kill_at:
            self.kills += 1
            raise Killed

    def service(self) -> None:
        """Call a service, which may fail."""
        self.step()
        if self.steps in self.refuse_at:
            raise ServiceUnavailable

    def seconds_left(self) -> float:
        return self.invocation_ends - self.now

    # The table.
    def subscribers(self, entity_id: str, *, after: str = "") -> Iterator[str]:
        for connection_id in sorted(self.subscribers_now):
            if connection_id > after:
                yield connection_id

    def remove_connection(self, connection_id: str, *known_entity_ids: str) -> int:
        self.service()
        self.removed.append(connection_id)
        return 1

    # The ledger.
    @contextmanager
    def claim(self, event_id: str, job: str) -> Iterator["WorldClaim | None"]:
        self.service()
        entry = self.jobs.setdefault((event_id, job), Job())
        if entry.state == "DONE":
            yield None
            return
        if entry.state == "CLAIMED" and self.now < entry.lease:
            raise ServiceUnavailable
        entry.state, entry.lease = "CLAIMED", self.invocation_ends
        try:
            yield WorldClaim(self, entry)
        except Exception:
            if entry.state == "CLAIMED":
                entry.state = "RELEASED"
            raise

    # The queues.
    def put(self, deliveries: Sequence[Delivery], delay_seconds: int = 0) -> None:
        for delivery in deliveries:
            self.service()
            self.delays.append(delay_seconds)
            # What a queue holds is text.
            self.messages.append(
                Message(Delivery.parse(delivery.encode()), at=self.now + delay_seconds)
            )

    def dead_letters(self) -> "WorldDeadLetters":
        return WorldDeadLetters(self)

    # The functions.
    def courier(self) -> Courier:
        return Courier(
            self.poster,
            self,
            self,
            self,
            self.dead_letters(),
            seconds_left=self.seconds_left,
            sleep=self._sleep,
        )

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _run(self, message: Message) -> None:
        courier = self.courier()
        if isinstance(message.content, Delivery):
            courier.deliver(message.content)
            return
        fan_out = FanOut(
            self,
            self,
            courier,
            self,
            seconds_left=self.seconds_left,
            chunk_size=self.chunk_size,
        )

        def continue_after(connection_id: str) -> None:
            self.service()
            self.messages.append(replace(message, after=connection_id, at=self.now))

        fan_out.notify(message.content, message.after, continue_after)

    def settle(self, each: Callable[[], None] = lambda: None) -> None:
        """Run invocations until no message is left; one that fails is tried again later."""
        for _ in range(10_000):
            if not self.messages:
                return
            message = min(self.messages, key=lambda waiting: waiting.at)
            self.now = max(self.now, message.at)
            self.invocation_ends = self.now + INVOCATION_SECONDS
            each()
            try:
                self._run(message)
            except (ServiceUnavailable, Killed):
                message.at = self.now + VISIBILITY_SECONDS
            else:
                self.messages.remove(message)
        raise AssertionError("the messages never end")


@dataclass
class WorldClaim:
    world: World
    job: Job

    @property
    def done(self) -> frozenset[str]:
        return frozenset(self.job.done)

    @property
    def cursor(self) -> str:
        return self.job.cursor

    def note_done(self, connection_id: str) -> None:
        self.world.step()
        self.job.done.add(connection_id)

    def note_cursor(self, cursor: str) -> None:
        self.world.service()
        self.job.cursor = cursor

    def complete(self) -> None:
        self.world.service()
        self.job.state = "DONE"


@dataclass
class WorldDeadLetters:
    world: World

    def put(self, body: str, rejection: EventRejected) -> None:
        self.world.service()
        self.world.dead.append((body, rejection.code))
