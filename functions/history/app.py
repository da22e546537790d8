"""`history`: what came after a cursor, for a subscriber: further pages, and gaps."""

from push import wiring
from push.connection import Connection
from push.protocol import Reply, Request
from push.routes import message_route
from push.subscriptions import room_for_one

subscriptions = wiring.at_initialization(wiring.subscriptions)


@message_route
def lambda_handler(connection: Connection, request: Request) -> Reply:
    wanted = request.wanted_since
    answer = subscriptions().history(connection.connection_id, wanted, room_for_one())
    return Reply.about("History", answer)
