"""`$disconnect`: forget the connection and everything it subscribed to.

API Gateway calls this with best effort only. What it misses is removed by the notifier when a post
finds the connection gone, and by the table's TTL.
"""

from aws_lambda_powertools.utilities.data_classes import APIGatewayWebSocketEvent

from push.adapters.table import connection_table
from push.connection import Connection
from push.observability import count, logger
from push.routes import Response, lifecycle_route


@lifecycle_route
def lambda_handler(connection: Connection, event: APIGatewayWebSocketEvent) -> Response:
    removed = connection_table().remove_connection(connection.connection_id)
    count("ConnectionsClosed")
    logger.info(
        "connection closed",
        status_code=event.request_context.disconnect_status_code,
        reason=event.request_context.disconnect_reason,
        subscriptions_removed=removed,
    )
    return {"statusCode": 200}
