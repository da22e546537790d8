"""The notifier: an event from the queue becomes a frame for every subscriber of its entity.

Each record stands alone: one that fails is tried again without its neighbours, and one that no
retry can deliver goes to the dead-letter queue at once.
"""

from functools import cache
from typing import Any

from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    ExceptionInfo,
    FailureResponse,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from push.adapters.connections import ConnectionPoster
from push.adapters.dead_letters import DeadLetterQueue
from push.adapters.table import connection_table
from push.delivery import deliver
from push.errors import EventRejected
from push.notification import Notification
from push.observability import count, instrumented, logger
from push.settings import NotifierSettings


@cache
def _poster() -> ConnectionPoster:
    return ConnectionPoster(NotifierSettings.from_environment().connections_endpoint)


@cache
def _dead_letters() -> DeadLetterQueue:
    return DeadLetterQueue(NotifierSettings.from_environment().dead_letter_queue_url)


def notify(record: SQSRecord) -> None:
    """Deliver the event in a record, or set it aside if it can never be delivered."""
    count("EventsReceived")
    logger.append_keys(message_id=record.message_id)
    try:
        notification = Notification.parse(record.body)
    except EventRejected as rejection:
        logger.error("event rejected", code=rejection.code, reason=str(rejection))
        _dead_letters().put(record.body, rejection)
        count("EventsRejected")
    else:
        deliver(notification, connection_table(), _poster())


class LoggingBatchProcessor(BatchProcessor):
    """A batch processor that says why a record goes back to the queue."""

    def failure_handler(self, record: SQSRecord, exception: ExceptionInfo) -> FailureResponse:
        logger.error("event goes back to the queue", exc_info=exception[1])
        return super().failure_handler(record, exception)


@instrumented
def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
    return process_partial_response(
        event=event,
        record_handler=notify,
        processor=LoggingBatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False),
        context=context,
    )
