"""A WebSocket client that says plainly what it waits for in vain."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from operations.smoke.outcome import Failed, require, shown

Frame = dict[str, Any]

SUBPROTOCOL = "websocket"


class Refused(Failed):
    """A handshake was answered with a status that lets nobody in."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the handshake is answered with {status}")
        self.status = status


class Client:
    """A client, connected. A reply is told from a push by its `requestId`.

    Every method raises `Failed` when what it waits for does not come.
    """

    def __init__(self, socket: ClientConnection, patience_seconds: float) -> None:
        self._socket = socket
        self._patience = patience_seconds
        self._request_ids = count(1)
        self._pushed: deque[Frame] = deque()

    @property
    def subprotocol(self) -> str | None:
        return self._socket.subprotocol

    async def request(self, action: str, **fields: object) -> Frame:
        """Send a request and return its reply, without the `requestId`."""
        request_id = next(self._request_ids)
        await self._send(json.dumps({"action": action, **fields, "requestId": request_id}))
        async with self._waiting(f"a reply to {action}"):
            while (frame := await self._receive()).get("requestId") != request_id:
                self._pushed.append(frame)
        del frame["requestId"]
        return frame

    async def exchange(self, text: str) -> Frame:
        """Send a text as it is, and return what follows."""
        await self._send(text)
        async with self._waiting(f"a reply to {shown(text)}"):
            return await self._receive()

    async def push(self) -> Frame:
        """Return the next frame that is no reply."""
        if self._pushed:
            return self._pushed.popleft()
        async with self._waiting("a frame"):
            return await self._receive()

    async def pushes_within(self, seconds: float) -> list[Frame]:
        """Return all frames that come in that time."""
        frames = list(self._pushed)
        self._pushed.clear()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    frames.append(await self._receive())
        except TimeoutError:
            return frames

    async def last_words(self, within_seconds: float | None = None) -> Frame:
        """Wait until the service closes the connection; return the last frame before."""
        frame: Frame = {}
        try:
            async with self._waiting("the end of the connection", within_seconds):
                while True:
                    frame = self._parsed(await self._socket.recv())
        except ConnectionClosed:
            return frame

    async def vanish(self) -> None:
        """End the TCP connection without a word, as a lost network does."""
        self._socket.transport.abort()
        await self._socket.wait_closed()

    @asynccontextmanager
    async def _waiting(self, what: str, within_seconds: float | None = None) -> AsyncIterator[None]:
        within = self._patience if within_seconds is None else within_seconds
        try:
            async with asyncio.timeout(within):
                yield
        except TimeoutError:
            raise Failed(f"{what} did not come within {within:g} s") from None

    async def _send(self, text: str) -> None:
        try:
            await self._socket.send(text)
        except ConnectionClosed as closed:
            raise Failed(f"the service has closed the connection: {closed}") from closed

    async def _receive(self) -> Frame:
        try:
            return self._parsed(await self._socket.recv())
        except ConnectionClosed as closed:
            raise Failed(f"the service has closed the connection: {closed}") from closed

    def _parsed(self, text: str | bytes) -> Frame:
        try:
            frame = json.loads(text)
        except ValueError:
            frame = None
        # What API Gateway itself says has a message, and no type.
        require(isinstance(frame, dict) and "type" in frame, f"a frame came as {shown(text)}")
        parsed: Frame = frame
        return parsed


@asynccontextmanager
async def connected(
    address: str, token: str | None, patience_seconds: float
) -> AsyncIterator[Client]:
    """Connect, and close at the end of the block; raise `Failed` or `Refused`."""
    offered = [Subprotocol(name) for name in (SUBPROTOCOL, token) if name]
    try:
        socket = await connect(
            address,
            subprotocols=offered,
            open_timeout=patience_seconds,
            close_timeout=2,
            # The pings of the protocol are API Gateway's matter; it has its own limits.
            ping_interval=None,
            max_size=None,
        )
    except InvalidStatus as refused:
        raise Refused(refused.response.status_code) from None
    # Without its text, which may hold the token.
    except InvalidHandshake as exc:
        raise Failed(f"the handshake fails: {type(exc).__name__}") from None
    except (OSError, TimeoutError) as exc:
        raise Failed(f"{address} cannot be reached: {exc or type(exc).__name__}") from None
    async with socket:
        yield Client(socket, patience_seconds)
