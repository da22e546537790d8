"""The emulator's guard: what reaches the emulator, and what does not."""

import asyncio
from typing import Any

import pytest

from local.emulator import guarded

Headers = dict[str, str]

HOST = {"Host": "127.0.0.1:4566"}
SIGNED = {**HOST, "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/sqs"}


def ask(*headers: tuple[str, str], kind: str = "http") -> list[dict[str, Any]]:
    """Return what a request is answered by the guard, or by what it guards."""
    answers = []

    async def emulator(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "reached"})

    async def receive() -> dict[str, Any]:
        raise AssertionError("what is refused is not read")

    async def send(message: Any) -> None:
        answers.append(dict(message))

    encoded = [(name.lower().encode(), value.encode()) for name, value in headers]
    asyncio.run(guarded(emulator)({"type": kind, "headers": encoded}, receive, send))
    return answers


def reaches(*headers: tuple[str, str], kind: str = "http") -> bool:
    return ask(*headers, kind=kind) == [{"type": "reached"}]


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:4566", "127.0.0.1", "localhost:4566", "LOCALHOST:4566", "[::1]:4566",
     "bucket.localhost:4566", "abc.execute-api.localhost:4566"],
)  # fmt: skip
def test_programs_that_ask_this_machine_are_answered(host: str) -> None:
    headers = {**SIGNED, "Host": host, "User-Agent": "aws-cli/2.0"}
    assert reaches(*headers.items())
    assert reaches(*headers.items(), kind="websocket")


@pytest.mark.parametrize(
    "host",
    ["rebound.example:4566", "127.0.0.1.rebound.example:4566", "localhost.rebound.example",
     "notlocalhost:4566", "0.0.0.0:4566", "127.0.0.1:4566@rebound.example", "127.0.0.1\n", ""],
)  # fmt: skip
def test_another_name_is_refused_whoever_leads_it_here(host: str) -> None:
    assert not reaches(("Host", host))
    assert not reaches(("Host", host), kind="websocket")


def test_a_request_without_a_host_or_with_two_is_refused() -> None:
    assert not reaches()
    assert not reaches(*HOST.items(), ("Host", "rebound.example"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Origin", "https://other.example"),
        ("Origin", "null"),
        # Of this machine, too: any program may serve pages on another port.
        ("Origin", "http://127.0.0.1:8080"),
        # A picture has no origin.
        ("Sec-Fetch-Site", "cross-site"),
        # Typed by a person, and then led here.
        ("Sec-Fetch-Site", "none"),
        ("Sec-Fetch-Mode", "no-cors"),
        ("Sec-Fetch-Dest", "image"),
    ],
)
def test_what_a_browser_sends_is_refused(name: str, value: str) -> None:
    assert not reaches(*SIGNED.items(), (name, value))
    assert not reaches(*SIGNED.items(), (name, value), kind="websocket")


def test_a_refusal_says_why_and_lets_no_page_read_it() -> None:
    start, body = ask(*HOST.items(), ("Origin", "https://other.example"))

    assert start["status"] == 403
    assert not [name for name, _ in start["headers"] if name.startswith(b"access-control-")]
    assert b"it answers no browser" in body["body"]


def test_a_websocket_is_refused_before_it_opens() -> None:
    answers = ask(*HOST.items(), ("Origin", "https://other.example"), kind="websocket")

    assert [answer["type"] for answer in answers] == ["websocket.close"]


def test_what_is_no_request_is_handed_on() -> None:
    assert reaches(kind="lifespan")
