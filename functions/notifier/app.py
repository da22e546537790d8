"""The notifier: an event gets its number, and becomes a frame for its subscribers."""

from push import wiring
from push.batches import Batch, queue_function
from push.events import Event

posting = wiring.at_initialization(wiring.notifier)


@queue_function(posting)
def lambda_handler(body: str, batch: Batch) -> None:
    event = Event.parse(body)
    batch.delivery.notify(event, batch.turn(event.topic))
