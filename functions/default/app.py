"""`$default`: every frame that names no route, among them all that are not JSON objects.

Without this route API Gateway would answer with a bare `Forbidden`.
"""

from push.connection import Connection
from push.errors import InvalidFrame, UnknownAction
from push.protocol import ACTIONS, Reply, Request
from push.routes import message_route


@message_route
def lambda_handler(connection: Connection, request: Request) -> Reply:
    if not isinstance(request.action, str):
        raise UnknownAction('The frame must name an action, such as {"action":"ping"}.')
    if request.action in ACTIONS:
        # The router of API Gateway gives up on frames that Python still reads.
        raise InvalidFrame("The frame could not be routed: it is nested too deeply, or too large.")
    raise UnknownAction(f"There is no action {request.action[:64]!r}.")
