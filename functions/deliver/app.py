"""The courier of the delivery queue: ranges of large topics, and posts that failed before."""

from push import wiring
from push.batches import Batch, queue_function
from push.jobs import Letter

posting = wiring.at_initialization(wiring.courier)


@queue_function(posting)
def lambda_handler(body: str, batch: Batch) -> None:
    batch.delivery.carry(Letter.parse(body))
