"""`$default`: every frame that names no route, among them all that are not JSON objects.

Without this route API Gateway would answer with a bare `Forbidden`.
"""

from push.connection import Connection
from push.errors import UnknownAction
from push.protocol import Frame, Request
from push.routes import message_route


@message_route
def lambda_handler(connection: Connection, request: Request) -> Frame:
    if isinstance(request.action, str):
        raise UnknownAction(f"There is no action {request.action[:64]!r}.")
    raise UnknownAction('The frame must name an action, such as {"action":"ping"}.')
