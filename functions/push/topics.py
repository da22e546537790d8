"""What can be subscribed to, and its log.

A topic is an entity or a user, of a tenant where there are tenants. Its log gives each event the
next number, once per event id, and keeps the event's frame for those who come back. A number exists
exactly when its frame is durable: there are no holes.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from push.adapters.table import Table
    from push.events import Event

ENTITY, USER = "ENTITY", "USER"
_TENANT = "TENANT"

# A head outlives every connection and all that is kept of its log by this much again, so that an
# event which finds none is older than every `Subscribed`.
HEAD_SECONDS = 30 * 24 * 3600
# Of an answer.
MAX_EVENTS = 100


class Topic(NamedTuple):
    """What can be subscribed to. Nothing else writes or reads the prefix of its key."""

    kind: str
    id: str
    tenant: str = ""

    @property
    def key(self) -> str:
        """The topic as partition key, and in the set of a connection.

        No two topics have one: the name of a tenant stands between marks that it cannot hold, and
        nothing follows the id.
        """
        key = f"{self.kind}#{self.id}"
        if not self.tenant:
            return key
        return f"{_TENANT}#{self.tenant.replace('%', '%25').replace('#', '%23')}#{key}"

    @property
    def digest(self) -> str:
        """The topic as logs name it: the first 16 digits of the SHA-256 of its key.

        Lines about one topic can be found by it, and nothing that a client or a publisher wrote is
        in them. Whoever knows an id can work it out.
        """
        # Here, and not above: not every function names topics.
        from hashlib import sha256  # noqa: PLC0415

        return sha256(self.key.encode()).hexdigest()[:16]

    @classmethod
    def of_key(cls, key: str) -> Self:
        kind, _, id_ = key.partition("#")
        if kind != _TENANT:
            return cls(kind, id_)
        tenant, kind, id_ = id_.split("#", 2)
        return cls(kind, id_, tenant.replace("%23", "#").replace("%25", "%"))

    @classmethod
    def entity(cls, entity_id: str, tenant: str = "") -> Self:
        return cls(ENTITY, entity_id, tenant)

    @classmethod
    def user(cls, user_id: str, tenant: str = "") -> Self:
        return cls(USER, user_id, tenant)


class Cursor(NamedTuple):
    """A place in a topic's log; `<epoch>-<seq>` on the wire."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a cursor; raise `ValueError` if it is none."""
        if not (match := CURSOR.fullmatch(text)):
            raise ValueError("not a cursor")
        return cls(match[1], int(match[2]))


# For work that has no place in a log.
NOWHERE = Cursor("0" * 12, 0)
# To know the size of a frame before it has its cursor.
LONGEST_CURSOR = Cursor("f" * 12, 10**15 - 1)
CURSOR = re.compile(r"([0-9a-f]{12})-(0|[1-9][0-9]{0,14})")


def new_epoch() -> str:
    """Return the name of a log that begins at number 1."""
    return os.urandom(6).hex()


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a topic's log: `cursor` is the last number given, 0 before the first."""

    cursor: Cursor
    ttl: int


class LoggedEvent(NamedTuple):
    """An event with its number: `frame` is what every subscriber gets, JSON in UTF-8."""

    cursor: Cursor
    frame: str


class Recovery(NamedTuple):
    """What a client missed.

    `recovered` says that `events` are all there is after the client's cursor, up to `cursor`;
    `more`, that there is more behind `cursor`.
    """

    cursor: Cursor
    recovered: bool
    events: tuple[LoggedEvent, ...] = ()
    more: bool = False


@dataclass(slots=True)
class Room:
    """What an answer still has room for: events, and the bytes of their frames.

    With `one_at_least` the first event has room in any case.
    """

    bytes: int
    events: int = MAX_EVENTS
    one_at_least: bool = False

    @property
    def is_left(self) -> bool:
        return self.events > 0 and (self.bytes > 0 or self.one_at_least)

    def take(self, frame: str) -> bool:
        """Take the room of a frame, if there is as much."""
        size = len(frame.encode())
        if not self.events or (size > self.bytes and not self.one_at_least):
            return False
        self.bytes -= size
        self.events -= 1
        self.one_at_least = False
        return True


@dataclass(frozen=True, slots=True)
class Last:
    """A `since` that asks for the last event alone."""


LAST = Last()
Since = Cursor | Last


class Log:
    """Reads and writes the logs of topics.

    Every decision is a condition on one item, so no clock decides who is first, and an item that
    TTL removed fails the condition. Every method raises `ServiceUnavailable` when the table does
    not answer.
    """

    def __init__(
        self, table: "Table", *, kept_seconds: int = 0, clock: Callable[[], float] = time.time
    ) -> None:
        """Use a table; `kept_seconds` is how long events are kept, for those who append."""
        self._table = table
        self._kept_seconds = kept_seconds
        self._clock = clock

    def open(self, topic: Topic) -> Head:
        """Return a topic's head, made if there is none, and one that outlives every connection.

        Subscribing alone prolongs a head: a topic that nobody watches falls asleep, though its
        events go on.
        """
        now = int(self._clock())
        head = self._table.head(topic)
        if head and head.ttl >= now + HEAD_SECONDS // 2:
            return head
        return self._table.open_head(topic, new_epoch(), now + HEAD_SECONDS)

    def append(self, event: "Event", head: Head, clear: Cursor) -> LoggedEvent | None:
        """Give an event its number, once, whoever else is at it; None if the log has fallen asleep.

        First the slot behind the head, then the head: so a number exists exactly when its frame is
        durable, and the head is small whatever the frame is.

        Args:
            event: what is appended.
            head: the topic's head, as it was read.
            clear: where the log stood before anybody took the event up: it is at no number up to
                there. At every number above it is looked for before it gets one, so it does not
                matter why it might be there: an earlier try that died, one's own write whose
                answer was lost, or somebody who does not know that the lease is past.
        """
        now: Head | None = head
        while now is not None:
            if now.cursor.epoch != clear.epoch:
                clear = Cursor(now.cursor.epoch, 0)
            if clear != now.cursor:
                found = self._table.find(event.topic, event.id, clear, now.cursor.seq)
                if found:
                    return found
            clear = now.cursor
            following = Cursor(clear.epoch, clear.seq + 1)
            logged = LoggedEvent(following, event.frame(following))
            ttl = int(self._clock()) + self._kept_seconds
            filled = self._table.fill_slot(event.topic, event.id, logged, ttl)
            # Also where the slot is another's, who died before moving the head.
            now = self._table.move_head(event.topic, clear)
            if filled and now and now.cursor.epoch == clear.epoch:
                # Whoever moved the head there moved it over this slot.
                return logged
        return None

    def recover(self, topic: Topic, head: Head, since: Since, room: Room) -> Recovery:
        """Return what came after `since`: all of it, the first part, or "not recovered".

        Args:
            topic: whose log.
            head: the topic's head, read before: whatever it counts is in the log.
            since: from where on.
            room: is taken from by what is returned.
        """
        now = head.cursor
        if isinstance(since, Last):
            since = Cursor(now.epoch, max(0, now.seq - 1))
        if since.epoch != now.epoch or since.seq > now.seq:
            return Recovery(now, recovered=False)
        if since == now:
            return Recovery(now, recovered=True)
        events: list[LoggedEvent] = []
        if room.is_left:
            page = self._table.logged(topic, since, min(now.seq, since.seq + room.events))
            if not page:
                return Recovery(now, recovered=False)
            for number, event in enumerate(page, since.seq + 1):
                if event.cursor.seq != number:
                    # TTL took one, in whatever order it pleased: never a silent hole.
                    return Recovery(now, recovered=False)
                if not room.take(event.frame):
                    break
                events.append(event)
        reached = events[-1].cursor if events else since
        return Recovery(reached, True, tuple(events), more=reached.seq < now.seq)
