"""A server that answers every post after a fixed time, and is fast enough not to be measured.

It is one thread over non-blocking sockets. It reads a request only as far as it must to find the
next one, and keeps answers that are due in one queue: all wait equally long, so the queue is in
order. An answer looks like one of API Gateway.

Some connections can be told apart by how their ids begin: posts to them are refused at once, as if
the client's buffer were full, or never answered.
"""

import argparse
import re
import select
import socket
import ssl
import sys
import time
from collections import deque
from dataclasses import dataclass, field

_ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 GMT\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length: 0\r\n"
    b"Connection: keep-alive\r\n"
    b"x-amzn-RequestId: 7b1c2d3e-0000-4000-8000-000000000000\r\n"
    b"x-amz-apigw-id: AbCdEfGhIjKlMnO=\r\n"
    b"\r\n"
)
_TOO_MANY_REQUESTS = (
    b"HTTP/1.1 429 Too Many Requests\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 GMT\r\n"
    b"Content-Type: application/json\r\n"
    b"Content-Length: 31\r\n"
    b"Connection: keep-alive\r\n"
    b"x-amzn-RequestId: 7b1c2d3e-0000-4000-8000-000000000000\r\n"
    b"x-amzn-ErrorType: LimitExceededException\r\n"
    b"\r\n"
    b'{"message":"Too Many Requests"}'
)
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_BLOCKED = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    received: bytes = b""
    shaking_hands: bool = False
    open: bool = field(default=True)


class Sink:
    """Listens on a free port of the loopback interface."""

    def __init__(
        self,
        service_seconds: float,
        context: ssl.SSLContext | None = None,
        *,
        refused: str = "",
        ignored: str = "",
    ) -> None:
        """Take how the ids begin whose posts are refused, and never answered; none if empty."""
        self._service_seconds = service_seconds
        self._refused = f"/@connections/{refused}".encode() if refused else b""
        self._ignored = f"/@connections/{ignored}".encode() if ignored else b""
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._clients: dict[int, _Client] = {}
        self._due: deque[tuple[float, _Client]] = deque()

    def serve_forever(self) -> None:
        while True:
            for descriptor, _ in self._epoll.poll(self._patience_seconds()):
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._read(self._clients[descriptor])
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                self._answer(self._due.popleft()[1])

    def _patience_seconds(self) -> float:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else -1

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setblocking(False)
        if self._context:
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        client = _Client(connection, shaking_hands=self._context is not None)
        self._clients[connection.fileno()] = client
        self._epoll.register(connection, select.EPOLLIN)

    def _read(self, client: _Client) -> None:
        try:
            if client.shaking_hands and isinstance(client.socket, ssl.SSLSocket):
                client.socket.do_handshake()
                client.shaking_hands = False
            data = client.socket.recv(256 * 1024)
        except _BLOCKED:
            return
        except OSError:
            data = b""
        if not data:
            self._close(client)
            return
        client.received += data
        while (end := client.received.find(b"\r\n\r\n")) >= 0:
            length = _CONTENT_LENGTH.search(client.received, 0, end)
            size = end + 4 + (int(length[1]) if length else 0)
            if len(client.received) < size:
                return
            head, client.received = client.received[:end], client.received[size:]
            if self._refused and self._refused in head:
                self._answer(client, _TOO_MANY_REQUESTS)
            elif not (self._ignored and self._ignored in head):
                self._due.append((time.monotonic() + self._service_seconds, client))

    def _answer(self, client: _Client, answer: bytes = _ANSWER) -> None:
        if not client.open:
            return
        try:
            client.socket.send(answer)
        except OSError:
            self._close(client)

    def _close(self, client: _Client) -> None:
        del self._clients[client.socket.fileno()]
        client.open = False
        client.socket.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--service-ms", type=float, default=10)
    parser.add_argument("--certificate", help="PEM file with certificate and key: serve TLS 1.3")
    parser.add_argument("--refuse", default="", help="posts to ids that begin so get 429 at once")
    parser.add_argument("--ignore", default="", help="posts to ids that begin so get no answer")
    arguments = parser.parse_args()
    context = None
    if arguments.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(arguments.certificate)
    sink = Sink(
        arguments.service_ms / 1000, context, refused=arguments.refuse, ignored=arguments.ignore
    )
    sys.stdout.write(f"{sink.port}\n")
    sys.stdout.flush()
    sink.serve_forever()


if __name__ == "__main__":
    main()
