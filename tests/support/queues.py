"""What is between a queue and its function: SQS on moto, and what Lambda does with a batch."""

from collections.abc import Callable, Mapping
from typing import Any

from support import events

NAMES = {"QUEUE_URL": "events", "DELIVERY_QUEUE_URL": "letters", "DEAD_LETTER_QUEUE_URL": "dead"}

Handler = Callable[[dict[str, Any], Any], Any]


class Queues:
    """The queues, and a poller for each of two functions.

    What a message waits for is remembered instead of waited for: every message is there at once.

    Attributes:
        delays: of the messages that were sent, in seconds.
        back: after how many seconds messages were to come back.
        failed: what the functions raised.
    """

    def __init__(self, sqs: Any, handlers: Mapping[str, Handler], context: Any) -> None:
        """Make the queues; `handlers` are those of the functions, by the queue that they read."""
        self.sqs = sqs
        self.delays: list[int] = []
        self.back: list[int] = []
        self.failed: list[Exception] = []
        self.urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in NAMES.values()}
        self._handlers = handlers
        self._context = context
        on = sqs.meta.events.register
        on("provide-client-params.sqs.SendMessageBatch", self._send_at_once)
        on("provide-client-params.sqs.ChangeMessageVisibility", self._come_back_at_once)

    def _send_at_once(self, params: dict[str, Any], **_: Any) -> None:
        for entry in params["Entries"]:
            self.delays.append(entry["DelaySeconds"])
            entry["DelaySeconds"] = 0

    def _come_back_at_once(self, params: dict[str, Any], **_: Any) -> None:
        self.back.append(params["VisibilityTimeout"])
        params["VisibilityTimeout"] = 0

    def send(self, name: str, *bodies: object) -> None:
        """Put messages into a queue; what is no text is written as JSON."""
        for body in bodies:
            text = body if isinstance(body, str) else events.encoded(body)
            self.sqs.send_message(QueueUrl=self.urls[name], MessageBody=text)

    def run(self, name: str, most: int = 10) -> int:
        """Hand a batch to the function of a queue, as Lambda does; return how many there were."""
        messages = self._receive(name, most)
        if not messages:
            return 0
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
            }
            for message in messages
        ]
        try:
            response = self._handlers[name]({"Records": records}, self._context)
        except Exception as error:
            self.failed.append(error)
            return len(messages)
        failures = {each["itemIdentifier"] for each in response["batchItemFailures"]}
        assert failures <= {message["MessageId"] for message in messages}
        for message in messages:
            if message["MessageId"] not in failures:
                self._delete(name, message)
        return len(messages)

    def settle(self) -> None:
        """Run both functions until nothing is left for them."""
        for _ in range(1_000):
            if not sum([self.run(name) for name in self._handlers]):
                return
        raise AssertionError("it does not come to an end")

    def take(self, name: str) -> list[dict[str, Any]]:
        """Take all messages out of a queue."""
        taken = []
        while messages := self._receive(name, 10):
            for message in messages:
                self._delete(name, message)
            taken += messages
        return taken

    def _receive(self, name: str, most: int) -> list[dict[str, Any]]:
        answer = self.sqs.receive_message(
            QueueUrl=self.urls[name],
            MaxNumberOfMessages=most,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
        )
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages

    def _delete(self, name: str, message: Mapping[str, Any]) -> None:
        handle = message["ReceiptHandle"]
        self.sqs.delete_message(QueueUrl=self.urls[name], ReceiptHandle=handle)
