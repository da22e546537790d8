"""The @connections API."""

from __future__ import annotations

import http.client
import json
import socket
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ClientError

from conformance.targets import Target

KIB = 1024


def code_of(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    """Return the status and the type of the SDK's exception, which must be the modelled one."""
    response = error.value.response
    code = response["Error"]["Code"]
    assert type(error.value).__name__ in (code, "ClientError")
    return response["ResponseMetadata"]["HTTPStatusCode"], code


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
    # Small buffers on the client's side, so that the gateway's fills soon; and a queue
    # of one message, after which the library stops reading the socket.
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    parts = urlsplit(target.url("probe"))
    if parts.scheme == "wss":
        sock.close()
        slow = target.connect(max_queue=1)
    else:
        sock.connect((parts.hostname, parts.port))
        slow = target.connect(sock=sock, max_queue=1)
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
