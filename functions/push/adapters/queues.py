"""The SQS queues: letters, dead letters, and when a message comes back."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from push.backoff import growing_delays
from push.errors import EventRejected, ServiceUnavailable
from push.jobs import Letter

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Both limits hold for a batch as a whole; the second is what SQS took before August 2025, less
# room for attributes.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
_BATCH_MESSAGES = 10
_BATCH_BYTES = 250_000
# For what a batch did not take, in seconds.
_TRIES_SECONDS = 3.0
# Long reasons say no more, and a message attribute counts against the message's size.
_MAX_REASON_LENGTH = 256


class Letters:
    """The delivery queue, to be written to."""

    def __init__(
        self,
        sqs: "SQSClient",
        queue_url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._clock = clock
        self._sleep = sleep

    def send(self, letters: Sequence[Letter], delay_seconds: int = 0) -> None:
        """Send letters, to be received after a delay of at most 900 s.

        Raises:
            ServiceUnavailable: some were not taken, after a few tries.
        """
        for batch in _batches(_xml_safe(letter.encode()) for letter in letters):
            entries: Any = [
                {"Id": str(number), "MessageBody": body, "DelaySeconds": delay_seconds}
                for number, body in enumerate(batch)
            ]
            deadline = self._clock() + _TRIES_SECONDS
            for delay in growing_delays(0.1, 1.0):
                with _translated_errors():
                    answer = self._sqs.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
                refused = {entry["Id"] for entry in answer.get("Failed", ())}
                entries = [entry for entry in entries if entry["Id"] in refused]
                if not entries:
                    break
                if self._clock() >= deadline:
                    raise ServiceUnavailable("The delivery queue did not take all letters.")
                self._sleep(delay)


class DeadLetters:
    """A dead-letter queue, written to directly: it takes messages with the reason as attributes."""

    def __init__(self, sqs: "SQSClient", queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url

    def send(self, body: str, rejection: EventRejected) -> None:
        """Add what no retry can deliver.

        Raises:
            ServiceUnavailable: the queue did not take it.
        """
        reason = "".join(each if each.isprintable() else "?" for each in str(rejection))
        texts = {"errorCode": rejection.code, "reason": reason[:_MAX_REASON_LENGTH]}
        with _translated_errors():
            self._sqs.send_message(
                QueueUrl=self._queue_url,
                MessageBody=_xml_safe(body),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": text}
                    for name, text in texts.items()
                },
            )


class Receipts:
    """The queue that a function reads, for messages that shall come back."""

    def __init__(self, sqs: "SQSClient", queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url

    def come_back(self, receipt_handle: str, after_seconds: int) -> None:
        """Let a message come back after some seconds, instead of the visibility timeout.

        Raises:
            ServiceUnavailable: then it comes back after the visibility timeout.
        """
        with _translated_errors():
            self._sqs.change_message_visibility(
                QueueUrl=self._queue_url,
                ReceiptHandle=receipt_handle,
                VisibilityTimeout=after_seconds,
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


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (BotoCoreError, ClientError) as exc:
        raise ServiceUnavailable("The queue did not answer.") from exc
