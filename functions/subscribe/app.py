"""`subscribe`: from the reply on, every event of the entity reaches this connection."""

from push.adapters.table import connection_table
from push.connection import Connection
from push.observability import count
from push.protocol import Frame, Request, subscribed
from push.routes import message_route


@message_route
def lambda_handler(connection: Connection, request: Request) -> Frame:
    if connection_table().subscribe(connection, request.entity_id):
        count("SubscriptionsAdded")
    return subscribed(request.entity_id)
