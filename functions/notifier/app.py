"""The notifier: an event becomes a frame for every subscriber of its entity."""

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from push.adapters.queues import AFTER
from push.batches import queue_function
from push.notification import Notification
from push.wiring import Invocation


@queue_function
def lambda_handler(record: SQSRecord, invocation: Invocation) -> None:
    notification = Notification.parse(record.body)

    def continue_after(connection_id: str) -> None:
        invocation.notification_queue.put_continuation(record.body, connection_id)

    invocation.fan_out.notify(notification, _come_to(record), continue_after)


def _come_to(record: SQSRecord) -> str:
    """Return the connection id that an earlier invocation has come to; empty for a new event."""
    if AFTER not in record.message_attributes:
        return ""
    attribute = record.message_attributes[AFTER]
    return (attribute and attribute.string_value) or ""
