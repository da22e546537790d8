"""Serve the @connections API: POST, GET and DELETE of one connection."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import socket
import struct
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from aiohttp import web
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from . import events
from .api import Api
from .connection import MAX_MESSAGE_BYTES, GatewayConnection
from .faults import Fault, Faults
from .options import Options
from .throttle import Throttle

log = logging.getLogger(__name__)

_CONNECTION_ID = re.compile(r"[\w-]{15}=", re.ASCII)


class Refusal(NamedTuple):
    """Hold what a refused request is answered; SDKs choose their exception by the type."""

    status: HTTPStatus
    error_type: str
    message: str | None = None


GONE = Refusal(HTTPStatus.GONE, "GoneException")
FORBIDDEN = Refusal(HTTPStatus.FORBIDDEN, "ForbiddenException", "Forbidden")
UNSIGNED = Refusal(
    HTTPStatus.FORBIDDEN, "MissingAuthenticationTokenException", "Missing Authentication Token"
)
LIMITED = Refusal(HTTPStatus.TOO_MANY_REQUESTS, "LimitExceededException")
TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "PayloadTooLargeException", "Message too long"
)


class RefusedError(Exception):
    """Carry a refusal to the place that answers."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.error_type)
        self.refusal = refusal


class Management:
    """Answer @connections requests about the open connections it is given."""

    def __init__(
        self,
        options: Options,
        api: Callable[[], Api],
        connections: Mapping[str, GatewayConnection],
        throttle: Throttle,
        faults: Faults,
    ) -> None:
        self._options = options
        self._api = api
        self._connections = connections
        self._throttle = throttle
        self._faults = faults

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request that did not ask for a WebSocket."""
        request_id = events.new_id()
        try:
            body = await self._serve(request)
            response = web.Response(
                status=HTTPStatus.NO_CONTENT if request.method == "DELETE" else HTTPStatus.OK,
                body=body,
            )
            log.debug(
                "@connections %s requestId=%s: %d", request.method, request_id, response.status
            )
        except RefusedError as error:
            refusal = error.refusal
            content = {"message": refusal.message} if refusal.message else {}
            response = web.Response(
                status=refusal.status,
                body=json.dumps({**content, "requestId": request_id}).encode(),
                headers={"x-amzn-ErrorType": refusal.error_type},
            )
            log.info(
                "@connections %s requestId=%s refused: %d %s",
                request.method, request_id, refusal.status, refusal.error_type,
            )  # fmt: skip
        response.headers["x-amzn-RequestId"] = request_id
        response.content_type = "application/json"
        return response

    async def _serve(self, request: web.BaseRequest) -> bytes:
        stage_name, _, rest = request.raw_path.partition("?")[0].lstrip("/").partition("/")
        stage = self._api().stages.get(unquote(stage_name))
        # SDKs percent-encode the @ of the path, or do not.
        prefix, _, connection_id = unquote(rest).partition("/")
        if (
            stage is None
            or prefix != "@connections"
            or request.method not in ("POST", "GET", "DELETE")
        ):
            raise RefusedError(FORBIDDEN)
        authorization = request.headers.get("Authorization", "")
        if not self._options.allow_unsigned and not authorization.startswith("AWS4-HMAC-SHA256 "):
            # The signature itself cannot be checked: the secret is not known here.
            raise RefusedError(UNSIGNED)
        if not self._throttle.admits(stage):
            raise RefusedError(LIMITED)
        await self._meet_fault(request)
        if not _CONNECTION_ID.fullmatch(connection_id):
            text = f"Invalid connectionId: {connection_id}"
            raise RefusedError(Refusal(HTTPStatus.BAD_REQUEST, "BadRequestException", text))
        connection = self._connections.get(connection_id)
        if connection is None or connection.session is None or connection.state is not State.OPEN:
            raise RefusedError(GONE)
        if connection.session.stage.name != stage.name:
            raise RefusedError(GONE)
        match request.method:
            case "POST":
                await self._post(connection, await self._body(request))
            case "GET":
                return self._describe(connection.session)
            case "DELETE":
                # Not awaited: a client that does not answer the close frame must not
                # hold up the caller.
                connection.close_soon(1000, "Connection Closed Normally")
        return b""

    async def _body(self, request: web.BaseRequest) -> bytes:
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise RefusedError(TOO_LARGE) from error
        if len(body) > MAX_MESSAGE_BYTES:
            raise RefusedError(TOO_LARGE)
        return body

    async def _post(self, connection: GatewayConnection, body: bytes) -> None:
        try:
            await connection.push(body, self._options.client_buffer_bytes)
        except ConnectionClosed as error:
            raise RefusedError(GONE) from error
        except BufferError as error:
            raise RefusedError(LIMITED) from error

    def _describe(self, session: events.Session) -> bytes:
        return json.dumps(
            {
                "connectedAt": events.iso_time(session.connected_at),
                "identity": {
                    "sourceIp": session.handshake.source_ip,
                    "userAgent": session.handshake.user_agent,
                },
                "lastActiveAt": events.iso_time(session.last_active_at),
            }
        ).encode()

    async def _meet_fault(self, request: web.BaseRequest) -> None:
        if self._options.fault_latency_ms:
            await asyncio.sleep(self._options.fault_latency_ms / 1000)
        match self._faults.draw():
            case Fault.LIMITED:
                raise RefusedError(LIMITED)
            case Fault.GONE:
                raise RefusedError(GONE)
            case Fault.SERVER_ERROR:
                status = HTTPStatus(self._faults.server_error_status())
                raise RefusedError(
                    Refusal(status, "InternalServerErrorException", "Internal server error")
                )
            case Fault.RESET:
                _reset(request.transport)
                raise RefusedError(Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "reset"))
            case Fault.STALL:
                await asyncio.sleep(self._options.fault_stall_seconds)


def _reset(transport: asyncio.Transport | None) -> None:
    # Lingering for zero seconds turns the close into a reset.
    if transport is not None:
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
