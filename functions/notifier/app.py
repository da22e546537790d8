"""The notifier: an event gets its number, and becomes a frame for its subscribers."""

from push import wiring
from push.batches import Batch, queue_function
from push.events import Kick, parse

posting = wiring.at_initialization(wiring.notifier)


@queue_function(posting)
def lambda_handler(body: str, batch: Batch) -> None:
    event = parse(body, with_tenants=batch.with_tenants)
    if isinstance(event, Kick):
        batch.delivery.kick(event, batch.revoked_seconds)
    else:
        batch.delivery.notify(event, batch.turn(event.topic))
