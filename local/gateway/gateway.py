"""Take connections from their handshake to their end."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
import ssl
import time
from collections.abc import Coroutine, Sequence
from http import HTTPStatus
from http.client import responses
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from aiohttp import web
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from . import events
from .api import Api, Limit, Route, Stage
from .authorizer import BadAuthorizerAnswerError, context_of, has_identity
from .connection import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES, GatewayConnection
from .faults import Faults
from .lambdas import FunctionRaisedError, FunctionTimeoutError, InvocationError, Lambdas
from .management import Management
from .options import Options
from .routing import select
from .throttle import Throttle

log = logging.getLogger(__name__)

# Reasons as seen in events of real stages; see docs/local-gateway.md.
_REASONS = {
    1000: "Connection Closed Normally",
    1001: "Going away",
    1005: "Client-side close frame status not set",
    1006: "Connection closed abnormally",
}


class HandshakeRefusedError(Exception):
    """Carry the status and error type that a client gets in place of a connection."""

    def __init__(self, status: int, message: str | None, error_type: str, cause: str) -> None:
        super().__init__(cause)
        self.status = status
        self.message = message
        self.error_type = error_type


class Gateway:
    """Serve one API on one port. ``api`` may be replaced at any time."""

    def __init__(self, options: Options, api: Api, lambdas: Lambdas) -> None:
        self.api = api
        self._options = options
        self._lambdas = lambdas
        self._throttle = Throttle(options.throttle_rate, options.throttle_burst)
        self._faults = Faults(options)
        self._connections: dict[str, GatewayConnection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._undecided: set[asyncio.Transport] = set()
        management = Management(
            options, lambda: self.api, self._connections, self._throttle, self._faults
        )
        self._http = web.Server(management.handle, access_log=None, auto_decompress=False)
        self._server: Server | None = None

    async def start(self, tls: ssl.SSLContext | None) -> str:
        """Listen, and return the address clients connect to, without the stage.

        Raises:
            OSError: The address cannot be listened on.
        """
        options = self._options
        self._server = await serve(
            self._converse,
            options.host,
            options.port,
            ssl=tls,
            backlog=1024,
            process_request=self._open,
            process_response=self._opened,
            select_subprotocol=_subprotocol_of,
            # Documented as "a wrapper or a subclass", typed as a subclass only.
            create_connection=functools.partial(  # type: ignore[arg-type]
                GatewayConnection, http_protocol=self._http, undecided=self._undecided
            ),
            # API Gateway negotiates no extension and sends no pings.
            compression=None,
            ping_interval=None,
            server_header=None,
            # The integration timeouts of the authorizer and of $connect limit the handshake.
            open_timeout=None,
            max_size=(MAX_MESSAGE_BYTES, MAX_FRAME_BYTES),
            # Above what push() lets wait, so that sending never waits for a client.
            write_limit=options.client_buffer_bytes + 2 * MAX_MESSAGE_BYTES,
        )
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        return f"{'wss' if tls else 'ws'}://{host}:{port}"

    async def stop(self) -> None:
        """Close every connection with 1001, and wait for the ``$disconnect`` events."""
        if self._server:
            self._server.close()
            for transport in list(self._undecided):
                transport.abort()
            await self._http.shutdown(1.0)
            await self._server.wait_closed()
        if self._tasks:
            await asyncio.wait(self._tasks)

    # Handshake

    async def _open(self, connection: ServerConnection, request: Request) -> Response | None:
        """Decide whether a handshake may go on: None, or the response that refuses it."""
        assert isinstance(connection, GatewayConnection)
        target = urlsplit(request.path)
        handshake = _handshake_of(connection, request, target.query, self._server_port())
        stage = self.api.stages.get(unquote(target.path.strip("/")))
        session = events.Session(self.api.id, stage or _NO_STAGE, handshake)
        request_id = events.new_id()
        try:
            if stage is None:
                raise HandshakeRefusedError(403, "Forbidden", "ForbiddenException", "no such stage")
            if not self._throttle.admits(stage, "$connect"):
                raise HandshakeRefusedError(
                    429, "Too Many Requests", "TooManyRequestsException", "throttled"
                )
            if route := self.api.routes.get("$connect"):
                if route.authorizer:
                    session.authorizer = await self._authorize(route, session, request_id)
                connection.subprotocol_to_echo = await self._connect(route, session, request_id)
        except HandshakeRefusedError as error:
            log.info(
                "connection %s stage=%s source=%s refused: %d (%s)",
                session.id, session.stage.name, handshake.source_ip, error.status, error,
            )  # fmt: skip
            return _response_of(error, session, request_id)
        connection.session = session
        return None

    def _opened(self, connection: ServerConnection, request: Request, response: Response) -> None:
        """End a session whose client left, or sent a bad handshake, after ``$connect`` had run."""
        assert isinstance(connection, GatewayConnection)
        if connection.session and (
            response.status_code != HTTPStatus.SWITCHING_PROTOCOLS
            or connection.state is not State.CONNECTING
        ):
            self._start(self._disconnect(connection.session, 1006, _REASONS[1006]))

    async def _authorize(
        self, route: Route, session: events.Session, request_id: str
    ) -> dict[str, str]:
        assert route.authorizer
        stage = session.stage
        if not has_identity(route.authorizer.identity_sources, session.handshake, stage.variables):
            raise HandshakeRefusedError(
                401, "Unauthorized", "UnauthorizedException", "an identity source is missing"
            )
        function = stage.resolve(route.authorizer.function)
        # The account is known from the function's ARN only.
        account = dict(enumerate(function.split(":"))).get(4, "000000000000")
        method_arn = (
            f"arn:aws:execute-api:{self._options.region}:{account}"
            f":{session.api_id}/{stage.name}/$connect"
        )
        event = events.authorize(session, request_id, method_arn)
        try:
            answer = await self._lambdas.invoke(
                function, event, self._options.integration_timeout_ms
            )
            context = context_of(answer, method_arn)
        except FunctionRaisedError as error:
            if error.error_message == "Unauthorized":
                # The one message that API Gateway turns into a 401.
                raise HandshakeRefusedError(
                    401, "Unauthorized", "UnauthorizedException", "the authorizer said Unauthorized"
                ) from error
            raise _authorizer_failed(f"authorizer raised {error}") from error
        except (InvocationError, BadAuthorizerAnswerError) as error:
            raise _authorizer_failed(f"authorizer: {error}") from error
        if context is None:
            raise HandshakeRefusedError(
                403,
                "User is not authorized to access this resource",
                "AccessDeniedException",
                "denied by the authorizer",
            )
        return context

    async def _connect(
        self, route: Route, session: events.Session, request_id: str
    ) -> Subprotocol | None:
        event = events.connect(session, request_id)
        try:
            status, _, headers = await self._invoke(route, session, request_id, event)
        except FunctionTimeoutError as error:
            raise HandshakeRefusedError(
                504, "Endpoint request timed out", "IntegrationTimeoutException", str(error)
            ) from error
        except InvocationError as error:
            raise HandshakeRefusedError(
                502, "Internal server error", "InternalServerErrorException", f"$connect: {error}"
            ) from error
        if not 200 <= status < 300:
            # Without a route response, a function's body goes nowhere.
            raise HandshakeRefusedError(status, None, "", "$connect answered so")
        chosen = headers.get("sec-websocket-protocol")
        return (
            Subprotocol(chosen)
            if chosen and chosen in session.handshake.offered_subprotocols
            else None
        )

    # Messages

    async def _converse(self, connection: ServerConnection) -> None:
        """Serve an open connection until it ends."""
        assert isinstance(connection, GatewayConnection) and connection.session
        session = connection.session
        self._connections[session.id] = connection
        log.info(
            "connection %s stage=%s source=%s opened subprotocol=%s",
            session.id, session.stage.name, session.handshake.source_ip, connection.subprotocol,
        )  # fmt: skip
        try:
            while True:
                message = await self._receive(connection, session)
                if isinstance(message, bytes):
                    connection.close_soon(1003, "Binary is not supported")
                    await connection.wait_closed()
                elif message is not None:
                    session.last_active_at = time.time()
                    self._start(self._message(connection, session, message))
        except ConnectionClosed as end:
            code, reason = _cause_of(end)
        finally:
            del self._connections[session.id]
        log.info("connection %s closed: %d %s", session.id, code, reason)
        self._start(self._disconnect(session, code, reason))

    async def _receive(
        self, connection: GatewayConnection, session: events.Session
    ) -> str | bytes | None:
        """Return the next message; None when a clock may have run out, having closed then."""
        ends_at = session.connected_at + self._options.max_lifetime_seconds
        deadline = min(ends_at, session.last_active_at + self._options.idle_timeout_seconds)
        try:
            async with asyncio.timeout(max(deadline - time.time(), 0)):
                return await connection.recv()
        except TimeoutError:
            # A post or a reply since then counts as activity, so look again.
            idle_at = session.last_active_at + self._options.idle_timeout_seconds
            if time.time() >= min(ends_at, idle_at):
                await connection.close(1001, _REASONS[1001])
            return None

    async def _message(
        self, connection: GatewayConnection, session: events.Session, body: str
    ) -> None:
        """Route one message, and answer what is to be answered."""
        request_id = events.new_id()
        route = select(self.api.routes, self.api.selection_expression, body)
        started = time.perf_counter()
        reply = None
        if not self._throttle.admits(session.stage, route.key if route else None):
            outcome, reply = "throttled", events.error("Too Many Requests", session, request_id)
        elif route is None:
            outcome, reply = "no route", events.error("Forbidden", session, request_id)
        else:
            event = events.message(session, route.key, request_id, body)
            try:
                status, content, _ = await self._invoke(route, session, request_id, event)
                outcome = str(status)
                if route.two_way and content:
                    reply = content
            except FunctionTimeoutError as error:
                outcome = str(error)
                reply = events.error("Endpoint request timed out", session, request_id)
            except InvocationError as error:
                outcome = f"{type(error).__name__} {error}"
                reply = events.error("Internal server error", session, request_id)
        log.info(
            "route %s connection=%s requestId=%s: %s, %s, %.1f ms",
            route.key if route else "(none)", session.id, request_id, outcome,
            "replied" if reply else "no reply", (time.perf_counter() - started) * 1000,
        )  # fmt: skip
        if reply:
            await self._reply(connection, session, reply)

    async def _reply(
        self, connection: GatewayConnection, session: events.Session, reply: str
    ) -> None:
        try:
            await connection.push(reply.encode(), self._options.client_buffer_bytes)
        except (BufferError, ConnectionClosed) as error:
            log.info("connection %s: reply dropped: %s", session.id, error)

    async def _disconnect(self, session: events.Session, code: int, reason: str) -> None:
        route = self.api.routes.get("$disconnect")
        if route is None:
            return
        if self._faults.loses_disconnect():
            log.info("route $disconnect connection=%s: lost on demand", session.id)
            return
        request_id = events.new_id()
        event = events.disconnect(session, request_id, code, reason)
        try:
            status, _, _ = await self._invoke(route, session, request_id, event)
            outcome = str(status)
        except InvocationError as error:
            outcome = f"{type(error).__name__} {error}"
        log.info(
            "route $disconnect connection=%s requestId=%s: %s", session.id, request_id, outcome
        )

    async def _invoke(
        self, route: Route, session: events.Session, request_id: str, event: dict[str, Any]
    ) -> tuple[int, str | None, dict[str, str]]:
        """Return a function's status, body and headers (names in lower case).

        Raises:
            InvocationError: It failed, or its answer is not a proxy integration's.
        """
        if route.function is None:
            raise InvocationError("not a Lambda proxy integration")
        result = await self._lambdas.invoke(
            session.stage.resolve(route.function),
            event,
            min(route.timeout_ms, self._options.integration_timeout_ms),
        )
        status = result.get("statusCode") if isinstance(result, dict) else None
        if not isinstance(status, int | str) or not re.fullmatch("[1-5][0-9]{2}", str(status)):
            raise InvocationError("the answer has no statusCode")
        body = result.get("body")
        if body is not None and not isinstance(body, str):
            raise InvocationError("the answer's body is not a string")
        headers = {
            name.lower(): str(values[0]) if values else ""
            for name, values in (result.get("multiValueHeaders") or {}).items()
        } | {name.lower(): str(value) for name, value in (result.get("headers") or {}).items()}
        return int(status), body, headers

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        # The loop keeps only weak references to tasks.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _server_port(self) -> int:
        assert self._server
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port


# Stands where a session needs a stage and the client named none that exists.
_NO_STAGE = Stage("-", {}, Limit(0, 0), {})


def _authorizer_failed(cause: str) -> HandshakeRefusedError:
    return HandshakeRefusedError(
        500, "Internal server error", "AuthorizerConfigurationException", cause
    )


def _subprotocol_of(
    connection: ServerConnection, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    assert isinstance(connection, GatewayConnection)
    return connection.subprotocol_to_echo


def _handshake_of(
    connection: ServerConnection, request: Request, query: str, port: int
) -> events.Handshake:
    source_ip = connection.remote_address[0]
    encrypted = connection.transport.get_extra_info("ssl_object") is not None
    return events.Handshake(
        host=request.headers.get("Host", ""),
        headers=(
            *request.headers.raw_items(),
            ("X-Amzn-Trace-Id", f"Root=1-{int(time.time()):08x}-{os.urandom(12).hex()}"),
            ("X-Forwarded-For", source_ip),
            ("X-Forwarded-Port", str(port)),
            ("X-Forwarded-Proto", "https" if encrypted else "http"),
        ),
        query=tuple(parse_qsl(query, keep_blank_values=True)),
        source_ip=source_ip,
        user_agent=request.headers.get("User-Agent", ""),
        offered_subprotocols=tuple(
            name.strip()
            for value in request.headers.get_all("Sec-WebSocket-Protocol")
            for name in value.split(",")
        ),
    )


def _response_of(
    error: HandshakeRefusedError, session: events.Session, request_id: str
) -> Response:
    body = events.error(error.message, session, request_id).encode() if error.message else b""
    headers = Headers(
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
            ("x-amzn-RequestId", request_id),
        ]
    )
    if error.error_type:
        headers["x-amzn-ErrorType"] = error.error_type
    # Not every status that a function may return has a registered phrase.
    phrase = responses.get(error.status, "")
    return Response(error.status, phrase, headers, body)


def _cause_of(end: ConnectionClosed) -> tuple[int, str]:
    """Return the code and reason of an ended connection as ``$disconnect`` reports them."""
    closed_by_client = end.rcvd is not None and (end.sent is None or end.rcvd_then_sent)
    close = end.rcvd if closed_by_client else end.sent
    code = 1006 if close is None else close.code
    return code, (close.reason if close else "") or _REASONS.get(code, "")
