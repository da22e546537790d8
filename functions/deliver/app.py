"""The courier of the delivery queue: chunks of large fan-outs, and posts that failed before."""

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from push.batches import queue_function
from push.delivery import Delivery
from push.wiring import Invocation


@queue_function
def lambda_handler(record: SQSRecord, invocation: Invocation) -> None:
    invocation.courier.deliver(Delivery.parse(record.body))
