"""Decide who is let in: the stage, the authorizer, and the ``$connect`` function."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Mapping
from http.client import responses
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from . import events, refusals
from .api import Authorizer, Limit, Stage
from .connection import GatewayConnection
from .events import Handshake, Session
from .lambdas import FunctionRaisedError, InvocationError
from .refusals import Refusal, RefusedError
from .runtime import Runtime

log = logging.getLogger(__name__)

# Stands where a session needs a stage and the client named none that exists.
NO_STAGE = Stage("-", {}, Limit(0, 0), {})


class BadPolicyError(Exception):
    """Say that an authorizer's answer is not one that API Gateway accepts."""


async def admit(
    runtime: Runtime, connection: GatewayConnection, request: Request
) -> Response | None:
    """Give the connection its session and return None, or the response that refuses it."""
    path, query = _split(request.path)
    stage = runtime.api.stages.get(unquote(path.strip("/")))
    handshake = _read(connection, request, query)
    session = Session(runtime.api.id, stage or NO_STAGE, handshake)
    request_id = events.new_id()
    try:
        if len(request.headers.get_all("Host")) != 1:
            # https://www.rfc-editor.org/rfc/rfc9112#section-3.2
            raise RefusedError(refusals.BAD_REQUEST, "not one Host header")
        if stage is None:
            raise RefusedError(refusals.FORBIDDEN, "no such stage")
        if not runtime.throttle.admits(stage, "$connect"):
            raise RefusedError(refusals.LIMITED, "throttled")
        route = runtime.api.routes.get("$connect")
        if route and route.authorizer:
            session.authorizer = await _authorize(runtime, route.authorizer, session, request_id)
        if route:
            event = events.connect(session, request_id)
            try:
                answer = await runtime.lambdas.integrate(
                    route, stage, event, runtime.options.integration_timeout_ms
                )
            except InvocationError as error:
                raise RefusedError(error.refusal, f"$connect: {error!r}") from error
            if not 200 <= answer.status < 300:
                # The body goes nowhere: $connect has no route response.
                raise RefusedError(Refusal(answer.status), "by $connect")
            chosen = answer.headers.get("sec-websocket-protocol", "")
            if chosen in handshake.offered_subprotocols:
                connection.subprotocol_to_echo = Subprotocol(chosen)
    except RefusedError as error:
        log.info(
            "connection %s stage=%s source=%s refused: %d (%s)",
            session.id, session.stage.name, handshake.source_ip, error.refusal.status, error,
        )  # fmt: skip
        return _response(error.refusal, session, request_id)
    connection.session = session
    return None


def has_identity(
    sources: tuple[str, ...], handshake: Handshake, stage_variables: Mapping[str, str]
) -> bool:
    """Tell whether every identity source is present and not empty."""
    headers = {name.lower(): value for name, value in handshake.headers}
    query = dict(handshake.query)
    for source in sources:
        kind, _, name = source.removeprefix("route.request.").partition(".")
        match kind:
            case "header":
                value = headers.get(name.lower())
            case "querystring":
                value = query.get(name)
            case "stageVariables":
                value = stage_variables.get(name)
            case _:
                # `context.…` is filled by the gateway itself, so it is always there.
                value = "present"
        if not value:
            return False
    return True


def read_policy(answer: Any, method_arn: str) -> dict[str, str] | None:
    """Return what later events carry as ``requestContext.authorizer``; None for a denial.

    Raises:
        BadPolicyError: The answer has no principal or policy, or a nested context.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("principalId"), str):
        raise BadPolicyError("no principalId")
    context = {"principalId": answer["principalId"]}
    for name, value in (answer.get("context") or {}).items():
        if isinstance(value, bool):
            context[name] = "true" if value else "false"
        elif isinstance(value, str | int | float):
            context[name] = str(value)
        else:
            raise BadPolicyError(f"context.{name} is not a string, number or boolean")
    return context if _allows(answer.get("policyDocument"), method_arn) else None


async def _authorize(
    runtime: Runtime, authorizer: Authorizer, session: Session, request_id: str
) -> dict[str, str]:
    stage, options = session.stage, runtime.options
    if not has_identity(authorizer.identity_sources, session.handshake, stage.variables):
        raise RefusedError(refusals.UNAUTHORIZED, "an identity source is missing")
    function = stage.resolve(authorizer.function)
    # The account is known from the function's ARN only.
    account = dict(enumerate(function.split(":"))).get(4, "000000000000")
    arn = f"arn:aws:execute-api:{options.region}:{account}:{session.api_id}/{stage.name}/$connect"
    event = events.authorize(session, request_id, arn)
    try:
        answer = await runtime.lambdas.invoke(function, event, options.integration_timeout_ms)
        context = read_policy(answer, arn)
    except (InvocationError, BadPolicyError) as error:
        if isinstance(error, FunctionRaisedError) and error.error_message == "Unauthorized":
            # The one message that API Gateway turns into a 401.
            raise RefusedError(refusals.UNAUTHORIZED, "the authorizer said so") from error
        raise RefusedError(refusals.AUTHORIZER_FAILED, f"authorizer: {error!r}") from error
    if context is None:
        raise RefusedError(refusals.DENIED, "denied by the authorizer")
    return context


def _allows(policy: Any, method_arn: str) -> bool:
    if not isinstance(policy, dict):
        raise BadPolicyError("no policyDocument")
    allowed = False
    for statement in _listed(policy.get("Statement")):
        if not isinstance(statement, dict):
            raise BadPolicyError("a statement is not an object")
        if unsupported := {"Condition", "NotAction", "NotResource"} & statement.keys():
            # Guessing here could let somebody in whom API Gateway would not.
            raise BadPolicyError(f"{unsupported.pop()} is not evaluated here")
        if _any_matches(
            statement.get("Action"), "execute-api:Invoke", re.IGNORECASE
        ) and _any_matches(statement.get("Resource"), method_arn):
            if statement.get("Effect") == "Deny":
                return False
            allowed = allowed or statement.get("Effect") == "Allow"
    return allowed


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _any_matches(patterns: Any, value: str, flags: int = 0) -> bool:
    expressions = (
        re.escape(str(pattern)).replace(r"\*", ".*").replace(r"\?", ".")
        for pattern in _listed(patterns)
    )
    return any(re.fullmatch(expression, value, flags | re.DOTALL) for expression in expressions)


def _split(target: str) -> tuple[str, str]:
    """Return path and query of a request's target; those of no stage if it is not one."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return "", ""
    return parts.path, parts.query


def _read(connection: GatewayConnection, request: Request, query: str) -> Handshake:
    source_ip = connection.remote_address[0]
    encrypted = connection.transport.get_extra_info("ssl_object") is not None
    offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
    return Handshake(
        host=_last(request.headers, "Host"),
        headers=(
            *request.headers.raw_items(),
            ("X-Amzn-Trace-Id", f"Root=1-{int(time.time()):08x}-{os.urandom(12).hex()}"),
            ("X-Forwarded-For", source_ip),
            ("X-Forwarded-Port", str(connection.local_address[1])),
            ("X-Forwarded-Proto", "https" if encrypted else "http"),
        ),
        query=tuple(parse_qsl(query, keep_blank_values=True)),
        source_ip=source_ip,
        user_agent=_last(request.headers, "User-Agent"),
        offered_subprotocols=tuple(name.strip() for name in offered if name.strip()),
    )


def _last(headers: Headers, name: str) -> str:
    """Return the last value of a header, as in an event's ``headers``."""
    return next(reversed(headers.get_all(name)), "")


def _response(refusal: Refusal, session: Session, request_id: str) -> Response:
    body = b""
    if refusal.message:
        body = events.error(refusal.message, session, request_id).encode()
    headers = Headers(
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            ("x-amzn-RequestId", request_id),
        ]
    )
    if refusal.error_type:
        headers["x-amzn-ErrorType"] = refusal.error_type
    # Not every status that a function may return has a registered phrase.
    return Response(refusal.status, responses.get(refusal.status, ""), headers, body)
