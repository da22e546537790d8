"""`ping`: answer, so that an idle connection stays open and a client can measure the way.

Browsers cannot send protocol pings, and API Gateway closes a connection after ten idle minutes.
"""

from datetime import UTC, datetime

from push.connection import Connection, iso_8601
from push.protocol import Reply, Request
from push.routes import message_route


@message_route
def lambda_handler(connection: Connection, request: Request) -> Reply:
    return Reply("Pong", time=iso_8601(datetime.now(UTC)))
