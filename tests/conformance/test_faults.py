"""Faults on demand, each by an option of the gateway."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from conformance.targets import Target

pytestmark = pytest.mark.option

NOBODY = "L0SM9cOFvHcCIhw="
Starter = Callable[..., Any]


def outcomes(target: Target, connection_id: str, count: int) -> list[str]:
    """Post ``count`` times and return ``ok`` or the error's status for each."""
    management = target.management()
    found = []
    for _ in range(count):
        try:
            management.post_to_connection(ConnectionId=connection_id, Data=b'"post"')
            found.append("ok")
        except ClientError as error:
            found.append(str(error.response["ResponseMetadata"]["HTTPStatusCode"]))
        except ConnectionClosedError:
            found.append("reset")
    return found


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("--fault-429", {"429"}),
        ("--fault-5xx", {"500", "503"}),
        ("--fault-410", {"410"}),
        ("--fault-reset", {"reset"}),
    ],
)
def test_share_of_posts_fails(with_options: Starter, option: str, expected: set[str]) -> None:
    """own: a fault replaces the post's effect in the share that was asked for."""
    target, _ = with_options(option, "0.5", "--fault-seed", "1")
    client = target.connect()
    found = outcomes(target, client.id, 60)
    assert set(found) == expected | {"ok"}
    assert 15 <= found.count("ok") <= 45
    for _ in range(found.count("ok")):
        assert client.receive() == "post"
    with pytest.raises(TimeoutError):
        client.receive(timeout=0.2)


def test_share_of_posts_goes_out_twice(with_options: Starter) -> None:
    """own: the post is answered once, and its frame sent again at once, in the share asked for."""
    target, _ = with_options("--fault-duplicate", "0.5", "--fault-seed", "1")
    client = target.connect()
    management = target.management()
    for number in range(60):
        management.post_to_connection(ConnectionId=client.id, Data=str(number).encode())
    management.post_to_connection(ConnectionId=client.id, Data=b'"last"')
    frames = list(iter(client.receive, "last"))
    assert frames == sorted(frames)
    assert set(frames) == set(range(60))
    assert 15 <= len(frames) - 60 <= 45


def test_reset_is_a_reset(with_options: Starter) -> None:
    """own: the TCP connection of the post is reset, not closed."""
    target, _ = with_options("--fault-reset", "1")
    with pytest.raises(ConnectionClosedError) as error:
        target.management().get_connection(ConnectionId=NOBODY)
    assert "reset" in repr(error.value.kwargs.get("error", error.value.__context__)).lower()


def test_latency_is_added(with_options: Starter) -> None:
    """own: each @connections request takes the added time."""
    target, _ = with_options("--fault-latency-ms", "300")
    client = target.connect()
    connection_id = client.id
    started = time.monotonic()
    assert outcomes(target, connection_id, 2) == ["ok", "ok"]
    assert time.monotonic() - started >= 0.6
    assert client.receive() == "post"


def test_stalled_post_is_served_late(with_options: Starter) -> None:
    """own: a stalled post is held for the given time, and then delivered."""
    target, _ = with_options("--fault-stall", "1", "--fault-stall-seconds", "1")
    client = target.connect()
    connection_id = client.id
    started = time.monotonic()
    assert outcomes(target, connection_id, 1) == ["ok"]
    assert time.monotonic() - started >= 1
    assert client.receive() == "post"


def test_disconnect_events_are_lost(with_options: Starter) -> None:
    """own: $disconnect is best effort, and here it is lost in every case."""
    target, gateway = with_options("--fault-lose-disconnect", "1")
    client = target.connect()
    client.ws.close()
    deadline = time.monotonic() + 10
    while "lost on demand" not in gateway.log:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    types = [event["requestContext"]["eventType"] for event in target.events(client.caller)]
    assert "CONNECT" in types and "DISCONNECT" not in types


def test_share_of_disconnect_events_is_lost(with_options: Starter) -> None:
    """own: the share decides for each connection."""
    target, gateway = with_options("--fault-lose-disconnect", "0.5", "--fault-seed", "3")
    for _ in range(20):
        target.connect().ws.close()
    deadline = time.monotonic() + 10
    while gateway.log.count("route $disconnect") < 20:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert 3 <= gateway.log.count("lost on demand") <= 17


def test_seed_repeats_the_faults(with_options: Starter) -> None:
    """own: the same seed and order of requests meet the same faults."""
    found = []
    for seed in ("7", "7", "8"):
        options = ("--fault-429", "0.3", "--fault-5xx", "0.3", "--fault-seed", seed)
        target, _ = with_options(*options)
        found.append(outcomes(target, target.connect().id, 30))
    assert found[0] == found[1] != found[2]
