"""The SQS queues that functions write to."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from push.backoff import growing_delays
from push.delivery import Delivery
from push.errors import EventRejected, ServiceUnavailable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

AFTER = "after"

# Both limits hold for a batch as a whole, the second below SQS's own to leave room for attributes.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_BATCH_MESSAGES = 10
_BATCH_BYTES = 250_000
_TRIES = 4
# Long reasons say no more, and a message attribute counts against the message's size.
_MAX_REASON_LENGTH = 256


class DeliverySqsQueue:
    """A `push.delivery.DeliveryQueue`."""

    def __init__(
        self, sqs: "SQSClient", queue_url: str, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._sleep = sleep

    def put(self, deliveries: Sequence[Delivery], delay_seconds: int = 0) -> None:
        """Add deliveries, to be made after a delay of at most 900 s.

        Raises:
            ServiceUnavailable: some were not taken, after a few tries.
        """
        bodies = [_xml_safe(delivery.encode()) for delivery in deliveries]
        for batch in _batches(bodies):
            self._send(
                [
                    {"Id": str(index), "MessageBody": body, "DelaySeconds": delay_seconds}
                    for index, body in enumerate(batch)
                ]
            )

    def _send(self, entries: "list[SendMessageBatchRequestEntryTypeDef]") -> None:
        """Send a batch; send again what was not taken, and only that."""
        for delay in islice(growing_delays(0.2, 1.0), _TRIES):
            with _translated_errors():
                answer = self._sqs.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
            refused = {entry["Id"] for entry in answer.get("Failed", [])}
            if not refused:
                return
            entries = [entry for entry in entries if entry["Id"] in refused]
            self._sleep(delay)
        raise ServiceUnavailable("The delivery queue did not take all deliveries.")


class NotificationQueue:
    """The notifier's own queue, in which a long walk continues."""

    def __init__(self, sqs: "SQSClient", queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url

    def put_continuation(self, body: str, after: str) -> None:
        """Add an event whose subscribers up to the connection `after` are seen to."""
        with _translated_errors():
            self._sqs.send_message(
                QueueUrl=self._queue_url,
                MessageBody=body,
                MessageAttributes={AFTER: {"DataType": "String", "StringValue": after}},
            )


class DeadLetterQueue:
    """A dead-letter queue, written to directly: it takes messages with the reason as attributes."""

    def __init__(self, sqs: "SQSClient", queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url

    def put(self, body: str, rejection: EventRejected) -> None:
        """Add what no retry can deliver.

        Raises:
            ServiceUnavailable: the queue did not take it.
        """
        with _translated_errors():
            self._sqs.send_message(
                QueueUrl=self._queue_url,
                MessageBody=_xml_safe(body),
                MessageAttributes={
                    "errorCode": {"DataType": "String", "StringValue": rejection.code},
                    "reason": {
                        "DataType": "String",
                        "StringValue": _printable(str(rejection))[:_MAX_REASON_LENGTH],
                    },
                },
            )


def _batches(bodies: Iterable[str]) -> Iterator[list[str]]:
    """Split message bodies into batches that SQS takes."""
    batch: list[str] = []
    size = 0
    for body in bodies:
        length = len(body.encode())
        if batch and (len(batch) == _BATCH_MESSAGES or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += length
    if batch:
        yield batch


def _xml_safe(text: str) -> str:
    """Escape the two characters that JSON may hold as they are and SQS refuses."""
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as exc:
        raise ServiceUnavailable("The queue did not answer.") from exc
