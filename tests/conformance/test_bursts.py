"""Bursts: how many calls of one function are under way, and in which order the others wait."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from conformance.targets import PATIENCE_SECONDS, Client, Target

pytestmark = pytest.mark.option

Starter = Callable[..., Any]


def most_at_once(answers: list[Any]) -> int:
    """Return how many functions ran at one time, by the times that each says it ran."""
    changes = [(answer["ran"][0], 1) for answer in answers]
    changes += [(answer["ran"][1], -1) for answer in answers]
    most = running = 0
    # An end sorts before a beginning at the same time.
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


def send_slow(client: Client, count: int, seconds: float) -> None:
    """Send messages that are told apart by their length, each a call that takes ``seconds``."""
    for number in range(count):
        client.send({"action": "slow", "brief": True, "seconds": seconds, "fill": "x" * number})


def test_calls_of_a_function_are_bounded(with_options: Starter) -> None:
    """own: 40 slow messages at once all succeed, and by default 8 at most are under way."""
    target, _ = with_options()
    client = target.connect()
    send_slow(client, 40, seconds=0.3)
    answers = [client.receive(timeout=40) for _ in range(40)]
    assert not [answer for answer in answers if "ran" not in answer]
    assert 2 <= most_at_once(answers) <= 8


def test_bound_is_an_option(with_options: Starter) -> None:
    """own: --concurrent-calls sets the bound, which is used in full."""
    target, _ = with_options("--concurrent-calls", "2")
    client = target.connect()
    send_slow(client, 6, seconds=0.5)
    assert most_at_once([client.receive() for _ in range(6)]) == 2


def test_bound_can_be_taken_away(with_options: Starter) -> None:
    """own: with 0 every call starts at once."""
    target, _ = with_options("--concurrent-calls", "0")
    client = target.connect()
    send_slow(client, 10, seconds=4)
    assert most_at_once([client.receive(timeout=40) for _ in range(10)]) > 8


def test_bound_is_each_functions_own(with_options: Starter) -> None:
    """own: a function with no turn left holds up no other function."""
    target, _ = with_options("--concurrent-calls", "1")
    client = target.connect()
    client.ask({"action": "slow"})
    client.ask({"action": "echo"})
    send_slow(client, 2, seconds=1)
    client.send({"action": "echo"})
    assert client.receive()["event"]["requestContext"]["routeKey"] == "echo"
    assert client.receive()["ran"][1] <= client.receive()["ran"][0]


def test_wait_is_not_counted_against_the_integration_timeout(
    target: Target, with_options: Starter
) -> None:
    """own: the time of a function begins when it is called, not when its turn is awaited."""
    # Functions that have run once start within the shortened time.
    target.connect().ask({"action": "slow"})
    impatient, _ = with_options("--concurrent-calls", "1", "--integration-timeout-ms", "2000")
    client = impatient.connect()
    send_slow(client, 5, seconds=0.8)
    answers = [client.receive() for _ in range(5)]
    assert not [answer for answer in answers if "ran" not in answer]
    assert answers[-1]["ran"][1] - answers[0]["ran"][0] >= 4


def test_calls_take_their_turns_in_order(with_options: Starter) -> None:
    """own: calls that wait are served first come, first served, whoever sent them."""
    target, _ = with_options("--concurrent-calls", "1")
    first, second = target.connect(), target.connect()
    assert first.id and second.id
    sent = []
    for number in range(10):
        client = (first, second)[number % 2]
        message = {"action": "slow", "brief": True, "seconds": 0.2, "fill": "x" * number}
        client.send(message)
        sent.append(client)
        # Two connections have no order between them but the one in which they are read.
        time.sleep(0.05)
    answers = [client.receive() for client in sent]
    assert [answer["length"] for answer in answers] == sorted(a["length"] for a in answers)
    assert sorted(answers, key=lambda answer: answer["ran"][0]) == answers


def test_client_that_leaves_while_it_waits_keeps_no_turn(with_options: Starter) -> None:
    """own: the calls of a client that has left are made all the same, and end as any other."""
    target, gateway = with_options("--concurrent-calls", "1")
    stays, leaves = target.connect(), target.connect()
    assert stays.id and leaves.id
    send_slow(stays, 1, seconds=1)
    send_slow(leaves, 3, seconds=0.2)
    # A handshake waits behind another, whose $connect takes a second.
    parts = urlsplit(gateway.url)
    callers = [f"{stays.caller}-{number}" for number in range(2)]
    for caller in callers:
        with socket.create_connection((parts.hostname, parts.port)) as sock:
            sock.sendall(
                f"GET /probe?token=allow&caller={caller}&seconds=1 HTTP/1.1\r\n"
                "Host: probe\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
                "Sec-WebSocket-Version: 13\r\n\r\n".encode()
            )
    leaves.ws.socket.shutdown(socket.SHUT_RDWR)
    assert target.event(leaves.caller, "DISCONNECT")
    for caller in callers:
        event = target.event(caller, "DISCONNECT")
        assert event["requestContext"]["disconnectStatusCode"] == 1006
    assert "ran" in stays.receive()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while gateway.log.count("route slow") < 4:
        assert time.monotonic() < deadline, "each call ends"
        time.sleep(0.05)
    assert "ran" in stays.ask({"action": "slow"})
    assert target.connect().id
