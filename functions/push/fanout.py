"""From an event to its deliveries.

A small fan-out is posted straight away. A large one is handed to the delivery queue in chunks,
while other invocations already post the first of them. The walk over the subscribers notes how far
it has come after every handful of chunks, and hands itself on before its invocation ends.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Protocol

from push.delivery import RESERVE_SECONDS, Claim, Courier, Delivery, DeliveryQueue, Ledger, job_name
from push.notification import Notification
from push.observability import count, logger

# Chunks that are handed over between two notes of the ledger.
_CHUNKS_PER_NOTE = 10


class Subscribers(Protocol):
    """Who is subscribed to an entity."""

    def subscribers(self, entity_id: str, *, after: str = "") -> Iterator[str]:
        """Yield connection ids in their order, from the one that follows `after`."""


class FanOut:
    """Hands an event to the subscribers of its entity."""

    def __init__(
        self,
        subscribers: Subscribers,
        ledger: Ledger,
        courier: Courier,
        queue: DeliveryQueue,
        *,
        seconds_left: Callable[[], float],
        chunk_size: int,
    ) -> None:
        self._subscribers = subscribers
        self._ledger = ledger
        self._courier = courier
        self._queue = queue
        self._seconds_left = seconds_left
        self._chunk_size = chunk_size

    def notify(
        self, notification: Notification, after: str, continue_after: Callable[[str], None]
    ) -> None:
        """Deliver an event, or see to its delivery, unless that is done already.

        Args:
            notification: the event.
            after: the connection id that an earlier walk has come to; empty at first.
            continue_after: starts another invocation that continues after a connection id.

        Raises:
            ServiceUnavailable: the table, the ledger or a queue did not answer, or another
                invocation is at work on this event. It has to be tried again.
        """
        with self._ledger.claim(notification.event_id, f"walk after {after!r}") as claim:
            if claim is None:
                count("EventsRepeated")
                logger.info("event already delivered", event_id=notification.event_id)
                return
            start = claim.cursor or after
            ids = self._subscribers.subscribers(notification.entity_id, after=start)
            first = tuple(islice(ids, self._chunk_size + 1))
            if not start and len(first) <= self._chunk_size:
                self._courier.post(self._delivery(notification, first), claim)
            else:
                self._hand_over(notification, chain(first, ids), claim, continue_after)
                claim.complete()

    def _hand_over(
        self,
        notification: Notification,
        ids: Iterator[str],
        claim: Claim,
        continue_after: Callable[[str], None],
    ) -> None:
        handed = 0
        chunks = iter(lambda: tuple(islice(ids, self._chunk_size)), ())
        while group := list(islice(chunks, _CHUNKS_PER_NOTE)):
            self._queue.put([self._delivery(notification, chunk) for chunk in group])
            handed += len(group)
            cursor = group[-1][-1]
            claim.note_cursor(cursor)
            if self._seconds_left() < RESERVE_SECONDS:
                continue_after(cursor)
                break
        logger.info("event handed over", event_id=notification.event_id, deliveries=handed)

    @staticmethod
    def _delivery(notification: Notification, connection_ids: Sequence[str]) -> Delivery:
        # A walk that is repeated from its last note hands over the same chunks under the same
        # names, and the ledger knows those that were delivered.
        return Delivery(
            event_id=notification.event_id,
            entity_id=notification.entity_id,
            job=job_name("chunk", *connection_ids),
            frame=notification.frame,
            connection_ids=tuple(connection_ids),
        )
