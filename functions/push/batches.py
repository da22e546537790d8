"""What the functions that read a queue have in common.

Each record stands alone: one that fails is tried again without its neighbours, and one that no
retry can deliver goes to the dead-letter queue at once.
"""

from collections.abc import Callable
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

from push.errors import EventRejected
from push.observability import LambdaHandler, count, instrumented, logger
from push.wiring import Invocation


def queue_function(handler: Callable[[SQSRecord, Invocation], None]) -> LambdaHandler:
    """Wrap a handler of a record, which may raise `EventRejected` to have it set aside."""

    @instrumented
    def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Any:
        invocation = Invocation(context)

        def handle(record: SQSRecord) -> None:
            count("RecordsReceived")
            logger.append_keys(message_id=record.message_id)
            try:
                handler(record, invocation)
            except EventRejected as rejection:
                logger.error("event rejected", code=rejection.code, reason=str(rejection))
                invocation.dead_letters.put(record.body, rejection)
                count("EventsRejected")

        return process_partial_response(
            event=event,
            record_handler=handle,
            processor=_LoggingProcessor(EventType.SQS, raise_on_entire_batch_failure=False),
            context=context,
        )

    return lambda_handler


class _LoggingProcessor(BatchProcessor):
    """A batch processor that says why a record goes back to the queue."""

    def failure_handler(self, record: SQSRecord, exception: ExceptionInfo) -> FailureResponse:
        logger.error("record goes back to the queue", exc_info=exception[1])
        return super().failure_handler(record, exception)
