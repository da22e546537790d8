"""Take a message to its route, and tell what the client receives for it."""

from __future__ import annotations

from dataclasses import dataclass

from . import discretion, events, refusals
from .api import Route
from .connection import MAX_MESSAGE_BYTES
from .errors import IntegrationError
from .events import Session
from .integrations import Call
from .refusals import RefusedError
from .routing import select
from .runtime import Runtime
from .validation import InvalidBodyError, validate


@dataclass(frozen=True)
class Outcome:
    """Hold what became of a message: for the log, and the frame that goes back, if one does."""

    route_key: str
    told: str
    frame: str | None


async def handle(runtime: Runtime, session: Session, request_id: str, body: str) -> Outcome:
    """Route one message and return what became of it."""
    api = runtime.served.current(session.api)
    route = select(api.routes, api.selection_expression, body) if api else None
    key = route.key if route else "(none)"
    try:
        if not runtime.throttle.admits(session.api.id, session.stage, route.key if route else None):
            raise RefusedError(refusals.LIMITED, "throttled")
        if route is None:
            raise RefusedError(refusals.FORBIDDEN, "no such route")
        told, reply = await _integrate(runtime, session, route, request_id, body)
        return Outcome(key, told, reply)
    except RefusedError as error:
        frame = events.error(error.refusal.message or "", session, request_id)
        return Outcome(key, str(error), frame)


async def _integrate(
    runtime: Runtime, session: Session, route: Route, request_id: str, body: str
) -> tuple[str, str | None]:
    """Return the status for the log, why it is no good one, and the reply of a route that answers.

    Raises:
        RefusedError: The message is not what the route takes, or there is no answer.
    """
    if route.validation:
        try:
            validate(route.validation, body)
        except InvalidBodyError as error:
            raise RefusedError(refusals.BAD_BODY, f"bad request body: {error}") from error
    event = events.message(session, route.key, request_id, body)
    call = Call(event, session.stage, runtime.options.integration_timeout_ms, route.two_way)
    try:
        answer = await route.integration.answer(call, runtime.lambdas)
    except IntegrationError as error:
        cause = discretion.cause(error, runtime.options, session, body)
        raise RefusedError(error.refusal, cause) from error
    reply = answer.body if route.two_way else None
    if len((reply or "").encode()) > MAX_MESSAGE_BYTES:
        raise RefusedError(refusals.FAILED, f"{answer.status}, reply too large")
    # The client of a one-way route never sees it, and the function has logged nothing.
    why = answer.body if answer.status >= 400 else None
    return f"{answer.status}{discretion.told(why or '', runtime.options, session, body)}", reply
