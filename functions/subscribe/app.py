"""`subscribe`: from the reply on, every event comes; with `since`, also what was missed."""

from push import wiring
from push.connection import Connection
from push.observability import count
from push.protocol import Refused, Reply, Request, Wanted
from push.routes import message_route
from push.subscriptions import room_for_one, room_for_several

subscriptions = wiring.at_initialization(wiring.limited_subscriptions)


@message_route
def lambda_handler(connection: Connection, request: Request) -> Reply:
    if not request.is_about_several:
        (answer,) = subscriptions().subscribe(connection, [request.wanted], room_for_one())
        count("SubscriptionsAdded")
        return Reply.about("Subscribed", answer)
    parts = request.entities()
    room = room_for_several(parts, request.request_id)
    wanted = [part for part in parts if isinstance(part, Wanted)]
    answers = iter(subscriptions().subscribe(connection, wanted, room))
    count("SubscriptionsAdded", len(wanted))
    return Reply.about_several(
        "Subscribed", [part if isinstance(part, Refused) else next(answers) for part in parts]
    )
