"""`unsubscribe`: stop the events of an entity; a success also if it was not subscribed."""

from push.adapters.table import connection_table
from push.connection import Connection
from push.observability import count
from push.protocol import Frame, Request, unsubscribed
from push.routes import message_route


@message_route
def lambda_handler(connection: Connection, request: Request) -> Frame:
    if connection_table().unsubscribe(connection.connection_id, request.entity_id):
        count("SubscriptionsRemoved")
    return unsubscribed(request.entity_id)
