"""What a server answers, as HTTP/1.1 (RFC 9112), as far as it matters here.

Once the head of a response is whole, its status is the outcome. Whatever is wrong with the rest
costs the connection, never the outcome: to post again for the rest of a body would repeat a frame.
So of the header only the fields are read that say where the body ends, whether the connection
stays, and what the error was.
"""

import re
from typing import NamedTuple

# Nothing that API Gateway answers comes near these.
MAX_HEAD_BYTES = 32 * 1024
MAX_BODY_BYTES = 64 * 1024

_START = b"HTTP/1."
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: |\r|$)")
_FIELD = re.compile(
    rb"\r\n(connection|content-length|transfer-encoding|x-amzn-errortype):([^\r\n]*)",
    re.IGNORECASE,
)
_MAX_LENGTH_DIGITS = 15
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;|$)")
_WITHOUT_BODY = (204, 304)
_SWITCHING_PROTOCOLS = 101


class BadResponse(Exception):
    """What was received is not the head of an HTTP/1.x response."""


class Response(NamedTuple):
    """A response; `reusable` says that the next request may be sent on its connection."""

    status: int
    error_type: bytes
    """The value of the header field X-Amzn-ErrorType; empty if there is none."""
    body: bytes
    reusable: bool


def parse(received: bytes, *, ended: bool = False) -> Response | None:
    """Return the response that `received` holds, or `None` if more of it has to come.

    `ended` says that nothing more will come: from a whole head on there is a response all the
    same, with what there is of the body. Likewise a body that is too large is cut, and one that
    is garbled is left out.

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
        if not (status_line := _STATUS_LINE.match(head)):
            raise BadResponse("not an HTTP/1.x response")
        status = int(status_line[2])
        if status >= 200:
            break
        if status == _SWITCHING_PROTOCOLS:
            raise BadResponse("switch of protocols that was not asked for")
        received = rest

    fields = _fields(head)
    error_type = fields.get(b"x-amzn-errortype", b"")
    options = fields.get(b"connection", b"").lower()
    keep_alive = b"close" not in options if status_line[1] == b"1" else b"keep-alive" in options
    try:
        body, surplus = _body(status, fields, rest)
    except _Incomplete:
        if ended or len(rest) > MAX_BODY_BYTES:
            return Response(status, error_type, rest[:MAX_BODY_BYTES], reusable=False)
        return None
    except _Garbled:
        return Response(status, error_type, b"", reusable=False)
    # Nothing was asked that the surplus could answer.
    return Response(status, error_type, body, reusable=keep_alive and not surplus)


def _check_start(received: bytes, *, ended: bool) -> None:
    if not (received.startswith(_START) or _START.startswith(received)):
        raise BadResponse("not an HTTP/1.x response")
    if ended:
        raise BadResponse("no whole head in the response")
    if len(received) > MAX_HEAD_BYTES:
        raise BadResponse("head of response too large")


def _fields(head: bytes) -> dict[bytes, bytes]:
    """Return the fields that matter, by lower-case name; of one that comes twice, both values."""
    fields: dict[bytes, bytes] = {}
    for name, value in _FIELD.findall(head):
        key, text = name.lower(), value.strip()
        fields[key] = fields[key] + b"," + text if key in fields else text
    return fields


class _Incomplete(Exception):
    """More of the body has to come."""


class _Garbled(Exception):
    """The end of the body cannot be found."""


def _body(status: int, fields: dict[bytes, bytes], rest: bytes) -> tuple[bytes, bytes]:
    """Split what follows a head into the body and what is behind it."""
    if status in _WITHOUT_BODY:
        return b"", rest
    length = fields.get(b"content-length")
    if (coding := fields.get(b"transfer-encoding")) is not None:
        # A length beside it is a sign of something odd on the way (RFC 9112, 6.3).
        if coding.lower() != b"chunked" or length is not None:
            raise _Garbled
        return _unchunk(rest)
    if length is None:
        # The end of the connection is the end of the body.
        raise _Incomplete
    if b"," in length:
        # One that is repeated must be the same each time.
        length, *others = {value.strip() for value in length.split(b",")}
        if others:
            raise _Garbled
    if not (length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS):
        raise _Garbled
    size = int(length)
    if len(rest) < size:
        raise _Incomplete
    return rest[:size], rest[size:]


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
            break
        if len(rest) < size + 2:
            raise _Incomplete
        if rest[size : size + 2] != b"\r\n":
            raise _Garbled
        chunks.append(rest[:size])
        rest = rest[size + 2 :]
    # What trailers there are end with an empty line.
    while line:
        line, line_end, rest = rest.partition(b"\r\n")
        if not line_end:
            raise _Incomplete
    return b"".join(chunks), rest
