"""Delivery of one frame to a list of connections: retried per connection, repeated for none.

A `Delivery` is the unit of work: a frame and at most a thousand connection ids. The ledger claims
it, so that a second copy of the same message is recognized, and notes which connections are done,
so that a second try of the same message leaves them out. What fails after a few tries goes to the
delivery queue as a delivery of its own, later and with only those ids; what cannot succeed goes
to the dead-letter queue.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol, Self

from push.backoff import between
from push.errors import EventRejected, ServiceUnavailable
from push.observability import count, logger
from push.posting import Outcome, Poster, Result
from push.protocol import encode, parse_json

# Tries inside one invocation, the first included: a reset or a short burst of 429 passes quickly.
ROUNDS = 3
ROUND_DELAY_SECONDS = 0.2
# Further tries through the delivery queue, 2, 4, 8, 16 and 32 s apart at most: a minute in all.
MAX_ATTEMPTS = 5
ATTEMPT_DELAY_SECONDS = 2
# What is kept free at the end of an invocation, to hand on what is not posted by then.
RESERVE_SECONDS = 8.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """A frame for some of an entity's subscribers.

    `job` names this work within its event. It is derived from the connections and from the
    delivery that they come from, so that the same work has the same name however often it is
    handed out, and other work has another.
    """

    event_id: str
    entity_id: str
    job: str
    frame: bytes
    connection_ids: tuple[str, ...]
    attempt: int = 0

    def encode(self) -> str:
        """Return the text of a message of the delivery queue."""
        return encode(
            {
                "eventId": self.event_id,
                "entityId": self.entity_id,
                "job": self.job,
                "attempt": self.attempt,
                # As an object: as a text, its quotes would be escaped and take twice the bytes.
                "frame": parse_json(self.frame.decode()),
                "connectionIds": self.connection_ids,
            }
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a message of the delivery queue.

        Raises:
            EventRejected: it is no delivery.
        """
        try:
            fields = parse_json(text)
            return cls(
                event_id=_text(fields["eventId"]),
                entity_id=_text(fields["entityId"]),
                job=_text(fields["job"]),
                frame=encode(dict(fields["frame"])).encode(),
                connection_ids=tuple(_text(value) for value in fields["connectionIds"]),
                attempt=int(fields["attempt"]),
            )
        except (ValueError, TypeError, KeyError) as exc:
            raise EventRejected("InvalidDelivery", f"Not a delivery: {exc!r}.") from exc

    def next_attempt(self, connection_ids: Iterable[str]) -> Self:
        """Return the next try, for those connections alone."""
        return self._derived("next attempt", connection_ids, self.attempt + 1)

    def rest(self, connection_ids: Iterable[str]) -> Self:
        """Return what there was no time for."""
        return self._derived("rest", connection_ids, self.attempt)

    def dead(self, connection_ids: Iterable[str]) -> Self:
        """Return what is set aside: once redriven, it has all its tries again."""
        return self._derived("redriven", connection_ids, 0)

    def _derived(self, how: str, connection_ids: Iterable[str], attempt: int) -> Self:
        ids = tuple(connection_ids)
        return replace(self, job=job_name(self.job, how, *ids), connection_ids=ids, attempt=attempt)


def job_name(*parts: str) -> str:
    """Return a name that is the same for the same parts, and short."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise TypeError("not a text")
    return value


class Claim(Protocol):
    """A job in the hands of one invocation."""

    @property
    def done(self) -> frozenset[str]:
        """The connections that an earlier, interrupted try has seen to."""

    @property
    def cursor(self) -> str:
        """How far an earlier, interrupted try has come; empty at first."""

    def note_done(self, connection_id: str) -> None:
        """Note a connection, now or within a second."""

    def note_cursor(self, cursor: str) -> None:
        """Note how far the work has come, now."""

    def complete(self) -> None:
        """Note that the job is done: from now on its copies are ignored."""


class Ledger(Protocol):
    """Knows which jobs are done, and who is at work on which."""

    def claim(self, event_id: str, job: str) -> AbstractContextManager[Claim | None]:
        """Take a job for the time of the block; enter with None if it is done already.

        Raises:
            ServiceUnavailable: another invocation is at work on it.
        """


class DeliveryQueue(Protocol):
    """Takes deliveries to be made by a later invocation."""

    def put(self, deliveries: Sequence[Delivery], delay_seconds: int = 0) -> None: ...


class DeadLetters(Protocol):
    """Takes what cannot be delivered, with the reason."""

    def put(self, body: str, rejection: EventRejected) -> None: ...


class Connections(Protocol):
    """What the courier needs of the table."""

    def remove_connection(self, connection_id: str, *known_entity_ids: str) -> int: ...


class Courier:
    """Makes deliveries."""

    def __init__(
        self,
        poster: Poster,
        connections: Connections,
        ledger: Ledger,
        queue: DeliveryQueue,
        dead_letters: DeadLetters,
        *,
        seconds_left: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Make a courier; `seconds_left` tells how long the invocation may still run."""
        self._poster = poster
        self._connections = connections
        self._ledger = ledger
        self._queue = queue
        self._dead_letters = dead_letters
        self._seconds_left = seconds_left
        self._sleep = sleep

    def deliver(self, delivery: Delivery) -> None:
        """Make a delivery, unless it is made already.

        Raises:
            ServiceUnavailable: the ledger or a queue did not answer, or another invocation is at
                work on this delivery. Its message has to be tried again.
        """
        with self._ledger.claim(delivery.event_id, delivery.job) as claim:
            if claim is None:
                logger.info("delivery already made", event_id=delivery.event_id, job=delivery.job)
                return
            self.post(delivery, claim)

    def post(self, delivery: Delivery, claim: Claim) -> None:
        """Make a delivery that is claimed: post, settle what failed, complete, forget the gone."""
        waiting = [
            connection_id
            for connection_id in delivery.connection_ids
            if connection_id not in claim.done
        ]
        failures: dict[str, Outcome] = {}
        refused: list[Outcome] = []
        gone: list[str] = []
        delivered = 0
        for round_number in range(ROUNDS):
            if round_number:
                self._sleep(between(0, ROUND_DELAY_SECONDS * 2**round_number))
            feed = iter(waiting)
            failures = {}
            for outcome in self._poster.post(delivery.frame, self._while_time_is_left(feed)):
                if outcome.result.may_pass:
                    failures[outcome.connection_id] = outcome
                    continue
                if outcome.result is Result.DELIVERED:
                    delivered += 1
                    claim.note_done(outcome.connection_id)
                elif outcome.result is Result.GONE:
                    gone.append(outcome.connection_id)
                    claim.note_done(outcome.connection_id)
                else:
                    refused.append(outcome)
            if rest := list(feed):
                self._hand_on(claim, delivery.rest(rest))
            waiting = list(failures)
            if rest or not waiting:
                break
        if delivery.attempt < MAX_ATTEMPTS:
            self._retry_later(claim, delivery, list(failures))
        else:
            self._set_aside(claim, delivery, list(failures.values()))
        self._set_aside(claim, delivery, refused)
        claim.complete()
        self._forget(gone, delivery.entity_id)
        _report(delivery, delivered, len(gone), len(failures), len(refused))

    def _while_time_is_left(self, connection_ids: Iterator[str]) -> Iterator[str]:
        while self._seconds_left() > RESERVE_SECONDS:
            try:
                yield next(connection_ids)
            except StopIteration:
                return

    def _retry_later(self, claim: Claim, delivery: Delivery, connection_ids: list[str]) -> None:
        if connection_ids:
            bound = ATTEMPT_DELAY_SECONDS * 2**delivery.attempt
            # Half of the bound is certain, so that the delays grow; the other half spreads them.
            delay_seconds = round(between(bound / 2, bound))
            self._hand_on(claim, delivery.next_attempt(connection_ids), delay_seconds)

    def _hand_on(self, claim: Claim, delivery: Delivery, delay_seconds: int = 0) -> None:
        """Hand connections to the delivery queue; this job has then done with them."""
        self._queue.put([delivery], delay_seconds)
        for connection_id in delivery.connection_ids:
            claim.note_done(connection_id)

    def _set_aside(self, claim: Claim, delivery: Delivery, outcomes: list[Outcome]) -> None:
        """Put connections that cannot be reached into the dead-letter queue, by reason."""

        def code(outcome: Outcome) -> str:
            return outcome.result.value

        for value, group in groupby(sorted(outcomes, key=code), code):
            members = list(group)
            reason = f"{len(members)} posts, the first: {members[0].reason}"
            dead = delivery.dead(outcome.connection_id for outcome in members)
            self._dead_letters.put(dead.encode(), EventRejected(value, reason))
            for connection_id in dead.connection_ids:
                claim.note_done(connection_id)
            logger.error("posts given up", event_id=delivery.event_id, code=value, reason=reason)

    def _forget(self, gone: list[str], entity_id: str) -> None:
        """Remove gone connections, as time allows: one that stays is met by the next event."""

        def remove(connection_id: str) -> None:
            if self._seconds_left() < RESERVE_SECONDS / 2:
                return
            try:
                self._connections.remove_connection(connection_id, entity_id)
            except ServiceUnavailable:
                logger.exception("gone connection not removed", connection_id=connection_id)

        if gone:
            with ThreadPoolExecutor(min(8, len(gone))) as pool:
                list(pool.map(remove, gone))


def _report(delivery: Delivery, delivered: int, gone: int, failed: int, refused: int) -> None:
    count("NotificationsDelivered", delivered)
    count("NotificationsGone", gone)
    count("NotificationsFailed", failed)
    count("NotificationsRefused", refused)
    logger.info(
        "delivery made",
        event_id=delivery.event_id,
        job=delivery.job,
        attempt=delivery.attempt,
        delivered=delivered,
        gone=gone,
        failed=failed,
        refused=refused,
    )
