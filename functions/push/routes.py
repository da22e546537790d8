"""What the routes of the WebSocket API have in common.

`lifecycle_route` wraps `$connect` and `$disconnect`, whose answers are HTTP statuses.
`message_route` wraps the routes of frames: it parses the request and turns the returned frame, or
the error raised, into the reply. A reply always has status 200, and the connection stays open.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from push.connection import Connection, RouteEvent
from push.errors import RequestRejected, ServiceUnavailable
from push.observability import LambdaHandler, count, instrumented, logger
from push.protocol import Reply, Request

Response = dict[str, Any]


def lifecycle_route(
    handler: Callable[[Connection, RouteEvent], Response],
) -> LambdaHandler:
    """Wrap a handler of `$connect` or `$disconnect`.

    An error is raised on: for `$connect`, API Gateway then refuses the handshake with a 5xx and
    the client can try again.
    """

    return _route(handler)


def message_route(handler: Callable[[Connection, Request], Reply]) -> LambdaHandler:
    """Wrap a handler of a frame, which returns the reply or raises `RequestRejected`."""

    @_route
    @wraps(handler)
    def lambda_handler(connection: Connection, event: RouteEvent) -> Response:
        request = Request({})
        try:
            request = Request.parse(event.body)
            reply = handler(connection, request)
        except RequestRejected as rejection:
            _report(rejection)
            reply = Reply.error(rejection)
        return {"statusCode": 200, "body": reply.encode(request.request_id)}

    return lambda_handler


def _route(handler: Callable[[Connection, RouteEvent], Response]) -> LambdaHandler:
    """Hand the connection and the typed event to a handler, with logs and metrics prepared."""

    @instrumented
    @wraps(handler)
    def lambda_handler(event: dict[str, Any], context: LambdaContext) -> Response:
        typed_event = RouteEvent.of(event)
        _add_log_keys(typed_event)
        count("Requests")
        return handler(typed_event.connection, typed_event)

    return lambda_handler


def _add_log_keys(event: RouteEvent) -> None:
    logger.append_keys(
        connection_id=event.connection.connection_id,
        route_key=event.route_key,
        api_request_id=event.request_id,
    )


def _report(rejection: RequestRejected) -> None:
    """Log and count a rejection: a failing service is ours to mend, the rest is the client's."""
    if isinstance(rejection, ServiceUnavailable):
        count("ServiceErrors")
        logger.exception("request failed", code=rejection.code)
    else:
        count("RequestsRejected")
        # Not its words: they may hold what the client sent.
        logger.info("request rejected", code=rejection.code)
