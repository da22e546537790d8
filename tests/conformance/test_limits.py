"""Limits of frames, messages and time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from conformance.targets import Client, Target

KIB = 1024


def text_of(size: int) -> str:
    """Return a message of exactly ``size`` bytes that asks for a short answer."""
    start = '{"action": "echo", "brief": true, "fill": "'
    return start + "x" * (size - len(start) - 2) + '"}'


def send_in_frames(client: Client, text: str, frame_bytes: int) -> None:
    """Send one message in frames of at most ``frame_bytes``."""
    client.ws.send(text[at : at + frame_bytes] for at in range(0, len(text), frame_bytes))


def test_frame_of_32_kb_passes(target: Target) -> None:
    """A frame may have 32 KB.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
    """
    assert target.connect().ask(text_of(32 * KIB))["length"] == 32 * KIB


def test_frame_over_32_kb_closes_1009(target: Target) -> None:
    """A larger frame closes the connection with 1009.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
    """
    client = target.connect()
    client.send(text_of(32 * KIB + 1))
    end = client.closed()
    assert end.rcvd and end.rcvd.code == 1009


def test_message_of_128_kb_passes_in_frames(target: Target) -> None:
    """A message may have 128 KB, split into frames.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
    """
    client = target.connect()
    send_in_frames(client, text_of(128 * KIB), 32 * KIB)
    assert client.receive()["length"] == 128 * KIB


def test_message_over_128_kb_closes_1009(target: Target) -> None:
    """A larger message closes the connection with 1009, also when each frame is small.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
    """
    client = target.connect()
    send_in_frames(client, text_of(128 * KIB + 1), 16 * KIB)
    end = client.closed()
    assert end.rcvd and end.rcvd.code == 1009


def test_binary_frame_closes_1003(target: Target) -> None:
    """A binary frame closes the connection with 1003.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-develop-binary-media-types.html
    """
    client = target.connect()
    client.ws.send(b'{"action": "echo"}')
    end = client.closed()
    assert end.rcvd and end.rcvd.code == 1003


@pytest.mark.option
def test_idle_connection_is_closed(with_options: Callable[..., Any]) -> None:
    """A connection without messages is closed (10 min, here 1 s), seen as 1001 Going away.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
    """
    target, _ = with_options("--idle-timeout-seconds", "1")
    client = target.connect()
    opened = time.monotonic()
    end = client.closed()
    assert 0.7 < time.monotonic() - opened < 3
    assert end.rcvd and (end.rcvd.code, end.rcvd.reason) == (1001, "Going away")
    context = target.event(client.caller, "DISCONNECT")["requestContext"]
    assert context["disconnectStatusCode"] == 1001
    assert context["disconnectReason"] == "Going away"


@pytest.mark.option
@pytest.mark.parametrize("kind", ["message", "post"])
def test_message_either_way_keeps_a_connection(with_options: Callable[..., Any], kind: str) -> None:
    """assumed: a message from the client and a post to it both start the idle clock anew."""
    target, _ = with_options("--idle-timeout-seconds", "1")
    client = target.connect()
    connection_id = client.id
    management = target.management()
    started = time.monotonic()
    while time.monotonic() - started < 2:
        if kind == "post":
            management.post_to_connection(ConnectionId=connection_id, Data=b"{}")
            client.receive()
        else:
            # Without a reply, which would count as well.
            client.send({"action": "silent"})
        # The case is about time that passes between messages.
        time.sleep(0.3)
    assert client.ws.close_code is None
    assert client.closed().rcvd


@pytest.mark.option
def test_ping_does_not_keep_a_connection(with_options: Callable[..., Any]) -> None:
    """assumed: control frames are answered but do not start the idle clock anew."""
    target, _ = with_options("--idle-timeout-seconds", "1")
    client = target.connect()
    opened = time.monotonic()
    pongs = 0
    while client.ws.close_code is None and time.monotonic() - opened < 5:
        try:
            pongs += client.ws.ping().wait(0.2)
        except Exception:
            break
    assert pongs > 0
    end = client.closed()
    assert time.monotonic() - opened < 3
    assert end.rcvd and end.rcvd.code == 1001


@pytest.mark.option
def test_life_of_a_connection_is_limited(with_options: Callable[..., Any]) -> None:
    """A connection ends after 2 h (here 2 s) whatever it does.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
    """
    target, _ = with_options("--max-lifetime-seconds", "2", "--idle-timeout-seconds", "600")
    client = target.connect()
    opened = time.monotonic()
    code = None
    while code is None and time.monotonic() - opened < 6:
        try:
            client.send(json.dumps({"action": "echo", "brief": True}))
            client.receive()
        except Exception:
            end = client.closed()
            code = end.rcvd.code if end.rcvd else 1006
    assert 1.5 < time.monotonic() - opened < 4
    assert code == 1001
