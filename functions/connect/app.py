"""`$connect`: remember the connection before the handshake completes.

API Gateway keeps the client waiting until this returns, so a client that is connected is known.
"""

from typing import Any

from push import wiring
from push.connection import Connection, RouteEvent
from push.observability import count, logger
from push.routes import Response, lifecycle_route
from push.subprotocol import negotiate

table = wiring.at_initialization(wiring.table)


@lifecycle_route
def lambda_handler(connection: Connection, event: RouteEvent) -> Response:
    table().put_connection(connection)
    count("ConnectionsOpened")
    logger.info("connection opened")
    response: dict[str, Any] = {"statusCode": 200}
    if subprotocol := negotiate(event.subprotocols):
        response["headers"] = {"Sec-WebSocket-Protocol": subprotocol}
    return response
