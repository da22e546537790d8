"""The SQS queues: letters, dead letters, and when a message comes back."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from threading import Lock
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


@dataclass(eq=False)
class _Sending:
    """A message on its way: whether it was taken, or the error if that is not known."""

    body: str
    delay_seconds: int
    taken: bool = False
    error: ServiceUnavailable | None = None

    @property
    def is_open(self) -> bool:
        return not self.taken and self.error is None


class Letters:
    """The delivery queue, to be written to.

    What several threads send at about the same time goes in one request: while one of them is
    sending, those of the others gather, and the next takes them all.
    """

    def __init__(
        self,
        sqs: "SQSClient",
        queue_url: str,
        *,
        turn: AbstractContextManager[Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Use a queue; `turn` is held by whoever is sending."""
        self._sqs = sqs
        self._queue_url = queue_url
        self._turn = turn or Lock()
        self._clock = clock
        self._sleep = sleep
        self._gathering = Lock()
        self._gathered: list[_Sending] = []

    def send(self, letters: Sequence[Letter], delay_seconds: int = 0) -> None:
        """Send letters, to be received after a delay of at most 900 s.

        Raises:
            ServiceUnavailable: some were not taken, after a few tries.
        """
        mine = [_Sending(_xml_safe(letter.encode()), delay_seconds) for letter in letters]
        with self._gathering:
            self._gathered += mine
        with self._turn:
            if any(each.is_open for each in mine):
                self._send_all()
        for each in mine:
            if each.error:
                raise each.error

    def _send_all(self) -> None:
        with self._gathering:
            gathered, self._gathered = self._gathered, []
        try:
            for batch in _batches(gathered):
                self._send(batch)
        finally:
            # Whatever happened here, nobody takes for sent what was not.
            self._give_up(gathered, ServiceUnavailable("The letters were not sent."))

    def _send(self, batch: list[_Sending]) -> None:
        deadline = self._clock() + _TRIES_SECONDS
        for delay in growing_delays(0.1, 1.0):
            entries: Any = [
                {"Id": str(n), "MessageBody": each.body, "DelaySeconds": each.delay_seconds}
                for n, each in enumerate(batch)
                if not each.taken
            ]
            try:
                with _translated_errors():
                    answer = self._sqs.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
            except ServiceUnavailable as unavailable:
                self._give_up(batch, unavailable)
                return
            refused = {entry["Id"] for entry in answer.get("Failed", ())}
            for n, each in enumerate(batch):
                each.taken = each.taken or str(n) not in refused
            if not refused:
                return
            if self._clock() >= deadline:
                refusal = ServiceUnavailable("The delivery queue did not take all letters.")
                self._give_up(batch, refusal)
                return
            self._sleep(delay)

    @staticmethod
    def _give_up(batch: list[_Sending], error: ServiceUnavailable) -> None:
        for each in batch:
            if each.is_open:
                each.error = error


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


def _batches(messages: Iterable[_Sending]) -> Iterator[list[_Sending]]:
    """Split messages into batches that SQS takes."""
    batch: list[_Sending] = []
    size = 0
    for message in messages:
        length = len(message.body.encode())
        if batch and (len(batch) == _BATCH_MESSAGES or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
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
