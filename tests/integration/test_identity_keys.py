"""The request for an issuer's keys, to servers on loopback that do all that they should not."""

import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from benchmarks.certificate import write_certificate
from identity import fetch
from identity.errors import InvalidToken, KeysUnavailable
from identity.fetch import MAX_BYTES, fetch_bounded
from identity.keys import JwksKeys
from identity.tokens import Rules, Verifier
from support.issuer import AUDIENCE, ISSUER, Issuer, encoded

# How long after the deadline a machine that is busy with other things may take.
_SLACK_SECONDS = 1.5
_STUCK_SECONDS = 20
_DRIP_SECONDS = 0.02

# Answers one request; the event is set when the test is over.
Answer = Callable[[socket.socket, threading.Event], None]


@dataclass
class Server:
    """A server that answers each connection as it is told, and keeps the requests."""

    answer: Answer
    scheme: str = "http"
    reads_first: bool = True
    certificate: Path | None = None
    requests: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self._listening.getsockname()[1]}/jwks?of=us"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._connections.append(connection)
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        # Whoever asks may be gone at any time, which is what some tests are about.
        with contextlib.suppress(OSError), self._secured(connection) as connection:
            if self.reads_first:
                request = b""
                while b"\r\n\r\n" not in request:
                    if not (read := connection.recv(65536)):
                        return
                    request += read
                self.requests.append(request.decode())
            self.answer(connection, self.over)

    def _secured(self, connection: socket.socket) -> socket.socket:
        if not self.certificate:
            return connection
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate)
        secured = context.wrap_socket(connection, server_side=True)
        self._connections.append(secured)
        return secured

    def stop(self) -> None:
        self.over.set()
        for each in (self._listening, *self._connections):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(_STUCK_SECONDS)
            assert not thread.is_alive()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start a server that gives an answer; the threads that asked it end with the test."""
    servers: list[Server] = []

    def start(answer: Answer, **options: object) -> Server:
        servers.append(Server(answer, **options))  # type: ignore[arg-type]
        return servers[-1]

    yield start
    try:
        _assert_nobody_asks()
    finally:
        for server in servers:
            server.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    write_certificate(path)
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have requests end sooner, where the true bound would teach nothing more."""
    monkeypatch.setattr(fetch, "TIMEOUT_SECONDS", 0.3)


def http_response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def at_once(data: bytes) -> Answer:
    return lambda connection, over: connection.sendall(data)


def never(connection: socket.socket, over: threading.Event) -> None:
    over.wait(_STUCK_SECONDS)


def dripping(start: bytes, drop: bytes = b"x") -> Answer:
    """Send the start, then a drop now and then, so that no single read takes long."""

    def drip(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.wait(_DRIP_SECONDS):
            connection.sendall(drop)

    return drip


def flooding(start: bytes, block: bytes) -> Answer:
    def flood(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        while not over.is_set():
            connection.sendall(block)

    return flood


def test_what_is_at_the_address_is_returned(serve: Callable[..., Server]) -> None:
    server = serve(at_once(http_response(b'{"keys":[]}')))
    assert fetch_bounded(server.url) == b'{"keys":[]}'
    (request,) = server.requests
    assert request.startswith("GET /jwks?of=us HTTP/1.1\r\n")
    assert "\r\nAccept: application/json\r\n" in request


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n\r\n{}",
    ],
)
def test_a_body_may_end_as_http_lets_it(serve: Callable[..., Server], response: bytes) -> None:
    assert fetch_bounded(serve(at_once(response)).url) == b"{}"


def test_256_kb_are_read_and_no_more(serve: Callable[..., Server]) -> None:
    body = b"x" * MAX_BYTES
    assert fetch_bounded(serve(at_once(http_response(body))).url) == body
    with pytest.raises(ValueError, match="too large"):
        fetch_bounded(serve(at_once(http_response(body + b"x"))).url)


@pytest.mark.parametrize(
    ("start", "block"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 65536),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"10000\r\n" + b"x" * 65536 + b"\r\n",
        ),
    ],
    ids=["no length", "a length", "chunks"],
)
def test_a_body_without_end_is_refused(
    serve: Callable[..., Server], start: bytes, block: bytes
) -> None:
    with pytest.raises(ValueError, match="too large"):
        fetch_bounded(serve(flooding(start, block)).url)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n",
    ],
    ids=["status", "header", "body", "body, then closed", "no length", "chunk"],
)
def test_who_sends_a_byte_now_and_then_is_not_waited_for(
    serve: Callable[..., Server], quick: None, start: bytes
) -> None:
    _assert_late(serve(dripping(start)).url)


def test_who_says_continue_for_ever_is_not_waited_for(
    serve: Callable[..., Server], quick: None
) -> None:
    _assert_late(serve(dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n")).url)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_who_never_answers_is_not_waited_for(
    serve: Callable[..., Server], quick: None, scheme: str
) -> None:
    _assert_late(serve(never, scheme=scheme, reads_first=scheme == "http").url)


def test_who_drips_a_handshake_is_not_waited_for(serve: Callable[..., Server], quick: None) -> None:
    # The start of a record of 16 KB, whose rest takes a while.
    record = b"\x16\x03\x03\x40\x00"
    _assert_late(serve(dripping(record, b"\x02"), scheme="https", reads_first=False).url)


def test_two_seconds_are_the_bound(serve: Callable[..., Server]) -> None:
    url = serve(dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")).url
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        fetch_bounded(url)
    assert 1.9 < time.monotonic() - began < 2 + _SLACK_SECONDS


def test_a_resolver_that_does_not_answer_is_not_waited_for(
    serve: Callable[..., Server], quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(at_once(http_response(b"{}")))
    resolve, answers = socket.getaddrinfo, threading.Event()

    def slow(*arguments: object, **options: object) -> object:
        answers.wait(_STUCK_SECONDS)
        return resolve(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    _assert_late(server.url)
    answers.set()
    _assert_nobody_asks()
    # It came to a connection, but nothing is asked any more.
    assert server.requests == []


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_a_redirect_is_not_followed(serve: Callable[..., Server], status: str) -> None:
    other = serve(at_once(http_response(b"{}")))
    server = serve(at_once(http_response(b"", f"{status} Moved", f"Location: {other.url}")))
    with pytest.raises(ValueError, match=f"^status {status}$"):
        fetch_bounded(server.url)
    assert other.requests == []


@pytest.mark.parametrize("status", ["201", "204", "206", "404", "429", "500", "503"])
def test_another_status_is_no_answer(serve: Callable[..., Server], status: str) -> None:
    with pytest.raises(ValueError, match=f"^status {status}$"):
        fetch_bounded(serve(at_once(http_response(b"", f"{status} Reason"))).url)


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: 1\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ],
    ids=lambda response: repr(response)[:30],
)
def test_what_is_no_http_is_an_error(serve: Callable[..., Server], response: bytes) -> None:
    server = serve(at_once(response))
    with pytest.raises((OSError, http.client.HTTPException, ValueError)):
        fetch_bounded(server.url)
    with pytest.raises(KeysUnavailable):
        JwksKeys(server.url).find("RS256", "rsa")


def test_a_closed_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        fetch_bounded(f"http://127.0.0.1:{port}/jwks")


def test_https_is_no_http(serve: Callable[..., Server]) -> None:
    server = serve(at_once(http_response(b"{}")), scheme="https", reads_first=False)
    with pytest.raises(ssl.SSLError):
        fetch_bounded(server.url)


def test_https_is_read_from_whom_the_machine_trusts(
    serve: Callable[..., Server], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(at_once(http_response(b"{}")), scheme="https", certificate=certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        fetch_bounded(server.url)
    assert server.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch_bounded(server.url) == b"{}"


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n"]
)
def test_who_sends_a_byte_now_and_then_is_not_waited_for_with_https(
    serve: Callable[..., Server],
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    quick: None,
    start: bytes,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = serve(dripping(start), scheme="https", certificate=certificate)
    _assert_late(server.url)
    assert server.requests


def test_no_proxy_of_the_environment_is_asked(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(at_once(http_response(b"proxy")))
    server = serve(at_once(http_response(b"{}")))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert fetch_bounded(server.url) == b"{}"
    assert proxy.requests == []


def test_tokens_are_verified_by_an_issuer_that_rotates_its_keys_and_goes_down(
    serve: Callable[..., Server],
) -> None:
    now, first, second = time.time(), Issuer(), Issuer(name="second")
    published = {"body": http_response(encoded(first.jwks()))}
    server = serve(lambda connection, over: connection.sendall(published["body"]))
    keys = JwksKeys(server.url, clock=lambda: now)
    verifier = Verifier(keys, Rules(ISSUER, AUDIENCE))
    token = first.token("ES256")
    assert verifier.verify(token).user_id == "alice"
    with pytest.raises(InvalidToken):
        verifier.verify(second.token("ES256"))

    published["body"] = http_response(b"", "503 Down")
    now += 3600
    assert verifier.verify(token).user_id == "alice"

    published["body"] = http_response(encoded(second.jwks()))
    now += 3600
    assert verifier.verify(second.token("ES256")).user_id == "alice"
    with pytest.raises(InvalidToken):
        verifier.verify(token)
    assert len(server.requests) == 3
    # Nothing of a token leaves the house.
    assert not re.search("|".join(token.split(".")), json.dumps(server.requests))


def _assert_late(url: str) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        fetch_bounded(url)
    assert time.monotonic() - began < fetch.TIMEOUT_SECONDS + _SLACK_SECONDS


def _assert_nobody_asks() -> None:
    for thread in threading.enumerate():
        if thread.name == "keys":
            thread.join(_STUCK_SECONDS)
            assert not thread.is_alive(), "a request goes on after its deadline"
