"""What the functions that read a queue have in common.

A batch's records are handled side by side, each in a thread of its own, and all that they post goes
through one run of the engine. Each record stands alone: one that fails comes back without its
neighbours, and one that no retry can deliver goes to the dead-letter queue at once.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from management_api import Exchange
from push.access import Access
from push.adapters.queues import DeadLetters, Letters, Receipts
from push.adapters.table import Table
from push.delivery import Delivery, Unresponsive
from push.errors import Busy, EventRejected, ServiceUnavailable, Unclaimed
from push.observability import LambdaHandler, count, instrumented, logged_with, logger
from push.topics import Log, Topic

# Records of a batch, each in a thread of its own; the event sources have the same number.
RECORDS_PER_BATCH = 10
# A failed record comes back after 2, 4, 8 ... seconds. With the receive count of the queues, that
# is for more than fifteen minutes.
MAX_RETRY_SECONDS = 180

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """What a handler is told of a record.

    Attributes:
        body: its text.
        sent_at_ms: when the queue took it, in milliseconds since the epoch.
        receives: how often it was received, this time included.
    """

    body: str
    sent_at_ms: int
    receives: int

    @classmethod
    def of(cls, record: Record) -> "Message":
        attributes = record["attributes"]
        return cls(
            record["body"],
            int(attributes["SentTimestamp"]),
            int(attributes["ApproximateReceiveCount"]),
        )


@dataclass(frozen=True, slots=True)
class Posting:
    """The parts of a function that reads a queue and posts, for all its invocations."""

    table: Table
    log: Log
    log_unwatched: bool
    subscribers_per_delivery: int
    exchange: Exchange
    letters: Letters
    dead_letters: DeadLetters
    receipts: Receipts
    unresponsive: Unresponsive
    access: Access | None = None
    with_tenants: bool = False
    revoked_seconds: int = 0

    def delivery(self, seconds_left: Callable[[], float]) -> Delivery:
        """Return what delivers in one invocation."""
        return Delivery(
            self.table,
            self.log,
            self.letters,
            self.dead_letters,
            self.exchange.window,
            subscribers_per_delivery=self.subscribers_per_delivery,
            seconds_left=seconds_left,
            unresponsive=self.unresponsive,
            log_unwatched=self.log_unwatched,
            access=self.access,
        )


class BatchFailed(Exception):
    """No record of the batch could be handled: for Lambda's `Errors` metric, and its alarm."""


class Batch:
    """The records of one invocation, while they are handled."""

    def __init__(
        self,
        posting: Posting,
        seconds_left: Callable[[], float],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.delivery = posting.delivery(seconds_left)
        self.with_tenants = posting.with_tenants
        self.revoked_seconds = posting.revoked_seconds
        self._clock = clock
        self._posting = posting
        self._turns: defaultdict[Topic, AbstractContextManager[Any]] = defaultdict(Lock)

    def turn(self, topic: Topic) -> AbstractContextManager[Any]:
        """Return what only one record of a topic holds at a time.

        Events of one topic get their numbers one after another: side by side, ten of them would
        meet in every slot, and cost three times as much.
        """
        return self._turns[topic]

    def handle(self, records: Sequence[Record], handler: "RecordHandler") -> list[str]:
        """Handle records side by side; return the ids of the messages that shall come back.

        Raises:
            BatchFailed: all of them failed.
        """
        back: list[str] = []
        failed: list[str] = []

        def handle(record: Record) -> None:
            message = Message.of(record)
            with logged_with(message_id=record["messageId"], receives=message.receives):
                try:
                    delay_seconds = self._handle(message, handler)
                except Exception:
                    delay_seconds = min(2**message.receives, MAX_RETRY_SECONDS)
                    logger.exception("record failed", comes_back_after_seconds=delay_seconds)
                    failed.append(record["messageId"])
                if delay_seconds is not None:
                    back.append(record["messageId"])
                    self._come_back(record, delay_seconds)

        self._posting.exchange.run([partial(handle, record) for record in records])
        count("RecordsReceived", len(records))
        count("RecordsFailed", len(failed))
        if records and len(failed) == len(records):
            raise BatchFailed(f"all {len(records)} records failed")
        return back

    def _handle(self, message: Message, handler: "RecordHandler") -> int | None:
        """Handle a message; return in how many seconds it shall come back, None if it is done."""
        try:
            handler(message, self)
        except EventRejected as rejection:
            # Not its words: they may hold what somebody sent.
            logger.error("message rejected", code=rejection.code)
            self._posting.dead_letters.send(message.body, rejection)
            count("EventsRejected")
        except Busy as busy:
            # Somebody is at it: done or free by then.
            seconds = min(max(1, int(busy.until - self._clock()) + 1), MAX_RETRY_SECONDS)
            logger.info("job is another's", comes_back_after_seconds=seconds)
            return seconds
        except Unclaimed as unclaimed:
            logger.info("message is a copy", why=type(unclaimed).__name__)
            count("EventsRepeated")
        return None

    def _come_back(self, record: Record, delay_seconds: int) -> None:
        try:
            self._posting.receipts.come_back(record["receiptHandle"], delay_seconds)
        except ServiceUnavailable:
            logger.warning("comes back after the visibility timeout", exc_info=True)


RecordHandler = Callable[[Message, Batch], None]


def queue_function(
    posting: Callable[[], Posting],
) -> Callable[[RecordHandler], LambdaHandler]:
    """Wrap a handler of a message, which may raise `EventRejected` to have it set aside."""

    def decorate(handler: RecordHandler) -> LambdaHandler:
        @instrumented
        def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
            batch = Batch(posting(), lambda: context.get_remaining_time_in_millis() / 1000)
            back = batch.handle(event["Records"], handler)
            return {"batchItemFailures": [{"itemIdentifier": each} for each in back]}

        return lambda_handler

    return decorate
