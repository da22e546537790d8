"""`$connect`: remember the connection before the handshake completes.

API Gateway keeps the client waiting until this returns, so a client that is connected is known.
"""

from typing import Any

from aws_lambda_powertools.utilities.data_classes import APIGatewayWebSocketEvent

from push.adapters.table import connection_table
from push.connection import Connection
from push.observability import count, logger
from push.routes import Response, lifecycle_route
from push.subprotocol import negotiate


@lifecycle_route
def lambda_handler(connection: Connection, event: APIGatewayWebSocketEvent) -> Response:
    connection_table().add_connection(connection)
    count("ConnectionsOpened")
    logger.info("connection opened")
    response: dict[str, Any] = {"statusCode": 200}
    if subprotocol := negotiate(event.multi_value_headers):
        response["headers"] = {"Sec-WebSocket-Protocol": subprotocol}
    return response
