"""Change faults and end connections while the gateway runs, by a port of its own.

It is for whoever sits at this machine: it listens on loopback only, and answers no web page.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from websockets.exceptions import ProtocolError
from websockets.frames import Close
from websockets.protocol import State

from . import events
from .connection import GatewayConnection
from .faults import InvalidFaultsError
from .runtime import Runtime

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
MAX_BODY_BYTES = 4096
# What a close frame has room for, https://www.rfc-editor.org/rfc/rfc6455#section-5.5
MAX_REASON_BYTES = 123

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ControlError(Exception):
    """Refuse a request with a status, and a code and message in the body."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Control:
    """Serve the faults and the connections of a gateway as JSON."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._hosts: tuple[str, ...] = ()
        app = web.Application(middlewares=[self._answer], client_max_size=MAX_BODY_BYTES)
        app.add_routes(
            [
                web.get("/faults", self._faults),
                web.patch("/faults", self._change_faults),
                web.get("/connections", self._connections),
                web.post("/connections/{id}/cut", self._cut),
                web.post("/connections/{id}/freeze", self._freeze),
                web.post("/connections/{id}/close", self._close),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, port: int) -> str:
        """Listen, and return the address.

        Raises:
            OSError: The port cannot be listened on.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, port).start()
        port = self._runner.addresses[0][1]
        self._hosts = (f"{HOST}:{port}", f"localhost:{port}")
        return f"http://{HOST}:{port}"

    async def stop(self) -> None:
        """Listen no longer."""
        await self._runner.cleanup()

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let no web page in, and answer what cannot be done."""
        try:
            self._check_caller(request)
            return await handler(request)
        except ControlError as error:
            status, code, message = error.status, error.code, str(error)
        except web.HTTPException as error:
            status, code, message = error.status, error.reason.replace(" ", ""), error.reason
        return web.json_response({"code": code, "message": message}, status=status)

    def _check_caller(self, request: web.Request) -> None:
        # A browser says which page asks; and a page whose name leads to this machine says the name.
        if "Origin" in request.headers or request.headers.getall("Host", []) not in (
            [host] for host in self._hosts
        ):
            raise ControlError(403, "Forbidden", f"only for programs that ask {self._hosts[0]}")

    async def _faults(self, request: web.Request) -> web.Response:
        return web.json_response(self._runtime.faults.values())

    async def _change_faults(self, request: web.Request) -> web.Response:
        try:
            self._runtime.faults.change(await _body(request))
        except InvalidFaultsError as error:
            raise ControlError(400, "InvalidFaults", str(error)) from error
        log.info("control: faults changed")
        return web.json_response(self._runtime.faults.values())

    async def _connections(self, request: web.Request) -> web.Response:
        return web.json_response(
            {"connections": [_described(each) for each in self._runtime.connections.values()]}
        )

    async def _cut(self, request: web.Request) -> web.Response:
        self._connection(request).cut()
        return self._done(request, "cut")

    async def _freeze(self, request: web.Request) -> web.Response:
        self._connection(request).freeze()
        return self._done(request, "frozen")

    async def _close(self, request: web.Request) -> web.Response:
        close = _close_of(await _body(request))
        self._connection(request).close_soon(int(close.code), close.reason)
        return self._done(request, f"closed with {close.code}")

    def _connection(self, request: web.Request) -> GatewayConnection:
        connection = self._runtime.connections.get(request.match_info["id"])
        if connection is None or connection.state is not State.OPEN:
            raise ControlError(404, "UnknownConnection", "there is no such open connection")
        return connection

    def _done(self, request: web.Request, what: str) -> web.Response:
        log.info("control: connection %s %s", request.match_info["id"], what)
        return web.json_response({"id": request.match_info["id"]})


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError) as error:
        raise ControlError(400, "InvalidJson", "the body is not JSON") from error
    if not isinstance(body, dict):
        raise ControlError(400, "InvalidJson", "the body is not a JSON object")
    return body


def _close_of(body: dict[str, Any]) -> Close:
    if unknown := body.keys() - {"code", "reason"}:
        raise ControlError(400, "InvalidClose", f"there is no {min(unknown)!r} of a close")
    code, reason = body.get("code", 1000), body.get("reason", "")
    if isinstance(code, bool) or not isinstance(code, int):
        raise ControlError(400, "InvalidClose", "code is not a whole number")
    if not isinstance(reason, str) or _bytes(reason) > MAX_REASON_BYTES:
        raise ControlError(400, "InvalidClose", f"reason is no text of {MAX_REASON_BYTES} bytes")
    close = Close(code, reason)
    try:
        close.check()
    except ProtocolError as error:
        raise ControlError(400, "InvalidClose", f"{code} is no code of a close frame") from error
    return close


def _bytes(text: str) -> float:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        # Half of a character, which no frame can hold.
        return float("inf")


def _described(connection: GatewayConnection) -> dict[str, Any]:
    session = connection.session
    assert session
    return {
        "id": session.id,
        "stage": session.stage.name,
        "connectedAt": events.iso_time(session.connected_at),
        "lastActiveAt": events.iso_time(session.last_active_at),
        # Nothing else of the query: it may hold tokens.
        "name": dict(session.handshake.query).get("name"),
        "frozen": connection.frozen,
    }
