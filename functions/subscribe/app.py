"""`subscribe`: from the reply on, every event comes; with `since`, also what was missed."""

from push import wiring
from push.connection import Connection
from push.observability import count
from push.protocol import Answer, Refused, Reply, Request
from push.routes import message_route
from push.subscriptions import room_for_one, room_for_several

subscriptions = wiring.at_initialization(wiring.limited_subscriptions)


@message_route
def lambda_handler(connection: Connection, request: Request) -> Reply:
    if request.is_about_several:
        parts = request.entities()
        room = room_for_several(parts, request.request_id)
        answers = subscriptions().subscribe(connection, parts, room)
    else:
        answers = subscriptions().subscribe(connection, [request.wanted], room_for_one())
    count("SubscriptionsAdded", sum(isinstance(answer, Answer) for answer in answers))
    if request.is_about_several:
        return Reply.about_several(answers)
    if isinstance(answers[0], Refused):
        raise answers[0].rejection
    return Reply.about("Subscribed", answers[0])
