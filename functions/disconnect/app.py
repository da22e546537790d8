"""`$disconnect`: forget the connection and everything it subscribed to.

API Gateway calls this with best effort only. What it misses is removed when a post finds the
connection gone, and by the table's TTL.
"""

from datetime import timedelta

from push import wiring
from push.connection import Connection, RouteEvent
from push.observability import count, logger
from push.routes import Response, lifecycle_route
from push.subscriptions import forget

SECOND = timedelta(seconds=1)

table = wiring.at_initialization(wiring.table)


@lifecycle_route
def lambda_handler(connection: Connection, event: RouteEvent) -> Response:
    topics = forget(table(), connection.connection_id)
    count("ConnectionsClosed")
    # API Gateway bills minutes, and tells nobody how many.
    count("ConnectionSeconds", (event.requested_at - connection.connected_at) // SECOND)
    # Not the reason: it may be the client's own words.
    logger.info(
        "connection closed",
        status_code=event.disconnect_status_code,
        subscriptions_removed=topics,
    )
    return {"statusCode": 200}
