"""Throttling per stage: the stage ``throttled`` has a burst of 5 and a rate of 1 per second."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from websockets.exceptions import InvalidStatus

from conformance.targets import Target


def connect_when_admitted(target: Target) -> Any:
    """Connect to the throttled stage; what the cases before used up is there again soon."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return target.connect("throttled", "plain")
        except InvalidStatus:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def test_messages_over_the_limit_are_refused(target: Target) -> None:
    """assumed: a throttled message becomes a Too Many Requests frame; the client stays."""
    client = connect_when_admitted(target)
    for _ in range(20):
        client.send({"brief": True})
    answers = [client.receive() for _ in range(20)]
    refused = [answer for answer in answers if "message" in answer]
    assert 10 <= len(refused) < 20
    for answer in refused:
        assert set(answer) == {"message", "connectionId", "requestId"}
        assert answer["message"] == "Too Many Requests"
    deadline = time.monotonic() + 15
    while "message" in client.ask({"brief": True}):
        assert time.monotonic() < deadline, "the bucket must fill again"
        time.sleep(0.2)


def test_posts_over_the_limit_are_429(target: Target) -> None:
    """@connections requests over the limit answer 429 LimitExceededException.

    https://boto3.amazonaws.com/v1/documentation/api/latest/reference/services/apigatewaymanagementapi/client/post_to_connection.html
    """
    management = target.management("throttled", "plain")
    codes = []
    for _ in range(30):
        with pytest.raises(ClientError) as error:
            management.get_connection(ConnectionId="L0SM9cOFvHcCIhw=")
        codes.append(error.value.response["Error"]["Code"])
    assert set(codes) <= {"GoneException", "LimitExceededException"}
    assert codes.count("LimitExceededException") >= 10


def test_handshakes_over_the_limit_are_429(target: Target) -> None:
    """Handshakes over the limit answer 429.

    https://github.com/terraform-aws-modules/terraform-aws-apigateway-v2/issues/8
    """
    statuses = []
    for _ in range(20):
        try:
            target.connect("throttled", "plain")
        except InvalidStatus as refusal:
            statuses.append(refusal.response.status_code)
    assert len(statuses) >= 5 and set(statuses) == {429}


def test_limit_is_the_stages_own(target: Target) -> None:
    """One stage's limit leaves the other stages of its API alone.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-protect.html
    """
    throttled = connect_when_admitted(target)
    for _ in range(20):
        throttled.send({"brief": True})
    answers = [throttled.receive() for _ in range(20)]
    assert any("message" in answer for answer in answers)
    client = target.connect("open", "plain")
    for _ in range(20):
        client.send({"brief": True})
    assert all(client.receive()["length"] for _ in range(20))


def test_route_may_have_a_limit_of_its_own(target: Target) -> None:
    """A route's own limit (here of join-v2) holds for it, and not for its neighbours.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-protect.html
    """
    client = target.connect("open", "plain")
    for _ in range(20):
        client.send({"target": {"name": "join"}, "version": "2", "brief": True})
    answers = [client.receive() for _ in range(20)]
    assert 10 <= sum("message" in answer for answer in answers) < 20
    assert client.ask({"brief": True})["length"] > 0


@pytest.mark.option
def test_options_replace_the_stages_limit(with_options: Callable[..., Any]) -> None:
    """A burst of 3 admits 3: the handshake and two messages, counted like a token bucket.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-protect.html
    """
    target, _ = with_options("--throttle-burst", "3", "--throttle-rate", "0", api="plain")
    client = target.connect("open", "plain")
    answers = [client.ask({"brief": True}) for _ in range(4)]
    assert ["message" in answer for answer in answers] == [False, False, True, True]
    assert target.refused("open", "plain").status_code == 429
    with pytest.raises(ClientError) as error:
        target.management("open", "plain").get_connection(ConnectionId="L0SM9cOFvHcCIhw=")
    assert error.value.response["Error"]["Code"] == "LimitExceededException"
