"""The @connections API."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from conformance.targets import Client, Target

KIB = 1024
MIB = 1024 * KIB

# A ping of the greatest size, masked with zeros.
PING = bytes([0x89, 0x80 | 125, 0, 0, 0, 0]) + b"x" * 125


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    """Return the status and the type of the SDK's exception, which must be the modelled one."""
    response = error.value.response
    code = response["Error"]["Code"]
    assert type(error.value).__name__ in (code, "ClientError")
    return response["ResponseMetadata"]["HTTPStatusCode"], code


def connect_slow(target: Target) -> Client:
    """Connect a client that reads a message only when it is asked for one."""
    # Small buffers on the client's side, so that the gateway's fills soon; and a queue
    # of one message, after which the library stops reading the socket.
    parts = urlsplit(target.url("probe"))
    if parts.scheme == "wss":
        return target.connect(max_queue=1, close_timeout=1)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((parts.hostname, parts.port))
    return target.connect(sock=sock, max_queue=1, close_timeout=1)


class Poster:
    """Post over one connection, with little work of its own, and no patience."""

    def __init__(self, target: Target, connection_id: str) -> None:
        parts = urlsplit(target.http_url("probe"))
        self.connection = http.client.HTTPConnection(parts.netloc, timeout=3)
        self.path = f"{parts.path}/@connections/{quote(connection_id)}"
        self.headers = {"Authorization": "AWS4-HMAC-SHA256 of nobody"}

    def post(self, data: bytes) -> int:
        """Return the status of one post.

        Raises:
            TimeoutError: There was no answer in 3 s.
        """
        self.connection.request("POST", self.path, data, self.headers)
        return self.finish()

    def finish(self) -> int:
        """Return the status of the request that was sent."""
        response = self.connection.getresponse()
        response.read()
        return response.status


Posters = Callable[[Target, str], Poster]


@pytest.fixture
def poster_to() -> Iterator[Posters]:
    """Make posters; their connections are closed when the test ends."""
    with ExitStack() as connections:

        def make(target: Target, connection_id: str) -> Poster:
            poster = Poster(target, connection_id)
            connections.callback(poster.connection.close)
            return poster

        yield make


def fill(poster: Poster, data: bytes) -> int:
    """Post until the answer is 429, and return how many were accepted."""
    accepted = 0
    while (status := poster.post(data)) == 200:
        accepted += 1
    assert status == 429
    return accepted


def test_post_reaches_the_client(target: Target) -> None:
    """POST answers 200 and sends its body, as it is, in a text frame.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
    """
    client = target.connect()
    text = '{"größe":  "✓"}'
    response = target.management().post_to_connection(ConnectionId=client.id, Data=text.encode())
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert client.ws.recv(timeout=15) == text


def test_post_of_128_kb_arrives_in_frames_of_32_kb(target: Target) -> None:
    """A post may have 128 KB, and frames have 32 KB at most also on the way to the client.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
    """
    client = target.connect()
    # Three bytes a character, so that frames end inside of one.
    text = "€" * (128 * KIB // 3)
    target.management().post_to_connection(ConnectionId=client.id, Data=text.encode())
    frames = [bytes(frame) for frame in client.ws.recv_streaming(decode=False)]
    assert b"".join(frames).decode() == text
    assert max(map(len, frames)) <= 32 * KIB


def test_post_over_128_kb_is_413(target: Target) -> None:
    """A larger post answers 413 PayloadTooLargeException, and the client sees nothing of it.

    https://boto3.amazonaws.com/v1/documentation/api/latest/reference/services/apigatewaymanagementapi/client/post_to_connection.html
    """
    client = target.connect()
    management = target.management()
    with pytest.raises(ClientError) as error:
        management.post_to_connection(ConnectionId=client.id, Data=b"x" * (128 * KIB + 1))
    assert code_of(error) == (413, "PayloadTooLargeException")
    management.post_to_connection(ConnectionId=client.id, Data=b'"next"')
    assert client.receive() == "next"


def test_get_describes_the_connection(target: Target) -> None:
    """GET answers 200 with connectedAt, lastActiveAt and identity.

    https://boto3.amazonaws.com/v1/documentation/api/latest/reference/services/apigatewaymanagementapi/client/get_connection.html
    """
    client = target.connect()
    management = target.management()
    first = management.get_connection(ConnectionId=client.id)
    assert first["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert set(first["Identity"]) == {"SourceIp", "UserAgent"}
    assert abs((first["ConnectedAt"] - datetime.now(UTC)).total_seconds()) < 60
    client.ask({"action": "echo", "brief": True})
    second = management.get_connection(ConnectionId=client.id)
    assert second["ConnectedAt"] == first["ConnectedAt"]
    assert second["LastActiveAt"] > first["LastActiveAt"]


def test_delete_closes_the_connection(target: Target) -> None:
    """DELETE answers 204 and ends the connection.

    https://boto3.amazonaws.com/v1/documentation/api/latest/reference/services/apigatewaymanagementapi/client/delete_connection.html
    """
    client = target.connect()
    response = target.management().delete_connection(ConnectionId=client.id)
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 204
    end = client.closed()
    assert end.rcvd and end.rcvd.code == 1000


@pytest.mark.parametrize("operation", ["post_to_connection", "get_connection", "delete_connection"])
@pytest.mark.parametrize("ended", ["closed", "never"])
def test_connection_that_is_not_there_is_410(target: Target, operation: str, ended: str) -> None:
    """A connection that is gone, or never was, answers 410 GoneException.

    https://boto3.amazonaws.com/v1/documentation/api/latest/reference/services/apigatewaymanagementapi/client/post_to_connection.html
    """
    connection_id = "L0SM9cOFvHcCIhw="
    if ended == "closed":
        client = target.connect()
        connection_id = client.id
        client.ws.close()
        target.event(client.caller, "DISCONNECT")
    arguments: dict[str, Any] = {"ConnectionId": connection_id}
    if operation == "post_to_connection":
        arguments["Data"] = b"{}"
    with pytest.raises(ClientError) as error:
        getattr(target.management(), operation)(**arguments)
    assert code_of(error) == (410, "GoneException")


def test_what_is_not_a_connection_id_is_400(target: Target) -> None:
    """An id of another form answers 400 BadRequestException and names it.

    https://github.com/dherault/serverless-offline/issues/749
    """
    with pytest.raises(ClientError) as error:
        target.management().post_to_connection(ConnectionId="cjy8i76bx002884", Data=b"{}")
    assert code_of(error) == (400, "BadRequestException")
    assert "Invalid connectionId: cjy8i76bx002884" in str(error.value)


@pytest.mark.parametrize("operation", ["post_to_connection", "get_connection", "delete_connection"])
def test_unknown_stage_is_403(target: Target, operation: str) -> None:
    """A stage that does not exist answers 403 ForbiddenException.

    https://github.com/aws/aws-sdk-js-v3/issues/1830
    """
    client = target.connect()
    arguments: dict[str, Any] = {"ConnectionId": client.id}
    if operation == "post_to_connection":
        arguments["Data"] = b"{}"
    with pytest.raises(ClientError) as error:
        getattr(target.management("nowhere"), operation)(**arguments)
    assert code_of(error) == (403, "ForbiddenException")
    assert client.ask({"action": "echo", "brief": True})["length"] > 0


def test_connection_of_another_stage_is_410(target: Target) -> None:
    """assumed: a connection is looked for in the stage of the request's path only."""
    client = target.connect()
    with pytest.raises(ClientError) as error:
        target.management("other").get_connection(ConnectionId=client.id)
    assert code_of(error) == (410, "GoneException")


def test_unsigned_request_is_403(target: Target) -> None:
    """@connections takes requests signed with Signature Version 4 only.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
    """
    client = target.connect()
    host = urlsplit(target.http_url("probe"))
    kind = http.client.HTTPSConnection if host.scheme == "https" else http.client.HTTPConnection
    connection = kind(host.netloc, timeout=15)
    connection.request("POST", f"{host.path}/@connections/{quote(client.id)}", body=b"{}")
    assert connection.getresponse().status == 403
    connection.close()


def test_plain_http_client_keeps_its_connection(target: Target) -> None:
    """Any HTTP/1.1 client may post, the id percent-encoded, and keep its connection alive.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-how-to-call-websocket-api-connections.html
    """
    client = target.connect()
    management = target.management()
    host = urlsplit(target.http_url("probe"))
    kind = http.client.HTTPSConnection if host.scheme == "https" else http.client.HTTPConnection
    connection = kind(host.netloc, timeout=15)
    sockets = set()
    for number, (path_id, expected) in enumerate(
        ((client.id, 200), ("L0SM9cOFvHcCIhw=", 410), (client.id, 200))
    ):
        url = f"{target.http_url('probe')}/@connections/{quote(path_id, safe='')}"
        body = json.dumps(number).encode()
        request = AWSRequest("POST", url, data=body)
        credentials = management._get_credentials()
        SigV4Auth(credentials, "execute-api", management.meta.region_name).add_auth(request)
        connection.request("POST", urlsplit(url).path, body, dict(request.headers))
        response = connection.getresponse()
        content = response.read()
        assert response.status == expected
        sockets.add(id(connection.sock))
        if expected == 410:
            assert response.headers["x-amzn-ErrorType"].startswith("GoneException")
            json.loads(content)
    assert connection.sock and len(sockets) == 1
    assert [client.receive(), client.receive()] == [0, 2]
    connection.close()


def test_client_that_does_not_read_is_429(target: Target) -> None:
    """A client whose buffer is full answers 429 LimitExceededException; others are not affected.

    https://boto3.amazonaws.com/v1/documentation/api/latest/reference/services/apigatewaymanagementapi/client/post_to_connection.html
    """
    slow = connect_slow(target)
    quick = target.connect()
    slow_id, quick_id = slow.id, quick.id
    management = target.management()
    data = b'"' + b"x" * (64 * KIB) + b'"'
    accepted = 0
    with pytest.raises(ClientError) as error:
        for _ in range(1000):
            management.post_to_connection(ConnectionId=slow_id, Data=data)
            accepted += 1
    assert code_of(error) == (429, "LimitExceededException")
    assert accepted > 0
    management.post_to_connection(ConnectionId=quick_id, Data=b'"quick"')
    assert quick.receive() == "quick"
    for _ in range(accepted):
        assert slow.ws.recv(timeout=15) == data.decode()
    management.post_to_connection(ConnectionId=slow_id, Data=b'"again"')
    assert slow.receive() == "again"


@pytest.mark.option
@pytest.mark.parametrize("size", [1000, 128 * KIB])
def test_post_is_answered_at_once_whatever_the_client_reads(
    with_options: Callable[..., Any], poster_to: Posters, size: int
) -> None:
    """own: 200 while there is room and 429 when there is none, and neither waits."""
    target, _ = with_options()
    slow, quick = connect_slow(target), target.connect()
    to_slow, to_quick = poster_to(target, slow.id), poster_to(target, quick.id)
    data = b'"' + b"x" * (size - 2) + b'"'
    slowest = 0.0
    statuses: list[int] = []
    while statuses.count(429) < 20:
        started = time.monotonic()
        statuses.append(to_slow.post(data))
        slowest = max(slowest, time.monotonic() - started)
    assert set(statuses) == {200, 429}
    started = time.monotonic()
    assert to_quick.post(b'"quick"') == 200
    assert quick.receive() == "quick"
    assert max(slowest, time.monotonic() - started) < 1


@pytest.mark.option
def test_post_does_not_wait_behind_pongs(
    with_options: Callable[..., Any], poster_to: Posters
) -> None:
    """own: a post for which there is room is accepted at once, also after answers to pings."""
    target, _ = with_options("--client-buffer-bytes", str(4 * MIB))
    slow = connect_slow(target)
    poster = poster_to(target, slow.id)
    data = b'"' + b"x" * (128 * KIB - 2) + b'"'
    accepted = fill(poster, data)
    # Their answers go over what posts may take.
    slow.ws.socket.sendall(PING * (MIB // len(PING)))
    assert poster.post(data) == 429
    # Somewhat later there is room, though most of it is still to be read.
    read, status = 0, 429
    while status == 429:
        assert slow.ws.recv(timeout=15) == data.decode()
        read += 1
        status = poster.post(b'"late"')
    assert status == 200 and read < accepted - 8
    rest = [slow.receive() for _ in range(accepted - read + 1)]
    assert rest[-1] == "late"


@pytest.mark.option
def test_client_that_sends_pings_and_does_not_read_is_not_read(
    with_options: Callable[..., Any], poster_to: Posters
) -> None:
    """own: answers to pings do not pile up either; once the client reads, all goes on."""
    target, _ = with_options()
    slow = connect_slow(target)
    poster = poster_to(target, slow.id)
    accepted = fill(poster, b'"' + b"x" * (64 * KIB) + b'"')
    slow.ws.socket.settimeout(2)
    sent = 0
    chunk = PING * 4096
    with pytest.raises(TimeoutError):
        while sent < 128 * MIB:
            sent += slow.ws.socket.send(chunk[sent % len(PING) :])
    slow.ws.socket.settimeout(None)
    assert poster.post(b"{}") == 429
    for _ in range(accepted):
        slow.receive()
    # The last ping was cut off; the rest of it comes before the message.
    slow.ws.socket.sendall(PING[sent % len(PING) :])
    assert slow.ask({"action": "echo", "brief": True})["length"] > 0
    assert poster.post(b'"again"') == 200
    assert slow.receive() == "again"


@pytest.mark.option
def test_post_does_not_wait_for_the_end_of_a_connection(
    with_options: Callable[..., Any], poster_to: Posters
) -> None:
    """own: a connection that closes while the post's body arrives answers 410 at once."""
    target, _ = with_options()
    slow = connect_slow(target)
    poster = poster_to(target, slow.id)
    fill(poster, b'"' + b"x" * (64 * KIB) + b'"')
    body = b'"late"'
    poster.connection.putrequest("POST", poster.path)
    for name, value in {**poster.headers, "Content-Length": str(len(body))}.items():
        poster.connection.putheader(name, value)
    poster.connection.endheaders()
    # The gateway has read the head by the time it has served another request.
    target.management().delete_connection(ConnectionId=slow.id)
    poster.connection.send(body)
    assert poster.finish() == 410
