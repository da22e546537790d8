"""`$connect`: remember the connection before the handshake completes.

API Gateway keeps the client waiting until this returns, so a client that is connected is known.
"""

from typing import Any

from push import wiring
from push.connection import Connection, RouteEvent
from push.errors import Forbidden, TooManyConnections
from push.observability import count, logger
from push.routes import Response, lifecycle_route
from push.settings import max_connections_per_user, with_tokens
from push.subprotocol import negotiate
from push.subscriptions import remember

table = wiring.at_initialization(wiring.table)


@lifecycle_route
def lambda_handler(connection: Connection, event: RouteEvent) -> Response:
    if event.identity is None and with_tokens():
        # While a stack is changed, or should somebody take the authorizer away.
        logger.warning("connection refused", reason="no authorizer was asked")
        return {"statusCode": 403}
    try:
        remember(table(), connection, event.identity, max_connections_per_user())
    except (Forbidden, TooManyConnections) as refusal:
        count("TokensRefused")
        logger.info("connection refused", reason=str(refusal))
        return {"statusCode": 403 if isinstance(refusal, Forbidden) else 429}
    count("ConnectionsOpened")
    logger.info("connection opened")
    response: dict[str, Any] = {"statusCode": 200}
    if subprotocol := negotiate(event.subprotocols):
        response["headers"] = {"Sec-WebSocket-Protocol": subprotocol}
    return response
