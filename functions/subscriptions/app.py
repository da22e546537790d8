"""`subscriptions`: list the entities that the connection is subscribed to."""

from push import wiring
from push.connection import Connection
from push.protocol import Reply, Request
from push.routes import message_route

subscriptions = wiring.at_initialization(wiring.subscriptions)


@message_route
def lambda_handler(connection: Connection, request: Request) -> Reply:
    entity_ids = subscriptions().entity_ids(connection.connection_id)
    return Reply.of({"type": "Subscriptions", "entityIds": entity_ids})
