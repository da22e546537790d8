"""What a server answers, as HTTP/1.1 (RFC 9112)."""

import re
from typing import NamedTuple

# Nothing that API Gateway answers to a post comes near these.
MAX_HEAD_BYTES = 32 * 1024
MAX_BODY_BYTES = 64 * 1024

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: |$)")
_START = b"HTTP/1."
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;|$)")
_NO_CONTENT = 204
_NOT_MODIFIED = 304
_SWITCHING_PROTOCOLS = 101
_INFORMATIONAL = range(100, 200)


class BadResponse(Exception):
    """What was received is not the head of an HTTP/1.x response."""


class Response(NamedTuple):
    """A response; `reusable` says that the next request may be sent on its connection."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    reusable: bool


def parse(received: bytes, *, ended: bool = False) -> Response | None:
    """Return the response that `received` holds, or `None` if more of it has to come.

    `ended` says that nothing more will come. From a whole head on there is a response all the
    same, with what there is of the body: the status says what became of the post, and to post
    again for the rest of a body would repeat the frame. Likewise a body that is too large or
    garbled is cut, and costs only the connection.

    Raises:
        BadResponse: the head is not HTTP, too large, or, when `ended`, not whole.
    """
    while True:
        head, blank_line, rest = received.partition(b"\r\n\r\n")
        if not blank_line:
            _check_start(received, ended=ended)
            return None
        if len(head) > MAX_HEAD_BYTES:
            raise BadResponse("head of response too large")
        status_line, *lines = head.split(b"\r\n")
        minor_version, status = _status(status_line)
        if status not in _INFORMATIONAL:
            break
        if status == _SWITCHING_PROTOCOLS:
            raise BadResponse("switch of protocols that was not asked for")
        received = rest

    headers = _headers(lines)
    options = headers.get(b"connection", b"").lower()
    keep_alive = b"close" not in options if minor_version == b"1" else b"keep-alive" in options
    try:
        body, surplus = _body(status, headers, rest)
    except _Incomplete:
        if ended or len(rest) > MAX_BODY_BYTES:
            return Response(status, headers, rest[:MAX_BODY_BYTES], reusable=False)
        return None
    except _Garbled:
        return Response(status, headers, b"", reusable=False)
    # Nothing was asked that the surplus could answer.
    return Response(status, headers, body, reusable=keep_alive and not surplus)


def _check_start(received: bytes, *, ended: bool) -> None:
    if not (received.startswith(_START) or _START.startswith(received)):
        raise BadResponse("not an HTTP/1.x response")
    if ended:
        raise BadResponse("no whole head in the response")
    if len(received) > MAX_HEAD_BYTES:
        raise BadResponse("head of response too large")


def _status(line: bytes) -> tuple[bytes, int]:
    if not (match := _STATUS_LINE.match(line)):
        raise BadResponse("not an HTTP/1.x response")
    return match[1], int(match[2])


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    """Return the fields by lower-case name; a name that comes twice has both values, listed."""
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        # Space before the colon, or a line that continues the last one (RFC 9112, 5.1 and 5.2).
        if not colon or not name or name != name.strip():
            raise BadResponse("malformed header in response")
        name, value = name.lower(), value.strip()
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


class _Incomplete(Exception):
    """More of the body has to come."""


class _Garbled(Exception):
    """The end of the body cannot be found."""


def _body(status: int, headers: dict[bytes, bytes], rest: bytes) -> tuple[bytes, bytes]:
    """Split what follows a head into the body and what is behind it."""
    if status in (_NO_CONTENT, _NOT_MODIFIED):
        return b"", rest
    if coding := headers.get(b"transfer-encoding"):
        # A length beside it is a sign of something odd on the way (RFC 9112, 6.3).
        if coding.lower() != b"chunked" or b"content-length" in headers:
            raise _Garbled
        return _unchunk(rest)
    if (length := headers.get(b"content-length")) is not None:
        size = _content_length(length)
        if len(rest) < size:
            raise _Incomplete
        return rest[:size], rest[size:]
    # The end of the connection is the end of the body.
    raise _Incomplete


def _content_length(value: bytes) -> int:
    """Return the length; one that is repeated must be the same each time."""
    if b"," in value:
        value, *others = {size.strip() for size in value.split(b",")}
        if others:
            raise BadResponse("contradictory Content-Length in response")
    if not value.isdigit():
        raise BadResponse("malformed Content-Length in response")
    return int(value)


def _unchunk(rest: bytes) -> tuple[bytes, bytes]:
    chunks: list[bytes] = []
    while True:
        line, line_end, rest = rest.partition(b"\r\n")
        if not line_end:
            raise _Incomplete
        if not (match := _CHUNK_SIZE.match(line)):
            raise _Garbled
        size = int(match[1], 16)
        if size == 0:
            return b"".join(chunks), _after_trailers(rest)
        if len(rest) < size + 2:
            raise _Incomplete
        if rest[size : size + 2] != b"\r\n":
            raise _Garbled
        chunks.append(rest[:size])
        rest = rest[size + 2 :]


def _after_trailers(rest: bytes) -> bytes:
    while True:
        line, line_end, rest = rest.partition(b"\r\n")
        if not line_end:
            raise _Incomplete
        if not line:
            return rest
