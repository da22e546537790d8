"""What a client receives after a message."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from conformance.targets import Target


def check_error(answer: dict[str, str], message: str, connection_id: str) -> None:
    """Check the frame that the gateway itself sends."""
    assert set(answer) == {"message", "connectionId", "requestId"}
    assert answer["message"] == message
    assert answer["connectionId"] == connection_id
    assert answer["requestId"]


def test_reply_comes_through_a_route_response(target: Target) -> None:
    """With a route response the function's body reaches the client.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-response.html
    """
    assert target.connect().ask({"action": "echo", "brief": True})["length"] > 0


def test_reply_without_a_route_response_is_dropped(target: Target) -> None:
    """Without a route response the function runs, and its body goes nowhere.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-response.html
    """
    client = target.connect()
    client.send({"action": "oneway", "caller": client.caller})
    target.event(client.caller, "MESSAGE")
    answer = client.ask({"action": "echo"})
    assert answer["event"]["requestContext"]["routeKey"] == "echo"


def test_answer_without_a_body_sends_nothing(target: Target) -> None:
    """assumed: a two-way route whose function returns no body sends no frame."""
    client = target.connect()
    client.send({"action": "silent"})
    with pytest.raises(TimeoutError):
        client.receive(timeout=1)


def test_status_of_an_answer_does_not_change_the_reply(target: Target) -> None:
    """assumed: the body of a two-way route is sent whatever its statusCode; reports differ."""
    assert target.connect().ask({"action": "echo", "brief": True, "status": 500})["length"] > 0


def test_function_that_raises_is_an_internal_server_error(target: Target) -> None:
    """A function that fails becomes an Internal server error frame; the client stays.

    https://github.com/aws-samples/simple-websockets-chat-app/issues/42
    """
    client = target.connect()
    connection_id = client.id
    client.send({"action": "fail"})
    text = str(client.ws.recv(timeout=15))
    assert "secret" not in text
    check_error(json.loads(text), "Internal server error", connection_id)
    assert client.ask({"action": "echo", "brief": True})["length"] > 0


def test_answer_without_a_status_is_an_internal_server_error(target: Target) -> None:
    """A Lambda proxy's answer needs a statusCode.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    client = target.connect()
    check_error(client.ask({"action": "malformed"}), "Internal server error", client.id)


def test_reply_over_the_message_limit_is_an_internal_server_error(target: Target) -> None:
    """assumed: a reply of more than 128 KB becomes an Internal server error frame."""
    client = target.connect()
    connection_id = client.id
    answer = client.ask({"action": "echo", "brief": True, "padding": 128 * 1024})
    check_error(answer, "Internal server error", connection_id)


def test_integration_timeout_is_the_integrations_own(target: Target) -> None:
    """An integration's TimeoutInMillis (here 500) ends the wait with an error frame.

    https://github.com/aws/chalice/issues/1406
    """
    client = target.connect()
    connection_id = client.id
    # A function that has run once does not add its start to what is measured.
    client.ask({"action": "slow"})
    started = time.monotonic()
    answer = client.ask({"action": "impatient", "seconds": 3})
    assert 0.4 < time.monotonic() - started < 2.5
    check_error(answer, "Endpoint request timed out", connection_id)


@pytest.mark.option
def test_integration_timeout_is_29_seconds_at_most(
    target: Target, with_options: Callable[..., Any]
) -> None:
    """No integration may take longer than 29 s; the clock is shortened here to 300 ms.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-execution-service-websocket-limits-table.html
    """
    # Functions that have run once start within the shortened time.
    target.connect().ask({"action": "slow"})
    impatient, _ = with_options("--integration-timeout-ms", "300")
    client = impatient.connect()
    started = time.monotonic()
    answer = client.ask({"action": "slow", "seconds": 2})
    assert 0.25 < time.monotonic() - started < 1.5
    assert answer["message"] == "Endpoint request timed out"


def test_messages_of_one_connection_are_handled_concurrently(target: Target) -> None:
    """assumed: a message is handled without waiting for the one before; no order is documented."""
    client = target.connect()
    client.ask({"action": "slow"})
    client.ask({"action": "echo"})
    client.send({"action": "slow", "seconds": 2})
    started = time.monotonic()
    assert client.ask({"action": "echo"})["event"]["requestContext"]["routeKey"] == "echo"
    assert time.monotonic() - started < 1.5
    assert client.receive()["event"]["requestContext"]["routeKey"] == "slow"
