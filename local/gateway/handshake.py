"""Decide who is let in: the address, the authorizer, and the ``$connect`` route."""

from __future__ import annotations

import logging
import os
import time
from http.client import responses
from urllib.parse import parse_qsl, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from . import discretion, events, refusals
from .addressing import Address
from .api import Api, Limit, Route, Stage
from .authorization import authorize
from .connection import GatewayConnection
from .errors import IntegrationError
from .events import Handshake, Session
from .integrations import Call
from .refusals import Refusal, RefusedError
from .runtime import Runtime

log = logging.getLogger(__name__)

# Stand where a session needs a stage, or an API, and the client named none that exists.
NO_STAGE = Stage("-", {}, Limit(0, 0), {})
NO_API = Api("-", "-", "", {}, {})


async def admit(
    runtime: Runtime, connection: GatewayConnection, request: Request
) -> Response | None:
    """Give the connection its session and return None, or the response that refuses it."""
    path, query = _split(request.path)
    address = runtime.served.find(_last(request.headers, "Host"), path)
    session = _session(runtime, connection, request, query, address)
    request_id = events.new_id()
    try:
        stage = _check_request(request, address)
        if not runtime.throttle.admits(session.api.id, stage, "$connect"):
            raise RefusedError(refusals.LIMITED, "throttled")
        if route := session.api.routes.get("$connect"):
            chosen = await _connect(runtime, route, session, request_id)
            connection.subprotocol_to_echo = chosen
    except RefusedError as error:
        log.info(
            "connection %s stage=%s source=%s refused: %d (%s)",
            session.id, session.stage.name, session.handshake.source_ip,
            error.refusal.status, error,
        )  # fmt: skip
        return _response(error.refusal, session, request_id)
    connection.session = session
    return None


def _check_request(request: Request, address: Address | None) -> Stage:
    if len(request.headers.get_all("Host")) != 1:
        # https://www.rfc-editor.org/rfc/rfc9112#section-3.2
        raise RefusedError(refusals.BAD_REQUEST, "not one Host header")
    if address is None:
        raise RefusedError(refusals.FORBIDDEN, "no such API: neither Host nor path has its id")
    if address.stage is None:
        raise RefusedError(refusals.FORBIDDEN, "no such stage")
    if address.rest.strip("/"):
        raise RefusedError(refusals.FORBIDDEN, "a path below the stage")
    return address.stage


async def _connect(
    runtime: Runtime, route: Route, session: Session, request_id: str
) -> Subprotocol | None:
    """Run authorizer and ``$connect``, and return the subprotocol that was chosen.

    Raises:
        RefusedError: One of them refused, or failed.
    """
    handshake = session.handshake
    missing = [name for name in route.required if not _has(handshake, name)]
    if missing:
        raise RefusedError(refusals.BAD_REQUEST, f"without {', '.join(missing)}")
    if route.authorizer:
        session.authorizer = await authorize(runtime, route.authorizer, session, request_id)
    event = events.connect(session, request_id)
    call = Call(event, session.stage, runtime.options.integration_timeout_ms)
    try:
        answer = await route.integration.answer(call, runtime.lambdas)
    except IntegrationError as error:
        cause = discretion.cause(error, runtime.options, session)
        raise RefusedError(error.refusal, f"$connect: {cause}") from error
    if not 200 <= answer.status < 300:
        # The body goes nowhere: $connect has no route response.
        said = discretion.told(answer.body or "", runtime.options, session)
        raise RefusedError(Refusal(answer.status), f"by $connect{said}")
    chosen = answer.headers.get("sec-websocket-protocol", "")
    return Subprotocol(chosen) if chosen in handshake.offered_subprotocols else None


def _has(handshake: Handshake, parameter: str) -> bool:
    return handshake.parameter(parameter.removeprefix("route.request.")) is not None


def _split(target: str) -> tuple[str, str]:
    """Return path and query of a request's target; those of no stage if it is not one."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return "", ""
    return parts.path, parts.query


def _session(
    runtime: Runtime,
    connection: GatewayConnection,
    request: Request,
    query: str,
    address: Address | None,
) -> Session:
    handshake = _read(connection, request, query)
    api, stage = (address.api, address.stage) if address else (NO_API, None)
    domain = runtime.options.domain_name or handshake.host
    # What is in front of the stage is part of the name, so that https://{domainName}/{stage} leads
    # back here.
    domain += address.prefix if address else ""
    return Session(api, stage or NO_STAGE, handshake, domain)


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
