"""`ping`: answer, so that an idle connection stays open and a client knows that it is heard.

Browsers cannot send protocol pings, and API Gateway closes a connection after ten idle minutes. A
client that the service has forgotten would wait for ever on a line that is in order: it is told.
"""

from datetime import UTC, datetime

from push import wiring
from push.connection import Connection, iso_8601
from push.protocol import Reply, Request
from push.routes import message_route

subscriptions = wiring.at_initialization(wiring.subscriptions)


@message_route
def lambda_handler(connection: Connection, request: Request) -> Reply:
    subscriptions().require(connection.connection_id)
    return Reply.of({"type": "Pong", "time": iso_8601(datetime.now(UTC))})
