"""One connection: how it is opened, frames that come in, and one request at a time."""

import asyncio
import base64
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any, NoReturn, Protocol

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from .feed import Frame
from .times import Times

# The library writes down headers and frames, and with them tokens, for whoever wants to read that
# much; here, nobody can want it by accident.
_log = logging.getLogger(f"{__package__}.websockets")
_log.setLevel(logging.INFO)
# What the service sends at most is 128 KB, as is what API Gateway lets through.
_MAX_FRAME_BYTES = 256 * 1024
# Whoever does not answer a close has lost the line; nobody waits for them.
_CLOSE_TIMEOUT_SECONDS = 1.0
_NOT_OF_A_SUBPROTOCOL = re.compile(r"[^A-Za-z0-9!#$%&'*+\-.^_`|~]")
_PASSING_STATUSES = frozenset({408, 425, 429})
_ABNORMAL = 1006
_REPLIES = {
    "subscribe": "Subscribed",
    "history": "History",
    "unsubscribe": "Unsubscribed",
    "ping": "Pong",
    "authenticate": "Authenticated",
}
_PUSHES = ("Entity Updated", "User Push Notification")


@dataclass(eq=False)
class LineEndedError(Exception):
    """The connection has ended, was not opened, or is of no use.

    Attributes:
        is_final: whether there is to be no other.
        token_refused: whether a new token may help.
        why: what whoever fetches the next token is told, if it is something of its own.
    """

    code: str | int
    reason: str = ""
    is_final: bool = False
    token_refused: bool = False
    why: str | None = None


class PassingError(Exception):
    """The request could not be served this time."""


class RequestRefusedError(Exception):
    """The request will not be served, however often it is made."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Socket(Protocol):
    """What a line needs of a WebSocket."""

    @property
    def close_code(self) -> int | None: ...

    @property
    def close_reason(self) -> str | None: ...

    async def recv(self) -> str | bytes: ...

    async def send(self, message: str, /) -> None: ...

    async def close(self, code: int = 1000, reason: str = "") -> None: ...


class _Connect(connect):
    """Follow no redirects: the token is meant for one host alone."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def subprotocols(token: str | None) -> list[Subprotocol]:
    """Return what the handshake offers. Browsers can send a token in no other way."""
    offered = [Subprotocol("websocket")]
    if token is not None:
        if not token or _NOT_OF_A_SUBPROTOCOL.search(token):
            encoded = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
            token = f"base64url.bearer.authorization.{encoded}"
        offered.append(Subprotocol(token))
    return offered


async def open_socket(
    url: str, token: str | None, times: Times, connect_options: Mapping[str, Any]
) -> Socket:
    """Open a WebSocket.

    Raises:
        LineEndedError: it cannot be opened, now or ever.
    """
    options: dict[str, Any] = {
        # The service has a ping of its own, which also says whether it still knows the connection.
        "ping_interval": None,
        "close_timeout": _CLOSE_TIMEOUT_SECONDS,
        "max_size": _MAX_FRAME_BYTES,
        # Frames are taken as they come, and what is slow has queues of its own.
        "max_queue": None,
        "logger": _log,
        **connect_options,
        "subprotocols": subprotocols(token),
        "open_timeout": None,
    }
    try:
        async with asyncio.timeout(times.connect_timeout):
            return await _Connect(url, **options)
    except TimeoutError as error:
        raise LineEndedError("ConnectTimeout", "The connection did not open in time.") from error
    except InvalidStatus as error:
        raise _refusal(error.response.status_code) from error
    except (OSError, EOFError, InvalidHandshake) as error:
        raise LineEndedError(_ABNORMAL, str(error)) from error


def _refusal(status: int) -> LineEndedError:
    reason = f"The handshake was answered with {status}."
    if status in _PASSING_STATUSES or status >= 500:
        return LineEndedError(_ABNORMAL, reason)
    if status in (401, 403):
        return LineEndedError("Unauthorized", reason, is_final=True, token_refused=True)
    return LineEndedError("Refused", reason, is_final=True)


class Line:
    """An open connection."""

    def __init__(
        self,
        socket: Socket,
        times: Times,
        on_event: Callable[[Frame], object],
        parse_float: Callable[[str], Any] = float,
        *,
        on_end: Callable[[str, RequestRefusedError], object],
    ) -> None:
        """Use a WebSocket.

        Args:
            on_event: is called with each event that is pushed.
            on_end: is called with the entity whose subscription the service has ended, and why.
        """
        self._socket = socket
        self._times = times
        self._on_event = on_event
        self._on_end = on_end
        self._decoder = json.JSONDecoder(parse_float=parse_float)
        self._request_ids = count(1)
        self._under_way: tuple[str, str, asyncio.Future[Frame]] | None = None
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()

    async def receive(self) -> NoReturn:
        """Take what comes, until nothing does any more.

        Raises:
            LineEndedError: the connection ended, or the service says that it will.
        """
        try:
            while True:
                text = await self._socket.recv()
                self.heard_at = self._loop.time()
                try:
                    frame = self._decoder.decode(text if isinstance(text, str) else text.decode())
                except (ValueError, RecursionError):
                    continue
                if isinstance(frame, dict):
                    self._take(frame)
        except ConnectionClosed as error:
            raise self._end() from error

    async def request(self, action: str, **fields: Any) -> Frame:
        """Make a request and return the reply to it.

        Raises:
            PassingError: the service cannot serve it now.
            RequestRefusedError: it will not serve it.
            LineEndedError: there was no reply in time, or the service has forgotten the connection.
        """
        request_id = str(next(self._request_ids))
        reply: asyncio.Future[Frame] = self._loop.create_future()
        self._under_way = (request_id, action, reply)
        text = encode({"action": action, **fields, "requestId": request_id})
        seconds = self._times.pong_timeout if action == "ping" else self._times.reply_timeout
        try:
            async with asyncio.timeout(seconds):
                await self._socket.send(text)
                frame = await reply
        except TimeoutError as error:
            raise LineEndedError("ReplyTimeout", f"No reply to {action}.") from error
        except ConnectionClosed as error:
            raise self._end() from error
        finally:
            self._under_way = None
        if frame.get("type") is None:
            raise PassingError(str(frame.get("message")))
        if frame["type"] == "Error":
            raise refused(frame)
        return frame

    async def close(self) -> None:
        await self._socket.close(1000)

    def _take(self, frame: Frame) -> None:
        match frame.get("type"):
            case kind if kind in _PUSHES:
                self._on_event(frame)
            case "Unsubscribed" if "code" in frame and frame.get("entityId"):
                # No reply to a request: the grants do not cover it any more.
                entity_id, code = str(frame["entityId"]), str(frame["code"])
                self._on_end(entity_id, RequestRefusedError(code, str(frame.get("message", ""))))
            case "Disconnect":
                raise _disconnect(frame)
            case kind if self._under_way:
                request_id, action, reply = self._under_way
                match frame.get("requestId"):
                    case named if named == request_id:
                        is_reply = kind in ("Error", _REPLIES[action])
                    case None:
                        is_reply = kind == "Error"
                    case _:
                        # API Gateway's own answers name a request of their own, and have no type.
                        is_reply = kind is None and "connectionId" in frame
                if is_reply and not reply.done():
                    reply.set_result(frame)

    def _end(self) -> LineEndedError:
        code = self._socket.close_code
        return LineEndedError(_ABNORMAL if code is None else code, self._socket.close_reason or "")


def refused(answer: Frame) -> Exception:
    """Return what an `Error`, or a part of a reply that has a code, amounts to."""
    code, message = str(answer.get("code")), str(answer.get("message", ""))
    match code:
        case "ServiceUnavailable":
            return PassingError(message)
        case "ConnectionGone" | "NotSubscribed":
            return LineEndedError("ConnectionGone", message)
        case "TokenExpired":
            return LineEndedError(code, message, why=code)
    return RequestRefusedError(code, message)


def encode(frame: Frame) -> str:
    """Return the text of a request: its length is that of its bytes."""
    return json.dumps(frame, separators=(",", ":"))


def _disconnect(frame: Frame) -> LineEndedError:
    code, reason = str(frame.get("code")), str(frame.get("reason", ""))
    return LineEndedError(code, reason, is_final=frame.get("reconnect") is False, why=code)
