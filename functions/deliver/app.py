"""The courier of the delivery queue: ranges of large topics, and posts that failed before."""

from push import wiring
from push.batches import Batch, Message, queue_function
from push.jobs import Letter

posting = wiring.at_initialization(wiring.courier)


@queue_function(posting)
def lambda_handler(message: Message, batch: Batch) -> None:
    batch.delivery.carry(Letter.parse(message.body))
