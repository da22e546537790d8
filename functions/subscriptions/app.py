"""`subscriptions`: list the entities that the connection is subscribed to."""

from push.adapters.table import connection_table
from push.connection import Connection
from push.protocol import Frame, Request, subscriptions
from push.routes import message_route


@message_route
def lambda_handler(connection: Connection, request: Request) -> Frame:
    return subscriptions(connection_table().subscriptions(connection.connection_id))
