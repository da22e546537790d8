"""Serve WebSocket and plain HTTP on one port, as API Gateway does.

Each protocol is left to a library: a client that asks to upgrade is served by
websockets, everything else (the @connections API) by aiohttp's HTTP server.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any, cast

from websockets.asyncio.server import ServerConnection
from websockets.protocol import State
from websockets.typing import Subprotocol

from .events import Session

# https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
MAX_FRAME_BYTES = 32 * 1024
MAX_MESSAGE_BYTES = 128 * 1024

log = logging.getLogger(__name__)

# Twice what either library reads of a request's head. A client that sends more before the
# blank line is cut off.
MAX_HEAD_BYTES = 65_536
# How long a kept HTTP connection may be idle.
KEEP_ALIVE_SECONDS = 120.0

_UPGRADE = re.compile(rb"^upgrade:[ \t]*websocket[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)


class GatewayConnection(ServerConnection):
    """Hold back the bytes of a new TCP connection until its first request's head is whole.

    Its first byte tells whether TLS is spoken. Then either go on as the WebSocket connection
    this is, with the bytes replayed, or hand the transport to an HTTP protocol. All of it uses
    nothing but the methods of ``asyncio.Protocol``, ``asyncio.Transport.set_protocol`` and
    ``loop.start_tls``.
    """

    def __init__(
        self,
        *arguments: Any,
        http_protocol: Callable[[], asyncio.Protocol],
        undecided: set[asyncio.Transport],
        tls: ssl.SSLContext | None = None,
        head_timeout_seconds: float,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._http_protocol = http_protocol
        self._undecided = undecided
        self._tls = tls
        self._head_timeout_seconds = head_timeout_seconds
        self._securing: asyncio.Task[None] | None = None
        self._head = bytearray()
        self._decided = False
        self._owes_too_much = False
        self._head_timer: asyncio.TimerHandle
        self._closing: asyncio.Task[None] | None = None
        self.frozen = False
        self.session: Session | None = None
        self.subprotocol_to_echo: Subprotocol | None = None

    async def push(self, body: bytes, buffer_bytes: int) -> None:
        """Send one message without waiting for the client to read it.

        Only a connection that is closing makes it wait, for the end of the closing handshake.

        Raises:
            BufferError: More than ``buffer_bytes`` would wait for the client. A message
                is always taken when none waits.
            websockets.exceptions.ConnectionClosed: The connection is closed or closing.
        """
        if self.frozen and self.state is State.OPEN:
            # Taken, as long as nobody has noticed; but no activity, so that an end is near.
            return
        waiting = self.transport.get_write_buffer_size()
        if waiting and waiting + len(body) > buffer_bytes:
            raise BufferError(f"{waiting} bytes wait for the client")
        try:
            body.decode()
            text = True
        except UnicodeDecodeError:
            # A text frame must be UTF-8: clients would drop the connection.
            text = False
        frames = [body[at : at + MAX_FRAME_BYTES] for at in range(0, len(body), MAX_FRAME_BYTES)]
        await self.send(frames if len(frames) > 1 else body, text=text)
        if self.session:
            self.session.last_active_at = time.time()

    def close_soon(self, code: int, reason: str) -> None:
        """Start the closing handshake without waiting for the client's part in it."""
        if self._closing is None:
            self._closing = self.loop.create_task(self.close(code, reason))

    def freeze(self) -> None:
        """Leave the socket open, and neither read from it nor write to it ever again.

        For ever, since what is swallowed meanwhile could not be made up for.
        """
        self.frozen = True
        self.transport.pause_reading()

    def cut(self) -> None:
        """End the connection without a closing handshake."""
        reset(self.transport)

    def send_data(self) -> None:
        """Write what the protocol has to say, unless nothing is to be heard any more."""
        if not self.frozen:
            super().send_data()
            return
        self.protocol.data_to_send()
        if self.protocol.close_expected():
            # Nobody will answer the close frame.
            self.cut()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request before being a WebSocket connection."""
        self.transport = cast(asyncio.Transport, transport)
        self._undecided.add(self.transport)
        self._head_timer = self._await_head(self.transport)
        if self._tls:
            # Nothing is read before it is known who is to read it.
            self.transport.pause_reading()
            self._securing = self.loop.create_task(self._secure(self.transport, self._tls))

    def _await_head(self, transport: asyncio.Transport) -> asyncio.TimerHandle:
        return await_head(transport, self._head_timeout_seconds)

    async def _secure(self, plain: asyncio.Transport, tls: ssl.SSLContext) -> None:
        """Go on with TLS below if the client begins with that, and else without."""
        try:
            if await _first_byte(plain) != TLS_HANDSHAKE:
                plain.resume_reading()
                return
            secured = await self.loop.start_tls(
                plain, self, tls,
                server_side=True, ssl_handshake_timeout=self._head_timeout_seconds,
            )  # fmt: skip
        except OSError as error:
            # An SSLError is one, too, and says in `reason` what the client did not like.
            why = getattr(error, "reason", None) or type(error).__name__
            cut_off(plain, f"no TLS ({why}){_advice(str(why))}")
            return
        if secured is None:
            return
        # What came meanwhile is in the head already.
        self._undecided.discard(plain)
        self._head_timer.cancel()
        self.transport = secured
        self._undecided.add(secured)
        self._head_timer = self._await_head(secured)
        self._securing = None
        self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        """Collect the first request's head, then let one of the two libraries go on."""
        if self.frozen:
            # Flow control has gone on reading.
            self.transport.pause_reading()
            return
        if self._decided:
            super().data_received(data)
            if self._owes_too_much:
                self.transport.pause_reading()
            return
        self._head += data
        if self._securing and not self._securing.done():
            # TLS is there, and its transport not yet here.
            return
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            if len(self._head) > MAX_HEAD_BYTES:
                cut_off(self.transport, f"a head of more than {MAX_HEAD_BYTES} bytes")
            return
        self._decide()
        received, self._head = bytes(self._head), bytearray()
        if _UPGRADE.search(received, 0, end + 2):
            super().connection_made(self.transport)
            super().data_received(received)
        else:
            protocol = HttpConnection(self._http_protocol(), self._head_timeout_seconds)
            self.transport.set_protocol(protocol)
            protocol.connection_made(self.transport)
            protocol.data_received(received)

    def pause_writing(self) -> None:
        """Read no more either: pushes keep below the mark, so it is answers to pings that wait."""
        super().pause_writing()
        self._owes_too_much = True

    def resume_writing(self) -> None:
        """Go on reading."""
        super().resume_writing()
        self._owes_too_much = False
        if not self.frozen:
            self.transport.resume_reading()

    def eof_received(self) -> None:
        """Close a connection that ends before its first request is whole."""
        if self._decided:
            super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection that never became one."""
        if self._securing:
            self._securing.cancel()
        if self._decided:
            if self.request is None:
                error = self.protocol.handshake_exc
                log.info("not a WebSocket handshake (%s)", type(error).__name__)
            super().connection_lost(exc)
        else:
            self._decide()

    def _decide(self) -> None:
        self._decided = True
        self._head_timer.cancel()
        self._undecided.discard(self.transport)


class HttpConnection(asyncio.Protocol):
    """Hand a TCP connection to an HTTP protocol, and let no later head take for ever either.

    The HTTP server bounds how long a connection is idle, and not how long a head takes
    that has begun.
    """

    def __init__(self, http: asyncio.Protocol, head_timeout_seconds: float) -> None:
        self._http = http
        self._head_timeout_seconds = head_timeout_seconds
        self._transport: asyncio.Transport
        self._busy = False
        self._head_timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Note that a head is whole: what follows it is no head."""
        self._busy = True
        self._stop_timer()

    def end(self) -> None:
        """Note that the request is answered, so that the next thing to come is a head."""
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass it on."""
        self._transport = cast(asyncio.Transport, transport)
        self._http.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass it on, and wait for the end of a head that begins with it."""
        if not self._busy and self._head_timer is None:
            self._head_timer = await_head(self._transport, self._head_timeout_seconds)
        self._http.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._http.eof_received()

    def pause_writing(self) -> None:
        """Pass it on."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._http.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._stop_timer()
        self._http.connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


def await_head(transport: asyncio.Transport, seconds: float) -> asyncio.TimerHandle:
    """Cut a client off unless the timer is cancelled before these seconds are over."""
    loop = asyncio.get_running_loop()
    return loop.call_later(seconds, cut_off, transport, f"no whole head in {seconds:g} s")


# https://www.rfc-editor.org/rfc/rfc8446#section-5.1
TLS_HANDSHAKE = b"\x16"


async def _first_byte(transport: asyncio.Transport) -> bytes:
    """Wait for the first byte, and leave it where it is; empty if the client sent none.

    Raises:
        OSError: The connection broke.
    """
    loop = asyncio.get_running_loop()
    # The loop lets nobody watch the transport's own descriptor.
    with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as sock:
        readable = asyncio.Event()
        loop.add_reader(sock, readable.set)
        try:
            await readable.wait()
            return sock.recv(1, socket.MSG_PEEK)
        finally:
            loop.remove_reader(sock)


def _advice(reason: str) -> str:
    if "UNKNOWN_CA" in reason or "CERTIFICATE_UNKNOWN" in reason or "BAD_CERTIFICATE" in reason:
        return ": the client does not trust the certificate; see AWS_CA_BUNDLE at the start"
    return ""


def cut_off(transport: asyncio.Transport, why: str) -> None:
    """End a TCP connection whose client does not send a request, and log it."""
    log.info("a connection was cut off: %s", why)
    transport.abort()


def reset(transport: asyncio.BaseTransport) -> None:
    """End a TCP connection by a reset."""
    # Lingering for zero seconds turns the close into a reset.
    sock: socket.socket = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    cast(asyncio.Transport, transport).abort()
