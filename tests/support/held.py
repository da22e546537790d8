"""Holds the functions to the contract, in every test that calls them.

It stands where all frames and events pass: around the routes, and around what reads an event. It
has to be there before a route is imported, so `tests/conftest.py` imports it.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from push import events, routes
from push.connection import Connection
from push.errors import EventRejected
from push.observability import LambdaHandler
from push.protocol import ACTIONS, Reply, Request
from support.contract import Broken, contract, is_portable, parsed

_IN_WORDS = ("FrameTooLarge", "InvalidTime")

_message_route, _parse = routes.message_route, events.parse


def message_route(handler: Callable[[Connection, Request], Reply]) -> LambdaHandler:
    """Wrap a handler as the functions do, and hold each request and its reply to the contract."""
    lambda_handler = _message_route(handler)

    @wraps(lambda_handler)
    def held(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
        response: dict[str, Any] = lambda_handler(event, context)
        request = parsed(event.get("body"))
        if event["requestContext"]["routeKey"] == "$default" and _names_a_route(request):
            # What API Gateway could not route is no request, whatever it looks like here.
            request = None
        contract().check_exchange(request, parsed(response["body"]))
        return response

    return held


def parse(text: str, *, with_tenants: bool = False) -> events.Event | events.Kick:
    """Read an event as the notifier does: what it takes is an event of the contract, and only that.

    How large or how deep it may be is not a schema's to say, nor whether there is such a time.
    """
    said = parsed(text)
    problem = contract().event_problem(_as_read(said, with_tenants=with_tenants))
    try:
        event = _parse(text, with_tenants=with_tenants)
    except EventRejected as rejection:
        in_words = rejection.code in _IN_WORDS or "nested too deeply" in str(rejection)
        if not problem and not in_words and is_portable(said):
            raise Broken(f"it is an event, and was rejected: {rejection}") from rejection
        raise
    if problem:
        raise Broken(f"it was taken, and is no event: {problem}")
    return event


def _names_a_route(request: object) -> bool:
    action = request.get("action") if isinstance(request, dict) else None
    return isinstance(action, str) and action in ACTIONS


def _as_read(said: Any, *, with_tenants: bool) -> Any:
    """Return an event as the contract says that it is read: with a tenant, or without."""
    detail = said.get("detail") if isinstance(said, dict) else None
    if not isinstance(detail, dict):
        return said
    if with_tenants:
        return said if "tenant" in detail else None
    return said | {"detail": {key: value for key, value in detail.items() if key != "tenant"}}


routes.message_route = message_route
events.parse = parse
