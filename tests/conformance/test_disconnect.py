"""``$disconnect`` after every way to end."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from botocore.exceptions import ClientError

from conformance.targets import Target


def ending(target: Target, caller: str) -> tuple[int, str]:
    """Wait for the $disconnect event of a caller; return its code and reason."""
    context: dict[str, Any] = target.event(caller, "DISCONNECT")["requestContext"]
    return context["disconnectStatusCode"], context["disconnectReason"]


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (4001, "bye")])
def test_close_by_the_client_is_reported(target: Target, code: int, reason: str) -> None:
    """The client's close code and reason are in the event.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-mapping-template-reference.html
    """
    client = target.connect()
    client.ws.close(code, reason)
    assert ending(target, client.caller) == (code, reason)


def test_close_without_a_status_is_1005(target: Target) -> None:
    """A close frame without a status is reported as 1005, in these words.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
    """
    client = target.connect()
    # An empty close frame, masked with zeros; the library's close() always has a status.
    client.ws.socket.sendall(bytes([0x88, 0x80, 0, 0, 0, 0]))
    expected = (1005, "Client-side close frame status not set")
    assert ending(target, client.caller) == expected


@pytest.mark.parametrize("how", ["reset", "end of stream"])
def test_lost_connection_is_reported(target: Target, how: str) -> None:
    """assumed: a TCP connection that ends without a close frame is reported as 1006."""
    client = target.connect()
    if how == "reset":
        # Lingering for zero seconds turns the close into a reset.
        linger = struct.pack("ii", 1, 0)
        client.ws.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.ws.socket.shutdown(socket.SHUT_RD)
        client.ws.socket.close()
    else:
        client.ws.socket.shutdown(socket.SHUT_WR)
    assert ending(target, client.caller)[0] == 1006


def test_delete_is_reported(target: Target) -> None:
    """A connection ended by DELETE is reported as 1000 Connection Closed Normally.

    https://github.com/boto/boto3/issues/3789
    """
    client = target.connect()
    target.management().delete_connection(ConnectionId=client.id)
    assert ending(target, client.caller) == (1000, "Connection Closed Normally")


@pytest.mark.parametrize(
    ("data", "code"), [(b"binary", 1003), ("x" * (32 * 1024 + 1), 1009)], ids=["binary", "frame"]
)
def test_close_by_the_gateway_is_reported(target: Target, data: bytes | str, code: int) -> None:
    """$disconnect is called also when the gateway closes, with its code.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
    """
    client = target.connect()
    client.ws.send(data)
    assert ending(target, client.caller)[0] == code


def test_event_comes_once_and_after_the_end(target: Target) -> None:
    """$disconnect comes after the connection has ended, so a post in it finds nobody.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
    """
    client = target.connect()
    connection_id = client.id
    client.ws.close()
    target.event(client.caller, "DISCONNECT")
    with pytest.raises(ClientError) as error:
        target.management().post_to_connection(ConnectionId=connection_id, Data=b"{}")
    assert error.value.response["Error"]["Code"] == "GoneException"
    target.connect().ask({"action": "echo"})
    types = [event["requestContext"]["eventType"] for event in target.events(client.caller)]
    assert types.count("DISCONNECT") == 1
