"""Jobs: the work of delivering an event, claimed, noted and resumed.

A job is a row of a ledger in the table. It is claimed for as long as the invocation may run, so
that a second copy of its message is recognized; and it notes how far the work has come, so that
whoever resumes it goes on there, however membership changed meanwhile. A letter is the message of a
job in the delivery queue.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Self, TypedDict, Unpack
from uuid import uuid4

from identity.claims import MAX_TENANT_LENGTH
from push import json_text
from push.adapters.table import FIRST, LAST, Table
from push.errors import Busy, EventRejected, Finished, ServiceUnavailable, Superseded
from push.observability import identify
from push.topics import ENTITY, USER, Cursor, LoggedEvent, Topic

_WORD = re.compile(r"[!-~]{1,256}")
_MAX_ATTEMPT = 99
# How long copies of an event are recognized, in seconds: as long as EventBridge tries to hand one
# over. What is logged lives no shorter.
JOB_SECONDS = 24 * 3600
# A lease outlives its invocation by this, for clocks that differ.
_LEASE_SLACK_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Letter:
    """A message of the delivery queue: post a frame in a range of its topic, or to stragglers.

    Attributes:
        event_id: of the event.
        topic: whose subscribers it is for.
        event: the frame, and its number.
        name: of the job: whoever holds the same letter works at the same job.
        after, upto: the connections of the range, the first exclusive.
        ids: the stragglers, if it is for some.
        attempt: how often these were tried before.
        queued_at_ms: when the event came to the notifier's queue, in milliseconds since the
            epoch; None if that is not known.
    """

    event_id: str
    topic: Topic
    event: LoggedEvent
    name: str
    after: str = FIRST
    upto: str = LAST
    ids: tuple[str, ...] = ()
    attempt: int = 0
    queued_at_ms: int | None = None

    @property
    def job(self) -> str:
        return f"{self.event_id}#{self.name}"

    @property
    def may_be_cut(self) -> bool:
        """Whether it is the walk of a whole topic."""
        return not self.ids and (self.after, self.upto) == (FIRST, LAST)

    def range(self, after: str, upto: str) -> Self:
        """Return a part of the walk. Its name holds both boundaries, and nothing else."""
        return replace(self, name=f"({after},{upto}]", after=after, upto=upto)

    def for_stragglers(self, ids: Sequence[str], attempt: int) -> Self:
        """Return a letter for some connections, sorted, with a name of its own.

        It is a job of its own, for SQS may bring it twice; and no other has its name, for a walk
        that is repeated may hand on others.
        """
        name = f"stragglers-{uuid4().hex}"
        return replace(self, name=name, after=FIRST, upto=LAST, ids=tuple(ids), attempt=attempt)

    def encode(self) -> str:
        """Return the text of the message."""
        members: dict[str, object] = {
            "eventId": self.event_id,
            "topic": self.topic.key,
            "cursor": str(self.event.cursor),
            "name": self.name,
            "after": self.after,
            "upto": self.upto,
            "ids": self.ids,
            "attempt": self.attempt,
        }
        if self.queued_at_ms is not None:
            members["queuedAt"] = self.queued_at_ms
        texts = {name: json_text.encode(value) for name, value in members.items()}
        return json_text.encode_object(texts | {"frame": self.event.frame})

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a message of the delivery queue.

        Raises:
            EventRejected: it is no letter, or can become no key.
        """
        try:
            fields = json_text.parse(text)
            event_id = _id(fields["eventId"])
            # Before anything is refused.
            identify(event_id=event_id)
            letter = cls(
                event_id=event_id,
                topic=_topic(fields["topic"]),
                event=LoggedEvent(Cursor.parse(fields["cursor"]), json_text.members(text)["frame"]),
                name=_word(fields["name"]),
                after=fields["after"] and _word(fields["after"]),
                upto=_word(fields["upto"]),
                ids=tuple(map(_word, fields["ids"])),
                attempt=fields["attempt"],
                queued_at_ms=fields.get("queuedAt"),
            )
            if not (
                isinstance(fields["frame"], dict)
                and letter.event.cursor.seq > 0
                and letter.after < letter.upto
                and sorted(set(letter.ids)) == fields["ids"]
                and type(letter.attempt) is int
                and 0 <= letter.attempt <= _MAX_ATTEMPT
                and type(letter.queued_at_ms) in (int, type(None))
            ):
                raise ValueError
        except (ValueError, TypeError, KeyError) as exc:
            # Not its words: they may hold what somebody sent.
            raise EventRejected("InvalidDelivery", f"Not a letter: {type(exc).__name__}.") from exc
        return letter


def _id(value: object, at_most: int = json_text.MAX_ID_LENGTH) -> str:
    if json_text.id_problem(value, "", at_most):
        raise ValueError
    return str(value)


def _topic(key: object) -> Topic:
    topic = Topic.of_key(str(key))
    _id(topic.id)
    if topic.tenant:
        _id(topic.tenant, MAX_TENANT_LENGTH)
    # Nothing else writes a key, so it is one of ours or none.
    if topic.kind not in (ENTITY, USER) or topic.key != key:
        raise ValueError("not a topic")
    return topic


def _word(value: object) -> str:
    """Return a connection id, or the name of a job: so long that it fits into a key."""
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise ValueError
    return value


class Changes(TypedDict, total=False):
    """What is written into a job."""

    reached: str
    open: Sequence[str]
    plan: Sequence[str]
    done: bool
    lease: int


@dataclass(slots=True)
class Job:
    """A claimed row of the ledger, as its owner knows it.

    Attributes:
        start: where the log stood before anybody claimed it.
        reached: every connection up to it is delivered, gone, or handed on ...
        open: ... but for these: posted to, and the outcome is not known yet.
        plan: the boundaries of the ranges that are being handed on.
    """

    _table: Table
    _name: str
    _owner: str
    start: Cursor
    reached: str
    open: tuple[str, ...]
    plan: tuple[str, ...]

    def write(self, **changes: Unpack[Changes]) -> None:
        """Write into the job.

        Raises:
            Superseded: somebody else took the job over, who has a message of its own.
            ServiceUnavailable: whether it is written is not known.
        """
        if not self._table.write_job(self._name, self._owner, **changes):
            raise Superseded("The job was taken over.")
        self.reached = changes.get("reached", self.reached)
        self.open = tuple(changes.get("open", self.open))
        self.plan = tuple(changes.get("plan", self.plan))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let go of the lease if the block fails: its message then comes back to a free job."""
        try:
            yield
        except Superseded:
            raise
        except Exception:
            with suppress(ServiceUnavailable, Superseded):
                self.write(lease=0)
            raise


class Jobs:
    """The ledger, for one invocation."""

    def __init__(
        self,
        table: Table,
        *,
        seconds_left: Callable[[], float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._seconds_left = seconds_left
        self._clock = clock

    def claim(self, name: str, start: Cursor, after: str = FIRST) -> Job:
        """Take a job if it is free: new, or left by somebody whose lease is past.

        The owner is this claim, not the invocation: a batch may hold two copies of one message.

        Args:
            name: of the job, `<eventId>#<name in its event>`.
            start: where the log stands, before the claim.
            after: the connection after which it begins.

        Raises:
            Finished: it is done.
            Busy: somebody else is at it.
            ServiceUnavailable: the table did not answer.
        """
        now = self._clock()
        lease = int(now + self._seconds_left()) + _LEASE_SLACK_SECONDS
        owner = uuid4().hex
        row = self._table.claim_job(name, owner, lease, start, after, int(now) + JOB_SECONDS)
        if row.mine:
            return Job(self._table, name, owner, row.start, row.reached, row.open, row.plan)
        if row.done:
            raise Finished("The job is done.")
        raise Busy(row.lease)
