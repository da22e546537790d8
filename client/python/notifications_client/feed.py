"""One entity, as one subscription follows it: which event comes next, what waits, what is lost.

Nothing here does I/O or knows the time: frames, replies and the time come in, and what is to be
handed on goes out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

Frame = dict[str, Any]

LAST = "last"
# In place of an entity's id, which has a character at least.
USER = ""
# Of frames behind a hole. What has no room comes with `history`.
_MOST_WAITING = 100


@dataclass(frozen=True, slots=True)
class Cursor:
    """`<epoch>-<number>`. Numbers are compared only where the epochs are equal."""

    epoch: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a cursor.

        Raises:
            ValueError: it is none.
        """
        epoch, dash, number = text.rpartition("-")
        if not dash or not (number.isascii() and number.isdecimal()):
            raise ValueError(f"not a cursor: {text!r}")
        return cls(epoch, int(number))

    @classmethod
    def of(cls, frame: Frame) -> Self:
        """Read the cursor of a frame or a reply; raise `ValueError` if it has none."""
        return cls.parse(str(frame.get("cursor")))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}"

    def reaches(self, other: "Cursor") -> bool:
        """Whether all up to the other is behind this one."""
        return self.epoch == other.epoch and self.number >= other.number


@dataclass(frozen=True, slots=True)
class Event:
    """An event, and the cursor that says so much: up to here, nothing is missed.

    Attributes:
        frame: as it came. A member that is absent and one that is null differ only here:
            `"message" in event.frame`.
    """

    frame: Frame

    @property
    def entity_id(self) -> str:
        """Return what it is about; empty if it was pushed to the user."""
        return str(self.frame.get("entityId", USER))

    @property
    def cursor(self) -> str:
        return str(self.frame["cursor"])

    @property
    def message(self) -> Any:
        """Return what the publisher wrote, any JSON; None if he did not."""
        return self.frame.get("message")

    @property
    def data(self) -> Any:
        """Return what the publisher wrote, any JSON; None if he did not."""
        return self.frame.get("data")

    @property
    def callback(self) -> Any:
        """Return what a push to the user may have; None if it has not."""
        return self.frame.get("callback")

    @property
    def id(self) -> str:
        return str(self.frame["id"])

    @property
    def time(self) -> str:
        """Return when it happened, as the publisher said it, in ISO 8601."""
        return str(self.frame["time"])


@dataclass(frozen=True, slots=True)
class Gap:
    """Events that cannot be brought any more: those after a cursor, up to another one."""

    entity_id: str
    after: str
    upto: str

    @property
    def cursor(self) -> str:
        return self.upto


Item = Event | Gap


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request asks for, and what was known when it was sent."""

    since: str | None
    waiting: frozenset[Cursor]
    misses: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    frame: Frame
    since: float


class Feed:
    """The events of an entity, in order, each once.

    Attributes:
        position: the cursor up to which nothing is missed; None until a reply says it.
        behind: whether there is more than was taken, to be asked for with `history`.
        paused: whether nothing is taken, since there is no room.
    """

    def __init__(
        self, entity_id: str, since: str | None = None, *, most_waiting: int = _MOST_WAITING
    ) -> None:
        """Begin after a cursor, with the last event (`"last"`), or with the next one.

        Args:
            most_waiting: how many frames behind a hole are kept.

        Raises:
            ValueError: `since` is none of these.
        """
        self.entity_id = entity_id
        self.wants_last = since == LAST
        self.position = None if since is None or self.wants_last else Cursor.parse(since)
        self.behind = self.position is not None
        self.paused = False
        self._most_waiting = most_waiting
        self._waiting: dict[Cursor, _Waiting] = {}
        # Frames that were let go: an answer to what was asked before does not make up for them.
        self._misses = 0

    def begin_beside(self, other: "Feed") -> None:
        """Begin where another one is; what waits there will not come again."""
        self.position, self.behind = other.position, other.behind
        self._waiting = dict(other._waiting)

    @property
    def since(self) -> str | None:
        """Return what a request says about where to begin."""
        if self.position is None:
            return LAST if self.wants_last else None
        return str(self.position)

    @property
    def number(self) -> int:
        return self.position.number if self.position else -1

    @property
    def is_waiting(self) -> bool:
        """Whether something is missing, as far as is known."""
        return self.behind or bool(self._waiting)

    @property
    def waiting_since(self) -> float | None:
        """Return since when the oldest of the frames waits that wait."""
        return min((each.since for each in self._waiting.values()), default=None)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self._miss()

    def ask(self, since: str | None) -> Ask:
        """Note what is known at the time of a request."""
        return Ask(since, frozenset(self._waiting), self._misses)

    def live(self, frame: Frame, now: float) -> Iterator[Item]:
        """Take a frame that was pushed."""
        cursor = Cursor.of(frame)
        if self.paused or self._has(cursor):
            return
        if cursor == self._next:
            yield self._take(cursor, frame)
            yield from self._take_waiting()
        elif cursor not in self._waiting:
            if len(self._waiting) < self._most_waiting:
                self._waiting[cursor] = _Waiting(frame, now)
            if len(self._waiting) == self._most_waiting:
                self._miss()

    def answered(self, ask: Ask, reply: Frame, now: float) -> Iterator[Item]:
        """Take what a reply to `subscribe` or `history` says about the entity."""
        reached, position = Cursor.of(reply), self.position
        if self.paused:
            # It is asked for again when there is room.
            return
        if position is None:
            if self.wants_last and ask.since != LAST:
                # Of another subscription, as in the next case.
                return
            if self.wants_last:
                yield from self._take_all(reply.get("events", ()))
            position = self.position = reached
            self.behind = bool(reply.get("more"))
        elif ask.since is None or ask.since == LAST:
            return
        elif reply.get("recovered"):
            yield from self._catch_up(position, Cursor.parse(ask.since), reply)
        else:
            since = Cursor.parse(ask.since)
            if reached != since == position or since.epoch == position.epoch != reached.epoch:
                yield self._skip(position, reached)
            yield from self._take_waiting()
            # What lies between what was heard and there is asked for once more.
            self.behind = not self._has(reached)
        yield from self._take_waiting()
        self._settle(ask, now)

    def _catch_up(self, position: Cursor, since: Cursor, reply: Frame) -> Iterator[Item]:
        if not position.reaches(since):
            # It brings only what comes later.
            self.behind = True
            return
        yield from self._take_all(reply.get("events", ()))
        reached = Cursor.of(reply)
        if not self._has(reached):
            self.position = reached
        self.behind = bool(reply.get("more"))

    def _skip(self, position: Cursor, reached: Cursor) -> Gap:
        """Give up what cannot be brought, but not what was heard in between."""
        heard = [
            cursor
            for cursor in self._waiting
            if reached.reaches(cursor) or position.epoch == cursor.epoch != reached.epoch
        ]
        first = min(
            heard, key=lambda cursor: (cursor.epoch != position.epoch, cursor.number), default=None
        )
        self.position = Cursor(first.epoch, first.number - 1) if first else reached
        return Gap(self.entity_id, str(position), str(self.position))

    def _settle(self, ask: Ask, now: float) -> None:
        """Draw the conclusions from an answer about what it could know."""
        self.behind |= self._misses > ask.misses
        for cursor in ask.waiting & self._waiting.keys():
            if self.behind or (self.position and cursor.epoch == self.position.epoch):
                # Perhaps next time, and not before that is due.
                self._waiting[cursor] = _Waiting(self._waiting[cursor].frame, now)
            else:
                # Of an epoch that is over.
                del self._waiting[cursor]

    def _has(self, cursor: Cursor) -> bool:
        return self.position is not None and self.position.reaches(cursor)

    def _take_all(self, frames: Iterable[Frame]) -> Iterator[Item]:
        for frame in frames:
            cursor = Cursor.of(frame)
            if not self._has(cursor):
                yield self._take(cursor, frame)

    def _take_waiting(self) -> Iterator[Item]:
        while following := self._waiting.pop(self._next, None):
            yield self._take(self._next, following.frame)
        for cursor in [each for each in self._waiting if self._has(each)]:
            del self._waiting[cursor]

    def _take(self, cursor: Cursor, frame: Frame) -> Event:
        self.position = cursor
        return Event(frame)

    @property
    def _next(self) -> Cursor:
        """Return the cursor of the next event, or one that no frame has."""
        return Cursor(self.position.epoch, self.number + 1) if self.position else Cursor("", -1)

    def _miss(self) -> None:
        self._misses += 1
        self.behind = True
