"""One request for the keys, bounded in every way.

It is made with `http.client`, which follows no redirect, opens no file, and asks no proxy: none of
these, nor a variable of the environment, shall decide whose keys are believed.
"""

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
from concurrent.futures import Future
from threading import Event, Thread
from urllib.parse import SplitResult, urlsplit

# Of one request as a whole: resolver, connection, TLS, headers and body.
TIMEOUT_SECONDS = 2.0
# Those of Entra, with all their certificates, have 20 KB.
MAX_BYTES = 256 * 1024


def require_safe(url: str) -> SplitResult:
    """Return the parts of an address, which is https, or http on this machine.

    Raises:
        ValueError: it is not.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))
    if not (is_safe and host and re.fullmatch(r"[!-~]+", url)) or "@" in parts.netloc:
        raise ValueError("the keys' address must be https, or http on loopback, without a user")
    # Reading it is what checks it.
    _ = parts.port
    return parts


def fetch_bounded(url: str) -> bytes:
    """Return what is at an address, in two seconds and 256 KB.

    Raises:
        OSError, http.client.HTTPException, ValueError
    """
    parts = require_safe(url)
    answer: Future[bytes] = Future()
    late = Event()
    opened: list[socket.socket] = []

    def ask() -> None:
        try:
            with contextlib.closing(_connect(parts)) as connection:
                opened.append(connection.sock)
                if not late.is_set():
                    answer.set_result(_get(connection, parts))
        except Exception as exc:
            answer.set_exception(exc)

    # A thread, since timeouts of sockets are for each read: who sends a byte a second takes for
    # ever, and the resolver has none at all.
    Thread(target=ask, name="keys", daemon=True).start()
    try:
        return answer.result(TIMEOUT_SECONDS)
    finally:
        late.set()
        for each in opened:
            # Wakes the thread if it still reads.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def _connect(parts: SplitResult) -> http.client.HTTPConnection:
    host = parts.hostname or ""
    connection = (
        http.client.HTTPSConnection(
            host, parts.port, timeout=TIMEOUT_SECONDS, context=ssl.create_default_context()
        )
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, parts.port, timeout=TIMEOUT_SECONDS)
    )
    connection.connect()
    return connection


def _get(connection: http.client.HTTPConnection, parts: SplitResult) -> bytes:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", target, headers={"Accept": "application/json"})
    with connection.getresponse() as response:
        if response.status != http.HTTPStatus.OK:
            raise ValueError(f"status {response.status}")
        body = response.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise ValueError("too large")
    return body


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
