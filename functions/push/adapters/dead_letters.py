"""The notifier's dead-letter queue."""

from botocore.exceptions import BotoCoreError, ClientError

from push.adapters import clients
from push.errors import EventRejected, ServiceUnavailable

# An SQS message attribute may be long, but a reason that is read in a console need not be.
_MAX_REASON_LENGTH = 256


class DeadLetterQueue:
    """Takes events that no retry can deliver, unchanged, with the reason as message attributes."""

    def __init__(self, queue_url: str) -> None:
        self._queue_url = queue_url

    def put(self, body: str, rejection: EventRejected) -> None:
        """Add an event.

        Raises:
            ServiceUnavailable: the queue did not take it.
        """
        try:
            clients.sqs().send_message(
                QueueUrl=self._queue_url,
                MessageBody=body,
                MessageAttributes={
                    "errorCode": {"DataType": "String", "StringValue": rejection.code},
                    "reason": {
                        "DataType": "String",
                        "StringValue": str(rejection)[:_MAX_REASON_LENGTH],
                    },
                },
            )
        except (BotoCoreError, ClientError) as exc:
            raise ServiceUnavailable("The dead-letter queue did not answer.") from exc
