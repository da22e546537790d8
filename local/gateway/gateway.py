"""Listen on the port, and take connections from their opening to their end."""

from __future__ import annotations

import asyncio
import functools
import logging
import ssl
import time
from collections.abc import Coroutine, Sequence
from http import HTTPStatus
from typing import Any

from aiohttp import web
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from . import discretion, events, handshake, management, messages
from .connection import (
    KEEP_ALIVE_SECONDS,
    MAX_FRAME_BYTES,
    MAX_MESSAGE_BYTES,
    GatewayConnection,
)
from .errors import IntegrationError
from .events import Session
from .integrations import Call
from .runtime import Runtime

log = logging.getLogger(__name__)

# As in events of real stages, where those have been published; see docs/local-gateway.md.
REASONS = {
    1000: "Connection Closed Normally",
    1001: "Going away",
    1005: "Client-side close frame status not set",
    1006: "Connection closed abnormally",
}

# Subprotocols that are no secrets.
TOLD = ("websocket",)


class Gateway:
    """Serve one API on one port."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._tasks: set[asyncio.Task[None]] = set()
        self._undecided: set[asyncio.Transport] = set()
        self._http = web.Server(
            functools.partial(management.handle, runtime),
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=KEEP_ALIVE_SECONDS,
            # For as long, what is left of a body is read, so that its sender sees the answer.
            lingering_time=2.0,
        )
        self._server: Server | None = None

    async def start(self, tls: ssl.SSLContext | None) -> str:
        """Listen, and return host and port.

        Args:
            tls: what TLS is spoken with to those who begin with it.

        Raises:
            OSError: The address cannot be listened on.
        """
        options = self._runtime.options
        self._server = await serve(
            self._converse,
            options.host,
            options.port,
            backlog=1024,
            process_request=self._open,
            process_response=self._opened,
            select_subprotocol=_subprotocol_of,
            # Documented as "a wrapper or a subclass", typed as a subclass only.
            create_connection=functools.partial(  # type: ignore[arg-type]
                GatewayConnection,
                http_protocol=self._http,
                undecided=self._undecided,
                tls=tls,
                head_timeout_seconds=options.head_timeout_seconds,
            ),
            # API Gateway negotiates no extension and sends no pings.
            compression=None,
            ping_interval=None,
            server_header=None,
            # The integration timeouts of the authorizer and of $connect limit the handshake.
            open_timeout=None,
            max_size=(MAX_MESSAGE_BYTES, MAX_FRAME_BYTES),
            # Sending waits from the first mark until the second is passed on the way down.
            # The first is above what push() lets wait and the second is where it accepts
            # again, so that it never waits for a client.
            write_limit=(
                options.client_buffer_bytes + 2 * MAX_MESSAGE_BYTES,
                options.client_buffer_bytes,
            ),
        )
        host, port = next(iter(self._server.sockets)).getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        return f"{host}:{port}"

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

    async def _open(self, connection: ServerConnection, request: Request) -> Response | None:
        assert isinstance(connection, GatewayConnection)
        return await handshake.admit(self._runtime, connection, request)

    def _opened(self, connection: ServerConnection, request: Request, response: Response) -> None:
        """End a session whose client left, or sent a bad handshake, after ``$connect`` ran."""
        assert isinstance(connection, GatewayConnection)
        accepted = response.status_code == HTTPStatus.SWITCHING_PROTOCOLS
        if connection.session and not accepted:
            log.info(
                "connection %s refused: %d (not a WebSocket handshake)",
                connection.session.id, response.status_code,
            )  # fmt: skip
        if connection.session and not (accepted and connection.state is State.CONNECTING):
            self._start(self._disconnect(connection.session, 1006, REASONS[1006]))

    async def _converse(self, connection: ServerConnection) -> None:
        """Serve an open connection until it ends."""
        assert isinstance(connection, GatewayConnection) and connection.session
        session = connection.session
        self._runtime.connections[session.id] = connection
        log.info(
            "connection %s stage=%s source=%s opened subprotocol=%s",
            session.id, session.stage.name, session.handshake.source_ip,
            _told_subprotocol(connection.subprotocol),
        )  # fmt: skip
        try:
            while True:
                message = await self._receive(connection, session)
                if isinstance(message, bytes):
                    await connection.close(1003, "Binary is not supported")
                elif message is not None:
                    session.last_active_at = time.time()
                    self._start(self._message(connection, session, message))
        except ConnectionClosed as end:
            code, reason = _cause_of(end)
        finally:
            del self._runtime.connections[session.id]
        # A client may write anything into a reason of its own.
        told = reason if reason in REASONS.values() else ""
        log.info("connection %s closed: %d %s", session.id, code, told)
        self._start(self._disconnect(session, code, reason))

    async def _receive(self, connection: GatewayConnection, session: Session) -> str | bytes | None:
        """Return the next message; None after a clock has rung, having closed if it ran out."""
        options = self._runtime.options
        ends_at = session.connected_at + options.max_lifetime_seconds
        deadline = min(ends_at, session.last_active_at + options.idle_timeout_seconds)
        try:
            async with asyncio.timeout(max(deadline - time.time(), 0)):
                return await connection.recv()
        except TimeoutError:
            # A post or a reply since then counts as activity, so look again.
            deadline = min(ends_at, session.last_active_at + options.idle_timeout_seconds)
            if time.time() >= deadline:
                await connection.close(1001, REASONS[1001])
            return None

    async def _message(self, connection: GatewayConnection, session: Session, body: str) -> None:
        """Handle one message, answer it, and log what became of it."""
        started = time.perf_counter()
        request_id = events.new_id()
        outcome = await messages.handle(self._runtime, session, request_id, body)
        told = outcome.told
        if outcome.frame:
            try:
                await connection.push(
                    outcome.frame.encode(), self._runtime.options.client_buffer_bytes
                )
                told += ", replied"
            except (BufferError, ConnectionClosed) as error:
                told += f", reply dropped: {error}"
        log.info(
            "route %s connection=%s requestId=%s: %s, %.1f ms",
            outcome.route_key, session.id, request_id, told,
            (time.perf_counter() - started) * 1000,
        )  # fmt: skip

    async def _disconnect(self, session: Session, code: int, reason: str) -> None:
        runtime = self._runtime
        api = runtime.served.current(session.api)
        route = api.routes.get("$disconnect") if api else None
        if route is None:
            return
        request_id = events.new_id()
        if runtime.faults.loses_disconnect():
            outcome = "lost on demand"
        else:
            event = events.disconnect(session, request_id, code, reason)
            try:
                call = Call(event, session.stage, runtime.options.integration_timeout_ms)
                outcome = str((await route.integration.answer(call, runtime.lambdas)).status)
            except IntegrationError as error:
                outcome = discretion.cause(error, runtime.options, session)
        log.info(
            "route $disconnect connection=%s requestId=%s: %s", session.id, request_id, outcome
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        # The loop keeps only weak references to tasks.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _subprotocol_of(
    connection: ServerConnection, offered: Sequence[Subprotocol]
) -> Subprotocol | None:
    assert isinstance(connection, GatewayConnection)
    return connection.subprotocol_to_echo


def _told_subprotocol(subprotocol: str | None) -> str:
    """Return what the log may say: a subprotocol that a function took may be a token."""
    return "none" if subprotocol is None else subprotocol if subprotocol in TOLD else "another"


def _cause_of(end: ConnectionClosed) -> tuple[int, str]:
    """Return the code and reason of an ended connection as ``$disconnect`` reports them."""
    closed_by_client = end.rcvd is not None and (end.sent is None or end.rcvd_then_sent)
    close = end.rcvd if closed_by_client else end.sent
    code = 1006 if close is None else close.code
    return code, (close.reason if close else "") or REASONS.get(code, "")
