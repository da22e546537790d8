"""Puts the parts of the posting functions together.

The poster, with its open connections, lives as long as the execution environment; the rest is made
anew for each invocation, whose deadline it knows.
"""

from functools import cache, cached_property

from aws_lambda_powertools.utilities.typing import LambdaContext

from push.adapters import clients
from push.adapters.ledger import JobLedger
from push.adapters.posting import PostingEngine
from push.adapters.queues import DeadLetterQueue, DeliverySqsQueue, NotificationQueue
from push.adapters.table import connection_table
from push.delivery import Courier
from push.fanout import FanOut
from push.posting import Poster
from push.settings import PostingSettings, StoreSettings, notification_queue_url


@cache
def posting_settings() -> PostingSettings:
    return PostingSettings.from_environment()


@cache
def poster() -> Poster:
    """Return the environment's poster, whose connections outlive an invocation."""
    settings = posting_settings()
    return PostingEngine(settings.connections_endpoint, rate_per_second=settings.posts_per_second)


class Invocation:
    """The parts of a posting function, for one invocation."""

    def __init__(self, context: LambdaContext) -> None:
        self._context = context

    def seconds_left(self) -> float:
        return self._context.get_remaining_time_in_millis() / 1000

    @cached_property
    def dead_letters(self) -> DeadLetterQueue:
        return DeadLetterQueue(clients.sqs(), posting_settings().dead_letter_queue_url)

    @cached_property
    def notification_queue(self) -> NotificationQueue:
        return NotificationQueue(clients.sqs(), notification_queue_url())

    @cached_property
    def courier(self) -> Courier:
        return Courier(
            poster(),
            connection_table(),
            self._ledger,
            self._delivery_queue,
            self.dead_letters,
            seconds_left=self.seconds_left,
        )

    @cached_property
    def fan_out(self) -> FanOut:
        return FanOut(
            connection_table(),
            self._ledger,
            self.courier,
            self._delivery_queue,
            seconds_left=self.seconds_left,
            chunk_size=posting_settings().subscribers_per_delivery,
        )

    @cached_property
    def _ledger(self) -> JobLedger:
        return JobLedger(
            clients.dynamodb(),
            StoreSettings.from_environment().table_name,
            seconds_left=self.seconds_left,
        )

    @cached_property
    def _delivery_queue(self) -> DeliverySqsQueue:
        return DeliverySqsQueue(clients.sqs(), posting_settings().delivery_queue_url)
