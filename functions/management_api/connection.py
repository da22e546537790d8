"""One keep-alive connection that never blocks.

It goes through these steps, each as far as the socket allows at the moment:

    connect -> TLS handshake (https only) -> a request out, its response in, and so on
"""

import errno
import os
import socket
import ssl
from collections.abc import Iterator
from selectors import EVENT_READ, EVENT_WRITE
from typing import NamedTuple

from management_api.response import (
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    BadResponse,
    Response,
    parse,
)

# A TLS record holds at most 16 KB. A smaller read could leave the rest of one inside the TLS
# layer, where a selector does not see it.
_READ_BYTES = 16 * 1024
_MAX_RESPONSE_BYTES = MAX_HEAD_BYTES + MAX_BODY_BYTES

# A TLS socket may have to read before it can write, and the other way round.
_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Address(NamedTuple):
    """A resolved address, as `socket.getaddrinfo` returns it."""

    family: socket.AddressFamily
    sockaddr: tuple[str | int, ...] | tuple[int, bytes]


class ConnectionLost(Exception):
    """No response will come.

    Attributes:
        unsent: part of the request never left, so the server cannot have acted on it.
    """

    def __init__(self, reason: str, *, unsent: bool) -> None:
        super().__init__(reason)
        self.unsent = unsent


class Connection:
    """A connection to `host` at `address`, over TLS if there is a context for it."""

    __slots__ = ("_opening", "_received", "_socket", "_unsent", "address", "events")

    def __init__(self, address: Address, host: str, context: ssl.SSLContext | None) -> None:
        """Start to connect.

        Raises:
            ConnectionLost: the address cannot be reached.
        """
        self.address = address
        self.events = EVENT_WRITE
        """What `advance` waits for, as selectors name it."""
        self._unsent: bytes | memoryview = b""
        self._received = b""
        self._socket = socket.socket(address.family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        # A request in two segments must not wait for the acknowledgement of the first.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._opening: Iterator[int] | None = self._open(address, host, context)
        try:
            self._go_on_opening()
        except ConnectionLost:
            self.close()
            raise

    @property
    def is_opening(self) -> bool:
        """Whether no request has been sent yet, for want of a connection."""
        return self._opening is not None

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def send(self, request: bytes) -> None:
        """Send a request: at once what the socket takes, the rest in `advance`."""
        self._unsent = request
        if not self._opening:
            self._go_on_sending()

    def advance(self) -> Response | None:
        """Go on as far as the socket allows; return the response once it is whole.

        Raises:
            ConnectionLost: the connection failed, or what came is not a response.
        """
        if self._opening:
            self._go_on_opening()
            if self._opening:
                return None
        if self._unsent:
            self._go_on_sending()
        return self._receive()

    def answer_so_far(self) -> Response | None:
        """Return the response that has begun to arrive, if its head is whole."""
        try:
            return parse(self._received, ended=True)
        except BadResponse:
            return None

    def is_fit(self) -> bool:
        """Return whether this connection can take a request after it was idle.

        What a server sends unasked, such as word that it closes, is waiting to be read then.
        """
        try:
            self._socket.recv(_READ_BYTES)
        except _BLOCKED:
            return True
        except OSError:
            pass
        return False

    def _open(self, address: Address, host: str, context: ssl.SSLContext | None) -> Iterator[int]:
        """Connect and shake hands; yield the event to wait for, until that is done."""
        error = self._socket.connect_ex(address.sockaddr)
        if error == errno.EINPROGRESS:
            yield EVENT_WRITE
            error = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))
        if context is None:
            return
        self._socket = tls = context.wrap_socket(
            self._socket, server_hostname=host, do_handshake_on_connect=False
        )
        while True:
            try:
                return tls.do_handshake()
            except ssl.SSLWantReadError:
                yield EVENT_READ
            except ssl.SSLWantWriteError:
                yield EVENT_WRITE

    def _go_on_opening(self) -> None:
        assert self._opening  # noqa: S101 - for the type checker
        try:
            self.events = next(self._opening)
        except StopIteration:
            self._opening = None
            self.events = EVENT_READ
        except OSError as error:
            raise ConnectionLost(f"not connected: {_reason(error)}", unsent=True) from error

    def _go_on_sending(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except _BLOCKED:
            sent = 0
        except OSError:
            # The server may have answered before it closed: to read tells what happened.
            self.events = EVENT_READ
            return
        if sent == len(self._unsent):
            self._unsent = b""
            self.events = EVENT_READ
        else:
            self._unsent = memoryview(self._unsent)[sent:]
            # To read as well: a refusal may come before the request is out.
            self.events = EVENT_READ | EVENT_WRITE

    def _receive(self) -> Response | None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except _BLOCKED:
            return None
        except OSError as error:
            return self._end(_reason(error))
        if not data:
            return self._end("closed by the server")
        self._received += data
        try:
            response = parse(self._received, ended=len(self._received) > _MAX_RESPONSE_BYTES)
        except BadResponse as error:
            raise ConnectionLost(str(error), unsent=False) from error
        if response:
            self._received = b""
            if self._unsent:
                # The rest of the request would be taken for the next one.
                return response._replace(reusable=False)
        return response

    def _end(self, reason: str) -> Response:
        if response := self.answer_so_far():
            return response
        when = "in the head of a response" if self._received else "before a response"
        raise ConnectionLost(f"{reason} {when}", unsent=bool(self._unsent))


def _reason(error: OSError) -> str:
    """Return a short text: `Connection reset by peer`, or what OpenSSL says."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not trusted: {error.verify_message}"
    return error.strerror or str(error) or type(error).__name__
