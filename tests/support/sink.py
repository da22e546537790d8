"""An API Gateway of one's own on loopback, which answers every request as it is told.

It shares no code with the engine: requests are read by plain rules, and what comes back may be
no HTTP at all.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from urllib.parse import unquote


class Then(Enum):
    """What the server does when the bytes of a reply are out."""

    KEEP = auto()
    CLOSE = auto()
    RESET = auto()
    STALL = auto()
    """Nothing, for good: also requests that follow stay without an answer."""


def http(status: int, body: bytes = b"", *headers: str, version: str = "1.1") -> bytes:
    """Return a response with the length of its body."""
    lines = [f"HTTP/{version} {status} Reason", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(frozen=True)
class Reply:
    """What is sent for one request, after how long, in pieces of how many bytes."""

    data: bytes = http(200)
    delay_seconds: float = 0.0
    piece_bytes: int | None = None
    then: Then = Then.KEEP


@dataclass(frozen=True)
class Received:
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """The number of the TCP connection, from 1."""
    at: float = field(default_factory=time.monotonic)

    @property
    def connection_id(self) -> str:
        return unquote(self.path.rpartition("/")[2])


class Sink:
    """The server, in a thread of its own; `answer` may be set anew at any time."""

    def __init__(self, certificate: str | None = None) -> None:
        self.answer: Callable[[Received], Reply] = lambda _: Reply()
        # Called as soon as the head of a request is there; a reply ends the request at once.
        self.answer_head: Callable[[], Reply | None] = lambda: None
        self.received: list[Received] = []
        self.accepted = 0
        self._port = 0
        self._context: ssl.SSLContext | None = None
        if certificate:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(certificate)
        self._open: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None
        self.start()

    @property
    def endpoint(self) -> str:
        return f"{'https' if self._context else 'http'}://127.0.0.1:{self._port}/v1"

    @property
    def open_connections(self) -> int:
        return len(self._open)

    def start(self) -> None:
        """Listen, on the same port as before."""

        async def listen() -> None:
            self._server = await self._loop.create_server(
                lambda: _Connection(self),
                "127.0.0.1",
                self._port,
                ssl=self._context,
                # A server that closes does not wait for the client to agree.
                ssl_shutdown_timeout=0.01 if self._context else None,
                backlog=1024,
            )
            self._port = self._server.sockets[0].getsockname()[1]

        self._run(listen())

    def stop(self) -> None:
        """Close the port and all connections."""

        async def close() -> None:
            if self._server:
                self._server.close()

        self._run(close())
        self.close_connections()

    def shut_down(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def close_connections(self) -> None:
        """Close what is open; return when the client's side knows."""

        async def close() -> None:
            for connection in list(self._open):
                connection.close()

        self._run(close())
        self.wait_until(lambda: not self._open)

    def reset_connections(self) -> None:
        async def reset() -> None:
            for connection in list(self._open):
                connection.reset()

        self._run(reset())
        self.wait_until(lambda: not self._open)

    def say_to_all(self, data: bytes) -> None:
        """Send what nobody asked for, on all connections."""

        async def say() -> None:
            for connection in self._open:
                connection.transport.write(data)

        self._run(say())

    def wait_until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true"
            time.sleep(0.001)

    def _run(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = b""
        self._stalled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._sink.accepted += 1
        self._number = self._sink.accepted
        self._sink._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sink._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while not self._stalled and b"\r\n\r\n" in self._buffer:
            head, _, rest = self._buffer.partition(b"\r\n\r\n")
            if early := self._sink.answer_head():
                self._stalled = True
                self.transport.pause_reading()
                self._send(early)
                return
            request_line, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, value in (x.split(": ", 1) for x in lines)}
            length = int(headers["content-length"])
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            method, path, _ = request_line.split()
            received = Received(method, path, headers, rest[:length], self._number)
            self._sink.received.append(received)
            reply = self._sink.answer(received)
            if reply.delay_seconds:
                asyncio.get_running_loop().call_later(reply.delay_seconds, self._send, reply)
            else:
                self._send(reply)

    def _send(self, reply: Reply, position: int = 0) -> None:
        if self.transport.is_closing():
            return
        piece = reply.piece_bytes or max(1, len(reply.data))
        if position < len(reply.data):
            self.transport.write(reply.data[position : position + piece])
            asyncio.get_running_loop().call_soon(self._send, reply, position + piece)
            return
        match reply.then:
            case Then.CLOSE:
                self.close()
            case Then.RESET:
                self.reset()
            case Then.STALL:
                self._stalled = True

    def close(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        connection: socket.socket = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
