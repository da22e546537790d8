"""The notifier: an event gets its number, and becomes a frame for its subscribers."""

from push import wiring
from push.batches import Batch, Message, queue_function
from push.events import Kick, parse
from push.observability import count

posting = wiring.at_initialization(wiring.notifier)


@queue_function(posting)
def lambda_handler(message: Message, batch: Batch) -> None:
    event = parse(message.body, with_tenants=batch.with_tenants)
    if message.receives == 1:
        count("EventsReceived")
    if isinstance(event, Kick):
        batch.delivery.kick(event, batch.revoked_seconds)
    else:
        batch.delivery.notify(event, batch.turn(event.topic), message.sent_at_ms)
