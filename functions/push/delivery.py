"""Delivery of one notification to all its subscribers.

`Poster` is the seam between what has to be sent to whom and how it is sent.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from push.errors import DeliveryIncomplete, ServiceUnavailable
from push.notification import Notification
from push.observability import count, logger


class Result(Enum):
    """What became of one post."""

    DELIVERED = auto()
    GONE = auto()
    """The connection is closed, for good."""
    FAILED = auto()
    """Refused or unanswered, after the poster's own retries."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of the post to one connection; `reason` says why it failed."""

    connection_id: str
    result: Result
    reason: str = ""


class Poster(Protocol):
    """Posts one payload to many connections."""

    def post(self, payload: bytes, connection_ids: Iterable[str]) -> Iterator[Outcome]:
        """Post `payload` to each id; yield one outcome per id, in any order.

        The ids are consumed while posts are under way. No outcome is an exception.
        """


class Subscribers(Protocol):
    """Who is subscribed to an entity."""

    def subscribers(self, entity_id: str) -> Iterator[str]: ...

    def remove_connection(self, connection_id: str, *known_entity_ids: str) -> int: ...


def deliver(notification: Notification, table: Subscribers, poster: Poster) -> None:
    """Post a notification to all subscribers of its entity; forget those that are gone.

    Raises:
        DeliveryIncomplete: some posts failed; the others are done.
        ServiceUnavailable: the subscribers could not be read.
    """
    tally = dict.fromkeys(Result, 0)
    gone = []
    for outcome in poster.post(notification.frame, table.subscribers(notification.entity_id)):
        tally[outcome.result] += 1
        if outcome.result is Result.GONE:
            gone.append(outcome.connection_id)
        elif outcome.result is Result.FAILED:
            logger.warning(
                "post failed", connection_id=outcome.connection_id, reason=outcome.reason
            )
    for connection_id in gone:
        _forget(connection_id, notification.entity_id, table.remove_connection)
    _report(notification, tally)
    if failed := tally[Result.FAILED]:
        raise DeliveryIncomplete(f"{failed} posts failed")


def _forget(connection_id: str, entity_id: str, remove: Callable[..., int]) -> None:
    """Remove a gone connection; that it could not be removed is no reason to post again."""
    try:
        remove(connection_id, entity_id)
    except ServiceUnavailable:
        logger.exception("gone connection not removed", connection_id=connection_id)


def _report(notification: Notification, tally: dict[Result, int]) -> None:
    count("NotificationsDelivered", tally[Result.DELIVERED])
    count("NotificationsGone", tally[Result.GONE])
    count("NotificationsFailed", tally[Result.FAILED])
    logger.info(
        "event delivered",
        event_id=notification.event_id,
        delivered=tally[Result.DELIVERED],
        gone=tally[Result.GONE],
        failed=tally[Result.FAILED],
    )
