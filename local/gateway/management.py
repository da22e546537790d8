"""Serve the @connections API: POST, GET and DELETE of one connection."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from contextlib import suppress
from urllib.parse import unquote

from aiohttp import web
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from . import events, refusals
from .connection import MAX_MESSAGE_BYTES, GatewayConnection, HttpConnection, reset
from .events import Session
from .faults import Fault
from .refusals import Refusal, RefusedError
from .runtime import Runtime

log = logging.getLogger(__name__)

_CONNECTION_ID = re.compile(r"[\w-]{15}=", re.ASCII)


async def handle(runtime: Runtime, request: web.BaseRequest) -> web.StreamResponse:
    """Answer one request that did not ask for a WebSocket."""
    protocol = request.transport.get_protocol() if request.transport else None
    assert isinstance(protocol, HttpConnection | None)
    if protocol:
        protocol.begin()
    response = await _answer(runtime, request)
    if not request.content.is_eof():
        # Where the rest of the body would end, and the next head begin, nobody knows.
        response.force_close()
    elif protocol:
        protocol.end()
    return response


async def _answer(runtime: Runtime, request: web.BaseRequest) -> web.StreamResponse:
    request_id = events.new_id()
    headers = {"x-amzn-RequestId": request_id, "Content-Type": "application/json"}
    try:
        status, body = await _serve(runtime, request)
    except RefusedError as error:
        status, error_type, message = error.refusal
        content = {"message": message} if message else {}
        body = json.dumps({**content, "requestId": request_id})
        headers["x-amzn-ErrorType"] = error_type
        log.info(
            "@connections %s requestId=%s refused: %d %s",
            _told_method(request), request_id, status, error_type,
        )  # fmt: skip
    else:
        # Served, so it is the id of a connection, and nothing else that a client can think of.
        connection_id = unquote(request.raw_path.partition("?")[0]).rpartition("/")[2]
        log.debug(
            "@connections %s connection=%s requestId=%s: %d",
            request.method, connection_id, request_id, status,
        )  # fmt: skip
    return web.Response(status=status, body=body.encode(), headers=headers)


async def _serve(runtime: Runtime, request: web.BaseRequest) -> tuple[int, str]:
    path = request.raw_path.partition("?")[0]
    address = runtime.served.find(request.headers.get("Host", ""), path)
    # SDKs percent-encode the @ of the path, or do not.
    prefix, _, connection_id = unquote(address.rest if address else "").partition("/")
    if (
        address is None
        or address.stage is None
        or prefix != "@connections"
        or request.method not in _METHODS
    ):
        raise RefusedError(refusals.FORBIDDEN)
    api, stage = address.api, address.stage
    # The signature itself cannot be checked: the secret is not known here.
    signed = request.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 ")
    if not signed and not runtime.options.allow_unsigned:
        raise RefusedError(refusals.UNSIGNED)
    if not runtime.throttle.admits(api.id, stage):
        raise RefusedError(refusals.LIMITED)
    fault = await _meet_fault(runtime, request)
    if not _CONNECTION_ID.fullmatch(connection_id):
        raise RefusedError(
            Refusal(400, "BadRequestException", f"Invalid connectionId: {connection_id}")
        )
    # Before the connection is looked at, which may close while the body arrives.
    body = (
        await _body(request, runtime.options.body_timeout_seconds)
        if request.method == "POST"
        else b""
    )
    connection = runtime.connections.get(connection_id)
    if connection is None or connection.session is None or connection.state is not State.OPEN:
        raise RefusedError(refusals.GONE)
    of_api = runtime.served.current(connection.session.api)
    if of_api is None or (of_api.id, connection.session.stage.name) != (api.id, stage.name):
        raise RefusedError(refusals.GONE)
    match request.method:
        case "POST":
            await _post(connection, body, runtime.options.client_buffer_bytes)
            if fault is Fault.DUPLICATE:
                with suppress(RefusedError):
                    await _post(connection, body, runtime.options.client_buffer_bytes)
            return 200, ""
        case "GET":
            return 200, _describe(connection.session)
        case _:
            # Not awaited: a client that does not answer the close frame must not hold
            # up the caller.
            connection.close_soon(1000, "Connection Closed Normally")
            return 204, ""


_METHODS = ("POST", "GET", "DELETE")


def _told_method(request: web.BaseRequest) -> str:
    """Return what the log may say: a method can be any word."""
    return request.method if request.method in _METHODS else "(another method)"


async def _body(request: web.BaseRequest, timeout_seconds: float) -> bytes:
    try:
        async with asyncio.timeout(timeout_seconds):
            body = await request.read()
    except TimeoutError as error:
        raise RefusedError(refusals.TOO_SLOW) from error
    except web.RequestPayloadError as error:
        raise RefusedError(refusals.BAD_REQUEST) from error
    except web.HTTPRequestEntityTooLarge as error:
        raise RefusedError(refusals.TOO_LARGE) from error
    if len(body) > MAX_MESSAGE_BYTES:
        raise RefusedError(refusals.TOO_LARGE)
    return body


async def _post(connection: GatewayConnection, body: bytes, buffer_bytes: int) -> None:
    try:
        await connection.push(body, buffer_bytes)
    except ConnectionClosed as error:
        raise RefusedError(refusals.GONE) from error
    except BufferError as error:
        raise RefusedError(refusals.LIMITED) from error


def _describe(session: Session) -> str:
    handshake = session.handshake
    return json.dumps(
        {
            "connectedAt": events.iso_time(session.connected_at),
            "identity": {"sourceIp": handshake.source_ip, "userAgent": handshake.user_agent},
            "lastActiveAt": events.iso_time(session.last_active_at),
        }
    )


async def _meet_fault(runtime: Runtime, request: web.BaseRequest) -> Fault | None:
    """Raise or wait as the request's fault does, and return it."""
    faults = runtime.faults
    if faults.latency_seconds:
        await asyncio.sleep(faults.latency_seconds)
    fault = faults.draw()
    match fault:
        case Fault.LIMITED:
            raise RefusedError(refusals.LIMITED)
        case Fault.GONE:
            raise RefusedError(refusals.GONE)
        case Fault.SERVER_ERROR:
            raise RefusedError(refusals.FAILED._replace(status=faults.server_error_status()))
        case Fault.RESET:
            if request.transport is not None:
                reset(request.transport)
            raise RefusedError(Refusal(500, "reset on demand"))
        case Fault.STALL:
            await asyncio.sleep(faults.stall_seconds)
    return fault
